//! What the journal says, in the order of its records, and what the home says against it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use crate::plan::{Height, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::recover::{Migration, RecoverError};
use crate::rollback::{Rollback, RollbackStep};
use crate::staging::StagingArea;
use crate::status::{LastBackup, LastUpgrade};

/// An upgrade whose intent is written and whose end is not.
pub(crate) struct ToldUpgrade {
    pub(crate) plan: UpgradePlan,
    pub(crate) from: Version,
    pub(crate) at: Timestamp,
    pub(crate) backup_due: bool,
    /// The new version has been started, so that nothing before its start is done again.
    pub(crate) started: bool,
    /// The data is migrated to it.
    pub(crate) migrated: bool,
    pub(crate) failures: u32,
}

/// A rollback whose intent is written and whose end is not.
pub(crate) struct ToldRollback {
    pub(crate) rollback: Rollback,
    pub(crate) restored: bool,
}

/// What follows from the home's word.
#[derive(Default)]
pub(crate) struct Heeded {
    /// To be written down.
    pub(crate) record: Option<Record>,
    /// For the operator.
    pub(crate) problem: Option<String>,
}

/// What the records say, in their order.
#[derive(Default)]
pub(crate) struct Told {
    halt_is_durable: bool,
    pub(crate) current: Option<Version>,
    pub(crate) underway: Option<ToldUpgrade>,
    pub(crate) rollback: Option<ToldRollback>,
    pub(crate) rolled_back: Option<UpgradePlan>,
    pub(crate) halted: Option<UpgradePlan>,
    pub(crate) failures: u32,
    pub(crate) last_upgrade: Option<LastUpgrade>,
    pub(crate) last_backup: Option<LastBackup>,
    /// The hook after this upgrade has not ended.
    pub(crate) success_hook: Option<(UpgradePlan, Version)>,
    pub(crate) paused: bool,
    pub(crate) held: bool,
    pub(crate) skipped: BTreeSet<Height>,
    pub(crate) manual: BTreeMap<UpgradeId, UpgradePlan>,
}

impl Told {
    pub(crate) fn read(records: &[Record], halt_is_durable: bool, staging: &mut StagingArea) -> Self {
        let mut told = Self {
            halt_is_durable,
            ..Self::default()
        };
        for record in records {
            staging.remember(record);
            told.take_in(record, staging);
        }
        told
    }

