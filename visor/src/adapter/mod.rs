//! Chain adapters: one folder per chain system. Each translates its system's conventions into the planner's facts, and the planner's orders
//! into what its system understands. None decides anything.
//!
//! The daemon knows the trait `Adapter` alone; which one a home needs is seen from its files, or said on the command line.

mod appearance;
pub(crate) mod casper;
pub mod governance;
pub mod vega;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proto::pb::visor::v1 as pb;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use visor_planner::{Conventions, Height, Migration, Neighbour, NodeReport, UpgradePlan};

use crate::cli::CommandError;
use crate::config::{Config, ConfigError};
use crate::exit_code;
use crate::home::Home;
use crate::process::{Launch, Main, Recognised};
use crate::run_config::ProgramMissing;
use crate::staging::{LiveUpgrades, Order};
use crate::swap::SwapError;

/// The adapter of a home, by its files; for looking only.
pub(crate) fn of_home(home: &Home) -> Box<dyn Adapter> {
    if vega::is_vega_home(home) {
        return Box::new(vega::Vega::look(home.clone()));
    }
    if let Some(casper) = casper::Casper::of_own_folder(home) {
        return Box::new(casper);
    }
    Box::new(governance::Governance::unpinned(home.clone()))
}

/// The adapter of a home, by its files, with all that running it needs.
///
/// # Errors
/// When something that the home names cannot be used.
pub(crate) fn open(home: &Home, config: &Config) -> Result<Arc<dyn Adapter>, CommandError> {
    if vega::is_vega_home(home) {
        return Ok(Arc::new(vega::Vega::open(home.clone())?));
    }
    let governance = governance::Governance::open(home.clone(), config)
        .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    Ok(Arc::new(governance))
}

/// A future that may move between threads.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A future that stays on its thread.
pub(crate) type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One chain system's conventions on one host.
///
/// Everything here is called by the daemon's loop: what is not a future returns within microseconds to a few milliseconds, and
/// waits for nothing outside the home.
pub(crate) trait Adapter: fmt::Debug + Send + Sync {
    /// The system's name: `governance`, `vega`, `casper`.
    fn name(&self) -> &'static str;

    /// What the system's nodes mean by what they do.
    fn conventions(&self) -> Conventions;

    /// What the planner's heights count: `height` (blocks) or `era`.
    fn position_unit(&self) -> &'static str {
        "height"
    }

    /// The chain whose genesis the operator has pinned (VIS-12); empty: none, or the system knows no certificates.
    fn pinned_chain(&self) -> String {
        String::new()
    }

    /// Reads the configuration: visor's own keys, and the system's own files in visor's terms.
    fn read_config(&self) -> Result<Config, ConfigError>;

    /// The files that [`Self::read_config`] reads and that are watched for changes (VIS-13). They need not exist.
    fn config_files(&self) -> Vec<PathBuf>;

    /// The version that is to run, as the home says it: a link, or a state file.
    fn current(&self) -> Result<Current, AdapterError>;

    /// Every version that could be started at once.
    fn versions(&self) -> Vec<String>;

    /// What the operator is shown of the versions that lie on this host; empty when the system has nothing to add to the plans.
    fn installed(&self) -> Vec<pb::InstalledVersion> {
        Vec::new()
    }

    /// Finds out which version's unit runs; nothing when none of these processes is of this home any more.
    fn identify(&self, mains: &[Main]) -> Option<Running>;

    /// The version's folder, for the operator's hooks; `None` when it is not there, or the system has none.
    fn folder(&self, version: &str) -> Option<PathBuf>;

    /// The version's node binary, when it is there.
    fn program(&self, version: &str) -> Option<PathBuf>;

    /// The installed version before or after another: for systems whose nodes ask for it by their exit code.
    fn neighbour(&self, of: &str, which: Neighbour) -> Result<UpgradePlan, String> {
        Err(format!("no {which:?} version of {of} is known"))
    }

    /// What has to be found out before a start, and takes time; `None`: nothing, the start may follow an exit at once (VIS-05).
    fn before_start(
        &self,
        _start: &Start,
        _config: &Config,
    ) -> Option<BoxFuture<'static, Result<FoundOut, String>>> {
        None
    }

    /// Everything that is started for a version. `added` is what [`Self::before_start`] found to add.
    fn launch(&self, start: &Start, added: &[String], config: &Config) -> Result<Launch, AdapterError>;

    /// Notes in the home that this migration is under way (covered by [`Self::sync_switch`]), and says what to start for it.
    /// Only for systems whose conventions have a migration.
    fn begin_migration(&self, from: &str, to: &str, _config: &Config) -> Result<Launch, AdapterError> {
        Err(AdapterError::NoMigration {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    /// Does all of a switch to a version but its last, atomic step (VIS-07).
    fn prepare_switch(&self, version: &str) -> Result<Box<dyn Switch>, AdapterError>;

    /// Makes the last switch durable.
    fn sync_switch(&self) -> Result<(), AdapterError>;

    /// Begins to follow a node that runs.
    fn open_link(&self, to: LinkTo) -> Result<Link, AdapterError>;

    /// How an upgrade is staged.
    fn stager(&self, to_stage: ToStage) -> Result<Box<dyn Stager>, AdapterError>;
}

/// What the home says of the version to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Current {
    /// That version; `None` when nothing names one.
    pub(crate) version: Option<String>,
    /// A migration that was begun and is not known to have ended.
    pub(crate) migrating: Option<Migration>,
}

/// A unit that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Of the folder that the node's program belongs to, where that can be told.
    pub(crate) version: Option<String>,
    /// Whose configuration tells how to talk to it: the same, else that of the current version.
    pub(crate) watched: Option<String>,
    /// It is no node but a migration; it is ended and begun anew.
    pub(crate) is_migration: bool,
    /// The processes.
    pub(crate) unit: Recognised,
}

