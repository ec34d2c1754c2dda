//! Between the old version's end and the new version's start some systems let the new version's binary migrate the data, as a process of
//! its own. It counts as the node while it runs: never beside another. Its outcome is its exit code; what it did is never looked at, and it
//! is repeated until it has ended with 0.

use alloc::vec::Vec;

use crate::effect::Effect;
use crate::plan::Timestamp;
use crate::record::Record;
use crate::step::{Node, Planner};
use crate::upgrade::{Step, Underway};

impl Underway {
    /// Adds the time that one start took. Only the first way from the old process to the new one counts.
    pub(crate) fn count_exec(&mut self, exit_to_exec_us: Option<u64>) {
        if self.restarts == 0 {
            self.exit_to_exec_us = self.exit_to_exec_us.saturating_add(exit_to_exec_us.unwrap_or(0));
        }
    }
}

impl Planner {
    /// The process that runs, or is started, or was running until now, is a migration.
    pub(crate) fn is_migrating(&self) -> bool {
        self.underway
            .as_ref()
            .is_some_and(|underway| underway.step == Step::Migrating)
    }

    /// No node runs.
    pub(crate) fn migrate(&mut self, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        underway.step = Step::Migrating;
        self.node = Node::Starting;
        effects.push(Effect::Migrate {
            from: underway.from.clone(),
            to: underway.plan.version.clone(),
        });
    }

    /// Nothing is written down: the journal would say that the new version runs. It may take as long as it needs.
    pub(crate) fn migration_started(&mut self, exit_to_exec_us: Option<u64>, effects: &mut Vec<Effect>) {
        if let Some(underway) = &mut self.underway {
            underway.count_exec(exit_to_exec_us);
        }
        if self.stopping || self.held || self.rollback.is_some() {
            self.stop_node(effects);
        }
    }

    /// It has ended with 0 of its own accord.
    pub(crate) fn migrated(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(underway) = &mut self.underway {
            underway.migration_due = false;
        }
        self.recorded(Record::Migrated { at: now }, effects, Self::go_on_with_upgrade);
    }
}
