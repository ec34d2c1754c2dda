//! What differs between chain systems.

use proptest::prelude::*;
use visor_planner::{Effect, Effects, Exit, Height, Input, Neighbour, Order, Timer, Version};

use super::any::plan_to;
use super::bench::{Bench, Checked, Slot};
use crate::world::Durable;

impl Bench {
    pub(super) fn neighbour(&self, of: &Version, which: Neighbour) -> Option<Version> {
        let beside = self.folders.iter().filter(|version| match which {
            Neighbour::Next => *version > of,
            Neighbour::Previous => *version < of,
        });
        match which {
            Neighbour::Next => beside.min().cloned(),
            Neighbour::Previous => beside.max().cloned(),
        }
    }

    pub(super) fn is_wished(&self, which: Neighbour, to: &Version) -> bool {
        self.wish
            .as_ref()
            .is_some_and(|(of, wished)| *wished == which && self.neighbour(of, which).as_ref() == Some(to))
    }

    /// The home names a version that is wanted, and to which the data is migrated.
    pub(super) fn may_name(&self, to: &Version, durable: &Durable) -> bool {
        let conventions = self.config.conventions;
        if !conventions.home_decides {
            return *to == durable.version();
        }
        let again = *to == self.link && self.migrating.is_none();
        let migrated = !conventions.migration
            || (self.migrated >= *to && (self.migrating.is_none() || self.migration_seen))
            || durable.restored;
        again || (*to == durable.version() && migrated) || self.is_wished(Neighbour::Previous, to)
    }

    pub(super) fn may_start(
        &mut self,
        version: &Version,
        after_halt: Option<Height>,
        durable: &Durable,
    ) -> Checked {
        let conventions = self.config.conventions;
        prop_assert_eq!(version, &self.link, "the link names what is started");
        if conventions.migration {
            prop_assert!(
                self.migrating.is_none() || !conventions.home_decides,
                "before {:?} has ended",
                self.migrating
            );
            prop_assert!(
                *version <= self.migrated,
                "{version} on data of {}",
                self.migrated
            );
        }
        if !conventions.home_decides {
            prop_assert_eq!(
                version,
                &durable.version(),
                "VIS-07: another version than intended"
            );
        }
        let goes_back = conventions.exit_codes.downgrade.is_some() || conventions.home_decides;
        prop_assert!(
            *version >= self.writer || goes_back,
            "{version} on the data of {}",
            self.writer
        );
        prop_assert!(
            after_halt.is_none() || *version > self.writer || goes_back,
            "{version} has run above {after_halt:?}"
        );
        if let Some(plan) = durable.halted.as_ref().filter(|_| !conventions.halt_is_durable) {
            prop_assert!(
                *version == plan.version || durable.skipped.contains(&plan.height),
                "{version} past its halt at {}",
                plan.height
            );
        }
        self.writer = if goes_back {
            version.clone()
        } else {
            self.writer.clone().max(version.clone())
        };
        Ok(())
    }

    pub(super) fn migrate(&mut self, effect: &Effect, durable: &Durable) -> Checked {
        let Effect::Migrate { from, to } = effect else {
            return Ok(());
        };
        prop_assert!(self.config.conventions.migration, "this system has none");
        prop_assert_eq!(
            &self.slot,
            &Slot::Empty,
            "VIS-03: {:?} beside another node",
            effect
        );
        prop_assert!(self.at_work().is_none(), "{effect:?} beside {:?}", self.work);
        prop_assert!(self.folders.contains(to), "VIS-05: {effect:?}");
        prop_assert!(!durable.held && durable.rollback.is_none(), "{effect:?}");
        let repeated = self.migrating == Some((from.clone(), to.clone()));
        let intended = durable.underway.as_ref().is_some_and(|plan| plan.version == *to);
        if !repeated && !intended {
            prop_assert!(
                self.config.conventions.home_decides && self.is_wished(Neighbour::Next, to),
                "{effect:?}, which nobody asked for"
            );
            prop_assert!(!durable.paused, "{effect:?} while paused");
        }
        self.writer = to.clone();
        self.migrating = Some((from.clone(), to.clone()));
        self.migration_seen = false;
        self.wish = None;
        self.migrates = true;
        self.unseen_halt = None;
        self.slot = Slot::Starting(to.clone());
        Ok(())
    }

    /// A migration that asks for the version below it may mean one that nobody has migrated to: visor does as it is told.
    pub(super) fn went_below(&mut self, to: &Version) {
        self.migrated = self.migrated.clone().max(to.clone());
    }

    /// Two versions that only ask for each other do not take turns without a delay.
    pub(super) fn invariant_no_way_back_is_taken_twice_at_once(
        &mut self,
        fact: &Input,
        effects: &Effects,
    ) -> Checked {
        let started = effects.0.iter().find_map(|effect| {
            let Effect::Start { version, .. } = effect else {
                return None;
            };
            Some(version.clone())
        });
        match (fact, started, self.wish.clone()) {
            (
                Input::VersionFound {
                    which: Neighbour::Previous,
                    ..
                },
                Some(to),
                Some((from, _)),
            ) => {
                let again = format!("at once from {from} to {to}, twice");
                prop_assert!(self.went_back.insert((from, to)), "{again}");
            }
            (
                Input::TimerFired(Timer::Healthy)
                | Input::Operator {
                    order: Order::StartNode,
                    ..
                },
                ..,
            ) => self.went_back.clear(),
            _ => {}
        }
        Ok(())
    }

    /// A node ends once its last block is made and the next version is there.
    pub(super) fn code_of_end(&self, version: &Version) -> Option<i32> {
        let code = self.config.conventions.exit_codes.upgrade?;
        let next = self.neighbour(version, Neighbour::Next)?;
        (plan_to(&next).height.0 <= self.height).then_some(code)
    }

    /// Another tool names this version, and nothing else.
    pub(super) fn force(&mut self, version: Version) -> Checked {
        if self.config.conventions.home_decides && self.folders.contains(&version) {
            self.migrated = self.migrated.clone().max(version.clone());
            self.writer = version.clone();
            self.link = version;
            self.migrating = None;
        }
        self.crash(true)
    }

    /// What an end that nobody ordered asks for.
    pub(super) fn ended(&mut self, exit: Exit, version: Version) {
        let codes = self.config.conventions.exit_codes;
        let is = |code: Option<i32>| code.is_some_and(|code| exit == Exit::Code(code));
        if is(codes.downgrade) {
            self.wish = Some((version, Neighbour::Previous));
        } else if self.migrates && exit == Exit::Code(0) {
            self.migrated = self.migrated.clone().max(version);
            self.migration_seen = true;
        } else if is(codes.upgrade) && !self.migrates {
            self.wish = Some((version, Neighbour::Next));
        }
    }
}
