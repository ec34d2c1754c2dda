//! Between two versions the data is migrated by a process of the new one.

use visor_planner::{
    Effect, Exit, ExitReason, Input, Neighbour, Order, Phase, Planner, Process, Record, Timer, Timestamp,
};

use super::ends::{ended, found, intent, migrate, none_found, orders, running, started};
use crate::world::{ending, new, old, plan};

/// Its migration is ordered.
fn begun() -> Planner {
    let mut planner = running(ending());
    let _ = ended(&mut planner, 20, 0);
    let effects = found(&mut planner, 20, Neighbour::Next, plan());
    assert_eq!(orders(&effects), [migrate(), intent()]);
    planner
}

/// Its migration runs.
fn migrating() -> Planner {
    let mut planner = begun();
    assert!(
        started(&mut planner, 21, Some(100)).is_empty(),
        "no record says that the new version runs, and no timer waits for its report"
    );
    planner
}

/// It failed, and is begun again.
fn is_repeated(planner: &mut Planner, effects: &[Effect]) {
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Append(Record::NodeFailed { .. }))),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Retrying);
    let effects = planner.step(Timestamp(40), Input::TimerFired(Timer::Restart)).0;
    assert_eq!(effects, [migrate()]);
}

#[test]
fn its_end_with_0_is_followed_by_switch_and_start_and_then_by_its_record() {
    let mut planner = migrating();
    let status = planner.status();
    assert_eq!((status.phase, status.current), (Phase::Migrating, old()));
    let effects = ended(&mut planner, 25, 0);
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Swap(to), Effect::Start { version, .. }, Effect::Append(Record::Migrated { .. })]
                if *to == new() && *version == new()
        ),
        "{effects:?}"
    );
    let effects = started(&mut planner, 26, Some(40));
    assert!(
        effects.iter().any(|effect| matches!(
            effect,
            Effect::Append(Record::UpgradeCompleted {
                node_down_ms: 6,
                exit_to_exec_us: 140,
                restarts: 0,
                ..
            })
        )),
        "{effects:?}"
    );
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::SetTimer(Timer::FirstReport | Timer::Progress, _))),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Running);
}

#[test]
fn any_other_end_is_a_failure_and_the_migration_is_repeated() {
    for exit in [Exit::Code(1), Exit::Code(101), Exit::Signal(9), Exit::Unknown] {
        let mut planner = migrating();
        let ended = Input::NodeExited {
            exit,
            companion: None,
        };
        let effects = planner.step(Timestamp(25), ended).0;
        is_repeated(&mut planner, &effects);
        assert!(
            planner.status().problems[0].contains("the migration from 1.0.0 to 1.1.0"),
            "{:?}",
            planner.status().problems
        );
    }
    let mut planner = begun();
    let failed = Input::NodeStartFailed {
        reason: "no such file".to_owned(),
    };
    let effects = planner.step(Timestamp(25), failed).0;
    is_repeated(&mut planner, &effects);
}

#[test]
fn its_failures_are_counted_by_the_limit_for_starts_after_an_upgrade() {
    let mut config = ending();
    config.start_after_upgrade.max_retries = 1;
    config.restart.max_retries = 9;
    let mut planner = running(config);
    let _ = ended(&mut planner, 20, 0);
    let _ = found(&mut planner, 20, Neighbour::Next, plan());
    let _ = started(&mut planner, 21, None);
    let effects = ended(&mut planner, 22, 1);
    is_repeated(&mut planner, &effects);
    let _ = started(&mut planner, 41, None);
    let effects = ended(&mut planner, 42, 1);
    assert!(
        matches!(
            effects.last(),
            Some(Effect::Exit(ExitReason::RetriesExhausted { .. }))
        ),
        "{effects:?}"
    );
}

