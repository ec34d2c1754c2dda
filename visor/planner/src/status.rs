//! What an operator is shown.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::input::Standing;
use crate::phase::Phase;
use crate::plan::{Artifact, Height, UpgradeId, Version};
use crate::staging::{Folder, Known};
use crate::step::{Node, Planner, Step};

/// The last upgrade that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUpgrade {
    /// Before.
    pub from: Version,
    /// Now.
    pub to: Version,
    /// H.
    pub height: Height,
    /// Old process gone to first report of the new one, milliseconds.
    pub node_down_ms: u64,
    /// Exit seen to exec done, microseconds.
    pub exit_to_exec_us: u64,
    /// Intent written to old process gone, milliseconds.
    pub stop_ms: u64,
    /// Failed starts of the new version before.
    pub restarts: u32,
}

/// The upgrade under way, or the next to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeStatus {
    /// Its name.
    pub id: UpgradeId,
    /// Its version.
    pub version: Version,
    /// H.
    pub height: Height,
    /// Whether it can be carried out at once.
    pub staged: bool,
    /// Why it is not staged yet; empty when it is, or when no attempt has failed.
    pub staging_problem: String,
    /// Whether the chain has approved it.
    pub approved: bool,
    /// How far the chain is with it.
    pub standing: Standing,
    /// The binary for this host's platform, when there is one.
    pub artifact: Option<Artifact>,
}

/// One host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// In one word.
    pub phase: Phase,
    /// What `current` points to.
    pub current: Version,
    /// Process id of the node, and whether it was adopted.
    pub node: Option<(u32, bool)>,
    /// Whether the node is connected.
    pub connected: bool,
    /// The node's last reported height.
    pub height: Height,
    /// The node's last reported version.
    pub node_version: Option<Version>,
    /// The upgrade under way, or the next to come.
    pub upgrade: Option<UpgradeStatus>,
    /// Every upgrade that is known, the next to come first.
    pub upgrades: Vec<UpgradeStatus>,
    /// Automatic restarts since the last healthy time.
    pub restarts: u32,
    /// The last upgrade that was completed.
    pub last_upgrade: Option<LastUpgrade>,
    /// What needs attention, in words.
    pub problems: Vec<String>,
}

impl UpgradeStatus {
    fn of(known: &Known) -> Self {
        Self {
            id: known.plan.id.clone(),
            version: known.plan.version.clone(),
            height: known.plan.height,
            staged: known.folder == Folder::Complete,
            staging_problem: match &known.folder {
                Folder::Failing(reason) => reason.clone(),
                Folder::Wanted | Folder::Complete => String::new(),
            },
            approved: known.standing >= Standing::Approved,
            standing: known.standing,
            artifact: known.artifact().cloned(),
        }
    }
}

impl Planner {
    /// What an operator is shown now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            phase: self.phase(),
            current: self.current.clone(),
            node: match self.node {
                Node::Running { process, adopted } | Node::Stopping { process, adopted } => {
                    Some((process.pid, adopted))
                }
                Node::Absent | Node::Starting => None,
            },
            connected: self.connected,
            height: self.height,
            node_version: self.reported_version.clone(),
            upgrade: self.upgrade(),
            upgrades: self.upgrades(),
            restarts: self.failures,
            last_upgrade: self.last_upgrade.clone(),
            problems: self.problems(),
        }
    }

    fn phase(&self) -> Phase {
        if self.gave_up.is_some() || self.journal_failed.is_some() {
            return Phase::Failed;
        }
        if self.stopping {
            return Phase::Stopping;
        }
        if self.retrying {
            return Phase::Retrying;
        }
        if let Some(underway) = &self.underway {
            return match underway.step {
                Step::Stopping => Phase::Halting,
                Step::Starting => Phase::Starting,
                Step::Probation => Phase::Probation,
            };
        }
        if self.halted.is_some() {
            return Phase::Halting;
        }
        if matches!(self.node, Node::Starting | Node::Absent) {
            return Phase::Starting;
        }
        match self.staging.next() {
            Some(known) if known.folder == Folder::Complete => Phase::Staged,
            Some(_) => Phase::Staging,
            None => Phase::Running,
        }
    }

    fn upgrade(&self) -> Option<UpgradeStatus> {
        let decided = self
            .underway
            .as_ref()
            .map(|underway| &underway.plan)
            .or(self.halted.as_ref());
        match decided {
            Some(plan) => Some(self.staging.get(&plan.id).map_or_else(
                || UpgradeStatus {
                    id: plan.id.clone(),
                    version: plan.version.clone(),
                    height: plan.height,
                    staged: self.staging.is_complete(&plan.id),
                    staging_problem: String::new(),
                    approved: true,
                    standing: Standing::LockedIn,
                    artifact: None,
                },
                UpgradeStatus::of,
            )),
            None => self.staging.next().map(UpgradeStatus::of),
        }
    }

    fn upgrades(&self) -> Vec<UpgradeStatus> {
        let first = self.upgrade();
        let others = self.staging.in_order().into_iter().map(UpgradeStatus::of);
        let others: Vec<UpgradeStatus> = others
            .filter(|other| first.as_ref().is_none_or(|first| first.id != other.id))
            .collect();
        first.into_iter().chain(others).collect()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(reason) = &self.journal_failed {
            problems.push(format!(
                "the journal cannot be written: {reason}; visor does nothing more, the node is left as it is"
            ));
        }
        if let Some(upgrade) = self.upgrade().filter(|upgrade| !upgrade.staged) {
            if !upgrade.staging_problem.is_empty() {
                problems.push(format!(
                    "{} is not staged: {}",
                    upgrade.version, upgrade.staging_problem
                ));
            }
            if let Some(plan) = &self.halted {
                problems.push(format!(
                    "the node has halted at height {} and waits for {}, which is not staged; it goes on by itself once it is",
                    plan.height, plan.version
                ));
            }
        }
        if self.no_progress {
            problems.push(format!(
                "{} runs but has executed no block yet; it may be waiting for other validators",
                self.current
            ));
        }
        if let Some(reason) = self.gave_up.as_ref().or(self.last_failure.as_ref()) {
            problems.push(reason.clone());
        }
        problems
    }
}
