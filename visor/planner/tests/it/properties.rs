//! Any facts in any order, any configuration, crashes and failed appends anywhere: no panic, never two nodes, never the wrong version,
//! every operator answered.

use proptest::prelude::*;
use visor_planner::{
    Announced, Artifact, ArtifactFact, Backup, BackupPolicy, Config, Effect, Effects, Exit, ExitReason,
    Height, Hook, HookPolicies, HookPolicy, Input, Millis, NodeReport, Observed, OnFailure, Order, Pass,
    Planner, Process, Record, RetryPolicy, Standing, Timer, Timestamp, UpgradeId, UpgradePlan, Version,
    recover,
};

use crate::clock::timeless;
use crate::world::{Durable, config, new, newer, old, version};

/// What is tried on a planner.
#[derive(Debug, Clone)]
enum Step {
    Fact(Input),
    /// Whatever comes next on a host where all goes well.
    Go,
    /// The answer to what is outstanding, good or bad.
    Work(bool),
    /// Visor dies, and perhaps its node.
    Crash(bool),
}

fn plan_of(number: u64) -> UpgradePlan {
    match number {
        0 => UpgradePlan {
            id: UpgradeId("aa".to_owned()),
            version: new(),
            height: Height(4),
        },
        1 => UpgradePlan {
            id: UpgradeId("bb".to_owned()),
            version: newer(),
            height: Height(7),
        },
        // The first one, moved.
        2 => UpgradePlan {
            height: Height(5),
            ..plan_of(0)
        },
        _ => UpgradePlan::manual(Height(6), version("1.3.0")),
    }
}

fn any_plan() -> impl Strategy<Value = UpgradePlan> {
    prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2), 1 => Just(3)].prop_map(plan_of)
}

