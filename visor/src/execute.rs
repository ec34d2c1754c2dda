//! What visor does to its host: one function per kind of effect, no policy.
//!
//! Every function is safe to run twice (VIS-02): it looks first, then acts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::adapter::governance::{Link, LinkEvent};
use crate::adoption::identify;
use crate::backup;
use crate::certificate::Notary;
use crate::config::{Config, ConfigError};
use crate::fault;
use crate::home::Home;
use crate::lock::{Holder, NodeLock};
use crate::process::{Exit, Found, ProcessError, Ready, StopOrder, Unit, clear, find_running};
use crate::run_config::{ProgramMissing, RunConfig};
use crate::staging::{Job, LiveUpgrades, Order, Outcome};
use crate::swap::{self, ReadySwitch, SwapError};

/// Why an effect on the host failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The version's folder cannot be used.
    #[error(transparent)]
    RunConfig(#[from] ConfigError),
    /// The node could not be started or watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No folder of this home is the version.
    #[error("use version {version}: no folder of {home} holds it (expected {home}/v{version})", home = home.display())]
    NoFolder {
        /// The version.
        version: String,
        /// The home.
        home: PathBuf,
    },
    /// A binary of the version is missing.
    #[error(transparent)]
    Program(#[from] ProgramMissing),
    /// A node of this home runs that is of no known version.
    #[error(
        "adopt the running node (pid {pid}): its program {program} lies in no version folder of this home, and `current` leads to \
         none either. Stop it, or point `current` to its folder", program = program.display()
    )]
    UnknownNode {
        /// Its id.
        pid: u32,
        /// What it runs.
        program: PathBuf,
    },
    /// There was no thread for staging.
    #[error("begin to stage")]
    Thread {
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// `current` could not be switched.
    #[error(transparent)]
    Swap(#[from] SwapError),
}

/// A version made ready while there was time.
#[derive(Debug)]
struct Prepared {
    version: String,
    folder: String,
    ready: Ready,
    socket: PathBuf,
    /// Present until the switch is done.
    switch: Option<ReadySwitch>,
}

/// A node that was found running, with its companions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) pid: u32,
    /// Of the folder that its program belongs to, where that can be told.
    pub(crate) version: Option<String>,
}

/// A start that succeeded: every exec is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    /// When exec was known to have succeeded.
    pub(crate) at: Instant,
}

/// Where facts about the host arrive.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    pub(crate) links: mpsc::Sender<(u64, LinkEvent)>,
    pub(crate) outcomes: mpsc::Sender<(Order, Outcome)>,
}

/// The host: its home, its node, its link to the node, its staging.
#[derive(Debug)]
pub(crate) struct Host {
    home: Home,
    config: Config,
    lock: NodeLock,
    channels: Channels,
    /// Present when the operator has pinned a genesis.
    notary: Option<Arc<Notary>>,
    prepared: Option<Prepared>,
    unit: Option<Unit>,
    link: Option<Link>,
    /// Counts the links, so that a report of an earlier run is not taken for one of the present node.
    run: u64,
    staging: Option<(Order, Job)>,
    live: LiveUpgrades,
}

impl Host {
    pub(crate) fn new(home: Home, config: Config, channels: Channels, notary: Option<Arc<Notary>>) -> Self {
        let lock = NodeLock::new(home.node_lock());
        Self {
            home,
            config,
            lock,
            channels,
            notary,
            prepared: None,
            unit: None,
            link: None,
            run: 0,
            staging: None,
            live: LiveUpgrades::default(),
        }
    }

    /// Makes ready what a switch to this version and its start will need, so that between an exit and the exec that answers
    /// it nothing is left but the rename and the start (VIS-05).
    ///
    /// A version that cannot be used is no error here: the order that needs it will say so.
    pub(crate) fn prepare(&mut self, version: &str) {
        self.prepared = self.read(version).ok();
        if let Some(prepared) = &mut self.prepared {
            prepared.switch = swap::prepare(&self.home, &prepared.folder).ok();
        }
    }

    fn folder_of(&self, version: &str) -> Result<String, ExecuteError> {
        self.home
            .folder_of_version(version)
            .ok_or_else(|| ExecuteError::NoFolder {
                version: version.to_owned(),
                home: self.home.root().to_path_buf(),
            })
    }

    fn read(&self, version: &str) -> Result<Prepared, ExecuteError> {
        let folder = self.folder_of(version)?;
        let path = self.home.folder(&folder);
        let run = RunConfig::read(&path)?;
        run.check_programs(&path)?;
        let output = &self.config.node.log_file;
        let output = (!output.as_os_str().is_empty()).then(|| self.home.root().join(output));
        Ok(Prepared {
            version: version.to_owned(),
            folder,
            ready: run.launch(&path, output).ready()?,
            socket: run.node.socket,
            switch: None,
        })
    }

    fn take_prepared(&mut self, version: &str) -> Result<Prepared, ExecuteError> {
        // What was read before is good for one start: the operator may change the file before the next.
        match self.prepared.take() {
            Some(prepared) if prepared.version == version => Ok(prepared),
            Some(_) | None => self.read(version),
        }
    }

    /// Starts a version: its node and its companions. Nothing: one of them could not be started, and the exit of the
    /// others will say so.
    pub(crate) fn start(&mut self, version: &str) -> Result<Option<Started>, ExecuteError> {
        let prepared = self.take_prepared(version)?;
        let unit = Unit::start(&prepared.ready, &self.lock, self.stop_order())?;
        let started = unit.is_whole().then(|| Started {
            pid: unit.pid(),
            at: Instant::now(),
        });
        self.unit = Some(unit);
        if started.is_some() {
            self.open_link(prepared.socket);
            fault::point("link-opened");
        }
        Ok(started)
    }

