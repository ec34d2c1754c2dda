//! Hooks: programs of the operator before the stop, before the start and after the success of an upgrade.
//!
//! One at a time, off the loop: a thread that ends with the hook, so that neither its output nor its end ever delays the node's
//! supervision. What a failure means for the upgrade is the planner's to decide. A hook may be run again (after a failure that
//! blocks, after a crash of visor), never beside itself: all that it starts holds `hook.lock`, and what a dead visor left of one
//! is ended before the next is run.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::cli::chain;
use crate::config;
use crate::lock::NodeLock;
use crate::program::{Program, ProgramError, run};

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The halted node still runs.
    BeforeStop,
    /// No node runs; the backup, if there is one, is done.
    BeforeStart,
    /// The new version has executed a block.
    AfterSuccess,
}

impl Point {
    /// Its name in the configuration, in `VISOR_HOOK` and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeStop => "before_stop",
            Self::BeforeStart => "before_start",
            Self::AfterSuccess => "after_success",
        }
    }
}

/// What a hook is told of the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The home; also the working directory.
    pub home: PathBuf,
    /// The upgrade's id: on the native chain the proposal's, in hexadecimal.
    pub upgrade: String,
    /// H: the last block of the old version.
    pub height: u64,
    /// The version before.
    pub version_old: String,
    /// The version after.
    pub version_new: String,
    /// Absolute path of the old version's folder, when it is known.
    pub folder_old: Option<PathBuf>,
    /// Absolute path of the new version's folder, when it is known.
    pub folder_new: Option<PathBuf>,
    /// 1 for the first run of this hook in this upgrade since visor began, then one more each time.
    pub attempt: u32,
    /// Absolute path of the upgrade's backup, when there is one.
    pub backup: Option<PathBuf>,
}

impl Context {
    fn environment(self, point: Point) -> Vec<(&'static str, Option<OsString>)> {
        let path = |path: Option<PathBuf>| path.map(PathBuf::into_os_string);
        vec![
            ("VISOR_HOOK", Some(point.name().into())),
            ("VISOR_HOME", Some(self.home.into_os_string())),
            ("VISOR_UPGRADE_ID", Some(self.upgrade.into())),
            ("VISOR_UPGRADE_HEIGHT", Some(self.height.to_string().into())),
            ("VISOR_VERSION_OLD", Some(self.version_old.into())),
            ("VISOR_VERSION_NEW", Some(self.version_new.into())),
            ("VISOR_FOLDER_OLD", path(self.folder_old)),
            ("VISOR_FOLDER_NEW", path(self.folder_new)),
            ("VISOR_ATTEMPT", Some(self.attempt.to_string().into())),
            ("VISOR_BACKUP", path(self.backup)),
        ]
    }
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub point: Point,
    /// An error says what happened, for the operator.
    pub result: Result<(), String>,
}

/// A hook under way. Dropping it ends the hook: SIGTERM to all of it, then SIGKILL; no outcome follows.
#[derive(Debug)]
pub struct Job {
    /// Told by being dropped.
    cancel: oneshot::Sender<()>,
    /// Dropped by the thread when nothing of the hook is left.
    gone: oneshot::Receiver<()>,
}

impl Job {
    /// Runs a hook; one outcome follows.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn begin(
        point: Point,
        hook: config::Hook,
        context: Context,
        outcomes: mpsc::Sender<Outcome>,
    ) -> io::Result<Self> {
        let (cancel, cancelled) = oneshot::channel::<()>();
        let (alive, gone) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let home = context.home.clone();
        let program = Program {
            name: point.name(),
            command: hook.command,
            environment: context.environment(point),
            lock: Some(NodeLock::new(home.join("hook.lock"))),
            directory: home,
            input: Vec::new(),
            limit: hook.timeout,
        };
        thread::Builder::new().name("hook".to_owned()).spawn(move || {
            runtime.block_on(async {
                let cancelled = async {
                    let _ = cancelled.await;
                };
                let result = match run(&program, cancelled).await {
                    // Taken out of the configuration since it was ordered.
                    Ok(()) | Err(ProgramError::Empty) => Ok(()),
                    Err(ProgramError::Cancelled { .. }) => return,
                    Err(error) => Err(chain(&error)),
                };
                // The loop is gone: nobody wants to know.
                let _ = outcomes.send(Outcome { point, result }).await;
            });
            runtime.shutdown_timeout(Duration::ZERO);
            drop(alive);
        })?;
        Ok(Self { cancel, gone })
    }

    /// Ends the hook, and waits until nothing of it is left: when visor itself is about to end. Takes some seconds at most.
    pub async fn end(self) {
        drop(self.cancel);
        let _ = self.gone.await;
    }
}
