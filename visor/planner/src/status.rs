//! What an operator is shown.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::hook::BeforeStop;
use crate::input::Standing;
use crate::phase::Phase;
use crate::plan::{Artifact, Backup, Height, UpgradeId, Version};
use crate::staging::{Folder, Known};
use crate::step::{Node, Planner};
use crate::upgrade::Step;

/// The last upgrade that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUpgrade {
    /// Its name.
    pub id: UpgradeId,
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

/// The newest finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBackup {
    /// The upgrade that it was made for.
    pub id: UpgradeId,
    /// The version that wrote the data.
    pub version: Version,
    /// H.
    pub height: Height,
    /// Where it lies.
    pub backup: Backup,
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
    /// Whether it is decided on, although votes may still move it.
    pub approved: bool,
    /// How far the chain has come with it.
    pub standing: Standing,
    /// Its height is skipped.
    pub skipped: bool,
    /// The binary for this host, when the plan names one.
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
    /// Every known upgrade, the next one first.
    pub upgrades: Vec<UpgradeStatus>,
    /// Automatic restarts since the last healthy time.
    pub restarts: u32,
    /// Automatic restarts since visor began.
    pub restarts_total: u64,
    /// The operator lets no upgrade begin.
    pub paused: bool,
    /// The operator keeps the node stopped.
    pub held: bool,
    /// Heights whose upgrades are not carried out, ascending.
    pub skipped: Vec<Height>,
    /// The newest finished backup.
    pub last_backup: Option<LastBackup>,
    /// The last upgrade that was completed.
    pub last_upgrade: Option<LastUpgrade>,
    /// What needs attention, in words.
    pub problems: Vec<String>,
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
            upgrades: self
                .staging
                .in_order()
                .into_iter()
                .map(|known| self.upgrade_status(known))
                .collect(),
            restarts: self.failures,
            restarts_total: self.restarts_total,
            paused: self.paused,
            held: self.held,
            skipped: self.skipped.iter().copied().collect(),
            last_backup: self.last_backup.clone(),
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
        if self.rollback.is_some() {
            return Phase::RollingBack;
        }
        if self.held {
            return Phase::Held;
        }
        if let Some(underway) = &self.underway {
            return match underway.step {
                Step::Stopping => Phase::Halting,
                Step::BackingUp => Phase::BackingUp,
                Step::BeforeStart | Step::Migrating => Phase::Migrating,
                Step::Starting => Phase::Starting,
                Step::Probation => Phase::Probation,
            };
        }
        if self.rolled_back.is_some() {
            return Phase::RolledBack;
        }
        if self.halted.is_some() || self.needs_newer {
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

    fn upgrade_status(&self, known: &Known) -> UpgradeStatus {
        UpgradeStatus {
            id: known.plan.id.clone(),
            version: known.plan.version.clone(),
            height: known.plan.height,
            staged: known.folder == Folder::Complete,
            staging_problem: match &known.folder {
                Folder::Failing(reason) => reason.clone(),
                Folder::Wanted | Folder::Complete => String::new(),
            },
            approved: known.standing.is_accepted(),
            standing: known.standing,
            skipped: self.skipped.contains(&known.plan.height),
            artifact: known.artifact().cloned(),
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
                    staged: self.staging.is_complete(plan),
                    staging_problem: String::new(),
                    approved: true,
                    standing: if self.is_manual(plan) {
                        Standing::Manual
                    } else {
                        Standing::LockedIn
                    },
                    skipped: self.skipped.contains(&plan.height),
                    artifact: None,
                },
                |known| self.upgrade_status(known),
            )),
            None => self.staging.next().map(|known| self.upgrade_status(known)),
        }
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
                problems.push(if self.waits_at_halt() && self.node == Node::Absent {
                    format!(
                        "the node halted at height {} and has ended; {} is not started again, because it would run past that height, and {} is \
                         not staged: put its folder in place, then it is started by itself; `visor skip {}` starts {} again instead",
                        plan.height, self.current, plan.version, plan.height, self.current
                    )
                } else {
                    format!(
                        "the node has halted at height {} and waits for {}, which is not staged; it goes on by itself once it is",
                        plan.height, plan.version
                    )
                });
            }
        }
        problems.extend(self.waiting());
        problems.extend(self.overruled.clone());
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

    /// What an upgrade or a rollback waits for, or what the operator has ordered it to wait for.
    fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        if self.needs_newer {
            waiting.push(format!(
                "the node's state belongs to a newer version than {} and no upgrade is known, as after an absence over a whole upgrade: \
                 put the version that the chain runs in place (`visor stage VERSION --binary PATH`) and name it and the last block of {} \
                 (`visor upgrade-at HEIGHT VERSION`)",
                self.current, self.current
            ));
        }
        if let BeforeStop::Failed(reason) = &self.before_stop {
            waiting.push(format!(
                "the hook before the stop failed and is run again: {reason}"
            ));
        }
        let blocked = [
            self.underway
                .as_ref()
                .and_then(|underway| underway.blocked.clone()),
            self.rollback
                .as_ref()
                .and_then(|rollback| rollback.blocked.clone()),
        ];
        waiting.extend(blocked.into_iter().flatten());
        if let Some(reason) = self
            .after_success
            .as_ref()
            .and_then(|after| after.failed.as_ref())
        {
            waiting.push(format!(
                "the hook after the upgrade failed and is run again: {reason}"
            ));
        }
        if let Some(plan) = &self.rolled_back {
            waiting.push(format!(
                "rolled back from {}; its height {} is skipped until `visor skip --undo {}`",
                plan.version, plan.height, plan.height
            ));
        } else if let Some(plan) = self
            .halted
            .as_ref()
            .filter(|plan| self.skipped.contains(&plan.height))
        {
            waiting.push(format!(
                "the node has halted at height {}, which is skipped; it goes on after `visor skip --undo {}`",
                plan.height, plan.height
            ));
        } else if self.halted.is_some() && self.paused {
            waiting.push(String::from(
                "the node has halted and upgrades are paused; it goes on after `visor resume`",
            ));
        }
        waiting
    }
}
