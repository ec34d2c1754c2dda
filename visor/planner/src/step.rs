//! The state machine: a fact in, orders out. Total, and without any knowledge of how an order is carried out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::Config;
use crate::effect::{Effect, Effects, ExitReason, Notice, Timer};
use crate::input::{Exit, Input, NodeReport};
use crate::plan::{Height, Process, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::staging::StagingArea;
use crate::status::LastUpgrade;

/// What the planner knows of the node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Proved gone.
    Absent,
    /// `Effect::Start` is being carried out.
    Starting,
    /// It runs.
    Running { process: Process, adopted: bool },
    /// It was told to stop.
    Stopping { process: Process, adopted: bool },
}

/// How far an upgrade has come since its intent was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The old node is being stopped.
    Stopping,
    /// The new version is started, is waited for, or waits for its next start.
    Starting,
    /// The new version has reported.
    Probation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Underway {
    pub(crate) plan: UpgradePlan,
    pub(crate) from: Version,
    pub(crate) step: Step,
    pub(crate) intended_at: Timestamp,
    /// When the old process was gone.
    pub(crate) gone_at: Option<Timestamp>,
    pub(crate) exit_to_exec_us: u64,
    /// When the new process reported first.
    pub(crate) reported_at: Option<Timestamp>,
    pub(crate) restarts: u32,
}

/// The state of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planner {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// The version that `current` points to, or will after the swap that is under way.
    pub(crate) current: Version,
    pub(crate) node: Node,
    pub(crate) staging: StagingArea,
    /// The node has halted for this upgrade, and its intent is not written down.
    pub(crate) halted: Option<UpgradePlan>,
    pub(crate) underway: Option<Underway>,
    /// Failures since the last healthy time.
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<String>,
    /// A start is due when the timer fires.
    pub(crate) retrying: bool,
    pub(crate) stopping: bool,
    pub(crate) gave_up: Option<String>,
    pub(crate) journal_failed: Option<String>,
    pub(crate) connected: bool,
    pub(crate) height: Height,
    pub(crate) reported_version: Option<Version>,
    pub(crate) no_progress: bool,
    pub(crate) last_upgrade: Option<LastUpgrade>,
}

