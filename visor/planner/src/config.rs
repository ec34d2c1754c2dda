//! What the operator decides.

use crate::plan::Millis;
use crate::retry::RetryPolicy;

/// Exit codes of a node that mean something. They differ between chain systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCodes {
    /// "The state belongs to a newer version": the node has halted, it has not crashed.
    pub newer_required: i32,
    /// "The state belongs to an older version".
    pub older_required: i32,
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
    /// Until the node has reported for the first time since visor began.
    pub first_start: RetryPolicy,
    /// For the new version's first starts.
    pub start_after_upgrade: RetryPolicy,
    /// A new version that has not reported by then counts as a failed start (VIS-10).
    pub start_timeout: Millis,
    /// A new version that has not executed a block by then is reported, and left alone: it may be waiting for the other
    /// validators, and a restart would not bring them.
    pub progress_timeout: Millis,
    /// The node's own words.
    pub exit_codes: ExitCodes,
    /// When the new version's retries are used up.
    pub on_failure: OnFailure,
    /// Copies of the node's data.
    pub backup: BackupPolicy,
    /// The operator's programs.
    pub hooks: HookPolicies,
}
