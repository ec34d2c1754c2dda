//! The node's process as the planner sees it: it started, it ended, it failed, it is tried again (VIS-09, VIS-11).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{Completion, OnFailure};
use crate::effect::{Effect, ExitReason, Notice, Timer};
use crate::exit::WaysBack;
use crate::input::Exit;
use crate::plan::{Process, Timestamp};
use crate::record::Record;
use crate::retry::RetryPolicy;
use crate::rollback::RollbackStep;
use crate::step::{Node, Planner};
use crate::upgrade::Step;

impl Planner {
    /// Which limits hold for the node as it runs now.
    pub(crate) fn policy(&self) -> RetryPolicy {
        if self.underway.is_some() && self.rollback.is_none() {
            self.config.start_after_upgrade
        } else if self.reported_once || self.config.conventions.completion == Completion::Started {
            self.config.restart
        } else {
            self.config.first_start
        }
    }

    pub(crate) fn started(
        &mut self,
        now: Timestamp,
        process: Process,
        exit_to_exec_us: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        if self.node != Node::Starting {
            return;
        }
        self.node = Node::Running {
            process,
            adopted: false,
        };
        if self.is_migrating() {
            self.migration_started(exit_to_exec_us, effects);
            return;
        }
        effects.push(Effect::Append(Record::NodeStarted {
            version: self.current.clone(),
            process,
            at: now,
        }));
        self.relink = false;
        if let Some(rollback) = &self.rollback {
            match rollback.step {
                RollbackStep::Starting => self.rolled_back(now, effects),
                // It was ordered while the version that it undoes was being started.
                RollbackStep::Stopping | RollbackStep::Checking | RollbackStep::Restoring => {
                    self.stop_node(effects);
                    return;
                }
            }
        } else if let Some(underway) = &mut self.underway {
            underway.count_exec(exit_to_exec_us);
            match self.config.conventions.completion {
                Completion::FirstBlock => {
                    effects.push(Effect::SetTimer(Timer::FirstReport, self.config.start_timeout));
                }
                Completion::Started => {
                    underway.reported_at = Some(now);
                    let done = underway.clone();
                    self.completed(done, effects);
                }
            }
        }
        effects.push(Effect::SetTimer(Timer::Healthy, self.policy().healthy_after));
        if self.stopping || self.held {
            self.stop_node(effects);
        }
    }

    pub(crate) fn exited(
        &mut self,
        now: Timestamp,
        exit: Exit,
        companion: Option<&str>,
        effects: &mut Vec<Effect>,
    ) {
        let ordered = matches!(self.node, Node::Stopping { .. });
        let start_on_exit = core::mem::take(&mut self.start_on_exit);
        if matches!(self.node, Node::Absent | Node::Starting) {
            return;
        }
        self.node = Node::Absent;
        self.connected = false;
        self.staging.node_ended();
        self.see_halt(effects);
        if self.stopping {
            effects.push(Effect::Append(Record::Stopped { at: now }));
            effects.push(Effect::Exit(ExitReason::Stopped));
            return;
        }
        if let Some(underway) = &mut self.underway
            && underway.step == Step::Stopping
        {
            // However it ended: it had halted, and the intent is written.
            underway.gone_at = Some(now);
            self.go_on(now, effects);
            return;
        }
        let rolling_back = self
            .rollback
            .as_ref()
            .is_some_and(|rollback| rollback.step != RollbackStep::Starting);
        if rolling_back {
            self.go_on(now, effects);
            return;
        }
        if self.rollback.is_some() && !ordered {
            // An adopted one that ends before its first report; its link may not be durable.
            self.relink = true;
            self.rolled_back(now, effects);
        }
        if self.held {
            return;
        }
        if start_on_exit {
            self.go_on(now, effects);
            return;
        }
        if ordered {
            let kept =
                self.halted.as_ref().is_some_and(|plan| self.is_manual(plan)) && self.underway.is_none();
            if kept || self.waits_at_halt() {
                // Kept from running past its height until the new version is there.
                self.go_on(now, effects);
                return;
            }
            let reason = self.last_failure.clone().unwrap_or_default();
            self.failed(now, Some(exit), reason, effects);
            return;
        }
        self.ended_by_itself(now, exit, companion, effects);
    }

    /// It may never end by itself: it is stopped, and its end counts as a failure. A migration answers nobody while it works.
    pub(crate) fn unresponsive(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if matches!(self.node, Node::Running { .. }) && !self.is_migrating() {
            self.last_failure = Some(reason);
            self.stop_node(effects);
        }
    }