impl Planner {
    /// Takes in one fact.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Effects {
        if self.journal_failed.is_some() {
            return self.step_without_journal(input);
        }
        let mut effects = Vec::new();
        match input {
            Input::NodeReported(report) => self.reported(now, &report, &mut effects),
            Input::NodeLinkLost => self.connected = false,
            Input::NodeStarted {
                process,
                exit_to_exec_us,
            } => self.started(now, process, exit_to_exec_us, &mut effects),
            Input::NodeStartFailed { reason } => {
                if self.node == Node::Starting {
                    self.node = Node::Absent;
                    self.failed(now, None, reason, &mut effects);
                }
            }
            Input::NodeExited { exit } => self.exited(now, exit, &mut effects),
            Input::Staged { upgrade } => {
                effects.extend(self.staging.staged(&upgrade));
                self.upgrade_if_ready(now, &mut effects);
            }
            Input::StagingFailed { upgrade, reason } => effects.extend(self.staging.failed(&upgrade, reason)),
            Input::SwapFailed { reason } => {
                if self.node == Node::Starting {
                    self.node = Node::Absent;
                }
                self.failed(
                    now,
                    None,
                    format!("the switch to {} failed: {reason}", self.current),
                    &mut effects,
                );
            }
            Input::TimerFired(timer) => self.fired(now, timer, &mut effects),
            Input::AppendFailed { reason } => {
                effects.push(Effect::Notify(Notice::JournalFailed {
                    reason: reason.clone(),
                }));
                self.journal_failed = Some(reason);
                // The rest of the batch was dropped, and an order to start or stop stands behind its record in every batch.
                self.node = match self.node {
                    Node::Starting => Node::Absent,
                    Node::Stopping { process, adopted } => Node::Running { process, adopted },
                    Node::Absent => Node::Absent,
                    Node::Running { process, adopted } => Node::Running { process, adopted },
                };
            }
            Input::StopRequested => self.stop_requested(now, &mut effects),
        }
        Effects(effects)
    }

    /// VIS-01: without a journal nothing is done any more, except what the operator asks for by ending visor.
    fn step_without_journal(&mut self, input: Input) -> Effects {
        let mut effects = Vec::new();
        match input {
            Input::StopRequested => {
                self.stopping = true;
                match self.node {
                    Node::Running { process, adopted } => {
                        self.node = Node::Stopping { process, adopted };
                        effects.push(Effect::Stop);
                    }
                    Node::Absent => effects.push(Effect::Exit(ExitReason::Stopped)),
                    Node::Starting | Node::Stopping { .. } => {}
                }
            }
            Input::NodeExited { .. } => {
                self.node = Node::Absent;
                self.connected = false;
                if self.stopping {
                    effects.push(Effect::Exit(ExitReason::Stopped));
                }
            }
            Input::NodeStarted { process, .. } => {
                self.node = Node::Running {
                    process,
                    adopted: false,
                };
                if self.stopping {
                    self.node = Node::Stopping {
                        process,
                        adopted: false,
                    };
                    effects.push(Effect::Stop);
                }
            }
            Input::NodeStartFailed { .. } | Input::SwapFailed { .. } => {
                self.node = Node::Absent;
                if self.stopping {
                    effects.push(Effect::Exit(ExitReason::Stopped));
                }
            }
            Input::NodeReported(report) => {
                self.connected = true;
                self.height = report.height;
                self.reported_version = Some(report.version);
            }
            Input::NodeLinkLost => self.connected = false,
            Input::Staged { .. }
            | Input::StagingFailed { .. }
            | Input::TimerFired(_)
            | Input::AppendFailed { .. } => {}
        }
        Effects(effects)
    }

    fn reported(&mut self, now: Timestamp, report: &NodeReport, effects: &mut Vec<Effect>) {
        let Node::Running { .. } = self.node else {
            // A last word of a process that is being stopped, or is gone.
            return;
        };
        self.connected = true;
        self.height = report.height;
        self.reported_version = Some(report.version.clone());
        if self.underway.is_some() {
            self.reported_on_probation(now, report, effects);
            return;
        }
        effects.extend(self.staging.learn(report, &self.current));
        if let Some(plan) = &report.halt
            && self.halted.as_ref() != Some(plan)
        {
            self.halted = Some(plan.clone());
            let staged = self.staging.is_complete(&plan.id);
            effects.push(Effect::Notify(Notice::Halted {
                height: plan.height,
                version: plan.version.clone(),
                staged,
            }));
            if !staged {
                // Otherwise the intent says it in the same breath.
                effects.push(Effect::Append(Record::Halted { plan: plan.clone() }));
            }
        }
        self.upgrade_if_ready(now, effects);
    }

    /// VIS-10.
    fn reported_on_probation(&mut self, now: Timestamp, report: &NodeReport, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        if underway.step == Step::Stopping {
            return;
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
        let last = LastUpgrade {
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
        effects.push(Effect::CancelTimer(Timer::Progress));
        effects.push(Effect::Append(Record::UpgradeCompleted {
            plan: done.plan.clone(),
            from: done.from.clone(),
            node_down_ms: last.node_down_ms,
            exit_to_exec_us: last.exit_to_exec_us,
            stop_ms: last.stop_ms,
            restarts: last.restarts,
        }));
        effects.push(Effect::Notify(Notice::Upgraded {
            from: done.from,
            to: done.plan.version,
        }));
        self.last_upgrade = Some(last);
        self.no_progress = false;
        self.halted = None;
        self.staging.done(&done.plan.id);
        self.underway = None;
        effects.extend(self.staging.learn(report, &self.current));
    }

    /// Writes down the whole intent and stops the old node, once the node has halted and the new version is ready.
    pub(crate) fn upgrade_if_ready(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(plan) = self
            .halted
            .clone()
            .filter(|plan| self.staging.is_complete(&plan.id))
        else {
            return;
        };
        if self.underway.is_some() || self.stopping || self.gave_up.is_some() {
            return;
        }
        match self.node {
            Node::Running { .. } => {
                self.intend(now, plan, effects);
                self.stop_node(effects);
            }
            Node::Absent => {
                self.intend(now, plan, effects);
                self.swap_and_start(effects);
            }
            // The next fact about the process decides.
            Node::Starting | Node::Stopping { .. } => {}
        }
    }

    fn intend(&mut self, now: Timestamp, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        let from = self.current.clone();
        effects.push(Effect::CancelTimer(Timer::Restart));
        effects.push(Effect::CancelTimer(Timer::Healthy));
        effects.push(Effect::Append(Record::UpgradeIntended {
            plan: plan.clone(),
            from: from.clone(),
            at: now,
        }));
        self.retrying = false;
        self.failures = 0;
        self.last_failure = None;
        self.underway = Some(Underway {
            plan,
            from,
            step: Step::Stopping,
            intended_at: now,
            gone_at: None,
            exit_to_exec_us: 0,
            reported_at: None,
            restarts: 0,
        });
    }

    /// Nothing stands between the exit and these two (VIS-07): the intent covers them.
    pub(crate) fn swap_and_start(&mut self, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        underway.step = Step::Starting;
        self.current = underway.plan.version.clone();
        self.node = Node::Starting;
        effects.push(Effect::Swap(self.current.clone()));
        effects.push(Effect::Start {
            version: self.current.clone(),
            why: "upgrade",
        });
    }

    pub(crate) fn stop_node(&mut self, effects: &mut Vec<Effect>) {
        if let Node::Running { process, adopted } = self.node {
            self.node = Node::Stopping { process, adopted };
            self.connected = false;
            effects.push(Effect::Stop);
        }
    }

    fn started(
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
        effects.push(Effect::Append(Record::NodeStarted {
            version: self.current.clone(),
            process,
            at: now,
        }));
        if let Some(underway) = &mut self.underway {
            if let Some(micros) = exit_to_exec_us.filter(|_| underway.restarts == 0) {
                underway.exit_to_exec_us = micros;
            }
            effects.push(Effect::SetTimer(Timer::FirstReport, self.config.start_timeout));
        }
        let policy = if self.underway.is_some() {
            &self.config.start_after_upgrade
        } else {
            &self.config.restart
        };
        effects.push(Effect::SetTimer(Timer::Healthy, policy.healthy_after));
        if self.stopping {
            self.stop_node(effects);
        }
    }

    fn exited(&mut self, now: Timestamp, exit: Exit, effects: &mut Vec<Effect>) {
        let ordered = matches!(self.node, Node::Stopping { .. });
        if matches!(self.node, Node::Absent | Node::Starting) {
            return;
        }
        self.node = Node::Absent;
        self.connected = false;
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
            self.swap_and_start(effects);
            return;
        }
        if ordered {
            let reason = self.last_failure.clone().unwrap_or_default();
            self.failed(now, Some(exit), reason, effects);
            return;
        }
        if exit == Exit::Code(self.config.exit_codes.newer_required) && self.underway.is_none() {
            // It has halted, was started again, and refused. That is no crash.
            let known = self.halted.clone().or_else(|| self.staging.scheduled().cloned());
            if let Some(plan) = known.filter(|plan| plan.version != self.current) {
                if self.halted.is_none() {
                    let staged = self.staging.is_complete(&plan.id);
                    effects.push(Effect::Append(Record::Halted { plan: plan.clone() }));
                    effects.push(Effect::Notify(Notice::Halted {
                        height: plan.height,
                        version: plan.version.clone(),
                        staged,
                    }));
                }
                self.halted = Some(plan);
                effects.push(Effect::CancelTimer(Timer::Healthy));
                effects.extend(self.staging.revive());
                self.upgrade_if_ready(now, effects);
                return;
            }
        }
        let codes = self.config.exit_codes;
        let reason = match exit {
            Exit::Code(code) if code == codes.newer_required => {
                format!(
                    "the node exited with {code}: its state belongs to a newer version than {}, and no upgrade is known",
                    self.current
                )
            }
            Exit::Code(code) if code == codes.older_required => {
                format!(
                    "the node exited with {code}: its state belongs to an older version than {}",
                    self.current
                )
            }
            Exit::Code(code) => format!("the node exited with code {code} without having been told to"),
            Exit::Signal(signal) => format!("the node was ended by signal {signal}"),
            Exit::Unknown => String::from("the node, adopted from an earlier visor, ended"),
        };
        self.failed(now, Some(exit), reason, effects);
    }

    /// VIS-09, VIS-11: a crash or a failed start. The node is absent.
    fn failed(&mut self, now: Timestamp, exit: Option<Exit>, reason: String, effects: &mut Vec<Effect>) {
        effects.push(Effect::CancelTimer(Timer::FirstReport));
        effects.push(Effect::CancelTimer(Timer::Progress));
        effects.push(Effect::CancelTimer(Timer::Healthy));
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
        let policy = if let Some(underway) = &mut self.underway {
            underway.step = Step::Starting;
            underway.reported_at = None;
            underway.restarts = underway.restarts.saturating_add(1);
            self.config.start_after_upgrade
        } else {
            self.config.restart
        };
        if self.failures >= policy.max_retries {
            let reason = format!("{reason}; {} retries are used up", policy.max_retries);
            self.gave_up = Some(reason.clone());
            effects.push(Effect::Append(Record::GaveUp {
                reason: reason.clone(),
                at: now,
            }));
            effects.push(Effect::Notify(Notice::GaveUp {
                reason: reason.clone(),
            }));
            effects.push(Effect::Exit(ExitReason::RetriesExhausted { reason }));
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

    fn fired(&mut self, now: Timestamp, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Restart => {
                if !self.retrying || self.node != Node::Absent || self.stopping || self.gave_up.is_some() {
                    return;
                }
                self.retrying = false;
                if self.underway.is_some() {
                    // The swap may have been what failed.
                    self.swap_and_start(effects);
                } else {
                    self.start(now, "restart", effects);
                }
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
                if self.failures > 0 && matches!(self.node, Node::Running { .. }) {
                    self.failures = 0;
                    self.last_failure = None;
                    effects.push(Effect::Append(Record::Healthy { at: now }));
                }
            }
        }
    }

    /// A start outside an upgrade.
    pub(crate) fn start(&mut self, now: Timestamp, why: &'static str, effects: &mut Vec<Effect>) {
        self.node = Node::Starting;
        effects.push(Effect::Append(Record::StartIntended {
            version: self.current.clone(),
            at: now,
        }));
        effects.push(Effect::Start {
            version: self.current.clone(),
            why,
        });
    }

    /// VIS-08.
    fn stop_requested(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        match self.node {
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent => {
                effects.push(Effect::Append(Record::Stopped { at: now }));
                effects.push(Effect::Exit(ExitReason::Stopped));
            }
            // What is under way ends first, then its answer stops it.
            Node::Starting | Node::Stopping { .. } => {}
        }
    }

    /// Whether this upgrade could be carried out at once.
    #[must_use]
    pub fn is_staged(&self, upgrade: &UpgradeId) -> bool {
        self.staging.is_complete(upgrade)
    }
}
