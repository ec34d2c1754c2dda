//! Anything that can be tried.

use proptest::prelude::*;
use visor_planner::{
    Announced, Artifact, ArtifactFact, BackupPolicy, Completion, Config, Conventions, Exit, Height,
    HookPolicies, HookPolicy, Input, Millis, Neighbour, NodeReport, OnFailure, Order, Process, RetryPolicy,
    Standing, Timer, UpgradeId, UpgradePlan, Version,
};

use crate::world::{config, ending, forgetful, new, newer, old, version};

/// What is tried on a planner.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Fact(Input),
    /// Whatever comes next on a host where all goes well.
    Go,
    /// The answer to what is outstanding, good or bad.
    Work(bool),
    /// Visor dies, and perhaps its node.
    Crash(bool),
    /// Visor dies, and another tool names a version in the home.
    Forced(Version),
}

pub(super) fn plan_of(number: u64) -> UpgradePlan {
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

/// As a home knows it that no report has named.
pub(super) fn plan_to(version: &Version) -> UpgradePlan {
    let known = (0..2).map(plan_of).find(|plan| plan.version == *version);
    known.unwrap_or_else(|| UpgradePlan {
        id: UpgradeId(version.0.clone()),
        version: version.clone(),
        height: Height(5),
    })
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

/// Of the systems that there are, and of some that could be.
pub(super) fn any_conventions() -> impl Strategy<Value = Conventions> {
    prop_oneof![
        3 => Just(config().conventions),
        3 => Just(forgetful().conventions),
        3 => Just(ending().conventions),
        1 => Just(Conventions { migration: false, ..ending().conventions }),
        1 => Just(Conventions { home_decides: false, ..ending().conventions }),
        1 => Just(Conventions { completion: Completion::FirstBlock, ..ending().conventions }),
        1 => Just(Conventions { migration: false, home_decides: false, halt_is_durable: false, ..ending().conventions }),
    ]
}

pub(super) fn any_config() -> impl Strategy<Value = Config> {
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

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let exit = prop_oneof![
        2 => (0..20_i32).prop_map(Exit::Code),
        3 => prop_oneof![Just(0), Just(0), Just(102), Just(103)].prop_map(Exit::Code),
        1 => (1..16_i32).prop_map(Exit::Signal),
        1 => Just(Exit::Unknown)
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
        1 => any_plan().prop_map(|plan| Input::HaltFound { plan }),
        1 => Just(Input::NodeStartFailed { reason: "no".to_owned() }),
        2 => (exit, companion).prop_map(|(exit, companion)| Input::NodeExited { exit, companion }),
        1 => any_plan().prop_map(|plan| Input::Staged { upgrade: plan.id }),
        1 => any_plan().prop_map(|plan| Input::StagingFailed { upgrade: plan.id, reason: "no".to_owned() }),
        6 => timer.prop_map(Input::TimerFired),
        1 => Just(Input::NodeUnresponsive { reason: "no answer".to_owned() }),
        1 => Just(Input::VersionFound { which: Neighbour::Next, found: Ok(plan_of(1)) }),
        4 => any_order().prop_map(|order| Input::Operator { ticket: 0, order }),
        1 => any_config().prop_map(|config| Input::Configured(Box::new(config))),
    ];
    prop_oneof![
        16 => fact.prop_map(Step::Fact),
        50 => Just(Step::Go),
        6 => any::<bool>().prop_map(Step::Work),
        2 => any::<bool>().prop_map(Step::Crash),
        1 => prop_oneof![Just(old()), Just(new()), Just(newer())].prop_map(Step::Forced),
        1 => Just(Step::Fact(Input::StopRequested)),
        4 => Just(Step::Fact(Input::NodeExited { exit: Exit::Code(102), companion: None })),
    ]
}
