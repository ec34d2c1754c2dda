//! From version to version, forth and back, by the codes that nodes end with.

use visor_planner::{
    Completion, Effect, Exit, ExitReason, Input, Neighbour, Notice, Observed, Order, Phase, Planner, Process,
    Record, Timer, Timestamp, UpgradePlan, recover,
};

use super::ends::{asking, ended, found, none_found, orders, running, started};
use super::{is_start, observed};
use crate::world::{backed_up, ending, new, newer, newer_plan, old, plan};

#[test]
fn a_downgrade_is_a_switch_a_start_and_then_its_record() {
    let mut planner = running(ending());
    assert_eq!(
        ended(&mut planner, 20, 102),
        [Effect::FindVersion {
            of: old(),
            which: Neighbour::Previous
        }]
    );
    let before = UpgradePlan {
        version: crate::world::version("0.9.0"),
        ..plan()
    };
    let effects = found(&mut planner, 20, Neighbour::Previous, before.clone());
    let ordered = orders(&effects);
    assert_eq!(ordered[0], Effect::Swap(before.version.clone()));
    assert!(
        matches!(&ordered[1], Effect::Start { version, after_halt: None, .. } if *version == before.version),
        "{ordered:?}"
    );
    let record = Record::Downgraded {
        from: old(),
        to: before.version.clone(),
        at: Timestamp(20),
    };
    assert_eq!(ordered[2..], [Effect::Append(record.clone())]);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Notify(Notice::Downgraded { .. })))
    );

    // What stood behind a switch that failed is true all the same.
    let failed = Input::SwapFailed {
        reason: "read-only".to_owned(),
    };
    let effects = planner.step(Timestamp(21), failed).0;
    assert_eq!(effects[0], Effect::Append(record), "{effects:?}");
    let effects = planner.step(Timestamp(30), Input::TimerFired(Timer::Restart)).0;
    assert!(effects.contains(&Effect::Swap(before.version)), "{effects:?}");

    let mut planner = running(ending());
    let _ = ended(&mut planner, 20, 102);
    let effects = none_found(&mut planner, 20, Neighbour::Previous);
    assert!(
        matches!(
            orders(&effects).as_slice(),
            [Effect::Append(Record::NodeFailed { .. })]
        ),
        "{effects:?}"
    );
}

/// The old version has asked for the new one, and that, or the migration to it, for the old one.
fn turn(planner: &mut Planner, at: u64, migration_asks: bool) -> Vec<Effect> {
    assert!(planner.status().node.is_some());
    let _ = ended(planner, at, 0);
    let _ = found(planner, at, Neighbour::Next, plan());
    let _ = started(planner, at + 1, None);
    if !migration_asks {
        let _ = ended(planner, at + 2, 0);
        let _ = started(planner, at + 3, None);
    }
    assert_eq!(
        ended(planner, at + 4, 102),
        [Effect::FindVersion {
            of: new(),
            which: Neighbour::Previous
        }]
    );
    let before = UpgradePlan {
        version: old(),
        ..plan()
    };
    found(planner, at + 4, Neighbour::Previous, before)
}

fn delay(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| {
        let Effect::SetTimer(Timer::Restart, delay) = effect else {
            return None;
        };
        Some(delay.0)
    })
}

