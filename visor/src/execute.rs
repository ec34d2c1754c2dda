//! What visor does to its host: one function per kind of effect, no policy.
//!
//! Every function is safe to run twice (VIS-02): it looks first, then acts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use visor_planner::{Height, UpgradePlan};

use crate::adapter::{
    Adapter, AdapterError, BoxFuture, FoundOut, Link, LinkEvent, LinkTo, Start, Switch, ToStage,
};
use crate::backup;
use crate::config::Config;
use crate::fault;
use crate::home::Home;
use crate::lock::{Holder, NodeLock};
use crate::process::{Exit, Found, Launch, ProcessError, Ready, StopOrder, Unit, clear, find_running};
use crate::staging::{Job, LiveUpgrades, Order, Outcome};

/// Why an effect on the host failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The version cannot be used as its system's conventions want it.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The node could not be started or watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What has to be known before a start could not be found out.
    #[error("prepare the start of {version}: {reason}")]
    BeforeStart {
        /// The version.
        version: String,
        /// Why, for the operator.
        reason: String,
    },
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
}

/// A start made ready while there was time.
#[derive(Debug)]
struct Prepared {
    start: Start,
    ready: Ready,
    /// Present until the switch is done.
    switch: Option<Box<dyn Switch>>,
}

/// A start that waits for what its adapter has to find out first.
struct Later {
    start: Start,
    why: &'static str,
    found: BoxFuture<'static, Result<FoundOut, String>>,
}

/// A node that was found running, with its companions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) pid: u32,
    /// Of the folder that its program belongs to, where that can be told.
    pub(crate) version: Option<String>,
    /// Whose configuration tells how to talk to it.
    pub(crate) watched: String,
}

/// What became of an order to start.
#[derive(Debug)]
pub(crate) enum Outset {
    /// Every exec is done.
    Started(Started),
    /// One process could not be started; the exit of the others will say so.
    NotWhole,
    /// Something has to be found out first; [`Host::next`] answers.
    Later,
    /// Nothing was started: the version that was to be has halted for this upgrade.
    HasHalted(UpgradePlan),
}

/// What happened to the node.
#[derive(Debug)]
pub(crate) enum HostFact {
    /// It is gone, with all that it started.
    Exited(Exit),
    /// What became of a start that had to wait.
    StartedLater {
        /// What was started.
        start: Start,
        /// Why, for the log.
        why: &'static str,
        /// What became of it.
        outset: Result<Outset, ExecuteError>,
    },
}

/// A start that succeeded.
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

/// The host: its node, its link to the node, its staging.
pub(crate) struct Host {
    adapter: Arc<dyn Adapter>,
    config: Config,
    lock: NodeLock,
    channels: Channels,
    prepared: Option<Prepared>,
    later: Option<Later>,
    unit: Option<Unit>,
    link: Option<Link>,
    /// Counts the links, so that a report of an earlier run is not taken for one of the present node.
    run: u64,
    staging: Option<(Order, Job)>,
    live: LiveUpgrades,
}

impl Host {
    pub(crate) fn new(home: &Home, adapter: Arc<dyn Adapter>, config: Config, channels: Channels) -> Self {
        Self {
            adapter,
            config,
            lock: NodeLock::new(home.node_lock()),
            channels,
            prepared: None,
            later: None,
            unit: None,
            link: None,
            run: 0,
            staging: None,
            live: LiveUpgrades::default(),
        }
    }

    /// The chain system's conventions.
    pub(crate) fn adapter(&self) -> &dyn Adapter {
        self.adapter.as_ref()
    }

    /// Makes ready what a switch to this version and its start will need, so that between an exit and the exec that answers
    /// it nothing is left but the rename and the start (VIS-05).
    ///
    /// A version that cannot be used is no error here: the order that needs it will say so.
    pub(crate) fn prepare(&mut self, start: Start) {
        self.prepared = None;
        if self.adapter.before_start(&start, &self.config).is_some() {
            return;
        }
        let version = start.version.clone();
        if let Ok(ready) = self.ready(&start, &[]) {
            self.prepared = Some(Prepared {
                start,
                ready,
                switch: self.adapter.prepare_switch(&version).ok(),
            });
        }
    }

    fn ready(&self, start: &Start, added: &[String]) -> Result<Ready, ExecuteError> {
        Ok(self.adapter.launch(start, added, &self.config)?.ready()?)
    }

    /// Starts a version: its node and its companions.
    pub(crate) fn start(&mut self, start: Start, why: &'static str) -> Result<Outset, ExecuteError> {
        // What was read before is good for one start: the operator may change the file before the next.
        let ready = match self.prepared.take() {
            Some(prepared) if prepared.start == start => prepared.ready,
            Some(_) | None => match self.adapter.before_start(&start, &self.config) {
                Some(found) => {
                    self.later = Some(Later { start, why, found });
                    return Ok(Outset::Later);
                }
                None => self.ready(&start, &[])?,
            },
        };
        self.start_unit(&ready)
    }

    fn start_unit(&mut self, ready: &Ready) -> Result<Outset, ExecuteError> {
        let unit = Unit::start(ready, &self.lock, self.stop_order())?;
        let outset = if unit.is_whole() {
            Outset::Started(Started {
                pid: unit.pid(),
                at: Instant::now(),
            })
        } else {
            Outset::NotWhole
        };
        self.unit = Some(unit);
        Ok(outset)
    }

