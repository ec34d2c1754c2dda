//! Back to the version and the data of before an upgrade (VIS-11): both together or neither, and only while nothing above H was signed
//! by this host. A validator that signs a height twice is slashed, so what is not proven counts as signed.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::backup::FirstPass;
use crate::config::BackupPolicy;
use crate::effect::{Effect, Notice, Timer};
use crate::hook::BeforeStop;
use crate::plan::{Height, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::step::{Node, Planner};
use crate::upgrade::Underway;

/// How far a rollback has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollbackStep {
    /// The new version is being stopped.
    Stopping,
    /// Its binary is asked what this host has signed.
    Checking,
    /// The backup is put back.
    Restoring,
    /// The previous version is started.
    Starting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback {
    pub(crate) plan: UpgradePlan,
    /// The version that comes back.
    pub(crate) from: Version,
    pub(crate) step: RollbackStep,
    pub(crate) reason: String,
    pub(crate) by_hand: bool,
    /// Why the restore has not succeeded yet.
    pub(crate) blocked: Option<String>,
}

impl Planner {
    /// Writes down the intent of a rollback. The caller stops the node, or goes on when there is none.
    ///
    /// # Errors
    /// In words, why it is refused; then nothing has changed.
    pub(crate) fn begin_rollback(
        &mut self,
        now: Timestamp,
        plan: &UpgradePlan,
        from: Version,
        reason: String,
        by_hand: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if self.underway.as_ref().is_some_and(Underway::is_worked_on) {
            return Err(String::from(
                "a backup or the hook before the start is at work on the node's data; order it again once that has ended",
            ));
        }
        let backup = self.last_backup.as_ref().filter(|backup| backup.id == plan.id);
        if backup.is_none() {
            return Err(format!(
                "there is no backup of before the upgrade to {}, and version and data only go back together",
                plan.version
            ));
        }
        for timer in [
            Timer::Restart,
            Timer::FirstReport,
            Timer::Progress,
            Timer::Healthy,
            Timer::Hook,
            Timer::Backup,
        ] {
            effects.push(Effect::CancelTimer(timer));
        }
        effects.push(Effect::Append(Record::RollbackIntended {
            plan: plan.clone(),
            from: from.clone(),
            reason: reason.clone(),
            by_hand,
            at: now,
        }));
        effects.push(Effect::Notify(Notice::RollingBack {
            from: plan.version.clone(),
            to: from.clone(),
            reason: reason.clone(),
        }));
        self.retrying = false;
        self.failures = 0;
        self.after_success = None;
        if let BeforeStop::Failed(_) = self.before_stop {
            self.before_stop = BeforeStop::NotRun;
        }
        self.rollback = Some(Rollback {
            plan: plan.clone(),
            from,
            step: RollbackStep::Stopping,
            reason,
            by_hand,
            blocked: None,
        });
        Ok(())
    }

    /// The next order of a rollback while no node runs.
    pub(crate) fn go_on_with_rollback(&mut self, effects: &mut Vec<Effect>) {
        let Some(rollback) = &mut self.rollback else {
            return;
        };
        rollback.blocked = None;
        match rollback.step {
            RollbackStep::Stopping | RollbackStep::Checking => {
                rollback.step = RollbackStep::Checking;
                effects.push(Effect::AskSignedHeight {
                    version: rollback.plan.version.clone(),
                });
            }
            RollbackStep::Restoring => {
                effects.push(Effect::Restore {
                    plan: rollback.plan.clone(),
                    from: rollback.from.clone(),
                });
                // It takes the place of any pass, and what one has copied is no longer the data.
                self.first_pass = FirstPass::NotBegun;
            }
            RollbackStep::Starting => {
                let version = rollback.from.clone();
                self.swap_and_start(version, None, "rollback", effects);
            }
        }
    }

    pub(crate) fn signed_height(
        &mut self,
        now: Timestamp,
        signed: Result<Height, String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(rollback) = self
            .rollback
            .as_mut()
            .filter(|rollback| rollback.step == RollbackStep::Checking)
        else {
            return;
        };
        let height = rollback.plan.height;
        let refusal = match signed {
            Ok(signed) if signed <= height => {
                rollback.step = RollbackStep::Restoring;
                self.held = false;
                effects.push(Effect::Append(Record::RollbackAllowed { signed, at: now }));
                self.go_on(now, effects);
                return;
            }
            Ok(signed) => format!(
                "this host has signed for height {signed}, above the upgrade height {height}: going back could make it sign twice"
            ),
            Err(problem) => format!(
                "nothing proves that this host has signed nothing above the upgrade height {height}: {problem}"
            ),
        };
        self.refuse_rollback(now, refusal, effects);
    }

    fn refuse_rollback(&mut self, now: Timestamp, refusal: String, effects: &mut Vec<Effect>) {
        let Some(rollback) = self.rollback.take() else {
            return;
        };
        effects.push(Effect::Append(Record::RollbackRefused {
            reason: refusal.clone(),
            at: now,
        }));
        effects.push(Effect::Notify(Notice::RollbackFailed {
            to: rollback.from,
            reason: refusal.clone(),
        }));
        let reason = format!("{}; nothing is rolled back: {refusal}", rollback.reason);
        if rollback.by_hand {
            self.last_failure = Some(reason);
            self.go_on(now, effects);
        } else {
            self.give_up(now, reason, effects);
        }
    }

    pub(crate) fn restored(&mut self, now: Timestamp, upgrade: &UpgradeId, effects: &mut Vec<Effect>) {
        let Some(rollback) = self.restoring(upgrade) else {
            return;
        };
        rollback.step = RollbackStep::Starting;
        self.underway = None;
        self.halted = None;
        effects.push(Effect::Append(Record::Restored { at: now }));
        self.go_on(now, effects);
    }

    pub(crate) fn restore_failed(&mut self, upgrade: &UpgradeId, reason: String, effects: &mut Vec<Effect>) {
        let retry_delay = match self.config.backup {
            BackupPolicy::On { retry_delay, .. } => retry_delay,
            // Taken out of the configuration since the backup was made.
            BackupPolicy::Off => self.config.hooks.retry_delay,
        };
        let Some(rollback) = self.restoring(upgrade) else {
            return;
        };
        rollback.blocked = Some(format!(
            "the backup cannot be restored, which is tried again: {reason}"
        ));
        effects.push(Effect::Notify(Notice::RollbackFailed {
            to: rollback.from.clone(),
            reason,
        }));
        effects.push(Effect::SetTimer(Timer::Backup, retry_delay));
    }

    fn restoring(&mut self, upgrade: &UpgradeId) -> Option<&mut Rollback> {
        self.rollback
            .as_mut()
            .filter(|rollback| rollback.step == RollbackStep::Restoring && rollback.plan.id == *upgrade)
    }

    /// The previous version runs.
    pub(crate) fn rolled_back(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(rollback) = self.rollback.take() else {
            return;
        };
        let plan = rollback.plan;
        effects.push(Effect::Append(Record::RolledBack {
            plan: plan.clone(),
            from: rollback.from.clone(),
            at: now,
        }));
        effects.push(Effect::Notify(Notice::RolledBack {
            from: plan.version.clone(),
            to: rollback.from,
            height: plan.height,
        }));
        self.skipped.insert(plan.height);
        self.last_upgrade = None;
        self.last_failure = Some(rollback.reason);
        self.no_progress = false;
        self.rolled_back = Some(plan);
    }

    /// The operator's order, with what it sets in motion.
    pub(crate) fn order_rollback(
        &mut self,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        then: &mut Vec<Effect>,
    ) -> Result<String, String> {
        if self.rollback.is_some() {
            return Err(String::from("a rollback is under way"));
        }
        let undone = self
            .underway
            .as_ref()
            .map(|underway| (underway.plan.clone(), underway.from.clone()))
            .or_else(|| {
                self.last_upgrade.as_ref().map(|last| {
                    let plan = UpgradePlan {
                        id: last.id.clone(),
                        version: last.to.clone(),
                        height: last.height,
                    };
                    (plan, last.from.clone())
                })
            });
        let Some((plan, from)) = undone else {
            return Err(String::from(
                "the journal knows no upgrade that could be undone (a rollback undoes the last one)",
            ));
        };
        let done = format!(
            "rolling back from {} to {from}: the node is stopped, then it is proved that this host has signed nothing above \
             height {}, then the backup and the version are restored",
            plan.version, plan.height
        );
        self.begin_rollback(
            now,
            &plan,
            from,
            String::from("ordered by the operator"),
            true,
            effects,
        )?;
        match self.node {
            Node::Running { .. } => self.stop_node(then),
            Node::Absent => self.go_on(now, then),
            Node::Starting | Node::Stopping { .. } => {}
        }
        Ok(done)
    }
}
