//! After visor's own restart: what was written down, and what is there, make the state again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::backup::FirstPass;
use crate::config::{Config, HookPolicy};
use crate::effect::{Effect, Effects, Timer};
use crate::hook::BeforeStop;
use crate::plan::{Height, Process, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::rollback::{Rollback, RollbackStep};
use crate::staging::StagingArea;
use crate::status::{LastBackup, LastUpgrade};
use crate::step::{Node, Ordered, Planner};
use crate::upgrade::{Step, Underway};

/// A migration that the home says was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version before.
    pub from: Version,
    /// The upgrade that it is part of.
    pub plan: UpgradePlan,
}

/// What the daemon finds before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The version that `current` points to; `None` when there is no usable link.
    pub current: Option<Version>,
    /// The node that runs, with the version of the folder its binary lies in, where that can be told.
    pub node: Option<(Process, Option<Version>)>,
    /// Versions whose folders are complete.
    pub staged: Vec<Version>,
    /// The migration that the home says was begun and has not ended; of systems that have none, nothing.
    pub migrating: Option<Migration>,
    /// Any number that differs between hosts, for the jitter.
    pub seed: u64,
}

/// Why visor cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Neither the link nor the journal names a version.
    #[error(
        "`current` points to no version and the journal names none; initialise this home, or point `current` to the folder of the version that the chain runs"
    )]
    NoCurrent,
    /// The link names another version than an upgrade that was completed.
    #[error(
        "`current` points to {found}, but the journal says that {expected} was started last; point `current` to its folder (never to an older version than the chain's)"
    )]
    UnexpectedCurrent {
        /// What the journal says.
        expected: Version,
        /// What the link says.
        found: Version,
    },
}

/// An upgrade whose intent is written and whose end is not.
struct ToldUpgrade {
    plan: UpgradePlan,
    from: Version,
    at: Timestamp,
    backup_due: bool,
    /// The new version has been started, so that nothing before its start is done again.
    started: bool,
    failures: u32,
}

/// A rollback whose intent is written and whose end is not.
struct ToldRollback {
    rollback: Rollback,
    restored: bool,
}

/// What the records say, in their order.
#[derive(Default)]
struct Told {
    current: Option<Version>,
    underway: Option<ToldUpgrade>,
    rollback: Option<ToldRollback>,
    rolled_back: Option<UpgradePlan>,
    halted: Option<UpgradePlan>,
    failures: u32,
    last_upgrade: Option<LastUpgrade>,
    last_backup: Option<LastBackup>,
    /// The hook after this upgrade has not ended.
    success_hook: Option<(UpgradePlan, Version)>,
    paused: bool,
    held: bool,
    skipped: BTreeSet<Height>,
    manual: BTreeMap<UpgradeId, UpgradePlan>,
}

impl Told {
    fn read(records: &[Record], staging: &mut StagingArea) -> Self {
        let mut told = Self::default();
        for record in records {
            staging.remember(record);
            told.take_in(record, staging);
        }
        told
    }

