//! Facts: everything that the planner is told.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::effect::{Hook, Neighbour, Pass, Timer};
use crate::plan::{Artifact, Backup, Height, Process, UpgradeId, UpgradePlan, Version};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was adopted, so that its parent was told and not visor.
    Unknown,
}

/// How far the chain has come with an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Votes are being cast.
    Proposed,
    /// Approved, but votes may still move it.
    Approved,
    /// Latched.
    LockedIn,
    /// The operator's own, for a chain without governance.
    Manual,
}

impl Standing {
    /// Orders upgrades by how sure they are.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Proposed => 0,
            Self::Approved => 1,
            Self::LockedIn | Self::Manual => 2,
        }
    }

    /// The upgrade is decided on, although votes may still move it.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        self.rank() >= 1
    }

    /// Nothing but a cancel moves it.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        self.rank() >= 2
    }
}

/// What an upgrade offers this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactFact {
    /// A binary.
    Available(Artifact),
    /// The operator puts the version's folder in place.
    InPlace,
    /// Nothing that runs here.
    MissingForPlatform {
        /// This host's platform.
        platform: String,
        /// What it offers.
        offered: Vec<String>,
    },
}

/// An upgrade that the node knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The upgrade.
    pub plan: UpgradePlan,
    /// How far the chain has come with it.
    pub standing: Standing,
    /// What it offers this host.
    pub artifact: ArtifactFact,
}

/// What the node says of itself. Each report is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its release.
    pub version: Version,
    /// Its last committed block.
    pub height: Height,
    /// Every live upgrade, the halted one included.
    pub upgrades: Vec<Announced>,
    /// Set when H is committed and this release executes nothing more.
    pub halt: Option<UpgradePlan>,
}

/// What an operator orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Try now what staging would try later.
    StageNow,
    /// Do not carry out the upgrade of this height.
    Skip(Height),
    /// Carry it out after all.
    Unskip(Height),
    /// An upgrade of the operator's own.
    UpgradeAt {
        /// H.
        height: Height,
        /// The version that goes on.
        version: Version,
    },
    /// Begin no upgrade.
    Pause,
    /// Begin upgrades again.
    Resume,
    /// Stop the node and keep it stopped.
    StopNode,
    /// Start it again.
    StartNode,
    /// Back to the version and the data of before the last upgrade.
    Rollback,
    /// End, to be started anew as the program that is installed now.
    SelfRestart,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The node reported.
    NodeReported(NodeReport),
    /// The link to the node broke.
    NodeLinkLost,
    /// `Effect::Start` succeeded: the binary's exec is done.
    NodeStarted {
        /// The process.
        process: Process,
        /// From the exit of the process before to this exec, microseconds; `None` when nothing exited just before.
        exit_to_exec_us: Option<u64>,
    },
    /// `Effect::Start` failed; no process exists.
    NodeStartFailed {
        /// Why.
        reason: String,
    },
    /// `Effect::Start` was not carried out, and no process exists: its `unseen_halt` has happened.
    HaltFound {
        /// The upgrade that the effect named.
        plan: UpgradePlan,
    },
    /// The node, its companions and everything that they started are gone, ordered or not.
    NodeExited {
        /// How the first of them ended.
        exit: Exit,
        /// Which companion that was; `None`: the node itself.
        companion: Option<String>,
    },
    /// The node has given no answer for as long as the operator allows.
    NodeUnresponsive {
        /// For how long.
        reason: String,
    },
    /// The answer to `Effect::FindVersion`.
    VersionFound {
        /// On which side.
        which: Neighbour,
        /// The upgrade to it (going back, its id and height mean nothing), or why there is none.
        found: Result<UpgradePlan, String>,
    },
    /// The version folder of this upgrade is complete, verified and durable.
    Staged {
        /// Which.
        upgrade: UpgradeId,
    },
    /// An attempt to stage failed; the daemon goes on trying.
    StagingFailed {
        /// Which.
        upgrade: UpgradeId,
        /// Why, for the operator.
        reason: String,
    },
    /// `Effect::Swap` failed; the rest of its batch was not carried out. The first fact after that batch.
    SwapFailed {
        /// Why.
        reason: String,
    },
    /// A pass of a backup is done, and durable.
    BackupPassed {
        /// Before which upgrade.
        upgrade: UpgradeId,
        /// Which pass.
        pass: Pass,
        /// Where it lies and how large it is.
        backup: Backup,
    },
    /// A pass of a backup failed; what was there before it is still there.
    BackupFailed {
        /// Before which upgrade.
        upgrade: UpgradeId,
        /// Which pass.
        pass: Pass,
        /// Why.
        reason: String,
    },
    /// A hook has ended.
    HookEnded {
        /// Which.
        hook: Hook,
        /// Why it counts as failed; `None`: it did not.
        failure: Option<String>,
    },
    /// The answer to `Effect::AskSignedHeight`.
    SignedHeight {
        /// The highest height that this host has signed for, or why that is not known.
        signed: Result<Height, String>,
    },
    /// The backup is in the place of the node's data, durably.
    Restored {
        /// Of before which upgrade.
        upgrade: UpgradeId,
    },
    /// It is not; the restore may be repeated.
    RestoreFailed {
        /// Of before which upgrade.
        upgrade: UpgradeId,
        /// Why.
        reason: String,
    },
    /// The operator orders something.
    Operator {
        /// To be answered under this number.
        ticket: u64,
        /// What.
        order: Order,
    },
    /// The configuration has changed.
    Configured(Box<Config>),
    /// A timer that was set ran out.
    TimerFired(Timer),
    /// A record could not be made durable; the rest of its batch was not carried out (VIS-01). The first fact after that batch.
    AppendFailed {
        /// Why.
        reason: String,
    },
    /// The operator asks visor to stop, the node with it.
    StopRequested,
}
