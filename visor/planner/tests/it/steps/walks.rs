//! From version to version, forth and back, by the codes that nodes end with.

use visor_planner::{
    Completion, Effect, ExitReason, Input, Neighbour, Notice, Observed, Phase, Process, Record, Timer,
    Timestamp, UpgradePlan, recover,
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