    fn take_in(&mut self, record: &Record, staging: &mut StagingArea) {
        match record {
            Record::Scheduled { .. }
            | Record::Staged { .. }
            | Record::Stopped { .. }
            | Record::Migrated { .. }
            | Record::Downgraded { .. }
            | Record::Forced { .. }
            | Record::ShutDown { .. } => {}
            Record::Halted { plan } => self.halted = Some(plan.clone()),
            Record::UpgradeIntended {
                plan,
                from,
                at,
                backup,
            } => {
                self.underway = Some(ToldUpgrade {
                    plan: plan.clone(),
                    from: from.clone(),
                    at: *at,
                    backup_due: *backup,
                    started: false,
                    failures: 0,
                });
                self.failures = 0;
                self.halted = None;
                self.rolled_back = None;
                self.success_hook = None;
            }
            Record::BackedUp {
                plan, from, backup, ..
            } => {
                self.backup_settled();
                self.last_backup = Some(LastBackup {
                    id: plan.id.clone(),
                    version: from.clone(),
                    height: plan.height,
                    backup: backup.clone(),
                });
            }
            Record::NotBackedUp { .. } => self.backup_settled(),
            Record::StartIntended { version, .. } => self.current = Some(version.clone()),
            Record::NodeStarted { version, .. } => {
                self.current = Some(version.clone());
                if let Some(underway) = &mut self.underway
                    && underway.plan.version == *version
                {
                    underway.started = true;
                }
            }
            Record::NodeFailed { .. } => {
                self.failures = self.failures.saturating_add(1);
                if let Some(underway) = &mut self.underway {
                    underway.failures = underway.failures.saturating_add(1);
                }
            }
            // Whoever starts visor again after it gave up wants it to try again.
            Record::Healthy { .. } | Record::GaveUp { .. } => self.failures = 0,
            Record::UpgradeCompleted { plan, .. } => {
                staging.done(&plan.id);
                self.completed(record);
            }
            Record::SuccessHookEnded { .. } => self.success_hook = None,
            Record::RollbackIntended {
                plan,
                from,
                reason,
                by_hand,
                ..
            } => {
                self.failures = 0;
                self.success_hook = None;
                self.rollback = Some(ToldRollback {
                    rollback: Rollback {
                        plan: plan.clone(),
                        from: from.clone(),
                        step: RollbackStep::Stopping,
                        reason: reason.clone(),
                        by_hand: *by_hand,
                        blocked: None,
                    },
                    restored: false,
                });
            }
            Record::RollbackAllowed { .. } => {
                self.held = false;
                if let Some(told) = &mut self.rollback {
                    told.rollback.step = RollbackStep::Restoring;
                }
            }
            Record::RollbackRefused { .. } => self.rollback = None,
            Record::Restored { .. } => {
                if let Some(told) = &mut self.rollback {
                    told.rollback.step = RollbackStep::Starting;
                    told.restored = true;
                }
                self.underway = None;
                self.halted = None;
            }
            Record::RolledBack { plan, from, .. } => {
                self.rollback = None;
                self.last_upgrade = None;
                self.current = Some(from.clone());
                self.skipped.insert(plan.height);
                self.rolled_back = Some(plan.clone());
            }
            Record::ManualPlanned { plan, .. } => {
                self.manual.insert(plan.id.clone(), plan.clone());
            }
            Record::Skipped { height, .. } => {
                self.skipped.insert(*height);
            }
            Record::Unskipped { height, .. } => {
                self.skipped.remove(height);
                self.rolled_back.take_if(|plan| plan.height == *height);
            }
            Record::Paused { .. } => self.paused = true,
            Record::Resumed { .. } => self.paused = false,
            Record::NodeHeld { .. } => self.held = true,
            Record::NodeReleased { .. } => {
                self.held = false;
                self.failures = 0;
            }
        }
    }

    fn backup_settled(&mut self) {
        if let Some(underway) = &mut self.underway {
            underway.backup_due = false;
        }
    }

    fn completed(&mut self, record: &Record) {
        let Record::UpgradeCompleted {
            plan,
            from,
            node_down_ms,
            exit_to_exec_us,
            stop_ms,
            restarts,
            hook,
        } = record
        else {
            return;
        };
        self.current = Some(plan.version.clone());
        self.underway = None;
        self.halted = None;
        self.manual.retain(|_, other| other.height > plan.height);
        self.success_hook = hook.then(|| (plan.clone(), from.clone()));
        self.last_upgrade = Some(LastUpgrade {
            id: plan.id.clone(),
            from: from.clone(),
            to: plan.version.clone(),
            height: plan.height,
            node_down_ms: *node_down_ms,
            exit_to_exec_us: *exit_to_exec_us,
            stop_ms: *stop_ms,
            restarts: *restarts,
        });
    }

    /// The version that `current` leads to, or will.
    fn current(&self, found: Option<&Version>) -> Result<Version, RecoverError> {
        // The intents cover the swap: wherever the link points, it is moved again.
        if let Some(told) = &self.rollback {
            let expected = if told.restored {
                &told.rollback.from
            } else {
                &told.rollback.plan.version
            };
            return Ok(found.unwrap_or(expected).clone());
        }
        if let Some(underway) = &self.underway {
            return Ok(found.unwrap_or(&underway.from).clone());
        }
        match (&self.current, found) {
            (Some(expected), Some(found)) if expected != found => Err(RecoverError::UnexpectedCurrent {
                expected: expected.clone(),
                found: found.clone(),
            }),
            (_, Some(found)) => Ok(found.clone()),
            (Some(expected), None) => Ok(expected.clone()),
            (None, None) => Err(RecoverError::NoCurrent),
        }
    }
}

