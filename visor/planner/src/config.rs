//! What the operator decides.

use crate::plan::Millis;
use crate::retry::RetryPolicy;

/// Exit codes of a node that mean something; `None`: no code means it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExitCodes {
    /// "The state belongs to a newer version": the node has halted, it has not crashed.
    pub newer_required: Option<i32>,
    /// "The state belongs to an older version".
    pub older_required: Option<i32>,
    /// "This version's work is done: go on with the next installed one".
    pub upgrade: Option<i32>,
    /// "Go back to the installed version before this one".
    pub downgrade: Option<i32>,
    /// "Stop, and do not start me again".
    pub shut_down: Option<i32>,
}

/// When an upgrade is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Completion {
    /// With the new version's first block above H (VIS-10).
    #[default]
    FirstBlock,
    /// With the start of the new version: nobody tells of its blocks.
    Started,
}

/// How the nodes of a chain system behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conventions {
    /// The node's own words.
    pub exit_codes: ExitCodes,
    /// An old version that is started again past H refuses by itself. False: it would run on, so that visor alone keeps it from being
    /// started once its halt is known.
    pub halt_is_durable: bool,
    /// Between the old version's end and the new version's start the new version's binary migrates the data, as a process of its own.
    /// It exits with 0 when it is done.
    pub migration: bool,
    /// When an upgrade is over.
    pub completion: Completion,
    /// What the home says of the version to run counts, whatever the journal says: other tools of the system write it too. The home is
    /// then the intent of what it names (`Effect::Swap`, `Effect::Migrate`), so that the record of it may come after the start.
    pub home_decides: bool,
}

/// What happens when a new version's retries are used up (VIS-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Stop safely and say why.
    Stop,
    /// Go back to the previous version and the backup, unless this host has signed above H.
    RollBack,
}

/// Copies of the node's data at an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupPolicy {
    /// None.
    Off,
    /// One per upgrade.
    On {
        /// Without it the upgrade waits.
        required: bool,
        /// The first pass begins so many blocks before H.
        first_pass_blocks: u64,
        /// Before a failed pass is tried again.
        retry_delay: Millis,
    },
}

/// What a hook means for an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPolicy {
    /// There is none.
    Off,
    /// When it fails the operator is told, and the upgrade goes on.
    Warn,
    /// When it fails the upgrade waits and it is run again.
    Block,
}

/// The operator's programs around an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookPolicies {
    /// While the halted node still runs.
    pub before_stop: HookPolicy,
    /// While no node runs.
    pub before_start: HookPolicy,
    /// After the new version's first block.
    pub after_success: HookPolicy,
    /// Before one that failed and blocks is run again.
    pub retry_delay: Millis,
}

/// The planner's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// For a node that crashes in ordinary running.
    pub restart: RetryPolicy,
    /// Until the node has reported for the first time since visor began, on systems whose upgrades end with a report.
    pub first_start: RetryPolicy,
    /// For the new version's first starts.
    pub start_after_upgrade: RetryPolicy,
    /// A new version that has not reported by then counts as a failed start (VIS-10).
    pub start_timeout: Millis,
    /// A new version that has not executed a block by then is reported, and left alone: it may be waiting for the other
    /// validators, and a restart would not bring them.
    pub progress_timeout: Millis,
    /// How the nodes of this chain system behave.
    pub conventions: Conventions,
    /// When the new version's retries are used up.
    pub on_failure: OnFailure,
    /// Copies of the node's data.
    pub backup: BackupPolicy,
    /// The operator's programs.
    pub hooks: HookPolicies,
}
