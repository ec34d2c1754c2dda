//! What differs between chain systems: nodes that end to be upgraded and migrations before a start, or nodes that forget their halt.

use std::ops::Bound::{Excluded, Unbounded};

use visor_planner::{
    Effect, Exit, Height, Hook, Input, Migration, Neighbour, Record, UpgradeId, UpgradePlan, Version,
};

use super::rules::Durable;
use super::{NodeProcess, World};

/// What an old node asked for by its end, while somebody watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) which: Neighbour,
    pub(super) of: Version,
}

impl World {
    /// Nodes end to be upgraded, and the home says what is to run.
    pub(super) fn nodes_end(&self) -> bool {
        self.config.conventions.home_decides
    }

    /// An old node that is started again past H runs on.
    pub(super) fn nodes_forget(&self) -> bool {
        !self.config.conventions.halt_is_durable
    }

    /// The node has halted and would forget it, and no record says so or for what it would: whoever ends it now leaves nobody who knows.
    pub(super) fn is_halt_unknown(&self) -> bool {
        let halt = self
            .node
            .as_ref()
            .filter(|_| self.nodes_forget())
            .and_then(|node| self.halt(&node.version));
        halt.is_some_and(|plan| {
            Durable::read(&self.records).scheduled.as_ref() != Some(&plan)
                && !self.records.iter().any(|record| {
                    matches!(record, Record::Halted { plan: known } | Record::UpgradeIntended { plan: known, .. } if *known == plan)
                })
        })
    }

    /// The chain has taken an upgrade back whose height is just reached, and the journal does not say so: what the node leaves behind is
    /// what a halt leaves behind.
    pub(super) fn looks_halted(&self) -> bool {
        let known = Durable::read(&self.records).scheduled;
        let node = self.node.as_ref().filter(|_| self.nodes_forget());
        node.is_some_and(|node| {
            known.is_some_and(|plan| self.tells_halt(&plan)) && self.halt(&node.version).is_none()
        })
    }

    /// What the node's files say once it is down: H is the last block, and the old version made it.
    pub(super) fn tells_halt(&self, plan: &UpgradePlan) -> bool {
        self.data.height == plan.height.0 && self.data.writer < plan.version
    }

    fn neighbour(&self, of: &Version, which: Neighbour) -> Option<&Version> {
        match which {
            Neighbour::Next => self.folders.range((Excluded(of), Unbounded)).next(),
            Neighbour::Previous => self.folders.range((Unbounded, Excluded(of))).next_back(),
        }
    }

    fn plan_of(&self, version: &Version) -> UpgradePlan {
        let planned = self
            .script
            .plans
            .iter()
            .find(|planned| planned.plan.version == *version);
        planned.map_or_else(
            || UpgradePlan {
                id: UpgradeId(version.0.clone()),
                version: version.clone(),
                height: Height(self.data.height),
            },
            |planned| planned.plan.clone(),
        )
    }

    pub(super) fn migration(&self) -> Option<Migration> {
        self.migrating.as_ref().map(|(from, to)| Migration {
            from: from.clone(),
            plan: self.plan_of(to),
        })
    }

    /// The code that the node ends with by itself.
    pub(super) fn code_of_end(&mut self, node: &NodeProcess) -> Option<i32> {
        if !self.nodes_end() || node.migrates {
            return None;
        }
        if let Some((_, code)) = self
            .script
            .ends
            .iter()
            .find(|(when, _)| when(self, &node.version))
        {
            return Some(*code);
        }
        let next = self.neighbour(&node.version, Neighbour::Next)?;
        self.script
            .plans
            .iter()
            .any(|planned| planned.plan.version == *next && planned.plan.height.0 <= self.data.height)
            .then_some(0)
    }

    /// The migration has ended.
    pub(super) fn end_of_migration(&mut self, to: &Version) -> Exit {
        if let Some((_, code)) = self.script.migration_ends.iter().find(|(when, _)| when(self, to)) {
            return Exit::Code(*code);
        }
        if self.fails("migration", self.script.migration_failures) {
            return Exit::Code(1);
        }
        self.data.migrated = self.data.migrated.clone().max(to.clone());
        self.migration_seen = true;
        Exit::Code(0)
    }

    /// What a node's own end asks for.
    pub(super) fn wish(&mut self, node: &NodeProcess, exit: Exit) {
        let codes = self.config.conventions.exit_codes;
        let of = node.version.clone();
        self.wish = match exit {
            Exit::Code(code) if Some(code) == codes.downgrade => Some(Wish {
                which: Neighbour::Previous,
                of,
            }),
            Exit::Code(code) if Some(code) == codes.upgrade && !node.migrates => Some(Wish {
                which: Neighbour::Next,
                of,
            }),
            Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => None,
        };
    }

    pub(super) fn find_version(&mut self, of: &Version, which: Neighbour) {
        let wish = Wish {
            which,
            of: of.clone(),
        };
        assert_eq!(self.wish.as_ref(), Some(&wish), "nobody has asked for it");
        let found = self
            .neighbour(of, which)
            .map(|version| self.plan_of(version))
            .ok_or_else(|| format!("no version beside {of}"));
        self.inputs.push_front(Input::VersionFound { which, found });
    }

