//! One rule each: what exactly is ordered.

mod ends;
mod failures;
mod halts;
mod home;
mod migration;
mod operator;
mod rollback;
mod unseen;
mod walks;

use visor_planner::{
    Effect, Exit, ExitReason, Height, Input, Millis, NodeReport, Notice, Observed, Phase, Planner, Process,
    Record, RecoverError, RetryPolicy, Timer, Timestamp, UpgradeId, UpgradePlan, Version, recover,
};

use crate::world::{H, Script, World, config, new, old, plan, settle};

fn observed() -> Observed {
    Observed {
        current: Some(old()),
        node: None,
        staged: vec![old()],
        migrating: None,
        seed: 7,
    }
}

/// A planner whose old node runs.
fn running() -> Planner {
    let (mut planner, _) = recover(config(), Timestamp(0), &[], observed()).unwrap();
    let _ = planner.step(
        Timestamp(1),
        Input::NodeStarted {
            process: Process { pid: 5 },
            exit_to_exec_us: None,
        },
    );
    planner
}

/// A planner whose old node has halted and whose upgrade is staged and intended.
fn intended() -> Planner {
    let records = [Record::Staged {
        upgrade: plan().id,
        version: new(),
    }];
    let staged = Observed {
        staged: vec![old(), new()],
        node: Some((Process { pid: 5 }, Some(old()))),
        ..observed()
    };
    let (mut planner, _) = recover(config(), Timestamp(0), &records, staged).unwrap();
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    let effects = planner.step(Timestamp(10), Input::NodeReported(report)).0;
    let intent = effects
        .iter()
        .position(|effect| matches!(effect, Effect::Append(Record::UpgradeIntended { .. })));
    let stop = effects.iter().position(|effect| *effect == Effect::Stop);
    assert!(
        intent.is_some() && intent < stop,
        "VIS-01: the intent comes before the stop: {effects:?}"
    );
    planner
}

/// The same: the old node has ended, and the new version was started 400 µs later.
fn new_version_started() -> Planner {
    let mut planner = intended();
    let _ = planner.step(
        Timestamp(20),
        Input::NodeExited {
            exit: Exit::Code(0),
            companion: None,
        },
    );
    let _ = planner.step(
        Timestamp(21),
        Input::NodeStarted {
            process: Process { pid: 6 },
            exit_to_exec_us: Some(400),
        },
    );
    planner
}

fn is_start(effect: &Effect) -> bool {
    matches!(effect, Effect::Start { .. })
}

#[test]
fn vis_01_a_failed_append_ends_all_orders_but_the_operators() {
    let mut planner = running();
    let effects = planner
        .step(
            Timestamp(2),
            Input::AppendFailed {
                reason: "disk full".to_owned(),
            },
        )
        .0;
    assert!(
        matches!(effects.as_slice(), [Effect::Notify(Notice::JournalFailed { .. })]),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Failed);
    assert!(
        planner
            .status()
            .problems
            .iter()
            .any(|problem| problem.contains("disk full"))
    );
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    assert!(
        planner
            .step(Timestamp(3), Input::NodeReported(report))
            .0
            .is_empty()
    );
    assert_eq!(planner.step(Timestamp(4), Input::StopRequested).0, [Effect::Stop]);
    let effects = planner
        .step(
            Timestamp(5),
            Input::NodeExited {
                exit: Exit::Code(0),
                companion: None,
            },
        )
        .0;
    assert_eq!(effects, [Effect::Exit(ExitReason::Stopped)]);
}

#[test]
fn vis_04_a_node_that_runs_is_adopted() {
    let found = Observed {
        node: Some((Process { pid: 5 }, Some(old()))),
        ..observed()
    };
    let (planner, effects) = recover(config(), Timestamp(0), &[], found).unwrap();
    assert!(effects.0.is_empty(), "{effects:?}");
    assert_eq!(planner.status().node, Some((5, true)));
}

#[test]
fn vis_07_nothing_is_written_between_the_exit_and_the_start() {
    let mut planner = intended();
    let effects = planner
        .step(
            Timestamp(20),
            Input::NodeExited {
                exit: Exit::Signal(9),
                companion: None,
            },
        )
        .0;
    assert!(
        matches!(effects.as_slice(), [Effect::Swap(to), Effect::Start { version, .. }] if *to == new() && *version == new()),
        "{effects:?}"
    );
}

#[test]
fn vis_07_without_a_link_and_without_a_journal_nothing_is_guessed() {
    let lost = Observed {
        current: None,
        ..observed()
    };
    assert_eq!(
        recover(config(), Timestamp(0), &[], lost.clone()).unwrap_err(),
        RecoverError::NoCurrent
    );
    // The journal knows better than any default.
    let records = [Record::StartIntended {
        version: new(),
        at: Timestamp(0),
    }];
    let (planner, effects) = recover(config(), Timestamp(0), &records, lost).unwrap();
    assert_eq!(planner.status().current, new());
    assert!(effects.0.contains(&Effect::Swap(new())), "{effects:?}");
}

