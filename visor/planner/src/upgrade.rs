//! An upgrade from the first report of its height to the new version's first block: halt, first pass, hook, intent, stop, second
//! pass, hook, swap, start, probation.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{BackupPolicy, HookPolicy};
use crate::effect::{Effect, Hook, Notice, Pass, Timer};
use crate::input::NodeReport;
use crate::plan::{Backup, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::rollback::RollbackStep;
use crate::status::{LastBackup, LastUpgrade};
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
                Step::Stopping | Step::Starting | Step::Probation => false,
            }
    }
}

/// The first pass of the backup, while the node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstPass {
    NotBegun,
    Running(UpgradeId),
    /// Done, or failed: then the second pass copies more.
    Over(UpgradeId),
}

/// The hook before the stop, for the upgrade that the node has halted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BeforeStop {
    NotRun,
    Running,
    /// It runs for what the node had halted for before; once that has ended it is run anew.
    Outdated,
    Failed(String),
    Passed,
}

/// The hook after an upgrade, until it has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AfterSuccess {
    pub(crate) plan: UpgradePlan,
    pub(crate) from: Version,
    pub(crate) failed: Option<String>,
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
            return;
        }
        effects.extend(self.staging.learn(report, &self.current, &self.manual));
        let due = report.halt.clone().or_else(|| self.manual_due());
        let due = due.filter(|plan| self.is_to_come(plan));
        if let Some(plan) = due
            && self.halted.as_ref() != Some(&plan)
        {
            self.halted_at(plan, effects);
        }
        self.first_pass_if_near(effects);
        self.upgrade_if_ready(now, effects);
    }

    /// The operator's own upgrade whose height the node has reached.
    pub(crate) fn manual_due(&self) -> Option<UpgradePlan> {
        self.manual
            .values()
            .filter(|plan| plan.height <= self.height && plan.version != self.current)
            .find(|plan| !self.skipped.contains(&plan.height))
            .cloned()
    }

    /// What stands at or below the last completed upgrade is over, whatever a node says that has its own version wrong.
    pub(crate) fn is_to_come(&self, plan: &UpgradePlan) -> bool {
        self.last_upgrade
            .as_ref()
            .is_none_or(|last| plan.height > last.height)
    }

    pub(crate) fn is_manual(&self, plan: &UpgradePlan) -> bool {
        self.manual.contains_key(&plan.id)
    }

    pub(crate) fn halted_at(&mut self, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        let staged = self.staging.is_complete(&plan);
        effects.push(Effect::Notify(Notice::Halted {
            height: plan.height,
            version: plan.version.clone(),
            staged,
        }));
        if !staged {
            // Otherwise the intent says it in the same breath.
            effects.push(Effect::Append(Record::Halted { plan: plan.clone() }));
        }
        self.forget_before_stop();
        self.halted = Some(plan);
    }

    /// What the hook before the stop has said is about another halt.
    pub(crate) fn forget_before_stop(&mut self) {
        self.before_stop = match self.before_stop {
            BeforeStop::Running | BeforeStop::Outdated => BeforeStop::Outdated,
            BeforeStop::NotRun | BeforeStop::Failed(_) | BeforeStop::Passed => BeforeStop::NotRun,
        };
    }

    /// VIS-10.
    fn reported_on_probation(&mut self, now: Timestamp, report: &NodeReport, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        match underway.step {
            Step::Stopping | Step::BackingUp | Step::BeforeStart => return,
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
        effects.extend(self.staging.learn(report, &self.current, &self.manual));
    }

    fn completed(&mut self, done: Underway, effects: &mut Vec<Effect>) {
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

    pub(crate) fn run_after_success(&mut self, plan: UpgradePlan, from: Version, effects: &mut Vec<Effect>) {
        if let BeforeStop::Running | BeforeStop::Outdated = self.before_stop {
            // One hook runs at a time, and an upgrade waits for that one.
            effects.push(Effect::SetTimer(Timer::Hook, self.config.hooks.retry_delay));
            self.after_success = Some(AfterSuccess {
                plan,
                from,
                failed: Some(String::from("another hook runs")),
            });
            return;
        }
        effects.push(Effect::RunHook {
            hook: Hook::AfterSuccess,
            plan: plan.clone(),
            from: from.clone(),
        });
        self.after_success = Some(AfterSuccess {
            plan,
            from,
            failed: None,
        });
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

    /// Nothing but visor keeps this node from running past the height of the operator's own upgrade.
    fn keep_from_passing(&mut self, effects: &mut Vec<Effect>) {
        if core::mem::take(&mut self.retrying) {
            effects.push(Effect::CancelTimer(Timer::Restart));
        }
        self.last_failure = None;
        self.stop_node(effects);
    }

    /// While the halted node still serves its peers everything is copied, so that little is left for the time without it.
    fn first_pass_over(&mut self, plan: &UpgradePlan, effects: &mut Vec<Effect>) -> bool {
        if self.config.backup == BackupPolicy::Off {
            return true;
        }
        match &self.first_pass {
            FirstPass::Over(id) if *id == plan.id => true,
            // Two passes at a time would write to the same folder.
            FirstPass::Running(_) => false,
            FirstPass::NotBegun | FirstPass::Over(_) if self.node == Node::Absent => true,
            FirstPass::NotBegun | FirstPass::Over(_) => {
                self.begin_first_pass(plan.clone(), effects);
                false
            }
        }
    }

    fn first_pass_if_near(&mut self, effects: &mut Vec<Effect>) {
        let BackupPolicy::On {
            first_pass_blocks, ..
        } = self.config.backup
        else {
            return;
        };
        let Some(plan) = self.staging.ready().filter(|plan| {
            plan.height.0 <= self.height.0.saturating_add(first_pass_blocks)
                && !self.skipped.contains(&plan.height)
        }) else {
            return;
        };
        let plan = plan.clone();
        match &self.first_pass {
            FirstPass::Running(_) => {}
            FirstPass::Over(id) if *id == plan.id => {}
            FirstPass::NotBegun | FirstPass::Over(_) => {
                self.begin_first_pass(plan, effects);
            }
        }
    }

    fn begin_first_pass(&mut self, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        self.first_pass = FirstPass::Running(plan.id.clone());
        effects.push(Effect::BackUp {
            plan,
            from: self.current.clone(),
            pass: Pass::First,
        });
    }

    fn before_stop_passed(&mut self, plan: &UpgradePlan, effects: &mut Vec<Effect>) -> bool {
        if self.config.hooks.before_stop == HookPolicy::Off {
            return true;
        }
        match self.before_stop {
            BeforeStop::Passed => true,
            BeforeStop::Running | BeforeStop::Outdated | BeforeStop::Failed(_) => false,
            BeforeStop::NotRun => {
                self.before_stop = BeforeStop::Running;
                effects.push(Effect::RunHook {
                    hook: Hook::BeforeStop,
                    plan: plan.clone(),
                    from: self.current.clone(),
                });
                false
            }
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
        self.failures = 0;
        self.last_failure = None;
        self.rolled_back = None;
        self.after_success = None;
        self.before_stop = BeforeStop::NotRun;
        self.underway = Some(Underway {
            plan,
            from,
            step: Step::Stopping,
            backup_due: backup,
            hook_due: self.config.hooks.before_start != HookPolicy::Off,
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
        underway.step = Step::Starting;
        underway.reported_at = None;
        let version = underway.plan.version.clone();
        self.swap_and_start(version, "upgrade", effects);
    }

    pub(crate) fn swap_and_start(&mut self, version: Version, why: &'static str, effects: &mut Vec<Effect>) {
        self.current = version.clone();
        self.node = Node::Starting;
        effects.push(Effect::Swap(version.clone()));
        effects.push(Effect::Start { version, why });
    }

    pub(crate) fn backup_passed(
        &mut self,
        now: Timestamp,
        upgrade: &UpgradeId,
        pass: Pass,
        backup: Backup,
        effects: &mut Vec<Effect>,
    ) {
        match pass {
            Pass::First => self.first_pass_ended(now, upgrade, effects),
            Pass::Second => {
                let Some(underway) = self.awaiting_backup(upgrade) else {
                    return;
                };
                underway.backup_due = false;
                effects.push(Effect::Append(Record::BackedUp {
                    plan: underway.plan.clone(),
                    from: underway.from.clone(),
                    backup: backup.clone(),
                    at: now,
                }));
                self.last_backup = Some(LastBackup {
                    id: underway.plan.id.clone(),
                    version: underway.from.clone(),
                    height: underway.plan.height,
                    backup,
                });
                self.go_on(now, effects);
            }
        }
    }

    pub(crate) fn backup_failed(
        &mut self,
        now: Timestamp,
        upgrade: &UpgradeId,
        pass: Pass,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        let (required, retry_delay) = match self.config.backup {
            BackupPolicy::Off => (false, None),
            BackupPolicy::On {
                required,
                retry_delay,
                ..
            } => (required, Some(retry_delay)),
        };
        match pass {
            Pass::First => {
                if let Some(known) = self.staging.get(upgrade) {
                    effects.push(Effect::Notify(Notice::BackupFailed {
                        version: known.plan.version.clone(),
                        reason,
                        waits: false,
                    }));
                }
                self.first_pass_ended(now, upgrade, effects);
            }
            Pass::Second => {
                let Some(underway) = self.awaiting_backup(upgrade) else {
                    return;
                };
                let waits = retry_delay.filter(|_| required);
                effects.push(Effect::Notify(Notice::BackupFailed {
                    version: underway.plan.version.clone(),
                    reason: reason.clone(),
                    waits: waits.is_some(),
                }));
                if let Some(delay) = waits {
                    underway.blocked = Some(format!("the backup failed and is tried again: {reason}"));
                    effects.push(Effect::SetTimer(Timer::Backup, delay));
                    return;
                }
                underway.backup_due = false;
                effects.push(Effect::Append(Record::NotBackedUp {
                    plan: underway.plan.clone(),
                    reason,
                    at: now,
                }));
                self.go_on(now, effects);
            }
        }
    }

    fn first_pass_ended(&mut self, now: Timestamp, upgrade: &UpgradeId, effects: &mut Vec<Effect>) {
        if self.first_pass == FirstPass::Running(upgrade.clone()) {
            self.first_pass = FirstPass::Over(upgrade.clone());
            self.upgrade_if_ready(now, effects);
        }
    }

    fn awaiting_backup(&mut self, upgrade: &UpgradeId) -> Option<&mut Underway> {
        self.underway
            .as_mut()
            .filter(|underway| underway.step == Step::BackingUp && underway.plan.id == *upgrade)
    }

    pub(crate) fn hook_ended(
        &mut self,
        now: Timestamp,
        hook: Hook,
        failure: Option<String>,
        effects: &mut Vec<Effect>,
    ) {
        let hooks = self.config.hooks;
        let (version, policy) = match hook {
            Hook::BeforeStop => {
                match self.before_stop {
                    BeforeStop::Running => {}
                    BeforeStop::Outdated => {
                        self.before_stop = BeforeStop::NotRun;
                        self.upgrade_if_ready(now, effects);
                        return;
                    }
                    BeforeStop::NotRun | BeforeStop::Failed(_) | BeforeStop::Passed => return,
                }
                let version = self.halted.as_ref().map(|plan| plan.version.clone());
                (version, hooks.before_stop)
            }
            Hook::BeforeStart => {
                let waiting = self
                    .underway
                    .as_ref()
                    .filter(|underway| underway.step == Step::BeforeStart && underway.hook_due);
                (
                    waiting.map(|underway| underway.plan.version.clone()),
                    hooks.before_start,
                )
            }
            Hook::AfterSuccess => {
                let version = self
                    .after_success
                    .as_ref()
                    .map(|after| after.plan.version.clone());
                (version, hooks.after_success)
            }
        };
        let Some(version) = version else {
            // The upgrade that it belonged to is no more.
            if hook == Hook::BeforeStop {
                self.before_stop = BeforeStop::NotRun;
            }
            return;
        };
        let waits = failure.is_some() && policy == HookPolicy::Block;
        if let Some(reason) = &failure {
            effects.push(Effect::Notify(Notice::HookFailed {
                hook,
                version,
                reason: reason.clone(),
                waits,
            }));
        }
        if let Some(reason) = failure.filter(|_| waits) {
            effects.push(Effect::SetTimer(Timer::Hook, hooks.retry_delay));
            match hook {
                Hook::BeforeStop => self.before_stop = BeforeStop::Failed(reason),
                Hook::BeforeStart => {
                    if let Some(underway) = &mut self.underway {
                        underway.blocked = Some(format!(
                            "the hook before the start failed and is run again: {reason}"
                        ));
                    }
                }
                Hook::AfterSuccess => {
                    if let Some(after) = &mut self.after_success {
                        after.failed = Some(reason);
                    }
                }
            }
            return;
        }
        match hook {
            Hook::BeforeStop => {
                self.before_stop = BeforeStop::Passed;
                self.upgrade_if_ready(now, effects);
            }
            Hook::BeforeStart => {
                if let Some(underway) = &mut self.underway {
                    underway.hook_due = false;
                }
                self.go_on(now, effects);
            }
            Hook::AfterSuccess => {
                if let Some(after) = self.after_success.take() {
                    effects.push(Effect::Append(Record::SuccessHookEnded { plan: after.plan }));
                }
            }
        }
    }

    /// Runs again the hook that failed.
    pub(crate) fn hook_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let BeforeStop::Failed(_) = self.before_stop {
            self.before_stop = BeforeStop::NotRun;
            self.upgrade_if_ready(now, effects);
        }
        let blocked = self
            .underway
            .as_ref()
            .is_some_and(|underway| underway.step == Step::BeforeStart && underway.blocked.is_some());
        if blocked {
            self.go_on(now, effects);
        }
        if let Some(after) = self.after_success.take_if(|after| after.failed.is_some()) {
            self.run_after_success(after.plan, after.from, effects);
        }
    }
}
