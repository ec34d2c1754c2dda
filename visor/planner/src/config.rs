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

/// The planner's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// For a node that crashes in ordinary running.
    pub restart: RetryPolicy,
    /// For the new version's first starts.
    pub start_after_upgrade: RetryPolicy,
    /// A new version that has not reported by then counts as a failed start (VIS-10).
    pub start_timeout: Millis,
    /// A new version that has not executed a block by then is reported, and left alone: it may be waiting for the other
    /// validators, and a restart would not bring them.
    pub progress_timeout: Millis,
    /// The node's own words.
    pub exit_codes: ExitCodes,
}