fn any_hook() -> impl Strategy<Value = HookPolicy> {
    prop_oneof![
        Just(HookPolicy::Off),
        Just(HookPolicy::Warn),
        Just(HookPolicy::Block)
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    let retries = (0..3_u32, 0..3_u32, 0..3_u32);
    let hooks = (any_hook(), any_hook(), any_hook());
    (retries, hooks, any::<Option<bool>>(), any::<bool>()).prop_map(
        |((restart, first, after), (before_stop, before_start, after_success), required, back)| {
            let retry = |max_retries| RetryPolicy {
                max_retries,
                ..config().restart
            };
            Config {
                restart: retry(restart),
                first_start: retry(first),
                start_after_upgrade: retry(after),
                on_failure: if back {
                    OnFailure::RollBack
                } else {
                    OnFailure::Stop
                },
                backup: required.map_or(BackupPolicy::Off, |required| BackupPolicy::On {
                    required,
                    first_pass_blocks: 2,
                    retry_delay: Millis(5),
                }),
                hooks: HookPolicies {
                    before_stop,
                    before_start,
                    after_success,
                    retry_delay: Millis(5),
                },
                ..config()
            }
        },
    )
}

fn any_report() -> impl Strategy<Value = Input> {
    let standing = prop_oneof![
        1 => Just(Standing::Proposed),
        1 => Just(Standing::Approved),
        3 => Just(Standing::LockedIn)
    ];
    let of = prop_oneof![2 => Just(None), 1 => Just(Some(old())), 2 => Just(Some(new())), 1 => Just(Some(newer()))];
    (
        of,
        0..10_u64,
        prop::collection::vec((any_plan(), standing), 0..3),
        prop::option::weighted(0.4, any_plan()),
    )
        .prop_map(|(of, height, plans, halt)| {
            let announced = |(plan, standing)| Announced {
                plan,
                standing,
                artifact: ArtifactFact::Available(Artifact {
                    url: String::new(),
                    size: 1,
                    sha256: String::new(),
                }),
            };
            Input::NodeReported(NodeReport {
                version: of.unwrap_or_else(old),
                height: Height(height),
                upgrades: plans.into_iter().map(announced).collect(),
                halt: halt.filter(|plan| !plan.id.0.starts_with("manual")),
            })
        })
}

fn any_order() -> impl Strategy<Value = Order> {
    prop_oneof![
        1 => Just(Order::StageNow),
        1 => (4..8_u64).prop_map(|height| Order::Skip(Height(height))),
        1 => (4..8_u64).prop_map(|height| Order::Unskip(Height(height))),
        1 => (1..12_u64).prop_map(|height| Order::UpgradeAt {
            height: Height(height),
            version: version("1.3.0"),
        }),
        1 => Just(Order::Pause),
        2 => Just(Order::Resume),
        1 => Just(Order::StopNode),
        2 => Just(Order::StartNode),
        2 => Just(Order::Rollback),
        1 => Just(Order::SelfRestart),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let exit = prop_oneof![
        (0..20_i32).prop_map(Exit::Code),
        (1..16_i32).prop_map(Exit::Signal),
        Just(Exit::Unknown)
    ];
    let timer = prop_oneof![
        Just(Timer::Restart),
        Just(Timer::FirstReport),
        Just(Timer::Progress),
        Just(Timer::Healthy),
        Just(Timer::Backup),
        Just(Timer::Hook)
    ];
    let companion = prop::option::weighted(0.3, Just("data".to_owned()));
    let fact = prop_oneof![
        3 => any_report(),
        1 => Just(Input::NodeLinkLost),
        2 => (1..9_u32).prop_map(|pid| Input::NodeStarted { process: Process { pid }, exit_to_exec_us: Some(1) }),
        1 => Just(Input::NodeStartFailed { reason: "no".to_owned() }),
        2 => (exit, companion).prop_map(|(exit, companion)| Input::NodeExited { exit, companion }),
        1 => any_plan().prop_map(|plan| Input::Staged { upgrade: plan.id }),
        1 => any_plan().prop_map(|plan| Input::StagingFailed { upgrade: plan.id, reason: "no".to_owned() }),
        6 => timer.prop_map(Input::TimerFired),
        4 => any_order().prop_map(|order| Input::Operator { ticket: 0, order }),
        1 => any_config().prop_map(|config| Input::Configured(Box::new(config))),
    ];
    prop_oneof![
        16 => fact.prop_map(Step::Fact),
        50 => Just(Step::Go),
        6 => any::<bool>().prop_map(Step::Work),
        2 => any::<bool>().prop_map(Step::Crash),
        1 => Just(Step::Fact(Input::StopRequested)),
    ]
}

/// What the host's processes are after the facts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    Empty,
    Starting(Version),
    Alive(Version),
    Stopping(Version),
}

/// The host as far as orders and facts must fit together.
struct Bench {
    config: Config,
    planner: Planner,
    twin: Planner,
    now: u64,
    slot: Slot,
    link: Version,
    /// The newest version that has written to the data.
    writer: Version,
    folders: Vec<Version>,
    records: Vec<Record>,
    /// Orders whose answers are still to come.
    work: Vec<Effect>,
    /// What is to be staged.
    staging: Option<UpgradePlan>,
    height: u64,
    tickets: u64,
    open: Option<u64>,
    ended: bool,
    journal_failed: bool,
}

type Checked = Result<(), TestCaseError>;

impl Bench {
    fn new(config: Config) -> (Self, Effects) {
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
    fn take(&mut self, fact: Input, fail: bool) -> Checked {
        self.now += 700;
        let effects = self.planner.step(Timestamp(self.now), fact.clone());
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

    fn batch(&mut self, effects: Effects, fail: bool) -> Checked {
        let last_append = effects
            .0
            .iter()
            .rposition(|effect| matches!(effect, Effect::Append(_)));
        let moves = effects
            .0
            .iter()
            .position(|effect| matches!(effect, Effect::Start { .. } | Effect::Stop));
        prop_assert!(
            last_append.is_none() || moves.is_none() || last_append < moves,
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
        Ok(())
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
            Effect::Start { version, .. } => {
                prop_assert_eq!(&self.slot, &Slot::Empty, "VIS-03: a start beside another node");
                prop_assert!(self.at_work().is_none(), "a start beside {:?}", self.work);
                prop_assert_eq!(version, &self.link, "the link names what is started");
                prop_assert_eq!(
                    version,
                    &durable.version(),
                    "VIS-07: another version than intended"
                );
                prop_assert!(
                    *version >= self.writer,
                    "{version} on the data of {}",
                    self.writer
                );
                prop_assert!(!durable.held, "the operator keeps it stopped");
                prop_assert!(
                    durable.rollback.is_none() || durable.restored,
                    "in the middle of a rollback"
                );
                self.writer = self.writer.clone().max(version.clone());
                self.slot = Slot::Starting(version.clone());
            }
            Effect::Stop => {
                let Slot::Alive(version) = self.slot.clone() else {
                    return Err(TestCaseError::fail("a stop of nothing"));
                };
                self.slot = Slot::Stopping(version);
            }
            Effect::Swap(version) => {
                prop_assert!(self.folders.contains(version), "VIS-06: a switch to {version}");
                prop_assert_eq!(version, &durable.version(), "VIS-01: a switch without an intent");
                self.link = version.clone();
            }
            Effect::Append(record) => {
                if let Record::UpgradeIntended { plan, .. } = record {
                    prop_assert!(!durable.paused && !durable.held && !durable.skipped.contains(&plan.height));
                    prop_assert!(durable.underway.is_none() && durable.rollback.is_none());
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
            Effect::FindVersion { .. } | Effect::Migrate { .. } => {
                return Err(TestCaseError::fail("this system has none"));
            }
            Effect::Stage(announced) => self.staging = Some(announced.plan.clone()),
            Effect::Unstage(_) | Effect::SetTimer(..) | Effect::CancelTimer(_) | Effect::Notify(_) => {}
        }
        Ok(())
    }

    /// What works on the node's data while no node runs.
    fn at_work(&self) -> Option<&Effect> {
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

    fn go(&mut self, fail: bool) -> Checked {
        let mut fact = match self.slot.clone() {
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
            Slot::Alive(version) => Input::NodeReported(self.report(version)),
        };
        if self.fits(&mut fact) {
            self.take(fact, fail)?;
        }
        Ok(())
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
            halt,
        }
    }

    fn answer(&mut self, good: bool, fail: bool) -> Checked {
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

    fn crash(&mut self, node_dies: bool) -> Checked {
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
            migrating: None,
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
    fn fits(&mut self, fact: &mut Input) -> bool {
        match (&mut *fact, self.slot.clone()) {
            (Input::NodeStarted { .. }, Slot::Starting(version)) => self.slot = Slot::Alive(version),
            (Input::NodeStartFailed { .. }, Slot::Starting(_))
            | (Input::NodeExited { .. }, Slot::Alive(_) | Slot::Stopping(_)) => self.slot = Slot::Empty,
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
            (Input::Configured(config), _) => self.config = (**config).clone(),
            _ => {}
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn vis_03_invariant_whatever_happens_no_start_no_switch_and_no_restore_is_wrong(
        config in any_config(),
        steps in prop::collection::vec((any_step(), prop::bool::weighted(0.02)), 0..150),
    ) {
        let (mut bench, first) = Bench::new(config);
        bench.batch(first, false)?;
        for (step, fail) in steps {
            if bench.ended {
                bench.crash(false)?;
            }
            match step {
                Step::Fact(mut fact) => {
                    if bench.fits(&mut fact) {
                        bench.take(fact, fail)?;
                    }
                }
                Step::Go => bench.go(fail)?,
                Step::Work(good) => bench.answer(good, fail)?,
                Step::Crash(node_dies) => bench.crash(node_dies)?,
            }
            let _ = bench.planner.status();
        }
    }
}
