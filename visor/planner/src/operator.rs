//! What the operator orders. Every order that changes something is durable before it is answered.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::{Answer, Effect, ExitReason, Timer};
use crate::exit::WaysBack;
use crate::hook::BeforeStop;
use crate::input::Order;
use crate::plan::{Height, Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::step::{Node, Planner};

/// In words what was done, or why nothing was.
type Outcome = Result<String, String>;

impl Planner {
    pub(crate) fn ordered(&mut self, now: Timestamp, ticket: u64, order: Order, effects: &mut Vec<Effect>) {
        // What the order sets in motion comes after its answer.
        let mut then = Vec::new();
        let outcome = match order {
            Order::StageNow => self.stage_now(&mut then),
            Order::Skip(height) => self.skip(now, height, effects, &mut then),
            Order::Unskip(height) => self.unskip(now, height, effects, &mut then),
            Order::UpgradeAt { height, version } => self.upgrade_at(now, height, version, effects, &mut then),
            Order::Pause => Ok(self.pause(now, effects, &mut then)),
            Order::Resume => Ok(self.resume(now, effects, &mut then)),
            Order::StopNode => self.hold(now, effects, &mut then),
            Order::StartNode => self.release(now, effects, &mut then),
            Order::Rollback => self.order_rollback(now, effects, &mut then),
            Order::SelfRestart if self.stopping => Err(String::from("visor is being stopped")),
            Order::SelfRestart => {
                then.push(Effect::Exit(ExitReason::SelfRestart));
                Ok(String::from("visor starts anew; the node runs on"))
            }
        };
        let answer = match outcome {
            Ok(done) => Answer::Done(done),
            Err(reason) => Answer::Refused(reason),
        };
        effects.push(Effect::Answer { ticket, answer });
        effects.append(&mut then);
    }

    fn stage_now(&mut self, then: &mut Vec<Effect>) -> Outcome {
        let again = self.staging.again();
        if again.is_empty() {
            return Err(match self.staging.next() {
                Some(known) => format!(
                    "{} is staged already, or nothing can be fetched for it",
                    known.plan.version
                ),
                None => String::from("no upgrade is known"),
            });
        }
        then.extend(again);
        Ok(String::from("staging begins again now; see `visor plan`"))
    }

    fn skip(
        &mut self,
        now: Timestamp,
        height: Height,
        effects: &mut Vec<Effect>,
        then: &mut Vec<Effect>,
    ) -> Outcome {
        if let Some(underway) = self
            .underway
            .as_ref()
            .filter(|underway| underway.plan.height == height)
        {
            return Err(format!(
                "the upgrade to {} at height {height} has begun and is carried to its end; `visor rollback` is the way back",
                underway.plan.version
            ));
        }
        if !self.skipped.insert(height) {
            return Ok(format!("height {height} was skipped already"));
        }
        effects.push(Effect::Append(Record::Skipped { height, at: now }));
        if self
            .halted
            .take_if(|plan| {
                // A halt that the node would forget is kept in mind: the operator may take the word back.
                self.config.conventions.halt_is_durable
                    && plan.height == height
                    && self.manual.contains_key(&plan.id)
            })
            .is_some()
        {
            // Only visor has made anything of this height.
            self.forget_before_stop();
            self.start_on_exit =
                matches!(self.node, Node::Stopping { .. }) && self.underway.is_none() && !self.held;
        }
        self.start_if_idle(now, then);
        Ok(format!(
            "the upgrade at height {height} will not be carried out; a node that halts there stays halted until `visor skip --undo {height}`"
        ))
    }

    fn unskip(
        &mut self,
        now: Timestamp,
        height: Height,
        effects: &mut Vec<Effect>,
        then: &mut Vec<Effect>,
    ) -> Outcome {
        if !self.skipped.remove(&height) {
            return Err(format!("height {height} is not skipped"));
        }
        if self
            .rolled_back
            .as_ref()
            .is_some_and(|plan| plan.height == height)
        {
            self.rolled_back = None;
        }
        effects.push(Effect::Append(Record::Unskipped { height, at: now }));
        if self.halted.is_none()
            && self.underway.is_none()
            && matches!(self.node, Node::Running { .. })
            && let Some(plan) = self.manual_due()
        {
            self.halted_at(now, plan, then);
        } else {
            self.upgrade_if_ready(now, then);
        }
        Ok(format!("the upgrade at height {height} will be carried out"))
    }

    fn upgrade_at(
        &mut self,
        now: Timestamp,
        height: Height,
        version: Version,
        effects: &mut Vec<Effect>,
        then: &mut Vec<Effect>,
    ) -> Outcome {
        if version == self.current {
            return Err(format!(
                "{version} is the version that runs; expected another one"
            ));
        }
        if height <= self.height || height == Height(0) {
            return Err(format!(
                "expected a height above the node's, which is {}, found {height}",
                self.height
            ));
        }
        if self.skipped.contains(&height) {
            return Err(format!(
                "height {height} is skipped; `visor skip --undo {height}` comes first"
            ));
        }
        if let Some(other) = self.staging.at_height(height) {
            return Err(format!(
                "an upgrade to {} is known for height {height}",
                other.version
            ));
        }
        let plan = UpgradePlan::manual(height, version.clone());
        self.manual.insert(plan.id.clone(), plan.clone());
        effects.push(Effect::Append(Record::ManualPlanned {
            plan: plan.clone(),
            at: now,
        }));
        then.extend(self.staging.learn_manual(&plan));
        if core::mem::take(&mut self.needs_newer) {
            // The node has refused to go on with less: its height is reached.
            self.halted = Some(plan);
            self.upgrade_if_ready(now, then);
        }
        Ok(format!(
            "after block {height} this host goes on with {version}, from the folder v{version}; `visor skip {height}` takes it back. The \
             node must halt at this height by itself if it must not execute block {} before it is stopped",
            height.0.saturating_add(1)
        ))
    }

    /// Starts a node that nothing but an upgrade that may no longer begin has kept from being started.
    fn start_if_idle(&mut self, now: Timestamp, then: &mut Vec<Effect>) {
        let ends_again = self.config.conventions.exit_codes.upgrade.is_some()
            && self.halted.as_ref().is_some_and(|plan| !self.is_manual(plan));
        let idle = self.underway.is_none() && self.rollback.is_none() && !self.retrying && !ends_again;
        if idle && (self.halted.is_none() || !self.may_begin()) {
            self.go_on(now, then);
        }
    }

    fn pause(&mut self, now: Timestamp, effects: &mut Vec<Effect>, then: &mut Vec<Effect>) -> String {
        if self.paused {
            return String::from("paused already");
        }
        self.paused = true;
        effects.push(Effect::Append(Record::Paused { at: now }));
        if self.underway.is_some() {
            return String::from(
                "no further upgrade begins until `visor resume`; the one that has begun is carried to its end",
            );
        }
        self.start_if_idle(now, then);
        String::from("no upgrade begins until `visor resume`; staging and restarts go on")
    }

    fn resume(&mut self, now: Timestamp, effects: &mut Vec<Effect>, then: &mut Vec<Effect>) -> String {
        if !self.paused {
            return String::from("not paused");
        }
        self.paused = false;
        effects.push(Effect::Append(Record::Resumed { at: now }));
        self.upgrade_if_ready(now, then);
        String::from("upgrades are carried out again")
    }

    fn hold(&mut self, now: Timestamp, effects: &mut Vec<Effect>, then: &mut Vec<Effect>) -> Outcome {
        if self.held {
            return Ok(String::from("the node is kept stopped already"));
        }
        if self.rollback.is_some() {
            return Err(String::from("a rollback is under way; wait until it has ended"));
        }
        self.held = true;
        self.start_on_exit = false;
        self.retrying = false;
        effects.push(Effect::Append(Record::NodeHeld { at: now }));
        for timer in [
            Timer::Restart,
            Timer::FirstReport,
            Timer::Progress,
            Timer::Healthy,
        ] {
            then.push(Effect::CancelTimer(timer));
        }
        self.stop_node(then);
        Ok(String::from(
            "the node is stopped and stays so, also when visor is started again, until `visor start-node`",
        ))
    }

    fn release(&mut self, now: Timestamp, effects: &mut Vec<Effect>, then: &mut Vec<Effect>) -> Outcome {
        if !self.held {
            return Err(String::from("the node is not kept stopped"));
        }
        self.held = false;
        self.failures = 0;
        self.ways_back = WaysBack::default();
        self.last_failure = None;
        effects.push(Effect::Append(Record::NodeReleased { at: now }));
        if self.rollback.is_some() {
            // What it has ordered is under way, and it ends with a node that runs.
            return Ok(String::from(
                "a rollback is under way; the node is started when it has ended",
            ));
        }
        match self.node {
            Node::Absent => {
                if let BeforeStop::Failed(_) = self.before_stop {
                    self.before_stop = BeforeStop::NotRun;
                }
                self.needs_newer = false;
                self.go_on(now, then);
                Ok(match &self.halted {
                    Some(plan) if self.waits_at_halt() => format!(
                        "the node is no longer kept stopped; it halted at height {} and only {} is started, once nothing stands in its way",
                        plan.height, plan.version
                    ),
                    Some(_) | None => String::from("the node is started"),
                })
            }
            // Its exit is still to come, and is answered by a start.
            Node::Stopping { .. } => {
                self.start_on_exit = true;
                Ok(String::from(
                    "the node is still being stopped; it is started right after",
                ))
            }
            Node::Starting | Node::Running { .. } => Ok(String::from("the node runs")),
        }
    }
}