/// A start as the planner orders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// What to start.
    pub(crate) version: String,
    /// H, when this is the first start of the version that goes on after H; `None` for every other start.
    pub(crate) after_halt: Option<Height>,
    /// An accepted upgrade for which this version may have halted without being seen. Only for systems whose nodes forget their halt.
    pub(crate) unseen_halt: Option<UpgradePlan>,
}

/// What was found out before a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundOut {
    /// It may begin, with these arguments added to the node's.
    Arguments(Vec<String>),
    /// The `unseen_halt` has happened: H is the last block of the version that was to be started.
    HasHalted,
}

/// The last step of a switch, prepared.
pub(crate) trait Switch: fmt::Debug + Send {
    /// Does it. When this fails, nothing has changed.
    fn switch(self: Box<Self>) -> Result<(), AdapterError>;
}

/// Which node to follow, and for whom.
#[derive(Debug)]
pub(crate) struct LinkTo {
    /// The version that runs.
    pub(crate) version: String,
    /// H of the upgrade whose first block of the new version has not been seen; `None` in ordinary running.
    pub(crate) after_halt: Option<Height>,
    /// The node was adopted, or started for the first time since visor began, or by an upgrade; false: after a failure.
    pub(crate) first: bool,
    /// Carried by every event, so that a late word of an earlier node is not taken for one of this.
    pub(crate) run: u64,
    /// Where the events go.
    pub(crate) events: mpsc::Sender<(u64, LinkEvent)>,
    /// The configuration in force.
    pub(crate) config: Config,
}

/// An answer that lies in a socket is read within this, also on a busy host; and the start after an exit waits no longer for it.
const LAST_WORD: Duration = Duration::from_millis(100);

/// The link to one run of the node; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Link {
    task: JoinHandle<()>,
    under_way: Option<watch::Receiver<bool>>,
}

impl Link {
    /// Runs until it is dropped.
    pub(crate) fn spawn(follow: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            task: tokio::spawn(follow),
            under_way: None,
        }
    }

    /// The same for a link that asks: `under_way` says whether a question has been asked and what came of it not been told.
    pub(crate) fn spawn_asking(
        under_way: watch::Receiver<bool>,
        follow: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let mut link = Self::spawn(follow);
        link.under_way = Some(under_way);
        link
    }

    /// Returns when all that a node had said before its end is among the events: at once, unless it has just been asked.
    pub(crate) async fn settled(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            // The end of the node is the end of its connections.
            let _ = timeout(LAST_WORD, under_way.wait_for(|under_way| !under_way)).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the link to a node saw.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The node reported.
    Reported(Translated),
    /// It sent something that makes no sense.
    Nonsense(String),
    /// The connection ended after at least one report.
    Lost,
    /// It has given no answer for as long as the operator allows; the text says how long that was.
    Unresponsive(String),
    /// Nobody has answered for longer than a node usually needs; the text says where it was sought, and what came of it.
    Silent(String),
    /// What lies on this host has changed.
    Installed(Vec<pb::InstalledVersion>),
}

/// An upgrade that the chain is said to have accepted, and that is not believed (VIS-12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As the node announces it.
    pub plan: UpgradePlan,
    /// Why it is not believed.
    pub reason: String,
}

/// A report in the planner's words, and what was left out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// What is believed.
    pub report: NodeReport,
    /// What is not.
    pub refusals: Vec<Refusal>,
}

/// What is to be staged.
#[derive(Debug)]
pub(crate) struct ToStage {
    /// The upgrade.
    pub(crate) order: Order,
    /// H.
    pub(crate) height: Height,
    /// The version that runs.
    pub(crate) current: String,
    /// The upgrades that the chain still knows.
    pub(crate) live: LiveUpgrades,
    /// The configuration in force.
    pub(crate) config: Config,
}

/// Stages one upgrade, on a thread and a runtime of its own.
pub(crate) trait Stager: Send {
    /// One attempt: the version is complete, verified and durable, or why it is not. Repeated with growing delays until it succeeds.
    fn attempt(&self) -> LocalBoxFuture<'_, Result<(), String>>;

    /// Ends when the operator has changed something that lets the next attempt be worth its while before its time.
    fn changed(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Removes what is incomplete: it is no longer wanted. Best effort.
    fn abandon(&self);
}

/// Why a home cannot be used as its system's conventions want it.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The version that is to run cannot be read or switched.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// A binary of the version is missing.
    #[error(transparent)]
    Program(#[from] ProgramMissing),
    /// No folder is the version.
    #[error("use version {version}: no folder of {home} holds it (expected {expected})", home = home.display())]
    NoFolder {
        /// The version.
        version: String,
        /// The home.
        home: PathBuf,
        /// The folder that it would have.
        expected: String,
    },
    /// The system knows no migrations.
    #[error("migrate from {from} to {to}: this chain system has no migration")]
    NoMigration {
        /// The version before.
        from: String,
        /// The version after.
        to: String,
    },
    /// Something that only this system knows.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}