#[test]
fn vis_07_a_link_that_contradicts_the_journal_starts_nothing() {
    let records = [Record::StartIntended {
        version: new(),
        at: Timestamp(0),
    }];
    let error = recover(config(), Timestamp(0), &records, observed()).unwrap_err();
    assert_eq!(
        error,
        RecoverError::UnexpectedCurrent {
            expected: new(),
            found: old()
        }
    );
}

#[test]
fn vis_08_a_stop_ends_the_node_then_visor_and_a_second_one_changes_nothing() {
    let mut planner = running();
    assert_eq!(planner.step(Timestamp(2), Input::StopRequested).0, [Effect::Stop]);
    assert!(planner.step(Timestamp(3), Input::StopRequested).0.is_empty());
    let effects = planner
        .step(
            Timestamp(4),
            Input::NodeExited {
                exit: Exit::Code(0),
                companion: None,
            },
        )
        .0;
    assert_eq!(effects.last(), Some(&Effect::Exit(ExitReason::Stopped)));
    assert!(!effects.iter().any(is_start));
}

#[test]
fn vis_08_a_stop_during_an_upgrade_starts_nothing_and_the_next_visor_finishes_it() {
    let mut world = World::new(Script::default());
    let (mut planner, mut effects) = world.recover();
    loop {
        let intended = effects
            .0
            .iter()
            .any(|effect| matches!(effect, Effect::Append(Record::UpgradeIntended { .. })));
        for effect in &effects.0 {
            world.carry_out(effect);
        }
        if intended {
            break;
        }
        let input = world.next(&planner).expect("the node goes on");
        effects = planner.step(world.now(), input);
    }
    let effects = planner.step(world.now(), Input::StopRequested);
    assert!(
        effects.0.is_empty(),
        "the node is being stopped already: {effects:?}"
    );
    let effects = planner.step(
        world.now(),
        Input::NodeExited {
            exit: Exit::Code(0),
            companion: None,
        },
    );
    assert!(!effects.0.iter().any(is_start), "{effects:?}");
    let (mut planner, effects) = world.recover();
    settle(&mut world, &mut planner, effects);
    assert!(world.is_at_rest(&planner));
    assert_eq!(world.started, [old(), new()]);
}

#[test]
fn vis_09_exit_0_without_a_reason_is_a_crash() {
    let mut planner = running();
    let effects = planner
        .step(
            Timestamp(2),
            Input::NodeExited {
                exit: Exit::Code(0),
                companion: None,
            },
        )
        .0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::SetTimer(Timer::Restart, _))),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Retrying);
    let effects = planner.step(Timestamp(3), Input::TimerFired(Timer::Restart)).0;
    assert!(effects.iter().any(is_start));
    assert!(
        planner
            .step(Timestamp(3), Input::TimerFired(Timer::Restart))
            .0
            .is_empty(),
        "a spurious timer is a no-op"
    );
}

#[test]
fn vis_09_delays_grow_to_a_limit_with_jitter_and_equal_seeds_give_equal_delays() {
    let policy: RetryPolicy = config().restart;
    for seed in 0..200 {
        for (retry, middle) in [
            (1, 1_000),
            (2, 2_000),
            (3, 4_000),
            (4, 8_000),
            (9, 8_000),
            (u32::MAX, 8_000),
        ] {
            let Millis(delay) = policy.delay(retry, seed);
            assert!(
                (middle - middle / 5..=middle + middle / 5).contains(&delay),
                "retry {retry}: {delay}"
            );
            assert_eq!(policy.delay(retry, seed), Millis(delay));
        }
    }
    let distinct: std::collections::BTreeSet<Millis> = (0..200).map(|seed| policy.delay(1, seed)).collect();
    assert!(distinct.len() > 50, "hosts do not retry in step");
}

#[test]
fn vis_09_a_healthy_time_forgives_earlier_crashes_also_across_restarts_of_visor() {
    let crash = Record::NodeFailed {
        exit: Some(Exit::Code(1)),
        reason: "crash".to_owned(),
        at: Timestamp(1),
    };
    let (planner, _) = recover(config(), Timestamp(9), &vec![crash.clone(); 2], observed()).unwrap();
    assert_eq!(planner.status().restarts, 2);
    let healthy = [
        crash.clone(),
        crash.clone(),
        Record::Healthy { at: Timestamp(2) },
        crash,
    ];
    let (planner, _) = recover(config(), Timestamp(9), &healthy, observed()).unwrap();
    assert_eq!(planner.status().restarts, 1);
}

