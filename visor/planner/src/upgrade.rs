//! An upgrade from the first report of its height to the new version's first block: halt, first pass, hook, intent, stop, second
//! pass, hook, migration, swap, start, probation.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{BackupPolicy, HookPolicy};
use crate::effect::{Effect, Hook, Notice, Pass, Timer};
use crate::hook::BeforeStop;
use crate::input::NodeReport;
use crate::plan::{Height, Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::rollback::RollbackStep;
use crate::status::LastUpgrade;
use crate::step::{Node, Planner};

/// How far an upgrade has come since its intent was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The old node is being stopped.
    Stopping,
    /// The second pass of the backup runs, or waits to be tried again.
    BackingUp,
    /// The hook before the start runs, or waits to be run again.
    BeforeStart,
    /// The data is migrated, or waits for that to be tried again.
    Migrating,
    /// The new version is started, is waited for, or waits for its next start.
    Starting,
    /// The new version has reported.
    Probation,
}

/// An upgrade whose intent is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Underway {
    pub(crate) plan: UpgradePlan,
    pub(crate) from: Version,
    pub(crate) step: Step,
    /// The data is to be copied before anything is started.
    pub(crate) backup_due: bool,
    /// The hook is to be run before anything is started.
    pub(crate) hook_due: bool,
    /// The data is to be migrated before the new version is started.
    pub(crate) migration_due: bool,
    /// H, until the new version's first start is ordered. None after a restart of visor: nothing proves then that it was not.
    pub(crate) first_after: Option<Height>,
    /// What failed and is tried again before the upgrade goes on.
    pub(crate) blocked: Option<String>,
    pub(crate) intended_at: Timestamp,
    /// When the old process was gone.
    pub(crate) gone_at: Option<Timestamp>,
    pub(crate) exit_to_exec_us: u64,
    /// When the new process reported first.
    pub(crate) reported_at: Option<Timestamp>,
    pub(crate) restarts: u32,
}

impl Underway {
    /// A pass or a hook works on the node's data, and its answer is still to come.
    pub(crate) fn is_worked_on(&self) -> bool {
        self.blocked.is_none()
            && match self.step {
                Step::BackingUp => self.backup_due,
                Step::BeforeStart => self.hook_due,
                Step::Stopping | Step::Migrating | Step::Starting | Step::Probation => false,
            }
    }
}

impl Planner {
    pub(crate) fn reported(&mut self, now: Timestamp, report: &NodeReport, effects: &mut Vec<Effect>) {
        let Node::Running { .. } = self.node else {
            // A last word of a process that is being stopped, or is gone.
            return;
        };
        self.connected = true;
        self.reported_once = true;
        self.height = report.height;
        self.reported_version = Some(report.version.clone());
        if let Some(rollback) = &self.rollback
            && rollback.step == RollbackStep::Starting
        {
            self.rolled_back(now, effects);
        }
        if self.underway.is_some() {
            self.reported_on_probation(now, report, effects);
            if self.underway.is_some() {
                return;
            }
            // The same report may say that the new version has halted at the next height: a node that stands still says it once.
        }
        if self.config.conventions.halt_is_durable {
            effects.extend(self.staging.schedule(report, &self.current));
        } else {
            effects.extend(self.staging.schedule_next(now, report, &self.current));
        }
        effects.extend(self.staging.learn(report, &self.current, &self.manual));
        let due = report.halt.clone().or_else(|| self.manual_due());
        let due = due.filter(|plan| self.is_to_come(plan));
        if let Some(plan) = due
            && self.halted.as_ref() != Some(&plan)
        {
            self.halted_at(now, plan, effects);
            return;
        }
        self.first_pass_if_near(effects);
        self.upgrade_if_ready(now, effects);
    }

    /// VIS-10.
    fn reported_on_probation(&mut self, now: Timestamp, report: &NodeReport, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        match underway.step {
            Step::Stopping | Step::BackingUp | Step::BeforeStart | Step::Migrating => return,
            Step::Starting | Step::Probation => {}
        }
        if report.version != underway.plan.version {
            let reason = format!(
                "expected version {}, the node reports {}",
                underway.plan.version, report.version
            );
            self.last_failure = Some(reason);
            self.stop_node(effects);
            return;
        }
        if underway.reported_at.is_none() {
            underway.reported_at = Some(now);
            underway.step = Step::Probation;
            effects.push(Effect::CancelTimer(Timer::FirstReport));
            effects.push(Effect::SetTimer(Timer::Progress, self.config.progress_timeout));
        }
        if report.height <= underway.plan.height {
            return;
        }
        let done = underway.clone();
        self.completed(done, effects);
    }

