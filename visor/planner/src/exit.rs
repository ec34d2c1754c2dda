//! What the end of a node that nobody told to stop says: some systems' nodes ask for another version, or for none, by their exit code.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::{Effect, ExitReason, Neighbour, Notice, Timer};
use crate::input::Exit;
use crate::plan::{Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::step::{Node, Planner};

/// What an end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The state belongs to a newer version.
    NewerRequired,
    /// This version's work is done.
    Upgrade,
    /// The version before is wanted.
    Downgrade,
    /// Nothing is to run any more.
    ShutDown,
    /// The data is migrated.
    Migrated,
    /// Nothing: a crash.
    Failure,
}

/// A version that a node asked for by its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sought {
    which: Neighbour,
    exit: Exit,
    at: Timestamp,
}

/// Versions that asked for the one before them, since a node was last healthy. Visor's own restart forgets them: the first way back is then
/// without a delay once more, and nothing else follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WaysBack {
    /// From which version to which.
    taken: BTreeSet<(Version, Version)>,
    /// The failures that ways back are among. Kept apart from the planner's, which each upgrade in between begins anew.
    failures: u32,
}

impl Planner {
    /// Only the node itself speaks for the node, and only when it ended on its own: the exit that follows visor's own signal says
    /// nothing, whatever its code.
    pub(crate) fn meaning(&self, exit: Exit, companion: Option<&str>) -> Meaning {
        let codes = self.config.conventions.exit_codes;
        let is = |code: Option<i32>| code.is_some_and(|code| exit == Exit::Code(code));
        if companion.is_some() {
            Meaning::Failure
        } else if is(codes.shut_down) {
            Meaning::ShutDown
        } else if is(codes.downgrade) {
            Meaning::Downgrade
        } else if self.is_migrating() {
            if exit == Exit::Code(0) {
                Meaning::Migrated
            } else {
                Meaning::Failure
            }
        } else if is(codes.upgrade) {
            Meaning::Upgrade
        } else if is(codes.newer_required) {
            Meaning::NewerRequired
        } else {
            Meaning::Failure
        }
    }

    /// Acts on an end that was not ordered. The node is absent.
    pub(crate) fn ended_by_itself(
        &mut self,
        now: Timestamp,
        exit: Exit,
        companion: Option<&str>,
        effects: &mut Vec<Effect>,
    ) {
        match self.meaning(exit, companion) {
            Meaning::ShutDown => {
                effects.push(Effect::Append(Record::ShutDown { at: now }));
                effects.push(Effect::Exit(ExitReason::ShutDown));
                return;
            }
            Meaning::Downgrade => {
                self.seek(now, exit, Neighbour::Previous, effects);
                return;
            }
            Meaning::Upgrade => {
                self.seek(now, exit, Neighbour::Next, effects);
                return;
            }
            Meaning::Migrated => {
                self.migrated(now, effects);
                return;
            }
            Meaning::NewerRequired => {
                if self.refused_newer(now, effects) {
                    return;
                }
            }
            Meaning::Failure => {}
        }
        let reason = self.exit_reason(exit, companion);
        if self.waits_at_halt() {
            // It had halted, so that its end changes nothing.
            self.last_failure = Some(reason);
            self.go_on(now, effects);
            return;
        }
        self.failed(now, Some(exit), reason, effects);
    }

    fn seek(&mut self, now: Timestamp, exit: Exit, which: Neighbour, effects: &mut Vec<Effect>) {
        self.sought = Some(Sought { which, exit, at: now });
        let migrating = self.underway.as_ref().filter(|_| self.is_migrating());
        effects.push(Effect::FindVersion {
            of: migrating
                .map_or(&self.current, |underway| &underway.plan.version)
                .clone(),
            which,
        });
    }

    /// The answer to what a node asked for by its end.
    pub(crate) fn version_found(
        &mut self,
        now: Timestamp,
        which: Neighbour,
        found: Result<UpgradePlan, String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(sought) = self.sought.take_if(|sought| sought.which == which) else {
            return;
        };
        if self.stopping || self.gave_up.is_some() || self.node != Node::Absent {
            return;
        }
        if self.held || self.rollback.is_some() {
            // Ordered since. The node will ask again.
            self.go_on(now, effects);
            return;
        }
        match (found, which) {
            (Ok(plan), Neighbour::Next) => self.upgrade_by_exit(now, plan, sought.at, effects),
            (Ok(plan), Neighbour::Previous) => self.downgrade(now, plan.version, sought.exit, effects),
            // The current version is started again, and will ask again.
            (Err(reason), Neighbour::Next) => self.next_is_missing(now, sought.exit, reason, effects),
            (Err(reason), Neighbour::Previous) => self.failed(now, Some(sought.exit), reason, effects),
        }
    }

    /// The node is not at fault: it waits for what the operator has to put there. Where a failure is retried at all, no number of attempts
    /// ends that wait, and none of them counts when the node fails afterwards.
    fn next_is_missing(&mut self, now: Timestamp, exit: Exit, reason: String, effects: &mut Vec<Effect>) {
        let allowed = self.policy().max_retries;
        self.failures = self.failures.min(allowed.saturating_sub(1));
        self.awaits_next = false;
        self.failed(now, Some(exit), reason, effects);
        self.awaits_next = self.retrying;
    }

