//! What a node that ends by itself asks for.

use visor_planner::{
    BackupPolicy, Config, Effect, Exit, ExitReason, HookPolicy, Input, Neighbour, Notice, Order, Phase,
    Planner, Process, Record, Timer, Timestamp, UpgradePlan, recover,
};

use super::observed;
use crate::world::{backed_up, ending, hooked, new, old, plan};

pub(super) fn started(planner: &mut Planner, at: u64, exit_to_exec_us: Option<u64>) -> Vec<Effect> {
    let process = Process { pid: 5 };
    let started = Input::NodeStarted {
        process,
        exit_to_exec_us,
    };
    planner.step(Timestamp(at), started).0
}

pub(super) fn ended(planner: &mut Planner, at: u64, code: i32) -> Vec<Effect> {
    let ended = Input::NodeExited {
        exit: Exit::Code(code),
        companion: None,
    };
    planner.step(Timestamp(at), ended).0
}

pub(super) fn found(planner: &mut Planner, at: u64, which: Neighbour, plan: UpgradePlan) -> Vec<Effect> {
    let found = Input::VersionFound {
        which,
        found: Ok(plan),
    };
    planner.step(Timestamp(at), found).0
}

pub(super) fn none_found(planner: &mut Planner, at: u64, which: Neighbour) -> Vec<Effect> {
    let found = Input::VersionFound {
        which,
        found: Err("no version above 1.0.0 is installed".to_owned()),
    };
    planner.step(Timestamp(at), found).0
}

/// Without what is set and shown beside.
pub(super) fn orders(effects: &[Effect]) -> Vec<Effect> {
    effects
        .iter()
        .filter(|effect| {
            !matches!(
                effect,
                Effect::SetTimer(..) | Effect::CancelTimer(_) | Effect::Notify(_)
            )
        })
        .cloned()
        .collect()
}

pub(super) fn intent() -> Effect {
    Effect::Append(Record::UpgradeIntended {
        plan: plan(),
        from: old(),
        at: Timestamp(20),
        backup: false,
    })
}

pub(super) fn migrate() -> Effect {
    Effect::Migrate {
        from: old(),
        to: new(),
    }
}

fn without_migration() -> Config {
    let mut config = ending();
    config.conventions.migration = false;
    config
}

/// Its node runs.
pub(super) fn running(config: Config) -> Planner {
    let (mut planner, _) = recover(config, Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    planner
}

/// It has asked for the next version.
pub(super) fn asking(config: Config) -> Planner {
    let mut planner = running(config);
    assert_eq!(
        orders(&ended(&mut planner, 20, 0)),
        [Effect::FindVersion {
            of: old(),
            which: Neighbour::Next
        }]
    );
    planner
}

#[test]
fn the_code_for_an_upgrade_is_followed_by_the_migration_and_then_by_its_record() {
    let mut planner = asking(ending());
    let effects = found(&mut planner, 20, Neighbour::Next, plan());
    assert_eq!(orders(&effects), [migrate(), intent()]);
    assert_eq!(effects[0], migrate(), "nothing stands before it: {effects:?}");
    assert_eq!(planner.status().phase, Phase::Migrating);
}

#[test]
fn without_a_migration_the_intent_comes_before_the_start() {
    let mut planner = asking(without_migration());
    let effects = found(&mut planner, 20, Neighbour::Next, plan());
    let effects = orders(&effects);
    assert_eq!(effects[..2], [intent(), Effect::Swap(new())]);
    assert!(
        matches!(&effects[2..], [Effect::Start { version, after_halt: Some(_), .. }] if *version == new()),
        "{effects:?}"
    );
}

#[test]
fn a_backup_and_the_hook_before_the_start_come_between_the_intent_and_the_migration() {
    let mut config = ending();
    config.backup = backed_up(true).backup;
    let mut planner = asking(config);
    let effects = orders(&found(&mut planner, 20, Neighbour::Next, plan()));
    assert!(
        matches!(
            effects.as_slice(),
            [
                Effect::Append(Record::UpgradeIntended { backup: true, .. }),
                Effect::BackUp { .. }
            ]
        ),
        "{effects:?}"
    );

    let mut config = ending();
    config.hooks = hooked(HookPolicy::Block, HookPolicy::Warn, HookPolicy::Off).hooks;
    assert_eq!(config.backup, BackupPolicy::Off);
    let mut planner = asking(config);
    let effects = orders(&found(&mut planner, 20, Neighbour::Next, plan()));
    let [first, Effect::RunHook { hook, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*first, intent());
    assert_eq!(
        *hook,
        visor_planner::Hook::BeforeStart,
        "there is nothing to stop, so that the hook before the stop is not run"
    );
    let ended = Input::HookEnded {
        hook: *hook,
        failure: None,
    };
    assert_eq!(planner.step(Timestamp(30), ended).0, [migrate()]);
}

#[test]
fn an_end_that_visor_ordered_never_means_an_upgrade() {
    for code in [0, 102, 103] {
        let mut planner = running(ending());
        let _ = planner.step(
            Timestamp(10),
            Input::NodeUnresponsive {
                reason: "no answer for 60 s".to_owned(),
            },
        );
        let effects = ended(&mut planner, 20, code);
        assert!(
            matches!(
                orders(&effects).as_slice(),
                [Effect::Append(Record::NodeFailed { .. })]
            ),
            "{code}: {effects:?}"
        );

        let mut planner = running(ending());
        let hold = Input::Operator {
            ticket: 1,
            order: Order::StopNode,
        };
        assert!(planner.step(Timestamp(10), hold).0.contains(&Effect::Stop));
        assert!(ended(&mut planner, 20, code).is_empty());

        let mut planner = running(ending());
        let _ = planner.step(Timestamp(10), Input::StopRequested);
        assert_eq!(
            ended(&mut planner, 20, code).last(),
            Some(&Effect::Exit(ExitReason::Stopped))
        );
    }
}

#[test]
fn the_code_of_a_companion_means_nothing() {
    let mut planner = running(ending());
    let ended = Input::NodeExited {
        exit: Exit::Code(0),
        companion: Some("data".to_owned()),
    };
    let effects = planner.step(Timestamp(20), ended).0;
    assert!(
        matches!(
            orders(&effects).as_slice(),
            [Effect::Append(Record::NodeFailed { .. })]
        ),
        "{effects:?}"
    );
}

#[test]
fn an_upgrade_without_a_version_is_a_failure_and_is_asked_for_again() {
    let mut planner = asking(ending());
    let effects = none_found(&mut planner, 20, Neighbour::Next);
    assert!(
        effects.iter().any(|effect| matches!(
            effect,
            Effect::Append(Record::NodeFailed { exit: Some(Exit::Code(0)), reason, .. }) if reason.contains("is installed")
        )),
        "{effects:?}"
    );
    let effects = planner.step(Timestamp(30), Input::TimerFired(Timer::Restart)).0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Start { version, .. } if *version == old())),
        "{effects:?}"
    );
    let _ = started(&mut planner, 31, None);
    let effects = ended(&mut planner, 32, 0);
    assert!(
        matches!(effects.as_slice(), [Effect::FindVersion { .. }]),
        "{effects:?}"
    );
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    for which in [Neighbour::Next, Neighbour::Previous] {
        let mut planner = running(ending());
        assert!(found(&mut planner, 2, which, plan()).is_empty());
        assert!(none_found(&mut planner, 2, which).is_empty());
    }
    let mut planner = asking(ending());
    assert!(found(&mut planner, 21, Neighbour::Previous, plan()).is_empty());
    assert!(!found(&mut planner, 22, Neighbour::Next, plan()).is_empty());
}