#[test]
fn two_versions_that_only_ask_for_each_other_are_started_later_each_time_and_then_not_at_all() {
    for migration_asks in [false, true] {
        let mut config = ending();
        config.restart.jitter_percent = 0;
        let mut planner = running(config);
        let effects = turn(&mut planner, 20, migration_asks);
        assert!(effects.iter().any(is_start), "the first at once: {effects:?}");
        let _ = started(&mut planner, 29, None);
        for (retry, expected) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            let at = u64::from(retry) * 10_000;
            let effects = turn(&mut planner, at, migration_asks);
            assert!(
                matches!(
                    orders(&effects).as_slice(),
                    [
                        Effect::Swap(to),
                        Effect::Append(Record::Downgraded { .. }),
                        Effect::Append(Record::NodeFailed { exit: Some(Exit::Code(102)), .. })
                    ] if *to == old()
                ),
                "what it asked for is noted, and nothing is started: {effects:?}"
            );
            assert_eq!(delay(&effects), Some(expected));
            let told = effects.iter().any(|effect| {
                matches!(effect, Effect::Notify(Notice::Retrying { reason, retry: told, of: 3, .. })
                    if *told == retry && reason.contains("1.1.0 exited with code 102 and so asks for 1.0.0 again"))
            });
            assert!(told, "{effects:?}");
            let status = planner.status();
            assert_eq!((status.phase, status.current), (Phase::Retrying, old()));
            let effects = planner
                .step(Timestamp(at + 9), Input::TimerFired(Timer::Restart))
                .0;
            assert!(
                matches!(orders(&effects).last(), Some(Effect::Start { version, .. }) if *version == old()),
                "{effects:?}"
            );
            let _ = started(&mut planner, at + 10, None);
        }
        let effects = turn(&mut planner, 50_000, migration_asks);
        assert!(
            matches!(effects.last(), Some(Effect::Exit(ExitReason::RetriesExhausted { reason }))
                if reason.contains("asks for 1.0.0 again") && reason.contains("3 retries are used up")),
            "{effects:?}"
        );
        assert!(!effects.iter().any(is_start));
    }
}

#[test]
fn a_node_that_is_healthy_and_an_operator_who_starts_it_allow_another_way_back_at_once() {
    let mut planner = running(ending());
    let at_once = |planner: &mut Planner, at| {
        let effects = turn(planner, at, false);
        assert!(effects.iter().any(is_start), "{effects:?}");
        let _ = started(planner, at + 5, None);
    };
    let later = |planner: &mut Planner, at| {
        assert_eq!(
            turn(planner, at, false).iter().find(|effect| is_start(effect)),
            None
        );
        let _ = planner.step(Timestamp(at + 5), Input::TimerFired(Timer::Restart));
        let _ = started(planner, at + 6, None);
    };
    at_once(&mut planner, 20);
    let _ = planner.step(Timestamp(30), Input::TimerFired(Timer::Healthy));
    at_once(&mut planner, 40);
    later(&mut planner, 50);
    let effects = planner.step(Timestamp(60), Input::TimerFired(Timer::Healthy)).0;
    assert_eq!(effects, [Effect::Append(Record::Healthy { at: Timestamp(60) })]);
    at_once(&mut planner, 70);
    later(&mut planner, 80);
    for (ticket, order) in [(1, Order::StopNode), (2, Order::StartNode)] {
        let _ = planner.step(Timestamp(90), Input::Operator { ticket, order });
    }
    let _ = ended(&mut planner, 91, 143);
    let _ = started(&mut planner, 92, None);
    at_once(&mut planner, 93);

    // Another pair has not been tried.
    let _ = ended(&mut planner, 100, 102);
    let before = UpgradePlan {
        version: crate::world::version("0.9.0"),
        ..plan()
    };
    let effects = found(&mut planner, 100, Neighbour::Previous, before);
    assert!(effects.iter().any(is_start), "{effects:?}");
}

#[test]
fn a_version_that_was_missing_for_a_while_does_not_let_two_versions_take_turns_anew() {
    let mut config = ending();
    config.restart.jitter_percent = 0;
    let mut planner = running(config);
    let _ = turn(&mut planner, 20, false);
    let _ = started(&mut planner, 25, None);
    assert_eq!(delay(&turn(&mut planner, 30, false)), Some(1_000));
    let _ = planner.step(Timestamp(40), Input::TimerFired(Timer::Restart));
    let _ = started(&mut planner, 41, None);
    let _ = ended(&mut planner, 42, 0);
    let _ = none_found(&mut planner, 42, Neighbour::Next);
    let _ = planner.step(Timestamp(50), Input::TimerFired(Timer::Restart));
    let _ = started(&mut planner, 51, None);
    assert_eq!(delay(&turn(&mut planner, 60, false)), Some(2_000));
}