/// Makes the planner again, and the orders that bring the host on its way: adopt, finish what was begun, or start the node.
///
/// # Errors
/// When the journal and the home contradict each other so that starting anything could start the wrong version.
pub fn recover(
    config: Config,
    now: Timestamp,
    records: &[Record],
    observed: Observed,
) -> Result<(Planner, Effects), RecoverError> {
    let mut staging = StagingArea::default();
    let told = Told::read(records, &mut staging);
    staging.keep_complete(&observed.staged);
    let current = told.current(observed.current.as_ref())?;
    let has_link = observed.current.is_some();
    let (process, running) = observed.node.unzip();
    let running = running.flatten();
    let mut planner = Planner {
        seed: observed.seed,
        current,
        node: process.map_or(Node::Absent, |process| Node::Running {
            process,
            adopted: true,
        }),
        last_ordered: Ordered::default(),
        relink: false,
        staging,
        halted: told.halted,
        first_pass: FirstPass::NotBegun,
        before_stop: BeforeStop::NotRun,
        underway: None,
        after_success: None,
        rollback: None,
        rolled_back: told.rolled_back,
        failures: told.failures,
        restarts_total: 0,
        last_failure: None,
        retrying: false,
        stopping: false,
        gave_up: None,
        journal_failed: None,
        connected: false,
        reported_once: false,
        height: Height(0),
        reported_version: None,
        no_progress: false,
        needs_newer: false,
        last_upgrade: told.last_upgrade,
        last_backup: told.last_backup,
        paused: told.paused,
        held: told.held,
        start_on_exit: false,
        skipped: told.skipped,
        manual: told.manual,
        config,
    };
    let mut effects = Vec::new();
    if let Some(underway) = told.underway {
        planner.take_up_upgrade(underway, running.as_ref());
    }
    if let Some(rollback) = told.rollback {
        planner.finish_rollback(now, rollback, running.as_ref(), &mut effects);
    } else if planner.underway.is_some() {
        planner.finish_upgrade(now, &mut effects);
    } else if planner.node != Node::Absent {
        // The node that runs reports its halt itself.
        planner.halted = None;
        if planner.held {
            planner.stop_node(&mut effects);
        }
    } else {
        if !has_link {
            effects.push(Effect::Swap(planner.current.clone()));
        }
        planner.go_on(now, &mut effects);
    }
    for plan in planner.manual.clone().into_values() {
        if plan.version != planner.current {
            effects.extend(planner.staging.learn_manual(&plan));
        }
    }
    if let Some((plan, from)) = told.success_hook
        && planner.config.hooks.after_success != HookPolicy::Off
    {
        planner.run_after_success(plan, from, &mut effects);
    }
    if planner.failures > 0 && matches!(planner.node, Node::Running { .. }) {
        let healthy_after = planner.policy().healthy_after;
        effects.push(Effect::SetTimer(Timer::Healthy, healthy_after));
    }
    planner.last_ordered = Ordered::of(&effects);
    Ok((planner, Effects(effects)))
}

impl Planner {
    fn take_up_upgrade(&mut self, told: ToldUpgrade, running: Option<&Version>) {
        let is_new = running == Some(&told.plan.version);
        let started = told.started || is_new;
        let hook = self.config.hooks.before_start != HookPolicy::Off;
        self.underway = Some(Underway {
            step: if is_new { Step::Starting } else { Step::Stopping },
            backup_due: told.backup_due && !started,
            hook_due: hook && !started,
            blocked: None,
            plan: told.plan,
            from: told.from,
            intended_at: told.at,
            gone_at: None,
            exit_to_exec_us: 0,
            reported_at: None,
            restarts: told.failures,
        });
    }

    fn finish_upgrade(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(underway) = &self.underway else {
            return;
        };
        match self.node {
            Node::Running { .. } if self.held || underway.step == Step::Stopping => self.stop_node(effects),
            Node::Running { .. } => {
                self.current = underway.plan.version.clone();
                // The swap came before this process; its durability may not have.
                effects.push(Effect::Swap(self.current.clone()));
                effects.push(Effect::SetTimer(Timer::FirstReport, self.config.start_timeout));
            }
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.go_on(now, effects),
        }
    }

    fn finish_rollback(
        &mut self,
        now: Timestamp,
        told: ToldRollback,
        running: Option<&Version>,
        effects: &mut Vec<Effect>,
    ) {
        let is_back = told.restored && running == Some(&told.rollback.from);
        self.halted = None;
        self.rollback = Some(told.rollback);
        match self.node {
            Node::Running { .. } if is_back => {
                if let Some(rollback) = &self.rollback {
                    self.current = rollback.from.clone();
                }
                // Its first report ends the rollback, once this has been carried out.
                effects.push(Effect::Swap(self.current.clone()));
            }
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.go_on(now, effects),
        }
    }
}

/// For error texts.
impl RecoverError {
    /// The version that the journal names, where it names one.
    #[must_use]
    pub fn expected(&self) -> Option<String> {
        match self {
            Self::NoCurrent => None,
            Self::UnexpectedCurrent { expected, .. } => Some(expected.0.clone()),
        }
    }
}