#[test]
fn a_stop_during_it_ends_it_and_it_is_repeated_afterwards() {
    let mut planner = migrating();
    let hold = Input::Operator {
        ticket: 1,
        order: Order::StopNode,
    };
    assert_eq!(planner.step(Timestamp(22), hold).0.last(), Some(&Effect::Stop));
    // It was ordered to end: no code of it says that it is done.
    assert!(ended(&mut planner, 23, 0).is_empty());
    let release = Input::Operator {
        ticket: 2,
        order: Order::StartNode,
    };
    let effects = planner.step(Timestamp(24), release).0;
    assert_eq!(effects.last(), Some(&migrate()), "{effects:?}");

    let mut planner = migrating();
    assert_eq!(
        planner.step(Timestamp(22), Input::StopRequested).0,
        [Effect::Stop]
    );
    assert_eq!(
        ended(&mut planner, 23, 0),
        [
            Effect::Append(Record::Stopped { at: Timestamp(23) }),
            Effect::Exit(ExitReason::Stopped)
        ]
    );

    // A stop between the order and the process.
    let mut planner = begun();
    assert!(planner.step(Timestamp(20), Input::StopRequested).0.is_empty());
    assert_eq!(started(&mut planner, 21, None), [Effect::Stop]);
}

#[test]
fn its_own_codes_mean_what_the_nodes_mean() {
    let mut planner = migrating();
    let effects = ended(&mut planner, 25, 102);
    assert_eq!(
        effects,
        [Effect::FindVersion {
            of: new(),
            which: Neighbour::Previous
        }]
    );
    let back = visor_planner::UpgradePlan {
        version: old(),
        ..plan()
    };
    let effects = orders(&found(&mut planner, 25, Neighbour::Previous, back));
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Swap(to), Effect::Start { .. }, Effect::Append(Record::Downgraded { from, .. })]
                if *to == old() && *from == new()
        ),
        "{effects:?}"
    );
    assert_eq!(planner.status().upgrade, None, "the upgrade is over");

    let mut planner = migrating();
    let _ = ended(&mut planner, 25, 102);
    let effects = none_found(&mut planner, 25, Neighbour::Previous);
    is_repeated(&mut planner, &effects);

    let mut planner = migrating();
    assert_eq!(
        ended(&mut planner, 25, 103).last(),
        Some(&Effect::Exit(ExitReason::ShutDown))
    );
}

#[test]
fn a_record_of_it_that_cannot_be_written_leaves_it_running() {
    let mut planner = begun();
    let failed = Input::AppendFailed {
        reason: "disk full".to_owned(),
    };
    let _ = planner.step(Timestamp(20), failed);
    // It stood before the record that failed: it was begun.
    let process = Process { pid: 5 };
    let started = Input::NodeStarted {
        process,
        exit_to_exec_us: None,
    };
    let _ = planner.step(Timestamp(21), started);
    assert_eq!(planner.status().node, Some((5, false)));
    assert_eq!(
        planner.step(Timestamp(22), Input::StopRequested).0,
        [Effect::Stop]
    );
}

#[test]
fn a_switch_that_fails_after_it_does_not_lose_that_it_is_done() {
    let mut planner = migrating();
    let _ = ended(&mut planner, 25, 0);
    let failed = Input::SwapFailed {
        reason: "read-only".to_owned(),
    };
    let effects = planner.step(Timestamp(26), failed).0;
    assert_eq!(
        effects[0],
        Effect::Append(Record::Migrated { at: Timestamp(25) }),
        "{effects:?}"
    );
    let effects = planner.step(Timestamp(40), Input::TimerFired(Timer::Restart)).0;
    assert!(
        matches!(effects.as_slice(), [Effect::Swap(_), Effect::Start { .. }]),
        "{effects:?}"
    );
}

#[test]
fn nobody_asks_it_for_an_answer() {
    let mut planner = migrating();
    let silent = Input::NodeUnresponsive {
        reason: "no answer for 60 s".to_owned(),
    };
    assert!(planner.step(Timestamp(22), silent).0.is_empty());
}
