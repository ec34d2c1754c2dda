//! The host as far as orders and facts must fit together.

use std::collections::BTreeSet;

use proptest::prelude::*;
use visor_planner::{
    Announced, ArtifactFact, Backup, Config, Effect, Effects, Exit, ExitReason, Height, Hook, Input,
    Migration, Neighbour, NodeReport, Observed, Pass, Planner, Process, Record, Standing, Timer, Timestamp,
    UpgradePlan, Version, recover,
};

use super::any::{plan_of, plan_to};
use crate::clock::timeless;
use crate::world::{Durable, newer, old};

/// What the host's processes are after the facts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Empty,
    Starting(Version),
    Alive(Version),
    Stopping(Version),
}

/// The host as far as orders and facts must fit together.
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) planner: Planner,
    pub(super) twin: Planner,
    pub(super) now: u64,
    pub(super) slot: Slot,
    pub(super) link: Version,
    /// The newest version that has written to the data.
    pub(super) writer: Version,
    /// The version that the data is migrated to.
    pub(super) migrated: Version,
    /// The home names a migration between these.
    pub(super) migrating: Option<(Version, Version)>,
    /// What runs, or is started, is a migration.
    pub(super) migrates: bool,
    /// What the last node asked for by its end.
    pub(super) wish: Option<(Version, Neighbour)>,
    /// From which version to which the node went back at once, since one was healthy.
    pub(super) went_back: BTreeSet<(Version, Version)>,
    /// The migration has ended with 0, by itself.
    pub(super) migration_seen: bool,
    /// The upgrade for which what is started may have halted without being seen.
    pub(super) unseen_halt: Option<UpgradePlan>,
    /// The answer that comes before any other fact.
    pub(super) answer: Option<Input>,
    pub(super) folders: Vec<Version>,
    pub(super) records: Vec<Record>,
    /// Orders whose answers are still to come.
    pub(super) work: Vec<Effect>,
    /// What is to be staged.
    pub(super) staging: Option<UpgradePlan>,
    pub(super) height: u64,
    pub(super) tickets: u64,
    pub(super) open: Option<u64>,
    pub(super) ended: bool,
    pub(super) journal_failed: bool,
}

pub(super) type Checked = Result<(), TestCaseError>;

impl Bench {
    pub(super) fn new(config: Config) -> (Self, Effects) {
        let observed = Observed {
            current: Some(old()),
            node: None,
            staged: vec![old()],
            migrating: None,
            seed: 3,
        };
        let (planner, first) = recover(config.clone(), Timestamp(0), &[], observed.clone()).unwrap();
        let (twin, _) = recover(config.clone(), Timestamp(u64::MAX), &[], observed).unwrap();
        let bench = Self {
            config,
            planner,
            twin,
            now: 0,
            slot: Slot::Empty,
            link: old(),
            writer: old(),
            migrated: old(),
            migrating: None,
            migrates: false,
            wish: None,
            went_back: BTreeSet::new(),
            migration_seen: false,
            unseen_halt: None,
            answer: None,
            folders: vec![old()],
            records: Vec::new(),
            work: Vec::new(),
            staging: None,
            height: 1,
            tickets: 0,
            open: None,
            ended: false,
            journal_failed: false,
        };
        (bench, first)
    }

    /// A fact, and what it leads to. `fail`: the first append, or the first switch, of the batch fails.
    pub(super) fn take(&mut self, fact: Input, fail: bool) -> Checked {
        self.now += 700;
        let effects = self.planner.step(Timestamp(self.now), fact.clone());
        self.invariant_no_way_back_is_taken_twice_at_once(&fact, &effects)?;
        let other = self.twin.step(Timestamp(u64::MAX - self.now * 3), fact);
        prop_assert_eq!(effects.0.len(), other.0.len(), "the clock decides");
        for (effect, other) in effects.0.iter().zip(&other.0) {
            prop_assert!(
                effect == other || timeless(effect) == timeless(other),
                "the clock decides: {effect:?}, {other:?}"
            );
        }
        self.batch(effects, fail)
    }

