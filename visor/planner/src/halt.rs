//! A node that has halted: what is known of it, and what keeps it from running past H.

use alloc::vec::Vec;

use crate::effect::{Effect, ExitReason, Notice, Timer};
use crate::plan::{Timestamp, UpgradePlan};
use crate::record::Record;
use crate::step::{Node, Planner};

impl Planner {
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

    /// A halt is seen. What follows from it is ordered too.
    pub(crate) fn halted_at(&mut self, now: Timestamp, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        let staged = self.staging.is_complete(&plan);
        effects.push(Effect::Notify(Notice::Halted {
            height: plan.height,
            version: plan.version.clone(),
            staged,
        }));
        self.forget_before_stop();
        self.halted = Some(plan.clone());
        let mut then = Vec::new();
        self.first_pass_if_near(&mut then);
        self.upgrade_if_ready(now, &mut then);
        // Otherwise the intent says it in the same breath, or the node would say it again.
        let is_told = self.underway.is_some() || (staged && self.config.conventions.halt_is_durable);
        if !is_told {
            effects.push(Effect::Append(Record::Halted { plan }));
        }
        effects.append(&mut then);
    }

    /// Nothing but visor keeps this node from running past the height of the operator's own upgrade.
    pub(crate) fn keep_from_passing(&mut self, effects: &mut Vec<Effect>) {
        if core::mem::take(&mut self.retrying) {
            effects.push(Effect::CancelTimer(Timer::Restart));
        }
        self.last_failure = None;
        self.stop_node(effects);
    }

    /// A node has ended, by itself or not, at the height of an upgrade without having said that it halts. It would forget it, so that
    /// nobody could say it later.
    pub(crate) fn see_halt(&mut self, effects: &mut Vec<Effect>) {
        if let Some(plan) = self.reached_halt() {
            self.halted_unseen(plan, effects);
        }
    }

    /// Nothing was started: the node before had halted, and ended before it could say so.
    pub(crate) fn halt_found(&mut self, now: Timestamp, plan: &UpgradePlan, effects: &mut Vec<Effect>) {
        if self.node != Node::Starting {
            return;
        }
        self.node = Node::Absent;
        // Meanwhile the operator may have said that this upgrade is not to be; then it is started after all.
        if self.unseen_halt().as_ref() == Some(plan) {
            self.halted_unseen(plan.clone(), effects);
        }
        if self.stopping {
            effects.push(Effect::Append(Record::Stopped { at: now }));
            effects.push(Effect::Exit(ExitReason::Stopped));
            return;
        }
        self.go_on(now, effects);
    }

    fn halted_unseen(&mut self, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        effects.push(Effect::Append(Record::Halted { plan: plan.clone() }));
        effects.push(Effect::Notify(Notice::Halted {
            height: plan.height,
            version: plan.version.clone(),
            staged: self.staging.is_complete(&plan),
        }));
        self.forget_before_stop();
        self.halted = Some(plan);
    }

    /// A halt may have come and gone unseen.
    fn may_forget_halt(&self) -> bool {
        !self.config.conventions.halt_is_durable
            && self.halted.is_none()
            && self.underway.is_none()
            && self.rollback.is_none()
    }

    /// It would be one for this version.
    fn would_halt_for(&self, plan: &UpgradePlan) -> bool {
        plan.version != self.current && !self.skipped.contains(&plan.height) && self.is_to_come(plan)
    }

    /// The upgrade whose height the last report named.
    fn reached_halt(&self) -> Option<UpgradePlan> {
        if !self.may_forget_halt() {
            return None;
        }
        let reached = self.staging.in_order().into_iter().find(|known| {
            known.standing.is_accepted()
                && known.plan.height <= self.height
                && self.would_halt_for(&known.plan)
        });
        reached.map(|known| known.plan.clone())
    }

    /// The upgrade for which the node may have halted since its last report, or while no visor ran.
    pub(crate) fn unseen_halt(&self) -> Option<UpgradePlan> {
        let accepted = self.staging.scheduled().filter(|_| self.may_forget_halt())?;
        self.would_halt_for(accepted).then(|| accepted.clone())
    }

    /// The old version would forget its halt when it is started again, and run on; so it is not, unless the operator has said that this
    /// upgrade is not to be.
    pub(crate) fn waits_at_halt(&self) -> bool {
        !self.config.conventions.halt_is_durable
            && self.underway.is_none()
            && self.rollback.is_none()
            && self
                .halted
                .as_ref()
                .is_some_and(|plan| !self.skipped.contains(&plan.height))
    }

    /// No node runs, and none is started before the new version may be.
    pub(crate) fn wait_at_halt(&mut self, effects: &mut Vec<Effect>) {
        if core::mem::take(&mut self.retrying) {
            effects.push(Effect::CancelTimer(Timer::Restart));
        }
        if let Some(plan) = &self.halted {
            // No node is there to name it.
            effects.extend(self.staging.want(plan));
        }
    }
}