    fn take_in(&mut self, record: &Record, staging: &mut StagingArea) {
        match record {
            Record::Scheduled { .. }
            | Record::Unscheduled { .. }
            | Record::Staged { .. }
            | Record::Stopped { .. }
            | Record::ShutDown { .. } => {}
            Record::Halted { plan } => self.halted = Some(plan.clone()),
            Record::UpgradeIntended {
                plan,
                from,
                at,
                backup,
            } => {
                self.underway = Some(ToldUpgrade {
                    plan: plan.clone(),
                    from: from.clone(),
                    at: *at,
                    backup_due: *backup,
                    started: false,
                    migrated: false,
                    failures: 0,
                });
                self.failures = 0;
                self.halted = None;
                self.rollback = None;
                self.rolled_back = None;
                self.success_hook = None;
            }
            Record::BackedUp {
                plan, from, backup, ..
            } => {
                self.backup_settled();
                self.last_backup = Some(LastBackup {
                    id: plan.id.clone(),
                    version: from.clone(),
                    height: plan.height,
                    backup: backup.clone(),
                });
            }
            Record::NotBackedUp { .. } => self.backup_settled(),
            Record::Migrated { .. } => {
                if let Some(underway) = &mut self.underway {
                    underway.migrated = true;
                }
            }
            Record::Downgraded { from, to, .. } => {
                self.ended(to);
                self.last_upgrade.take_if(|last| last.to == *from);
            }
            Record::Forced { version, .. } => {
                self.ended(version);
                self.failures = 0;
                self.rollback = None;
                self.rolled_back = None;
                self.last_upgrade.take_if(|last| last.to != *version);
            }
            Record::StartIntended { version, .. } => {
                self.current = Some(version.clone());
                if !self.halt_is_durable {
                    // It is only written when the operator wants no upgrade there: the node runs past the halt.
                    self.halted = None;
                }
            }
            Record::NodeStarted { version, .. } => {
                self.current = Some(version.clone());
                if let Some(underway) = &mut self.underway
                    && underway.plan.version == *version
                {
                    underway.started = true;
                }
            }
            Record::NodeFailed { .. } => {
                self.failures = self.failures.saturating_add(1);
                if let Some(underway) = &mut self.underway {
                    underway.failures = underway.failures.saturating_add(1);
                }
            }
            // Whoever starts visor again after it gave up wants it to try again.
            Record::Healthy { .. } | Record::GaveUp { .. } => self.failures = 0,
            Record::UpgradeCompleted { plan, .. } => {
                staging.done(&plan.id);
                self.completed(record);
            }
            Record::SuccessHookEnded { .. } => self.success_hook = None,
            Record::RollbackIntended {
                plan,
                from,
                reason,
                by_hand,
                ..
            } => {
                self.failures = 0;
                self.success_hook = None;
                self.rollback = Some(ToldRollback {
                    rollback: Rollback {
                        plan: plan.clone(),
                        from: from.clone(),
                        step: RollbackStep::Stopping,
                        reason: reason.clone(),
                        by_hand: *by_hand,
                        blocked: None,
                    },
                    restored: false,
                });
            }
            Record::RollbackAllowed { .. } => {
                self.held = false;
                if let Some(told) = &mut self.rollback {
                    told.rollback.step = RollbackStep::Restoring;
                }
            }
            Record::RollbackRefused { .. } => self.rollback = None,
            Record::Restored { .. } => {
                if let Some(told) = &mut self.rollback {
                    told.rollback.step = RollbackStep::Starting;
                    told.restored = true;
                }
                self.underway = None;
                self.halted = None;
            }
            Record::RolledBack { plan, from, .. } => {
                self.rollback = None;
                self.last_upgrade = None;
                self.current = Some(from.clone());
                self.skipped.insert(plan.height);
                self.rolled_back = Some(plan.clone());
            }
            Record::ManualPlanned { plan, .. } => {
                self.manual.insert(plan.id.clone(), plan.clone());
            }
            Record::Skipped { height, .. } => {
                self.skipped.insert(*height);
            }
            Record::Unskipped { height, .. } => {
                self.skipped.remove(height);
                self.rolled_back.take_if(|plan| plan.height == *height);
            }
            Record::Paused { .. } => self.paused = true,
            Record::Resumed { .. } => self.paused = false,
            Record::NodeHeld { .. } => self.held = true,
            Record::NodeReleased { .. } => {
                self.held = false;
                self.failures = 0;
            }
        }
    }

    /// Nothing is under way any more, and this version goes on.
    fn ended(&mut self, version: &Version) {
        self.current = Some(version.clone());
        self.underway = None;
        self.halted = None;
        self.success_hook = None;
    }

    fn backup_settled(&mut self) {
        if let Some(underway) = &mut self.underway {
            underway.backup_due = false;
        }
    }

    fn completed(&mut self, record: &Record) {
        let Record::UpgradeCompleted {
            plan,
            from,
            node_down_ms,
            exit_to_exec_us,
            stop_ms,
            restarts,
            hook,
        } = record
        else {
            return;
        };
        self.current = Some(plan.version.clone());
        self.underway = None;
        self.halted = None;
        self.manual.retain(|_, other| other.height > plan.height);
        self.success_hook = hook.then(|| (plan.clone(), from.clone()));
        self.last_upgrade = Some(LastUpgrade {
            id: plan.id.clone(),
            from: from.clone(),
            to: plan.version.clone(),
            height: plan.height,
            node_down_ms: *node_down_ms,
            exit_to_exec_us: *exit_to_exec_us,
            stop_ms: *stop_ms,
            restarts: *restarts,
        });
    }