    /// VIS-09, VIS-11: a crash or a failed start. The node is absent.
    pub(crate) fn failed(
        &mut self,
        now: Timestamp,
        exit: Option<Exit>,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        for timer in [Timer::FirstReport, Timer::Progress, Timer::Healthy] {
            effects.push(Effect::CancelTimer(timer));
        }
        effects.push(Effect::Append(Record::NodeFailed {
            exit,
            reason: reason.clone(),
            at: now,
        }));
        if self.stopping {
            effects.push(Effect::Exit(ExitReason::Stopped));
            return;
        }
        self.last_failure = Some(reason.clone());
        let policy = self.policy();
        if self.rollback.is_none()
            && let Some(underway) = &mut self.underway
        {
            underway.step = if underway.migration_due {
                Step::Migrating
            } else {
                Step::Starting
            };
            underway.reported_at = None;
            underway.restarts = underway.restarts.saturating_add(1);
        }
        if let Some(rollback) = &self.rollback
            && rollback.step == RollbackStep::Stopping
        {
            // What was to be stopped has not even started.
            self.go_on(now, effects);
            return;
        }
        if self.held {
            return;
        }
        if core::mem::take(&mut self.awaits_next) {
            self.failures = 0;
        }
        if self.failures >= policy.max_retries {
            let reason = format!("{reason}; {} retries are used up", policy.max_retries);
            self.retries_used_up(now, reason, effects);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let after = policy.delay(self.failures, self.seed);
        self.retrying = true;
        effects.push(Effect::SetTimer(Timer::Restart, after));
        effects.push(Effect::Notify(Notice::Retrying {
            reason,
            retry: self.failures,
            of: policy.max_retries,
            after,
        }));
    }

    pub(crate) fn swap_failed(&mut self, now: Timestamp, reason: &str, effects: &mut Vec<Effect>) {
        self.relink = true;
        for record in core::mem::take(&mut self.last_ordered.behind_switch) {
            // Dropped with the switch, and true all the same.
            effects.push(Effect::Append(record));
        }
        let reason = format!("the switch to {} failed: {reason}", self.current);
        match self.node {
            Node::Starting | Node::Absent => {
                self.node = Node::Absent;
                self.failed(now, None, reason, effects);
            }
            // An adopted node whose link was to be made durable: its end counts as the failure, then both are tried again.
            Node::Running { .. } => {
                self.last_failure = Some(reason);
                self.stop_node(effects);
            }
            Node::Stopping { .. } => {}
        }
    }

    /// VIS-11.
    fn retries_used_up(&mut self, now: Timestamp, reason: String, effects: &mut Vec<Effect>) {
        let undone = self
            .underway
            .as_ref()
            .filter(|_| self.rollback.is_none() && self.config.on_failure == OnFailure::RollBack)
            .map(|underway| (underway.plan.clone(), underway.from.clone()));
        let Some((plan, from)) = undone else {
            self.give_up(now, reason, effects);
            return;
        };
        match self.begin_rollback(now, &plan, from, reason.clone(), false, effects) {
            Ok(()) => self.go_on(now, effects),
            Err(refusal) => {
                self.give_up(
                    now,
                    format!("{reason}; nothing is rolled back: {refusal}"),
                    effects,
                );
            }
        }
    }

    pub(crate) fn give_up(&mut self, now: Timestamp, reason: String, effects: &mut Vec<Effect>) {
        self.gave_up = Some(reason.clone());
        effects.push(Effect::Append(Record::GaveUp {
            reason: reason.clone(),
            at: now,
        }));
        effects.push(Effect::Notify(Notice::GaveUp {
            reason: reason.clone(),
        }));
        effects.push(Effect::Exit(ExitReason::RetriesExhausted { reason }));
    }

    /// The next order while no node runs, whatever is under way.
    pub(crate) fn go_on(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // A rollback ends with a node that runs, also when the operator had kept it stopped before.
        let held = self.held && self.rollback.is_none();
        if held
            || self.stopping
            || self.gave_up.is_some()
            || self.sought.is_some()
            || self.node != Node::Absent
        {
            return;
        }
        if self.rollback.is_some() {
            self.go_on_with_rollback(effects);
        } else if self.underway.is_some() {
            self.go_on_with_upgrade(effects);
        } else if self
            .halted
            .as_ref()
            .is_some_and(|plan| self.may_begin() && (self.is_manual(plan) || self.staging.is_complete(plan)))
        {
            self.upgrade_if_ready(now, effects);
        } else if self.waits_at_halt() {
            self.wait_at_halt(effects);
        } else {
            // A node that is known to have halted is started all the same: it alone can report what it waits for, and it
            // refuses to execute anything.
            self.halted = None;
            let is_first = self.restarts_total == 0 && self.last_failure.is_none();
            self.start(now, if is_first { "start" } else { "restart" }, effects);
        }
    }

    pub(crate) fn fired(&mut self, now: Timestamp, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Restart => {
                if !self.retrying || self.node != Node::Absent || self.stopping || self.gave_up.is_some() {
                    return;
                }
                self.retrying = false;
                self.restarts_total = self.restarts_total.saturating_add(1);
                self.go_on(now, effects);
            }
            Timer::FirstReport => {
                let waiting = self
                    .underway
                    .as_ref()
                    .is_some_and(|underway| underway.step == Step::Starting);
                if waiting && matches!(self.node, Node::Running { .. }) {
                    self.last_failure = Some(format!(
                        "{} has not reported within {} ms",
                        self.current, self.config.start_timeout.0
                    ));
                    self.stop_node(effects);
                }
            }
            Timer::Progress => {
                if let Some(underway) = self
                    .underway
                    .as_ref()
                    .filter(|underway| underway.step == Step::Probation)
                {
                    self.no_progress = true;
                    effects.push(Effect::Notify(Notice::NoProgress {
                        version: underway.plan.version.clone(),
                        height: underway.plan.height,
                    }));
                    effects.push(Effect::SetTimer(Timer::Progress, self.config.progress_timeout));
                }
            }
            Timer::Healthy => {
                if !matches!(self.node, Node::Running { .. }) {
                    return;
                }
                self.ways_back = WaysBack::default();
                if self.failures > 0 {
                    self.failures = 0;
                    self.last_failure = None;
                    effects.push(Effect::Append(Record::Healthy { at: now }));
                }
            }
            Timer::Backup => {
                let restoring = self.rollback.as_ref().is_some_and(|rollback| {
                    rollback.step == RollbackStep::Restoring && rollback.blocked.is_some()
                });
                let backing_up = self.rollback.is_none()
                    && self.underway.as_ref().is_some_and(|underway| {
                        underway.step == Step::BackingUp && underway.blocked.is_some()
                    });
                if restoring || backing_up {
                    self.go_on(now, effects);
                }
            }
            Timer::Hook => self.hook_again(now, effects),
        }
    }
}