#[test]
fn a_switch_back_that_fails_while_two_versions_take_turns_is_tried_again_with_the_start() {
    let mut planner = running(ending());
    let _ = turn(&mut planner, 20, false);
    let _ = started(&mut planner, 25, None);
    let _ = turn(&mut planner, 30, false);
    let failed = Input::SwapFailed {
        reason: "read-only".to_owned(),
    };
    let effects = planner.step(Timestamp(35), failed).0;
    assert!(
        matches!(effects[0], Effect::Append(Record::Downgraded { .. })),
        "{effects:?}"
    );
    assert!(!effects.iter().any(is_start));
    let effects = planner.step(Timestamp(40), Input::TimerFired(Timer::Restart)).0;
    assert!(
        matches!(orders(&effects).as_slice(), [Effect::Append(_), Effect::Swap(to), Effect::Start { .. }] if *to == old()),
        "{effects:?}"
    );
}

#[test]
fn a_next_version_that_is_not_there_is_waited_for_without_end() {
    let mut planner = running(ending());
    let retries = u64::from(ending().restart.max_retries);
    for attempt in 0..3 * retries {
        let at = 20 + attempt;
        let _ = ended(&mut planner, at, 0);
        let effects = none_found(&mut planner, at, Neighbour::Next);
        assert!(
            matches!(
                orders(&effects).as_slice(),
                [Effect::Append(Record::NodeFailed { .. })]
            ),
            "{attempt}: {effects:?}"
        );
        let effects = planner.step(Timestamp(at), Input::TimerFired(Timer::Restart)).0;
        assert!(effects.iter().any(is_start), "{attempt}: {effects:?}");
        let _ = started(&mut planner, at, None);
    }
    // Crashes are counted from the first.
    for attempt in 0..retries {
        let _ = ended(&mut planner, 100 + attempt, 1);
        let restart = Input::TimerFired(Timer::Restart);
        let effects = planner.step(Timestamp(100 + attempt), restart).0;
        assert!(effects.iter().any(is_start), "{attempt}: {effects:?}");
        let _ = started(&mut planner, 100 + attempt, None);
    }
    let effects = ended(&mut planner, 200, 1);
    assert!(
        matches!(
            effects.last(),
            Some(Effect::Exit(ExitReason::RetriesExhausted { .. }))
        ),
        "{effects:?}"
    );

    // Where nothing is tried twice, this is not either.
    let mut config = ending();
    config.restart.max_retries = 0;
    config.first_start.max_retries = 0;
    let mut planner = running(config);
    let _ = ended(&mut planner, 20, 0);
    let effects = none_found(&mut planner, 20, Neighbour::Next);
    assert!(
        matches!(
            effects.last(),
            Some(Effect::Exit(ExitReason::RetriesExhausted { .. }))
        ),
        "{effects:?}"
    );
}

#[test]
fn a_version_that_becomes_complete_ends_the_wait_of_a_node_that_asked_for_one() {
    let staged = || Input::Staged { upgrade: plan().id };
    let mut planner = running(ending());
    let known = super::halts::report(plan().height.0 - 1, None);
    let _ = planner.step(Timestamp(5), Input::NodeReported(known));
    let _ = ended(&mut planner, 20, 0);
    let _ = none_found(&mut planner, 20, Neighbour::Next);
    let effects = planner.step(Timestamp(21), staged()).0;
    assert!(effects.iter().any(is_start), "{effects:?}");
    assert!(
        effects.contains(&Effect::CancelTimer(Timer::Restart)),
        "{effects:?}"
    );
    // One that crashed waits as it should.
    let mut planner = running(ending());
    let known = super::halts::report(plan().height.0 - 1, None);
    let _ = planner.step(Timestamp(5), Input::NodeReported(known));
    let _ = ended(&mut planner, 20, 1);
    let effects = planner.step(Timestamp(21), staged()).0;
    assert!(!effects.iter().any(is_start), "{effects:?}");
}

#[test]
fn a_shutdown_is_written_down_and_ends_visor() {
    let mut planner = running(ending());
    assert_eq!(
        ended(&mut planner, 20, 103),
        [
            Effect::Append(Record::ShutDown { at: Timestamp(20) }),
            Effect::Exit(ExitReason::ShutDown)
        ]
    );
    // Whoever starts visor again wants the node.
    let records = [
        Record::StartIntended {
            version: old(),
            at: Timestamp(0),
        },
        Record::ShutDown { at: Timestamp(20) },
    ];
    let (_, effects) = recover(ending(), Timestamp(30), &records, observed()).unwrap();
    assert!(effects.0.iter().any(is_start));
}

