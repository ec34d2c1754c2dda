//! What visor does to its host: one function per kind of effect, no policy.
//!
//! Every function is safe to run twice (VIS-02): it looks first, then acts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Pid;
use tokio::sync::mpsc;

use crate::adapter::governance::{Link, LinkEvent};
use crate::backup;
use crate::certificate::Notary;
use crate::config::{Config, ConfigError};
use crate::fault;
use crate::home::Home;
use crate::lock::NodeLock;
use crate::process::{Exit, Found, Launch, Node, ProcessError, StopOrder, clear, find_running};
use crate::run_config::RunConfig;
use crate::staging::{Job, LiveUpgrades, Order, Outcome};
use crate::swap::{self, SwapError};

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

/// A version folder that was read while there was time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prepared {
    version: String,
    folder: String,
    launch: Launch,
    socket: PathBuf,
}

/// A start that succeeded: the binary's exec is done.
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
    node: Option<Node>,
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
            node: None,
            link: None,
            run: 0,
            staging: None,
            live: LiveUpgrades::default(),
        }
    }

    /// Reads what a start of this version will need, so that nothing is read between an exit and an exec (VIS-05).
    ///
    /// A folder that cannot be read is no error here: the start that needs it will say so.
    pub(crate) fn prepare(&mut self, version: &str) {
        self.prepared = self.read(version).ok();
    }

    fn read(&self, version: &str) -> Result<Prepared, ExecuteError> {
        let folder = self
            .home
            .folder_of_version(version)
            .ok_or_else(|| ExecuteError::NoFolder {
                version: version.to_owned(),
                home: self.home.root().to_path_buf(),
            })?;
        let path = self.home.folder(&folder);
        let run = RunConfig::read(&path)?;
        let output = &self.config.node.log_file;
        let launch = Launch {
            program: run.program(&path),
            arguments: run.node.args,
            output: (!output.as_os_str().is_empty()).then(|| self.home.root().join(output)),
        };
        Ok(Prepared {
            version: version.to_owned(),
            folder,
            launch,
            socket: run.node.socket,
        })
    }

    fn prepared(&mut self, version: &str) -> Result<Prepared, ExecuteError> {
        match &self.prepared {
            Some(prepared) if prepared.version == version => Ok(prepared.clone()),
            _ => self.read(version),
        }
    }

    /// Starts a version.
    pub(crate) fn start(&mut self, version: &str) -> Result<Started, ExecuteError> {
        let prepared = self.prepared(version)?;
        // What was read before is good for one start: the operator may change the file before the next.
        self.prepared = None;
        let node = Node::start(&prepared.launch, &self.lock, self.stop_order())?;
        let started = Started {
            pid: node.pid(),
            at: Instant::now(),
        };
        self.node = Some(node);
        self.open_link(prepared.socket);
        fault::point("link-opened");
        Ok(started)
    }

    /// Watches a node that was found running (VIS-04).
    pub(crate) fn adopt(&mut self, main: Pid, version: &str) -> Result<(), ExecuteError> {
        let socket = self.read(version)?.socket;
        self.node = Some(Node::adopt(main, &self.lock, self.stop_order())?);
        self.open_link(socket);
        Ok(())
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
        match &self.node {
            Some(node) => {
                node.stop(order);
                true
            }
            None => false,
        }
    }

    /// Waits for the end of the node that runs; for ever when none does.
    pub(crate) async fn exit(&mut self) -> Exit {
        match &mut self.node {
            Some(node) => node.exit().await,
            None => std::future::pending().await,
        }
    }

    /// The node is gone: nothing of it is watched any more.
    pub(crate) fn forget_node(&mut self) {
        self.node = None;
        self.link = None;
    }

    /// Whether a link event belongs to the node that runs now.
    pub(crate) fn is_present_run(&self, run: u64) -> bool {
        self.link.is_some() && run == self.run
    }

    /// Makes `current` lead to a version (VIS-07).
    pub(crate) fn swap(&mut self, version: &str) -> Result<(), ExecuteError> {
        let folder = self.prepared(version)?.folder;
        Ok(swap::switch(&self.home, &folder)?)
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
        let current = self.read(current)?.folder;
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
        self.read(version).ok().map(|prepared| prepared.launch.program)
    }

    /// Sends SIGTERM, then SIGKILL, to everything that a dead node left behind.
    pub(crate) async fn clear_leftovers(&self) {
        clear(&self.lock, self.config.stop.grace).await;
    }

    /// Looks for a node that runs.
    pub(crate) async fn find_running(&self) -> Result<Found, ExecuteError> {
        Ok(find_running(&self.lock).await.map_err(ProcessError::from)?)
    }
}
