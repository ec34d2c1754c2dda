//! Orders: everything that the daemon is told to do, in this order.

use alloc::string::String;
use alloc::vec::Vec;

use crate::input::Announced;
use crate::plan::{Height, Millis, UpgradeId, UpgradePlan, Version};
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
    /// A backup or a restore that failed is tried again.
    Backup,
    /// A hook that failed is run again.
    Hook,
}

/// Where a program of the operator stands in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// The node has halted and still runs.
    BeforeStop,
    /// No node runs; the backup is done.
    BeforeStart,
    /// The new version has executed a block.
    AfterSuccess,
}

/// A version beside another, in the order of the installed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// The next higher.
    Next,
    /// The next lower.
    Previous,
}

/// The two passes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Of everything, while the node runs.
    First,
    /// Of what has changed since, while it does not.
    Second,
}

/// The answer to an operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is durable; in words, what was done.
    Done(String),
    /// Nothing has changed; in words, why.
    Refused(String),
}

/// Why visor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// The operator asked; the node is stopped.
    Stopped,
    /// The operator asked for the program to be started anew; the node runs on.
    SelfRestart,
    /// The node asked to be stopped for good.
    ShutDown,
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
    /// A pass of a backup failed.
    BackupFailed {
        /// The version that is backed up before.
        version: Version,
        /// Why.
        reason: String,
        /// The upgrade waits for it.
        waits: bool,
    },
    /// A hook failed.
    HookFailed {
        /// Which.
        hook: Hook,
        /// The version of the upgrade.
        version: Version,
        /// Why.
        reason: String,
        /// The upgrade waits for it.
        waits: bool,
    },
    /// The previous version and its data are being restored.
    RollingBack {
        /// The version that is left.
        from: Version,
        /// The version that comes back.
        to: Version,
        /// Why.
        reason: String,
    },
    /// It may not be, or cannot be for the moment.
    RollbackFailed {
        /// The version that was to come back.
        to: Version,
        /// Why.
        reason: String,
    },
    /// They are back.
    RolledBack {
        /// The version that was left.
        from: Version,
        /// The version that runs.
        to: Version,
        /// H; it counts as skipped from now on.
        height: Height,
    },
    /// The node asked for the version before it, which is started.
    Downgraded {
        /// The version that asked.
        from: Version,
        /// The version that is started.
        to: Version,
    },
    /// The new version runs but has executed no block.
    NoProgress {
        /// The version.
        version: Version,
        /// H.
        height: Height,
    },
    /// The node's state belongs to a newer version, and no upgrade is known.
    NewerRequired {
        /// The version that refused.
        version: Version,
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
    /// Copy the node's data. Safe to repeat: a finished backup of this upgrade stays as it is. Answers: `BackupPassed` or `BackupFailed`.
    BackUp {
        /// Before this upgrade.
        plan: UpgradePlan,
        /// The version that wrote the data.
        from: Version,
        /// Which pass.
        pass: Pass,
    },
    /// Run a program of the operator. Answer: `HookEnded`.
    RunHook {
        /// Which.
        hook: Hook,
        /// In which upgrade.
        plan: UpgradePlan,
        /// The version before.
        from: Version,
    },
    /// Ask the version's binary for the highest height that this host has signed for. Answer: `SignedHeight`.
    AskSignedHeight {
        /// Which version's binary.
        version: Version,
    },
    /// Put the backup of before this upgrade in the place of the node's data. Safe to repeat. Answers: `Restored` or `RestoreFailed`.
    Restore {
        /// The upgrade.
        plan: UpgradePlan,
        /// The version that wrote the backup.
        from: Version,
    },
    /// Answer an operator's order.
    Answer {
        /// The order's number.
        ticket: u64,
        /// What to say.
        answer: Answer,
    },
    /// Stop the node and its companions. Answer: `NodeExited`.
    Stop,
    /// Point `current` at this version. Safe to repeat. On failure the rest of the batch is dropped and `SwapFailed` sent.
    Swap(Version),
    /// Start the node, and its companions, of the version that `current` points to. Answers: `NodeStarted` or `NodeStartFailed`, or
    /// `HaltFound` when there is an `unseen_halt`.
    Start {
        /// The version.
        version: Version,
        /// H, when this is the first start after the node of before H ended; `None` for every other start, also for one of which
        /// nobody knows whether it is the first.
        after_halt: Option<Height>,
        /// An upgrade that the chain has accepted, and for which this version may have halted without being seen: when the host's files
        /// say that its height is the last committed block, nothing is started, and `HaltFound` is the answer.
        unseen_halt: Option<UpgradePlan>,
        /// Why, for the log.
        why: &'static str,
    },
    /// Ask which installed version stands beside this one. Answer: `VersionFound`, before any other fact.
    FindVersion {
        /// Beside which.
        of: Version,
        /// On which side.
        which: Neighbour,
    },
    /// Start the migration of the data from one version to the next; it counts as the node while it runs. The home names both versions
    /// from then on. Safe to repeat. Answers: `NodeStarted` and `NodeExited`, or `NodeStartFailed`.
    Migrate {
        /// The version before.
        from: Version,
        /// The version after, whose binary migrates.
        to: Version,
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