    /// The version that `current` leads to, or will.
    pub(crate) fn current(&self, found: Option<&Version>) -> Result<Version, RecoverError> {
        // The intents cover the swap: wherever the link points, it is moved again.
        if let Some(told) = &self.rollback {
            let expected = if told.restored {
                &told.rollback.from
            } else {
                &told.rollback.plan.version
            };
            return Ok(found.unwrap_or(expected).clone());
        }
        if let Some(underway) = &self.underway {
            return Ok(found.unwrap_or(&underway.from).clone());
        }
        match (&self.current, found) {
            (Some(expected), Some(found)) if expected != found => Err(RecoverError::UnexpectedCurrent {
                expected: expected.clone(),
                found: found.clone(),
            }),
            (_, Some(found)) => Ok(found.clone()),
            (Some(expected), None) => Ok(expected.clone()),
            (None, None) => Err(RecoverError::NoCurrent),
        }
    }

    /// The version that counts is the home's, and what the home contradicts is over.
    pub(crate) fn heed_home(
        &mut self,
        now: Timestamp,
        found: Option<&Version>,
        migrating: Option<&Migration>,
        staging: &mut StagingArea,
    ) -> Heeded {
        if let Some(migration) = migrating {
            return self.heed_migration(now, migration, staging);
        }
        let Some(found) = found else {
            return Heeded::default();
        };
        self.current = Some(found.clone());
        let fits = |plan: &UpgradePlan, from: &Version| *found == plan.version || *found == *from;
        let upgrade = self.underway.take_if(|told| !fits(&told.plan, &told.from));
        // Half the data may be restored: that is no state to leave.
        let rollback = self.rollback.take_if(|told| {
            told.rollback.step != RollbackStep::Restoring && !fits(&told.rollback.plan, &told.rollback.from)
        });
        self.halted.take_if(|plan| plan.version == *found);
        let what = match (upgrade, rollback) {
            (_, Some(told)) => format!("the rollback to {}", told.rollback.from),
            (Some(told), None) => format!("the upgrade to {}", told.plan.version),
            (None, None) => return Heeded::default(),
        };
        let record = Record::Forced {
            version: found.clone(),
            at: now,
        };
        self.take_in(&record, staging);
        Heeded {
            record: Some(record),
            problem: Some(format!(
                "the home names {found} as the version to run: {what}, which the journal says to be under way, is not carried on"
            )),
        }
    }

    /// A migration that was begun is carried to its end, whoever began it.
    fn heed_migration(&mut self, now: Timestamp, migration: &Migration, staging: &mut StagingArea) -> Heeded {
        let Migration { from, plan } = migration;
        // The home knows versions, and nothing of the name that the journal has for it.
        let is_it = |to: &UpgradePlan, old: &Version| to.version == plan.version && old == from;
        self.current = Some(from.clone());
        self.halted = None;
        let is_other = |told: &mut ToldRollback| {
            told.rollback.step != RollbackStep::Restoring && !is_it(&told.rollback.plan, &told.rollback.from)
        };
        if self.rollback.take_if(is_other).is_some() {
            self.underway = None;
        }
        let is_known = self
            .underway
            .as_ref()
            .is_some_and(|told| is_it(&told.plan, &told.from));
        // A rollback of it goes on: the home names the version before once that is started.
        let record = if is_known || self.rollback.is_some() {
            None
        } else {
            let record = Record::UpgradeIntended {
                plan: plan.clone(),
                from: from.clone(),
                at: now,
                backup: false,
            };
            self.take_in(&record, staging);
            Some(record)
        };
        if let Some(told) = &mut self.underway {
            // The new version's binary has the data.
            told.started = true;
        }
        Heeded {
            record,
            problem: None,
        }
    }
}
