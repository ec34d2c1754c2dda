//! Facts: everything that the planner is told.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::effect::Timer;
use crate::plan::{Artifact, Height, Process, UpgradeId, UpgradePlan, Version};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Votes are being cast.
    Proposed,
    /// Approved, but votes may still move it.
    Approved,
    /// Latched.
    LockedIn,
}

/// What an upgrade offers this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactFact {
    /// A binary.
    Available(Artifact),
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
    /// The node and everything that it started are gone, ordered or not.
    NodeExited {
        /// How.
        exit: Exit,
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
    /// `Effect::Swap` failed; the rest of its batch was not carried out.
    SwapFailed {
        /// Why.
        reason: String,
    },
    /// A timer that was set ran out.
    TimerFired(Timer),
    /// A record could not be made durable; the rest of its batch was not carried out (VIS-01).
    AppendFailed {
        /// Why.
        reason: String,
    },
    /// The operator asks visor to stop, the node with it.
    StopRequested,
}
