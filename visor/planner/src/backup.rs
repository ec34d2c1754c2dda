//! The two passes of a backup, and what their failure means for the upgrade.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::BackupPolicy;
use crate::effect::{Effect, Notice, Pass, Timer};
use crate::plan::{Backup, Timestamp, UpgradeId, UpgradePlan};
use crate::record::Record;
use crate::status::LastBackup;
use crate::step::{Node, Planner};
use crate::upgrade::{Step, Underway};

/// The first pass of the backup, while the node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstPass {
    NotBegun,
    Running(UpgradeId),
    /// Done, or failed: then the second pass copies more.
    Over(UpgradeId),
}

impl Planner {
    /// While the halted node still serves its peers everything is copied, so that little is left for the time without it.
    pub(crate) fn first_pass_over(&mut self, plan: &UpgradePlan, effects: &mut Vec<Effect>) -> bool {
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

    pub(crate) fn first_pass_if_near(&mut self, effects: &mut Vec<Effect>) {
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

    pub(crate) fn begin_first_pass(&mut self, plan: UpgradePlan, effects: &mut Vec<Effect>) {
        self.first_pass = FirstPass::Running(plan.id.clone());
        effects.push(Effect::BackUp {
            plan,
            from: self.current.clone(),
            pass: Pass::First,
        });
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

    pub(crate) fn first_pass_ended(
        &mut self,
        now: Timestamp,
        upgrade: &UpgradeId,
        effects: &mut Vec<Effect>,
    ) {
        if self.first_pass == FirstPass::Running(upgrade.clone()) {
            self.first_pass = FirstPass::Over(upgrade.clone());
            self.upgrade_if_ready(now, effects);
        }
    }

    pub(crate) fn awaiting_backup(&mut self, upgrade: &UpgradeId) -> Option<&mut Underway> {
        self.underway
            .as_mut()
            .filter(|underway| underway.step == Step::BackingUp && underway.plan.id == *upgrade)
    }
}