#[test]
fn what_is_ordered_before_the_answer_comes_first() {
    let mut planner = asking(ending());
    let hold = Input::Operator {
        ticket: 1,
        order: Order::StopNode,
    };
    let _ = planner.step(Timestamp(20), hold);
    assert!(found(&mut planner, 21, Neighbour::Next, plan()).is_empty());
    let release = Input::Operator {
        ticket: 2,
        order: Order::StartNode,
    };
    let effects = planner.step(Timestamp(22), release).0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Start { version, .. } if *version == old())),
        "it asks again: {effects:?}"
    );

    let mut planner = asking(ending());
    let effects = planner.step(Timestamp(20), Input::StopRequested).0;
    assert_eq!(effects.last(), Some(&Effect::Exit(ExitReason::Stopped)));
    assert!(found(&mut planner, 21, Neighbour::Next, plan()).is_empty());
}

#[test]
fn a_paused_or_skipped_upgrade_leaves_the_node_ended_until_the_operator_wants_it() {
    let pairs = [
        (Order::Pause, Order::Resume),
        (Order::Skip(plan().height), Order::Unskip(plan().height)),
    ];
    for (keep, go) in pairs {
        let mut planner = running(ending());
        let _ = planner.step(
            Timestamp(10),
            Input::Operator {
                ticket: 1,
                order: keep,
            },
        );
        let _ = ended(&mut planner, 20, 0);
        let effects = found(&mut planner, 20, Neighbour::Next, plan());
        assert_eq!(
            orders(&effects),
            [Effect::Append(Record::Halted { plan: plan() })]
        );
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Notify(Notice::Halted { staged: true, .. }))),
            "{effects:?}"
        );
        let status = planner.status();
        assert_eq!((status.phase, status.node), (Phase::Halting, None));
        assert_eq!(status.problems.len(), 1, "{:?}", status.problems);
        let effects = planner
            .step(Timestamp(20), Input::Operator { ticket: 2, order: go })
            .0;
        let answer = effects
            .iter()
            .position(|effect| matches!(effect, Effect::Answer { .. }));
        let intended = effects.iter().position(|effect| *effect == intent());
        assert!(answer < intended, "{effects:?}");
        assert_eq!(effects.last(), Some(&migrate()), "{effects:?}");
    }
}