#[test]
fn a_version_that_asks_for_the_next_one_on_probation_has_completed_its_upgrade() {
    let mut config = ending();
    config.conventions.completion = Completion::FirstBlock;
    let mut planner = asking(config);
    let _ = found(&mut planner, 20, Neighbour::Next, plan());
    let _ = started(&mut planner, 21, None);
    let _ = ended(&mut planner, 22, 0);
    let _ = started(&mut planner, 23, None);
    assert_eq!(planner.status().phase, Phase::Starting);
    assert_eq!(
        ended(&mut planner, 24, 0),
        [Effect::FindVersion {
            of: new(),
            which: Neighbour::Next
        }]
    );
    let effects = orders(&found(&mut planner, 24, Neighbour::Next, newer_plan()));
    assert_eq!(
        effects[0],
        Effect::Migrate {
            from: new(),
            to: newer()
        }
    );
    assert!(
        matches!(
            &effects[1..],
            [
                Effect::Append(Record::UpgradeCompleted { .. }),
                Effect::Append(Record::UpgradeIntended { .. })
            ]
        ),
        "{effects:?}"
    );
}

#[test]
fn several_versions_follow_each_other_without_a_word_in_between_also_at_one_height() {
    let mut planner = asking(ending());
    let second = UpgradePlan {
        height: plan().height,
        ..newer_plan()
    };
    for (plan, from) in [(plan(), old()), (second, new())] {
        let effects = orders(&found(&mut planner, 20, Neighbour::Next, plan.clone()));
        assert_eq!(
            effects[0],
            Effect::Migrate {
                from,
                to: plan.version.clone()
            }
        );
        let _ = started(&mut planner, 21, Some(100));
        let _ = ended(&mut planner, 22, 0);
        let effects = orders(&started(&mut planner, 23, Some(30)));
        assert!(
            matches!(
                effects.as_slice(),
                [
                    Effect::Append(Record::NodeStarted { version, .. }),
                    Effect::Append(Record::UpgradeCompleted {
                        node_down_ms: 3,
                        exit_to_exec_us: 130,
                        ..
                    })
                ] if *version == plan.version
            ),
            "{effects:?}"
        );
        assert_eq!(
            ended(&mut planner, 20, 0),
            [Effect::FindVersion {
                of: plan.version,
                which: Neighbour::Next
            }]
        );
    }
    assert_eq!(planner.status().last_upgrade.unwrap().to, newer());
}

#[test]
fn a_first_pass_that_still_runs_is_waited_for() {
    let mut config = ending();
    config.backup = backed_up(true).backup;
    let known = Observed {
        node: Some((Process { pid: 5 }, Some(old()))),
        staged: vec![old(), new()],
        ..observed()
    };
    let records = [Record::Staged {
        upgrade: plan().id,
        version: new(),
    }];
    let (mut planner, _) = recover(config, Timestamp(0), &records, known).unwrap();
    let report = super::halts::report(plan().height.0 - 1, None);
    let effects = planner.step(Timestamp(1), Input::NodeReported(report)).0;
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::BackUp { .. })),
        "{effects:?}"
    );
    let _ = ended(&mut planner, 20, 0);
    let effects = orders(&found(&mut planner, 20, Neighbour::Next, plan()));
    assert_eq!(effects, [Effect::Append(Record::Halted { plan: plan() })]);
    let failed = Input::BackupFailed {
        upgrade: plan().id,
        pass: visor_planner::Pass::First,
        reason: "no space".to_owned(),
    };
    let effects = orders(&planner.step(Timestamp(30), failed).0);
    assert!(
        matches!(
            effects.as_slice(),
            [
                Effect::Append(Record::UpgradeIntended { .. }),
                Effect::BackUp { .. }
            ]
        ),
        "{effects:?}"
    );
}