    pub(super) fn batch(&mut self, effects: Effects, fail: bool) -> Checked {
        let last_append = effects
            .0
            .iter()
            .rposition(|effect| matches!(effect, Effect::Append(_)));
        let moves = effects.0.iter().position(|effect| {
            matches!(
                effect,
                Effect::Start { .. } | Effect::Migrate { .. } | Effect::Stop
            )
        });
        let first_append = effects
            .0
            .iter()
            .position(|effect| matches!(effect, Effect::Append(_)));
        prop_assert!(
            last_append.is_none()
                || moves.is_none()
                || last_append < moves
                || (first_append > moves && self.config.conventions.home_decides),
            "an append behind a start or a stop: {effects:?}"
        );
        for effect in effects.0 {
            if fail && matches!(effect, Effect::Append(_)) {
                self.open = None;
                self.journal_failed = true;
                let reason = "disk full".to_owned();
                return self.take(Input::AppendFailed { reason }, false);
            }
            if fail && matches!(effect, Effect::Swap(_)) {
                let reason = "read-only".to_owned();
                return self.take(Input::SwapFailed { reason }, false);
            }
            self.carry_out(effect)?;
        }
        prop_assert!(self.open.is_none(), "an order is not answered in its step");
        match self.answer.take() {
            Some(answer) => self.take(answer, fail),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Checked {
        prop_assert!(!self.ended, "nothing is ordered after the end: {effect:?}");
        if self.journal_failed {
            prop_assert!(
                matches!(
                    effect,
                    Effect::Stop | Effect::Exit(_) | Effect::Answer { .. } | Effect::Notify(_)
                ),
                "VIS-01: ordered without a journal: {effect:?}"
            );
        }
        let durable = Durable::read(&self.records);
        match &effect {
            Effect::Start {
                version,
                after_halt,
                unseen_halt,
                ..
            } => {
                prop_assert_eq!(&self.slot, &Slot::Empty, "VIS-03: a start beside another node");
                prop_assert!(self.at_work().is_none(), "a start beside {:?}", self.work);
                self.may_start(version, *after_halt, &durable)?;
                // Not one that an upgrade, a rollback or the node itself asked for.
                let is_asked = matches!(self.records.last(), Some(Record::StartIntended { .. }))
                    && !self.config.conventions.halt_is_durable;
                prop_assert_eq!(
                    unseen_halt.as_ref(),
                    durable.may_have_halted(version).filter(|_| is_asked),
                    "{} may have halted unseen",
                    version
                );
                self.unseen_halt = unseen_halt.clone();
                prop_assert!(!durable.held, "the operator keeps it stopped");
                prop_assert!(
                    durable.rollback.is_none() || durable.restored,
                    "in the middle of a rollback"
                );
                self.wish = None;
                self.migrates = false;
                self.slot = Slot::Starting(version.clone());
            }
            Effect::Stop => {
                let Slot::Alive(version) = self.slot.clone() else {
                    return Err(TestCaseError::fail("a stop of nothing"));
                };
                self.wish = None;
                self.slot = Slot::Stopping(version);
            }
            Effect::Swap(version) => {
                prop_assert!(self.folders.contains(version), "VIS-06: a switch to {version}");
                prop_assert!(
                    self.may_name(version, &durable),
                    "VIS-01: a switch from {} to {version} that nothing asks for",
                    self.link
                );
                if self.is_wished(Neighbour::Previous, version) {
                    self.went_below(version);
                }
                self.link = version.clone();
                self.migrating = None;
            }
            Effect::Append(record) => {
                if let Record::UpgradeIntended { plan, .. } = record
                    // Otherwise the home has said it before.
                    && self.migrating.is_none()
                {
                    prop_assert!(!durable.paused && !durable.held && !durable.skipped.contains(&plan.height));
                    prop_assert!(durable.underway.is_none() && durable.rollback.is_none());
                }
                if let Record::Downgraded { to, .. } = record {
                    self.went_below(to);
                }
                self.records.push(record.clone());
            }
            Effect::BackUp {
                pass: Pass::Second,
                from,
                ..
            } => {
                prop_assert_eq!(&self.writer, from, "the backup would hold the new version's data");
                self.begin(effect)?;
            }
            Effect::Restore { plan, .. } => {
                prop_assert!(
                    durable.allowed.is_some_and(|signed| signed <= plan.height),
                    "VIS-11"
                );
                self.begin(effect)?;
            }
            Effect::AskSignedHeight { .. } => {
                prop_assert!(durable.rollback.is_some() && durable.allowed.is_none());
                self.begin(effect)?;
            }
            Effect::RunHook {
                hook: Hook::BeforeStart,
                ..
            } => self.begin(effect)?,
            Effect::BackUp { .. } | Effect::RunHook { .. } => self.work.push(effect),
            Effect::Answer { ticket, .. } => {
                prop_assert_eq!(self.open, Some(*ticket), "an answer to no open question");
                self.open = None;
            }
            Effect::Exit(reason) => {
                prop_assert!(
                    self.slot == Slot::Empty || *reason == ExitReason::SelfRestart,
                    "visor ends beside a node"
                );
                self.ended = true;
            }
            Effect::FindVersion { of, which } => {
                prop_assert_eq!(
                    self.wish.as_ref(),
                    Some(&(of.clone(), *which)),
                    "nobody asked for it"
                );
                let found = self.neighbour(of, *which).ok_or_else(|| "no version".to_owned());
                let found = found.map(|version| plan_to(&version));
                self.answer = Some(Input::VersionFound { which: *which, found });
            }
            Effect::Migrate { .. } => self.migrate(&effect, &durable)?,
            Effect::Stage(announced) => self.staging = Some(announced.plan.clone()),
            Effect::Unstage(_) | Effect::SetTimer(..) | Effect::CancelTimer(_) | Effect::Notify(_) => {}
        }
        Ok(())
    }

    /// What works on the node's data while no node runs.
    pub(super) fn at_work(&self) -> Option<&Effect> {
        self.work.iter().find(|effect| {
            matches!(
                effect,
                Effect::BackUp {
                    pass: Pass::Second,
                    ..
                } | Effect::Restore { .. }
                    | Effect::AskSignedHeight { .. }
                    | Effect::RunHook {
                        hook: Hook::BeforeStart,
                        ..
                    }
            )
        })
    }

    fn begin(&mut self, effect: Effect) -> Checked {
        prop_assert_eq!(&self.slot, &Slot::Empty, "{:?} beside a node", effect);
        prop_assert!(self.at_work().is_none(), "{effect:?} beside {:?}", self.work);
        self.work.push(effect);
        Ok(())
    }

    pub(super) fn go(&mut self, fail: bool) -> Checked {
        let mut fact = match self.slot.clone() {
            Slot::Starting(_) if self.has_halted() => Input::HaltFound { plan: plan_of(0) },
            Slot::Starting(_) => Input::NodeStarted {
                process: Process { pid: 7 },
                exit_to_exec_us: None,
            },
            Slot::Stopping(_) => Input::NodeExited {
                exit: Exit::Code(0),
                companion: None,
            },
            Slot::Empty | Slot::Alive(_) if !self.work.is_empty() => return self.answer(true, fail),
            Slot::Empty | Slot::Alive(_) if self.staging.is_some() => Input::Staged {
                upgrade: self.staging.take().expect("just seen").id,
            },
            Slot::Empty => Input::TimerFired(Timer::Restart),
            Slot::Alive(_) if self.migrates => Input::NodeExited {
                exit: Exit::Code(0),
                companion: None,
            },
            Slot::Alive(version) => match self.code_of_end(&version) {
                Some(code) => Input::NodeExited {
                    exit: Exit::Code(code),
                    companion: None,
                },
                None => Input::NodeReported(self.report(version)),
            },
        };
        if self.fits(&mut fact) {
            self.take(fact, fail)?;
        }
        Ok(())
    }

    /// The files of what is started say that it has halted.
    fn has_halted(&self) -> bool {
        self.unseen_halt
            .as_ref()
            .is_some_and(|plan| plan.height.0 == self.height)
    }

    fn report(&mut self, version: Version) -> NodeReport {
        let known: Vec<UpgradePlan> = [plan_of(0), plan_of(1)]
            .into_iter()
            .filter(|plan| plan.version > version)
            .collect();
        let halt = known.iter().find(|plan| plan.height.0 == self.height).cloned();
        if halt.is_none() {
            self.height += 1;
        }
        let announced = |plan| Announced {
            plan,
            standing: Standing::LockedIn,
            artifact: ArtifactFact::InPlace,
        };
        NodeReport {
            version,
            height: Height(self.height),
            upgrades: known.into_iter().map(announced).collect(),
            halt: halt.filter(|_| self.config.conventions.exit_codes.upgrade.is_none()),
        }
    }

    pub(super) fn answer(&mut self, good: bool, fail: bool) -> Checked {
        if self.work.is_empty() {
            return Ok(());
        }
        let reason = "no".to_owned();
        let fact = match self.work.remove(0) {
            Effect::BackUp { plan, pass, .. } if good => Input::BackupPassed {
                upgrade: plan.id,
                pass,
                backup: Backup {
                    path: String::new(),
                    bytes: 1,
                    took_ms: 1,
                },
            },
            Effect::BackUp { plan, pass, .. } => Input::BackupFailed {
                upgrade: plan.id,
                pass,
                reason,
            },
            Effect::Restore { plan, from } if good => {
                self.writer = from;
                self.height = plan.height.0;
                Input::Restored { upgrade: plan.id }
            }
            Effect::Restore { plan, .. } => Input::RestoreFailed {
                upgrade: plan.id,
                reason,
            },
            Effect::RunHook { hook, .. } => Input::HookEnded {
                hook,
                failure: (!good).then_some(reason),
            },
            Effect::AskSignedHeight { .. } => Input::SignedHeight {
                signed: if good { Ok(Height(3)) } else { Err(reason) },
            },
            other @ (Effect::Append(_)
            | Effect::Stage(_)
            | Effect::Unstage(_)
            | Effect::Answer { .. }
            | Effect::Stop
            | Effect::Swap(_)
            | Effect::Start { .. }
            | Effect::FindVersion { .. }
            | Effect::Migrate { .. }
            | Effect::SetTimer(..)
            | Effect::CancelTimer(_)
            | Effect::Notify(_)
            | Effect::Exit(_)) => panic!("no work: {other:?}"),
        };
        self.take(fact, fail)
    }

    pub(super) fn crash(&mut self, node_dies: bool) -> Checked {
        self.wish = None;
        self.went_back.clear();
        self.migration_seen = false;
        self.answer = None;
        self.slot = match self.slot.clone() {
            Slot::Empty => Slot::Empty,
            _ if node_dies => Slot::Empty,
            Slot::Starting(version) | Slot::Alive(version) | Slot::Stopping(version) => Slot::Alive(version),
        };
        self.work.clear();
        self.staging = None;
        self.open = None;
        self.ended = false;
        self.journal_failed = false;
        let node = match &self.slot {
            Slot::Alive(version) => Some((Process { pid: 9 }, Some(version.clone()))),
            Slot::Empty | Slot::Starting(_) | Slot::Stopping(_) => None,
        };
        let observed = Observed {
            current: Some(self.link.clone()),
            node,
            staged: self.folders.clone(),
            migrating: self.migrating.as_ref().map(|(from, to)| Migration {
                from: from.clone(),
                plan: plan_to(to),
            }),
            seed: 3,
        };
        let again = recover(
            self.config.clone(),
            Timestamp(self.now),
            &self.records,
            observed.clone(),
        );
        let (planner, first) = again.map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let far = Timestamp(u64::MAX);
        let (twin, _) = recover(self.config.clone(), far, &self.records, observed).expect("as the first one");
        let durable = Durable::read(&self.records);
        let status = planner.status();
        prop_assert_eq!((status.paused, status.held), (durable.paused, durable.held));
        prop_assert_eq!(status.skipped, durable.skipped.into_iter().collect::<Vec<_>>());
        (self.planner, self.twin) = (planner, twin);
        self.batch(first, false)
    }

    /// Only what the daemon can send: an exit needs a process, the answer to a start needs a start.
    pub(super) fn fits(&mut self, fact: &mut Input) -> bool {
        match (&mut *fact, self.slot.clone()) {
            // The newest version's state belongs to no newer one.
            (
                Input::NodeExited {
                    exit: Exit::Code(10),
                    companion: None,
                },
                _,
            ) if self.link > newer() => return false,
            (Input::NodeStarted { .. }, Slot::Starting(version)) => self.slot = Slot::Alive(version),
            (Input::NodeExited { exit, companion }, Slot::Alive(version)) => {
                self.slot = Slot::Empty;
                if companion.is_none() {
                    self.ended(*exit, version);
                }
            }
            (Input::HaltFound { plan }, Slot::Starting(_)) => {
                let Some(unseen) = self.unseen_halt.take() else {
                    return false;
                };
                *plan = unseen;
                self.slot = Slot::Empty;
            }
            (Input::HaltFound { .. }, _) => return false,
            (Input::NodeStartFailed { .. }, Slot::Starting(_))
            | (Input::NodeExited { .. }, Slot::Stopping(_)) => self.slot = Slot::Empty,
            (Input::NodeStarted { .. } | Input::NodeStartFailed { .. } | Input::NodeExited { .. }, _) => {
                return false;
            }
            (Input::NodeReported(report), Slot::Alive(running)) => {
                // Mostly what runs; now and then another version, which is what VIS-10 is about.
                if !report.height.0.is_multiple_of(9) {
                    report.version = running;
                }
                let of = self.link.clone();
                report.halt = report.halt.take().filter(|plan| plan.version > of);
                report.upgrades.retain(|announced| announced.plan.version > of);
            }
            (Input::Operator { ticket, .. }, _) => {
                self.tickets += 1;
                *ticket = self.tickets;
                self.open = Some(self.tickets);
            }
            (Input::Staged { upgrade }, _) => {
                let manual = upgrade.0.starts_with("manual-").then(|| plan_of(3));
                let plan = manual.or_else(|| (0..3).map(plan_of).find(|plan| plan.id == *upgrade));
                self.folders.extend(plan.map(|plan| plan.version));
            }
            (Input::Configured(config), _) => {
                // What a system's nodes are like does not change.
                config.conventions = self.config.conventions;
                self.config = (**config).clone();
            }
            _ => {}
        }
        true
    }
}