    fn is_wished(&self, which: Neighbour, to: &Version) -> bool {
        self.wish
            .as_ref()
            .is_some_and(|wish| wish.which == which && self.neighbour(&wish.of, which) == Some(to))
    }

    /// The node that has ended asked for the version before.
    pub(super) fn is_going_back(&self) -> bool {
        self.wish
            .as_ref()
            .is_some_and(|wish| wish.which == Neighbour::Previous)
    }

    pub(super) fn migrate(&mut self, from: &Version, to: &Version) {
        let effect = Effect::Migrate {
            from: from.clone(),
            to: to.clone(),
        };
        let durable = Durable::read(&self.records);
        self.assert_quiet("two nodes: a migration");
        assert!(self.nodes_end(), "this system has none: {effect:?}");
        assert_eq!(
            *from, self.current,
            "{effect:?} of another version than the home's"
        );
        assert!(self.folders.contains(to), "VIS-05: {to} is not staged");
        assert!(
            !durable.held && !self.stop_requested && !self.torn,
            "{effect:?} against the operator's word"
        );
        let is_repeated = self.migrating == Some((from.clone(), to.clone()));
        let is_intended = durable.underway.as_ref().is_some_and(|plan| plan.version == *to);
        assert!(
            is_repeated || is_intended || self.is_wished(Neighbour::Next, to),
            "VIS-01: {effect:?} that nobody asked for"
        );
        if !is_repeated {
            let height = self.plan_of(to).height;
            assert!(
                is_intended || !(durable.paused || durable.skipped.contains(&height)),
                "{effect:?} against the operator's word"
            );
            if is_intended {
                assert!(durable.copied, "the backup comes before the migration");
                self.assert_passed(Hook::BeforeStart, self.before_start_policy());
            }
        }
        assert!(
            durable.rollback.is_none(),
            "VIS-11: a migration between a rollback's intent and its end"
        );
        self.migrating = Some((from.clone(), to.clone()));
        self.migration_seen = false;
        self.wish = None;
        self.data.writer = self.data.writer.clone().max(to.clone());
        self.migrations += 1;
        self.run(to, true);
    }

    /// The home only ever names a version that was asked for, or to which the data is migrated.
    pub(super) fn assert_home_may_name(&self, to: &Version) {
        let durable = Durable::read(&self.records);
        let again = *to == self.current && self.migrating.is_none();
        let migrated = self.migration_seen && self.migrating.as_ref().is_some_and(|(_, new)| new == to);
        let back = durable.restored && durable.back_to.as_ref() == Some(to);
        assert!(
            again || migrated || back || self.is_wished(Neighbour::Previous, to),
            "VIS-01: a switch from {} to {to} that nobody asked for",
            self.current
        );
    }

    pub(super) fn assert_may_start(
        &self,
        version: &Version,
        unseen_halt: Option<&UpgradePlan>,
        durable: &Durable,
    ) {
        if self.nodes_end() {
            assert!(
                self.migrating.is_none(),
                "a start of {version} before {:?} has ended",
                self.migrating
            );
            assert!(
                *version <= self.data.migrated,
                "a start of {version} on data of {}",
                self.data.migrated
            );
        }
        if let Some(plan) = durable.halted.as_ref().filter(|_| self.nodes_forget()) {
            assert!(
                *version >= plan.version || durable.skipped.contains(&plan.height),
                "{version} is started past its halt at {}",
                plan.height
            );
        }
        let expected = durable.may_have_halted(version).filter(|_| self.nodes_forget());
        assert_eq!(unseen_halt, expected, "{version} may have halted unseen");
    }

    /// Nobody but the operator lets an old version make a block above H.
    pub(super) fn assert_may_pass(&self, version: &Version) {
        if !self.nodes_forget() {
            return;
        }
        let passed = self
            .script
            .plans
            .iter()
            .find(|planned| planned.plan.height.0 == self.data.height && planned.plan.version > *version);
        if let Some(planned) =
            passed.filter(|planned| planned.cancelled_at.is_none() && planned.moved.is_none())
        {
            let durable = Durable::read(&self.records);
            assert!(
                durable.skipped.contains(&planned.plan.height),
                "{version} makes a block above {}",
                self.data.height
            );
        }
    }

    /// Once nobody watches, a node that would end ends, and a migration is done.
    pub(super) fn end_unseen(&mut self) {
        for _ in 0..12 {
            let Some(node) = self.node.clone().filter(|node| !node.crashes) else {
                return;
            };
            if node.migrates {
                let _ = self.end_of_migration(&node.version);
                self.node = None;
            } else if self.script.ends.iter().any(|(when, _)| when(self, &node.version)) {
                return;
            } else if self.code_of_end(&node).is_some() {
                self.node = None;
            } else {
                self.make_block(&node.version);
            }
        }
    }
}
