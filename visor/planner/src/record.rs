//! What is written down: intents before effects, outcomes after (VIS-01).

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::input::Exit;
use crate::plan::{Artifact, Process, Timestamp, UpgradeId, UpgradePlan, Version};

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Record {
    /// The chain has decided on this upgrade.
    Scheduled {
        /// The upgrade.
        plan: UpgradePlan,
        /// The binary for this host: a node that has halted and died cannot be asked for it again.
        artifact: Option<Artifact>,
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