    /// A version has become complete: a node that asked for one need not wait for its next attempt.
    pub(crate) fn ask_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.awaits_next && self.retrying && self.node == Node::Absent {
            effects.push(Effect::CancelTimer(Timer::Restart));
            self.fired(now, Timer::Restart, effects);
        }
    }

    /// The node has ended because this version's work is done.
    fn upgrade_by_exit(
        &mut self,
        now: Timestamp,
        plan: UpgradePlan,
        gone_at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let mut batch = Vec::new();
        for timer in [Timer::FirstReport, Timer::Progress, Timer::Healthy] {
            batch.push(Effect::CancelTimer(timer));
        }
        if let Some(done) = self.underway.take() {
            // A version whose work is done has been in order.
            self.completed(done, &mut batch);
        }
        self.staging.found(&plan);
        self.forget_before_stop();
        self.halted = Some(plan.clone());
        self.upgrade_if_ready(now, &mut batch);
        if let Some(underway) = &mut self.underway {
            underway.gone_at = Some(gone_at);
        } else {
            batch.push(Effect::Append(Record::Halted { plan: plan.clone() }));
            batch.push(Effect::Notify(Notice::Halted {
                height: plan.height,
                version: plan.version,
                staged: true,
            }));
        }
        // The home names both versions once the migration is begun: that is the intent, and the record of it need not stand between the
        // exit and the exec. When the power fails before the home's word is durable, the old version is started again, and ends with the
        // same code again.
        let migrate = batch
            .iter()
            .position(|effect| matches!(effect, Effect::Migrate { .. }));
        if let Some(place) = migrate.filter(|_| self.config.conventions.home_decides) {
            effects.push(batch.remove(place));
        }
        effects.append(&mut batch);
    }

    /// The node asked for the version before it. What was under way is over. Two versions that only ask for each other would take turns
    /// for ever: from the second time on it is a failure too, so that the one before is started later, and in the end not at all.
    fn downgrade(&mut self, now: Timestamp, to: Version, exit: Exit, effects: &mut Vec<Effect>) {
        let from = self
            .underway
            .as_ref()
            .map_or(&self.current, |underway| &underway.plan.version)
            .clone();
        self.underway = None;
        self.halted = None;
        self.forget_before_stop();
        self.after_success = None;
        self.no_progress = false;
        self.last_upgrade.take_if(|last| last.to == from);
        let is_first = self.ways_back.taken.insert((from.clone(), to.clone()));
        let record = Record::Downgraded {
            from: from.clone(),
            to: to.clone(),
            at: now,
        };
        self.recorded(record, effects, |planner, effects| {
            if is_first {
                planner.swap_and_start(to.clone(), None, "the node asked for the version before", effects);
            } else {
                planner.current = to.clone();
                effects.push(Effect::Swap(to.clone()));
            }
        });
        for timer in [Timer::FirstReport, Timer::Progress, Timer::Healthy, Timer::Hook] {
            effects.push(Effect::CancelTimer(timer));
        }
        if is_first {
            effects.push(Effect::Notify(Notice::Downgraded { from, to }));
            return;
        }
        let reason = format!(
            "{from} {} and so asks for {to} again, which has asked for {from} since; neither has run for {} s in between (put {from} right, \
             or take it away)",
            how(exit),
            self.policy().healthy_after.0 / 1_000
        );
        self.failures = self.failures.max(self.ways_back.failures);
        self.failed(now, Some(exit), reason, effects);
        self.ways_back.failures = self.failures;
    }

    /// Orders with their record: behind them where the home itself says durably what was ordered, so that nothing stands between an exit
    /// and the exec that follows; before them elsewhere (VIS-01).
    pub(crate) fn recorded(
        &mut self,
        record: Record,
        effects: &mut Vec<Effect>,
        order: impl FnOnce(&mut Self, &mut Vec<Effect>),
    ) {
        if self.config.conventions.home_decides {
            order(self, effects);
            effects.push(Effect::Append(record));
        } else {
            effects.push(Effect::Append(record));
            order(self, effects);
        }
    }

    /// It has halted, was started again, and refused. That is no crash.
    fn refused_newer(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        if self.underway.is_some() {
            return false;
        }
        let known = self
            .halted
            .clone()
            .or_else(|| self.staging.scheduled().cloned())
            .or_else(|| {
                self.manual
                    .values()
                    .find(|plan| plan.version != self.current && !self.skipped.contains(&plan.height))
                    .cloned()
            });
        let Some(plan) = known.filter(|plan| plan.version != self.current && self.is_to_come(plan)) else {
            // Starting it again would not change its state: the operator has to name the version.
            self.needs_newer = true;
            for timer in [Timer::FirstReport, Timer::Progress, Timer::Healthy] {
                effects.push(Effect::CancelTimer(timer));
            }
            effects.push(Effect::Notify(Notice::NewerRequired {
                version: self.current.clone(),
            }));
            return true;
        };
        if self.halted.is_none() {
            let staged = self.staging.is_complete(&plan);
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
        true
    }

    fn exit_reason(&self, exit: Exit, companion: Option<&str>) -> String {
        if let Some(name) = companion {
            return format!("the companion {name} {} without having been told to", how(exit));
        }
        if let Some(underway) = self.underway.as_ref().filter(|_| self.is_migrating()) {
            return format!(
                "the migration from {} to {} {}, expected 0",
                underway.from,
                underway.plan.version,
                how(exit)
            );
        }
        let codes = self.config.conventions.exit_codes;
        match exit {
            Exit::Code(code) if Some(code) == codes.newer_required => {
                format!(
                    "the node exited with {code}: its state belongs to a newer version than {}",
                    self.current
                )
            }
            Exit::Code(code) if Some(code) == codes.older_required => {
                format!(
                    "the node exited with {code}: its state belongs to an older version than {}",
                    self.current
                )
            }
            Exit::Code(code) => format!("the node exited with code {code} without having been told to"),
            Exit::Signal(signal) => format!("the node was ended by signal {signal}"),
            Exit::Unknown => String::from("the node, adopted from an earlier visor, ended"),
        }
    }
}

/// In words, behind the name of what ended.
fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Unknown => String::from("ended in an unknown way"),
    }
}