#[test]
fn vis_10_another_version_than_the_wanted_one_is_stopped() {
    let mut planner = new_version_started();
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    assert_eq!(
        planner.step(Timestamp(22), Input::NodeReported(report)).0,
        [Effect::Stop]
    );
}

#[test]
fn vis_10_a_new_version_that_reports_but_makes_no_block_is_told_and_left_alone() {
    let mut planner = new_version_started();
    let waiting = NodeReport {
        version: new(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: None,
    };
    let _ = planner.step(Timestamp(50), Input::NodeReported(waiting));
    assert_eq!(planner.status().phase, Phase::Probation);
    let effects = planner.step(Timestamp(60), Input::TimerFired(Timer::Progress)).0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Notify(Notice::NoProgress { .. })))
    );
    assert!(!effects.contains(&Effect::Stop));
    let moving = NodeReport {
        version: new(),
        height: Height(H + 1),
        upgrades: Vec::new(),
        halt: None,
    };
    let _ = planner.step(Timestamp(90), Input::NodeReported(moving));
    let status = planner.status();
    assert_eq!((status.phase, status.problems), (Phase::Running, Vec::new()));
    let last = status.last_upgrade.unwrap();
    assert_eq!(
        (last.node_down_ms, last.exit_to_exec_us, last.stop_ms),
        (30, 400, 10)
    );
}

#[test]
fn vis_10_the_report_that_completes_an_upgrade_may_be_the_halt_for_the_next_one() {
    let mut planner = new_version_started();
    let next = UpgradePlan {
        id: UpgradeId("next".to_owned()),
        version: Version("1.2.0".to_owned()),
        height: Height(H + 1),
    };
    let report = NodeReport {
        version: new(),
        height: next.height,
        upgrades: Vec::new(),
        halt: Some(next.clone()),
    };
    let effects = planner.step(Timestamp(90), Input::NodeReported(report)).0;
    let completed = |effect: &Effect| matches!(effect, Effect::Append(Record::UpgradeCompleted { .. }));
    let halted = |effect: &Effect| matches!(effect, Effect::Notify(Notice::Halted { height, .. }) if *height == next.height);
    let place = |is: &dyn Fn(&Effect) -> bool| effects.iter().position(is);
    assert!(
        place(&completed).is_some() && place(&completed) < place(&halted),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Halting);
}

#[test]
fn vis_10_a_new_version_that_never_reports_is_stopped_and_started_again() {
    let mut planner = new_version_started();
    assert_eq!(
        planner
            .step(Timestamp(70_000), Input::TimerFired(Timer::FirstReport))
            .0,
        [Effect::Stop]
    );
    let effects = planner
        .step(
            Timestamp(70_001),
            Input::NodeExited {
                exit: Exit::Signal(9),
                companion: None,
            },
        )
        .0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::SetTimer(Timer::Restart, _))),
        "{effects:?}"
    );
}

#[test]
fn vis_11_used_up_retries_stop_visor_with_the_reason_and_the_operators_restart_tries_again() {
    let mut world = World::new(Script {
        new_crashes: u32::MAX,
        ..Script::default()
    });
    let (mut planner, effects) = world.recover();
    settle(&mut world, &mut planner, effects);
    let Some(ExitReason::RetriesExhausted { reason }) = &world.ended else {
        panic!("{:?}", world.ended)
    };
    assert!(
        reason.contains("signal 11") && reason.contains("3 retries"),
        "{reason}"
    );
    assert_eq!(
        world.started.iter().filter(|version| **version == new()).count(),
        4,
        "one start and three retries"
    );
    assert_eq!(world.current, new(), "no fall back to the old version");
    let (planner, effects) = world.recover();
    assert!(effects.0.iter().any(is_start));
    assert_eq!(planner.status().restarts, 0);
}

#[test]
fn a_halted_node_without_a_staged_upgrade_is_left_running_and_the_operator_is_told() {
    let mut world = World::new(Script {
        staging_failures: 30,
        ..Script::default()
    });
    let (mut planner, mut effects) = world.recover();
    let mut told = false;
    for _ in 0..20 {
        for effect in &effects.0 {
            told |= matches!(effect, Effect::Notify(Notice::Halted { staged: false, .. }));
            assert_ne!(*effect, Effect::Stop);
            world.carry_out(effect);
        }
        let input = world.next(&planner).unwrap();
        effects = planner.step(world.now(), input);
    }
    // Failures of staging come first in this world, so the halt is seen once they let the node report.
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    for effect in planner.step(world.now(), Input::NodeReported(report)).0 {
        told |= matches!(effect, Effect::Notify(Notice::Halted { staged: false, .. }));
        assert_ne!(effect, Effect::Stop);
    }
    assert!(told);
    assert_eq!(planner.status().phase, Phase::Halting);
}
