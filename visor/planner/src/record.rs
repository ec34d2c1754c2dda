//! What is written down: intents before effects, outcomes after (VIS-01).

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::input::Exit;
use crate::plan::{Artifact, Backup, Height, Process, Timestamp, UpgradeId, UpgradePlan, Version};

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Record {
    /// The chain has decided on this upgrade; of a system whose nodes forget their halt: it has accepted it, for a node that has halted
    /// and died cannot be asked what it had halted for.
    Scheduled {
        /// The upgrade.
        plan: UpgradePlan,
        /// The binary for this host: a node that has halted and died cannot be asked for it again.
        artifact: Option<Artifact>,
    },
    /// The chain has taken back what it had accepted, or gone on without it.
    Unscheduled {
        /// The upgrade.
        plan: UpgradePlan,
        /// When.
        at: Timestamp,
    },
    /// The upgrade's folder is complete.
    Staged {
        /// The upgrade.
        upgrade: UpgradeId,
        /// Its version.
        version: Version,
    },
    /// The node has committed H and waits.
    Halted {
        /// The upgrade.
        plan: UpgradePlan,
    },
    /// The whole intent of an upgrade: stop, swap, start. From here on only the new version is started.
    UpgradeIntended {
        /// The upgrade.
        plan: UpgradePlan,
        /// The version before.
        from: Version,
        /// When.
        at: Timestamp,
        /// The node's data is to be copied between stop and start.
        #[serde(default)]
        backup: bool,
    },
    /// The data that the old version left is copied. From here on it is never copied again.
    BackedUp {
        /// Before this upgrade.
        plan: UpgradePlan,
        /// The version that wrote the data.
        from: Version,
        /// Where it lies.
        backup: Backup,
        /// When.
        at: Timestamp,
    },
    /// It is not, and the upgrade goes on without.
    NotBackedUp {
        /// Before this upgrade.
        plan: UpgradePlan,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The whole intent of a rollback: stop, check, restore, swap, start.
    RollbackIntended {
        /// The upgrade that is undone.
        plan: UpgradePlan,
        /// The version that comes back.
        from: Version,
        /// Why.
        reason: String,
        /// The operator ordered it.
        by_hand: bool,
        /// When.
        at: Timestamp,
    },
    /// This host has signed nothing above H: the data may be replaced. A node that the operator kept stopped no longer is.
    RollbackAllowed {
        /// The highest height that it has signed for.
        signed: Height,
        /// When.
        at: Timestamp,
    },
    /// The rollback does not happen.
    RollbackRefused {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The backup is in the place of the node's data. From here on only the previous version is started.
    Restored {
        /// When.
        at: Timestamp,
    },
    /// The previous version runs again. The height of the upgrade counts as skipped.
    RolledBack {
        /// The upgrade that was undone.
        plan: UpgradePlan,
        /// The version that is back.
        from: Version,
        /// When.
        at: Timestamp,
    },
    /// The operator ordered an upgrade.
    ManualPlanned {
        /// The upgrade.
        plan: UpgradePlan,
        /// When.
        at: Timestamp,
    },
    /// The upgrade of this height is not carried out.
    Skipped {
        /// H.
        height: Height,
        /// When.
        at: Timestamp,
    },
    /// It is, after all.
    Unskipped {
        /// H.
        height: Height,
        /// When.
        at: Timestamp,
    },
    /// No upgrade begins.
    Paused {
        /// When.
        at: Timestamp,
    },
    /// Upgrades begin again.
    Resumed {
        /// When.
        at: Timestamp,
    },
    /// The operator keeps the node stopped.
    NodeHeld {
        /// When.
        at: Timestamp,
    },
    /// No longer.
    NodeReleased {
        /// When.
        at: Timestamp,
    },
    /// A start outside the intent above.
    StartIntended {
        /// Which version.
        version: Version,
        /// When.
        at: Timestamp,
    },
    /// The node runs.
    NodeStarted {
        /// Which version.
        version: Version,
        /// The process.
        process: Process,
        /// When.
        at: Timestamp,
    },
    /// The node ended without being told to, or did not start.
    NodeFailed {
        /// How it ended; `None` when it did not start.
        exit: Option<Exit>,
        /// What happened.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// Earlier failures no longer count.
    Healthy {
        /// When.
        at: Timestamp,
    },
    /// The new version has executed a block.
    UpgradeCompleted {
        /// The upgrade.
        plan: UpgradePlan,
        /// The version before.
        from: Version,
        /// Old process gone to first report of the new one, milliseconds.
        node_down_ms: u64,
        /// Exit seen to exec done, microseconds.
        exit_to_exec_us: u64,
        /// Halt seen to old process gone, milliseconds.
        stop_ms: u64,
        /// Failed starts before.
        restarts: u32,
        /// A hook is to be run after it.
        #[serde(default)]
        hook: bool,
    },
    /// The hook after the upgrade has ended, and is not run again.
    SuccessHookEnded {
        /// The upgrade.
        plan: UpgradePlan,
    },
    /// The data is migrated to the version of the upgrade under way. From here on it is only started.
    Migrated {
        /// When.
        at: Timestamp,
    },
    /// The node asked for the version before it. What was under way is over.
    Downgraded {
        /// The version that asked.
        from: Version,
        /// The version that goes on.
        to: Version,
        /// When.
        at: Timestamp,
    },
    /// The operator chose the version to run, whatever was under way.
    Forced {
        /// The version.
        version: Version,
        /// When.
        at: Timestamp,
    },
    /// The node asked to be stopped for good.
    ShutDown {
        /// When.
        at: Timestamp,
    },
    /// Retries are used up.
    GaveUp {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The operator asked visor to stop.
    Stopped {
        /// When.
        at: Timestamp,
    },
}
