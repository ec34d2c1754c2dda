//! Orders: everything that the daemon is told to do, in this order.

use alloc::string::String;
use alloc::vec::Vec;

use crate::input::Announced;
use crate::plan::{Height, Millis, UpgradeId, Version};
use crate::record::Record;

/// Something to wait for. Setting a timer that runs replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The back-off before a start.
    Restart,
    /// The new version's first report.
    FirstReport,
    /// The new version's first block.
    Progress,
    /// Earlier failures no longer count.
    Healthy,
}

/// Why visor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// The operator asked; the node is stopped.
    Stopped,
    /// The node failed and retries are used up; the node is stopped.
    RetriesExhausted {
        /// What happened, for the operator.
        reason: String,
    },
}

/// Something for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An upgrade is known.
    UpgradeSeen {
        /// Its version.
        version: Version,
        /// Its height.
        height: Height,
    },
    /// An upgrade is ready to be carried out.
    UpgradeStaged {
        /// Its version.
        version: Version,
    },
    /// Staging failed.
    StagingFailed {
        /// Its version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// The node has halted.
    Halted {
        /// The last block.
        height: Height,
        /// The version that goes on.
        version: Version,
        /// Whether it can be started at once.
        staged: bool,
    },
    /// An upgrade is done.
    Upgraded {
        /// Before.
        from: Version,
        /// Now.
        to: Version,
    },
    /// The node failed and is started again.
    Retrying {
        /// What happened.
        reason: String,
        /// Which retry.
        retry: u32,
        /// Of how many.
        of: u32,
        /// In so long.
        after: Millis,
    },
    /// The new version runs but has executed no block.
    NoProgress {
        /// The version.
        version: Version,
        /// H.
        height: Height,
    },
    /// Visor gives up.
    GaveUp {
        /// Why.
        reason: String,
    },
    /// Visor can write nothing down and does nothing more.
    JournalFailed {
        /// Why.
        reason: String,
    },
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the record durable. A barrier: nothing after it runs before it is, or at all when it cannot be
    /// (then `Input::AppendFailed`).
    Append(Record),
    /// Stage this upgrade and no other, trying again until it is staged. Answers: `Staged`, `StagingFailed` after each attempt.
    Stage(Announced),
    /// Stop trying to stage, and remove what is incomplete.
    Unstage(UpgradeId),
    /// Stop the node. Answer: `NodeExited`.
    Stop,
    /// Point `current` at this version. Safe to repeat. On failure the rest of the batch is dropped and `SwapFailed` sent.
    Swap(Version),
    /// Start the node of the version that `current` points to. Answers: `NodeStarted` or `NodeStartFailed`.
    Start {
        /// The version.
        version: Version,
        /// Why, for the log.
        why: &'static str,
    },
    /// Send `TimerFired` after this long.
    SetTimer(Timer, Millis),
    /// Do not.
    CancelTimer(Timer),
    /// Tell the operator.
    Notify(Notice),
    /// End visor. Always the last.
    Exit(ExitReason),
}

/// Orders to be carried out one after the other.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects(pub Vec<Effect>);
