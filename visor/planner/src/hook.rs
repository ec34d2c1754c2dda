//! The operator's programs around an upgrade, and what their failure means for it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::HookPolicy;
use crate::effect::{Effect, Hook, Notice, Timer};
use crate::plan::{Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::step::{Node, Planner};
use crate::upgrade::Step;

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

    /// What the hook before the stop has said is about another halt.
    pub(crate) fn forget_before_stop(&mut self) {
        self.before_stop = match self.before_stop {
            BeforeStop::Running | BeforeStop::Outdated => BeforeStop::Outdated,
            BeforeStop::NotRun | BeforeStop::Failed(_) | BeforeStop::Passed => BeforeStop::NotRun,
        };
    }

    pub(crate) fn before_stop_passed(&mut self, plan: &UpgradePlan, effects: &mut Vec<Effect>) -> bool {
        if self.config.hooks.before_stop == HookPolicy::Off {
            return true;
        }
        if self.config.conventions.exit_codes.upgrade.is_some() && self.node == Node::Absent {
            // It has ended for the upgrade by itself: there is nothing to stop.
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
        let blocked = self.rollback.is_none()
            && self
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