    /// Ends what a dead unit left behind, and takes over one that runs (VIS-04). One that is not complete any more is
    /// stopped in order: that is its exit.
    pub(crate) async fn adopt_running(&mut self) -> Result<Option<Adopted>, ExecuteError> {
        loop {
            let mains = match find_running(&self.lock).await.map_err(ProcessError::from)? {
                Found::Nothing => return Ok(None),
                Found::Leftovers => {
                    clear(&self.lock, self.config.stop.grace).await;
                    continue;
                }
                Found::Mains(mains) => mains,
            };
            // It ended in this moment; look again.
            let Some(running) = identify(&self.home, &mains) else {
                continue;
            };
            let adopted = Unit::adopt(&running.unit, &self.lock, self.stop_order());
            let mut unit = match adopted {
                Ok(unit) => unit,
                Err(_) if mains.iter().any(|main| Holder::read(main.holder.pid).is_none()) => continue,
                Err(error) => return Err(error.into()),
            };
            if !unit.is_whole() {
                let missing: Vec<String> = running.unit.missing.iter().map(ToString::to_string).collect();
                tracing::warn!(unit.missing = ?missing, "a part of what runs has ended while no visor watched; stopping the rest");
                unit.exit().await;
                continue;
            }
            let pid = unit.pid();
            let Some(watched) = running.watched else {
                let program = mains.into_iter().next().map(|main| main.program);
                return Err(ExecuteError::UnknownNode {
                    pid,
                    program: program.unwrap_or_default(),
                });
            };
            let socket = RunConfig::read(&self.home.folder(&self.folder_of(&watched)?))?
                .node
                .socket;
            let companions: Vec<_> = unit.companions().collect();
            tracing::info!(node.pid = pid, node.version = %watched, unit.companions = ?companions, "adopted the running node");
            self.unit = Some(unit);
            self.open_link(socket);
            return Ok(Some(Adopted {
                pid,
                version: running.version,
            }));
        }
    }

    /// Names and process ids of the companions that run, in the order of their starts.
    pub(crate) fn companions(&self) -> impl Iterator<Item = (&str, u32)> {
        self.unit.iter().flat_map(Unit::companions)
    }

    fn open_link(&mut self, socket: PathBuf) {
        self.run += 1;
        let (links, notary) = (self.channels.links.clone(), self.notary.clone());
        self.link = Some(Link::open(socket, self.run, links, notary));
    }

    fn stop_order(&self) -> StopOrder {
        StopOrder {
            delay: self.config.stop.delay,
            grace: self.config.stop.grace,
        }
    }

    /// Begins to stop the node (VIS-08). False: there is none.
    pub(crate) fn stop(&mut self) -> bool {
        let order = self.stop_order();
        match &self.unit {
            Some(unit) => {
                unit.stop(order);
                true
            }
            None => false,
        }
    }

    /// Waits for the end of the node that runs and of its companions; for ever when none does.
    pub(crate) async fn exit(&mut self) -> Exit {
        match &mut self.unit {
            Some(unit) => unit.exit().await,
            None => std::future::pending().await,
        }
    }

    /// The node is gone: nothing of it is watched any more.
    pub(crate) fn forget_node(&mut self) {
        self.unit = None;
        self.link = None;
    }

    /// Whether a link event belongs to the node that runs now.
    pub(crate) fn is_present_run(&self, run: u64) -> bool {
        self.link.is_some() && run == self.run
    }

    /// Makes `current` lead to a version (VIS-07).
    pub(crate) fn swap(&mut self, version: &str) -> Result<(), ExecuteError> {
        let mut prepared = self.take_prepared(version)?;
        let done = prepared.switch.take().is_some_and(|ready| ready.switch().is_ok());
        if !done {
            swap::switch(&self.home, &prepared.folder)?;
        }
        // The start follows.
        self.prepared = Some(prepared);
        Ok(())
    }

    /// Makes the switch durable.
    pub(crate) fn sync_swap(&self) -> Result<(), ExecuteError> {
        Ok(swap::sync(&self.home)?)
    }

    /// Stages a plan, off the loop; one that is being staged already goes on.
    pub(crate) fn stage(
        &mut self,
        order: Order,
        current: &str,
        backup: Option<backup::Plan>,
    ) -> Result<(), ExecuteError> {
        if self
            .staging
            .as_ref()
            .is_some_and(|(under_way, _)| *under_way == order)
        {
            return Ok(());
        }
        // At most one at a time: the one before ends when it is dropped.
        self.staging = None;
        let current = self.folder_of(current)?;
        let job = Job::begin(
            self.home.clone(),
            self.config.staging.clone(),
            order.clone(),
            current,
            LiveUpgrades::clone(&self.live),
            backup,
            self.channels.outcomes.clone(),
        )
        .map_err(|source| ExecuteError::Thread { source })?;
        self.staging = Some((order, job));
        Ok(())
    }

    /// Ends the staging of an upgrade, if it is under way.
    pub(crate) fn unstage(&mut self, id: &str) {
        if self.staging.as_ref().is_some_and(|(order, _)| order.id == id) {
            self.staging = None;
        }
    }

    /// Learns which upgrades the chain still knows.
    pub(crate) fn set_live(&self, ids: BTreeSet<String>) {
        if let Ok(mut live) = self.live.lock() {
            *live = ids;
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes over a new configuration; what runs already goes on under the one before.
    pub(crate) fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// The binary of a version, when its folder is there.
    pub(crate) fn program(&self, version: &str) -> Option<PathBuf> {
        let folder = self.home.folder(&self.folder_of(version).ok()?);
        Some(RunConfig::read(&folder).ok()?.program(&folder))
    }
}