    /// The next that happens to the node: for ever waited for while nothing can. May be cancelled.
    pub(crate) async fn next(&mut self) -> HostFact {
        let found = tokio::select! {
            biased;
            exit = exit(&mut self.unit) => return HostFact::Exited(exit),
            found = found(&mut self.later) => found,
        };
        let Later { start, why, .. } = found.0;
        let outset = found
            .1
            .map_err(|reason| ExecuteError::BeforeStart {
                version: start.version.clone(),
                reason,
            })
            .and_then(|found| match (found, &start.unseen_halt) {
                (FoundOut::HasHalted, Some(plan)) => Ok(Outset::HasHalted(plan.clone())),
                (FoundOut::Arguments(added), _) => self.start_unit(&self.ready(&start, &added)?),
                (FoundOut::HasHalted, None) => self.start_unit(&self.ready(&start, &[])?),
            });
        HostFact::StartedLater { start, why, outset }
    }

    /// Starts a migration; it is supervised as the node is, and nobody listens to it.
    pub(crate) fn migrate(&mut self, from: &str, to: &str) -> Result<Outset, ExecuteError> {
        self.prepared = None;
        let launch: Launch = self.adapter.begin_migration(from, to, &self.config)?;
        fault::point("migration-noted");
        self.start_unit(&launch.ready()?)
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
            let Some(running) = self.adapter.identify(&mains) else {
                continue;
            };
            let adopted = Unit::adopt(&running.unit, &self.lock, self.stop_order());
            let mut unit = match adopted {
                Ok(unit) => unit,
                Err(_) if mains.iter().any(|main| Holder::read(main.holder.pid).is_none()) => continue,
                Err(error) => return Err(error.into()),
            };
            if running.is_migration {
                // It may be repeated, and nobody could say how far it has come.
                tracing::warn!(
                    migration.pid = unit.pid(),
                    "a migration runs that an earlier visor began; it is ended and begun anew"
                );
                unit.stop(self.stop_order());
                unit.exit().await;
                continue;
            }
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
            let companions: Vec<_> = unit.companions().collect();
            tracing::info!(node.pid = pid, node.version = %watched, unit.companions = ?companions, "adopted the running node");
            self.unit = Some(unit);
            return Ok(Some(Adopted {
                pid,
                version: running.version,
                watched,
            }));
        }
    }

    /// Names and process ids of the companions that run, in the order of their starts.
    pub(crate) fn companions(&self) -> impl Iterator<Item = (&str, u32)> {
        self.unit.iter().flat_map(Unit::companions)
    }

    /// Begins to listen to the node that runs.
    pub(crate) fn follow(
        &mut self,
        version: &str,
        after_halt: Option<Height>,
        first: bool,
    ) -> Result<(), ExecuteError> {
        self.run += 1;
        self.link = Some(self.adapter.open_link(LinkTo {
            version: version.to_owned(),
            after_halt,
            first,
            run: self.run,
            events: self.channels.links.clone(),
            config: self.config.clone(),
        })?);
        fault::point("link-opened");
        Ok(())
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

    /// Returns when the link has told all that the node said before its end.
    pub(crate) async fn link_settled(&mut self) {
        if let Some(link) = &mut self.link {
            link.settled().await;
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

    /// Makes a version the one to run (VIS-07). What was prepared for its start stays: the start follows.
    pub(crate) fn swap(&mut self, version: &str) -> Result<(), ExecuteError> {
        let prepared = self
            .prepared
            .as_mut()
            .filter(|prepared| prepared.start.version == version);
        let done = prepared
            .and_then(|prepared| prepared.switch.take())
            .is_some_and(|ready| ready.switch().is_ok());
        if !done {
            self.adapter.prepare_switch(version)?.switch()?;
        }
        Ok(())
    }

    /// What makes the switch durable, on whichever thread.
    pub(crate) fn sync_swap(&self) -> impl FnOnce() -> Result<(), AdapterError> + Send + use<> {
        let adapter = Arc::clone(&self.adapter);
        move || adapter.sync_switch()
    }

    /// Stages a plan, off the loop; one that is being staged already goes on.
    pub(crate) fn stage(
        &mut self,
        order: Order,
        height: Height,
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
        let stager = self.adapter.stager(ToStage {
            order: order.clone(),
            height,
            current: current.to_owned(),
            live: LiveUpgrades::clone(&self.live),
            config: self.config.clone(),
        })?;
        let limits = self.config.staging.clone();
        let job = Job::begin(
            stager,
            order.clone(),
            limits,
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
}

/// The end of the node that runs and of its companions; never when none does.
async fn exit(unit: &mut Option<Unit>) -> Exit {
    match unit {
        Some(unit) => unit.exit().await,
        None => std::future::pending().await,
    }
}

/// What a start that waits needs to know; never when none waits.
async fn found(later: &mut Option<Later>) -> (Later, Result<FoundOut, String>) {
    let found = match later {
        Some(later) => later.found.as_mut().await,
        None => std::future::pending().await,
    };
    match later.take() {
        Some(later) => (later, found),
        None => std::future::pending().await,
    }
}