    pub(crate) fn completed(&mut self, done: Underway, effects: &mut Vec<Effect>) {
        let last = LastUpgrade {
            id: done.plan.id.clone(),
            from: done.from.clone(),
            to: done.plan.version.clone(),
            height: done.plan.height,
            node_down_ms: match (done.gone_at, done.reported_at) {
                (Some(gone), Some(reported)) => reported.since(gone).0,
                (Some(_) | None, None) | (None, Some(_)) => 0,
            },
            exit_to_exec_us: done.exit_to_exec_us,
            stop_ms: done.gone_at.map_or(0, |gone| gone.since(done.intended_at).0),
            restarts: done.restarts,
        };
        let hook = self.config.hooks.after_success != HookPolicy::Off;
        effects.push(Effect::CancelTimer(Timer::Progress));
        effects.push(Effect::Append(Record::UpgradeCompleted {
            plan: done.plan.clone(),
            from: done.from.clone(),
            node_down_ms: last.node_down_ms,
            exit_to_exec_us: last.exit_to_exec_us,
            stop_ms: last.stop_ms,
            restarts: last.restarts,
            hook,
        }));
        effects.push(Effect::Notify(Notice::Upgraded {
            from: done.from.clone(),
            to: done.plan.version.clone(),
        }));
        self.last_upgrade = Some(last);
        self.no_progress = false;
        self.halted = None;
        self.staging.done(&done.plan.id);
        // One for a height below would lead back to an older version.
        self.manual.retain(|_, plan| plan.height > done.plan.height);
        self.underway = None;
        if hook {
            self.run_after_success(done.plan, done.from, effects);
        }
    }

    /// Nothing keeps an upgrade that is ready from beginning.
    pub(crate) fn may_begin(&self) -> bool {
        let skipped = self
            .halted
            .as_ref()
            .is_some_and(|plan| self.skipped.contains(&plan.height));
        !(skipped
            || self.paused
            || self.held
            || self.stopping
            || self.gave_up.is_some()
            || self.underway.is_some()
            || self.rollback.is_some())
    }

    /// Writes down the whole intent and stops the old node, once the node has halted and the new version is ready.
    pub(crate) fn upgrade_if_ready(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(plan) = self.halted.clone() else {
            return;
        };
        // Between two states of the process the next fact about it decides.
        if !self.may_begin() || matches!(self.node, Node::Starting | Node::Stopping { .. }) {
            return;
        }
        if !self.staging.is_complete(&plan) {
            if self.is_manual(&plan) {
                self.keep_from_passing(effects);
            }
            return;
        }
        if !self.first_pass_over(&plan, effects) || !self.before_stop_passed(&plan, effects) {
            return;
        }
        self.intend(now, plan, effects);
        match self.node {
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.go_on_with_upgrade(effects),
        }
    }

    fn intend(&mut self, now: Timestamp, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        let from = self.current.clone();
        let backup = self.config.backup != BackupPolicy::Off;
        for timer in [Timer::Restart, Timer::Healthy, Timer::Hook, Timer::Backup] {
            effects.push(Effect::CancelTimer(timer));
        }
        effects.push(Effect::Append(Record::UpgradeIntended {
            plan: plan.clone(),
            from: from.clone(),
            at: now,
            backup,
        }));
        self.retrying = false;
        // It has come.
        self.awaits_next = false;
        self.failures = 0;
        self.last_failure = None;
        self.overruled = None;
        self.rolled_back = None;
        self.after_success = None;
        self.before_stop = BeforeStop::NotRun;
        self.underway = Some(Underway {
            // A node that visor itself stops at the operator's height may stand above it.
            first_after: (!self.is_manual(&plan)).then_some(plan.height),
            plan,
            from,
            step: Step::Stopping,
            backup_due: backup,
            hook_due: self.config.hooks.before_start != HookPolicy::Off,
            migration_due: self.config.conventions.migration,
            blocked: None,
            intended_at: now,
            gone_at: None,
            exit_to_exec_us: 0,
            reported_at: None,
            restarts: 0,
        });
    }

    /// The next order of an upgrade while no node runs. Without backup and hook nothing stands between the exit and swap and start (VIS-07):
    /// the intent covers them.
    pub(crate) fn go_on_with_upgrade(&mut self, effects: &mut Vec<Effect>) {
        let Some(underway) = self.underway.as_mut().filter(|underway| !underway.is_worked_on()) else {
            return;
        };
        underway.blocked = None;
        if underway.backup_due {
            underway.step = Step::BackingUp;
            effects.push(Effect::BackUp {
                plan: underway.plan.clone(),
                from: underway.from.clone(),
                pass: Pass::Second,
            });
            return;
        }
        if underway.hook_due {
            underway.step = Step::BeforeStart;
            effects.push(Effect::RunHook {
                hook: Hook::BeforeStart,
                plan: underway.plan.clone(),
                from: underway.from.clone(),
            });
            return;
        }
        underway.reported_at = None;
        if underway.migration_due {
            self.migrate(effects);
            return;
        }
        underway.step = Step::Starting;
        let version = underway.plan.version.clone();
        let after_halt = underway.first_after.take();
        self.swap_and_start(version, after_halt, "upgrade", effects);
    }

    pub(crate) fn swap_and_start(
        &mut self,
        version: Version,
        after_halt: Option<Height>,
        why: &'static str,
        effects: &mut Vec<Effect>,
    ) {
        self.current = version.clone();
        self.node = Node::Starting;
        effects.push(Effect::Swap(version.clone()));
        effects.push(Effect::Start {
            version,
            after_halt,
            unseen_halt: None,
            why,
        });
    }
}
