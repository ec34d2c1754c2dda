//! A node that forgets its halt has died at it, and nobody had seen it halt.

use visor_planner::{
    Announced, ArtifactFact, Effect, ExitReason, Height, Input, NodeReport, Observed, Order, Phase, Planner,
    Process, Record, Standing, Timer, Timestamp, UpgradePlan, recover,
};

use super::ends::{ended, started};
use super::{is_start, observed};
use crate::world::{H, config, forgetful, new, newer_plan, old, plan};

/// Of the old version, which knows of these upgrades.
fn report(height: u64, accepted: &[(UpgradePlan, Standing)]) -> Input {
    let announced = |(plan, standing): &(UpgradePlan, Standing)| Announced {
        plan: plan.clone(),
        standing: *standing,
        artifact: ArtifactFact::InPlace,
    };
    Input::NodeReported(NodeReport {
        version: old(),
        height: Height(height),
        upgrades: accepted.iter().map(announced).collect(),
        halt: None,
    })
}

fn approved() -> Vec<(UpgradePlan, Standing)> {
    vec![(plan(), Standing::Approved)]
}

fn scheduled() -> Record {
    Record::Scheduled {
        plan: plan(),
        artifact: None,
    }
}

fn has(effects: &[Effect], record: &Record) -> bool {
    effects.contains(&Effect::Append(record.clone()))
}

fn unscheduled(at: u64) -> Record {
    Record::Unscheduled {
        plan: plan(),
        at: Timestamp(at),
    }
}

/// What the only start among these orders would have to be asked about.
fn asked_about(effects: &[Effect]) -> Option<UpgradePlan> {
    let mut starts = Vec::new();
    for effect in effects {
        if let Effect::Start {
            version, unseen_halt, ..
        } = effect
        {
            starts.push((version, unseen_halt));
        }
    }
    assert_eq!(starts.len(), 1, "{effects:?}");
    assert_eq!(*starts[0].0, old());
    starts[0].1.clone()
}

/// Its node runs.
fn running() -> Planner {
    let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    planner
}

/// Its node, which has named the upgrade, has died below H, and is to be started again.
fn restarting() -> (Planner, Vec<Effect>) {
    let mut planner = running();
    let effects = planner.step(Timestamp(2), report(3, &approved())).0;
    assert!(has(&effects, &scheduled()), "{effects:?}");
    let _ = ended(&mut planner, 10, 2);
    let effects = planner.step(Timestamp(11), Input::TimerFired(Timer::Restart)).0;
    (planner, effects)
}

fn found() -> Input {
    Input::HaltFound { plan: plan() }
}

#[test]
fn an_accepted_upgrade_is_written_down_before_anything_is_done_about_it() {
    let mut planner = running();
    let effects = planner.step(Timestamp(2), report(3, &approved())).0;
    assert_eq!(effects[0], Effect::Append(scheduled()), "{effects:?}");
    let again = planner.step(Timestamp(3), report(4, &approved())).0;
    assert!(!has(&again, &scheduled()), "once: {again:?}");
    // Of several the one that comes first, whichever way they are told.
    let both = [(newer_plan(), Standing::LockedIn), (plan(), Standing::Approved)];
    let effects = planner.step(Timestamp(4), report(5, &both)).0;
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Append(Record::Scheduled { .. }))),
        "{effects:?}"
    );
    // A node whose halt is durable tells the next visor itself.
    let (mut planner, _) = recover(config(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    let effects = planner.step(Timestamp(2), report(3, &approved())).0;
    assert!(!has(&effects, &scheduled()), "{effects:?}");
}

#[test]
fn an_upgrade_is_taken_back_by_the_node_that_named_it_and_not_by_one_that_was_just_started() {
    let mut planner = running();
    let _ = planner.step(Timestamp(2), report(3, &approved()));
    let effects = planner.step(Timestamp(3), report(4, &[])).0;
    assert!(has(&effects, &unscheduled(3)), "{effects:?}");
    let _ = ended(&mut planner, 10, 2);
    let effects = planner.step(Timestamp(11), Input::TimerFired(Timer::Restart)).0;
    assert_eq!(asked_about(&effects), None);

    // Started on data of before the votes, it comes to know it again; unless it makes blocks of its own, or the chain has gone on.
    // It may have H + 1 in its store.
    for (heights, is_over) in [
        (&[0, 3, 3][..], false),
        (&[H + 1, H + 1], false),
        (&[0, 3, 4], true),
        (&[H + 2], true),
    ] {
        let (mut planner, _) = restarting();
        let _ = started(&mut planner, 12, None);
        let (last, before) = heights.split_last().unwrap();
        for height in before {
            let effects = planner.step(Timestamp(13), report(*height, &[])).0;
            assert!(!has(&effects, &unscheduled(13)), "{heights:?}: {effects:?}");
        }
        let effects = planner.step(Timestamp(14), report(*last, &[])).0;
        assert_eq!(
            has(&effects, &unscheduled(14)),
            is_over,
            "{heights:?}: {effects:?}"
        );
    }
}

#[test]
fn a_start_that_may_follow_an_unseen_halt_says_so() {
    let (_, effects) = restarting();
    assert_eq!(asked_about(&effects), Some(plan()));
    // Also the first of a visor that knows it from the journal.
    let (_, effects) = recover(forgetful(), Timestamp(20), &[scheduled()], observed()).unwrap();
    assert_eq!(asked_about(&effects.0), Some(plan()));
    for (config, records) in [
        (forgetful(), vec![]),
        (forgetful(), vec![scheduled(), unscheduled(3)]),
        (
            forgetful(),
            vec![
                scheduled(),
                Record::Skipped {
                    height: Height(H),
                    at: Timestamp(3),
                },
            ],
        ),
        (config(), vec![scheduled()]),
    ] {
        let (_, effects) = recover(config, Timestamp(20), &records, observed()).unwrap();
        assert_eq!(asked_about(&effects.0), None, "{records:?}");
    }
}

#[test]
fn a_halt_that_is_found_is_like_one_that_was_seen() {
    let (mut planner, _) = restarting();
    let effects = planner.step(Timestamp(12), found()).0;
    assert_eq!(effects[0], Effect::Append(Record::Halted { plan: plan() }));
    assert!(!effects.iter().any(is_start), "{effects:?}");
    let status = planner.status();
    assert_eq!((status.phase, status.node), (Phase::Halting, None));
    assert!(
        status.problems[0].contains("1.0.0 is not started again"),
        "{status:?}"
    );
    let staged = Input::Staged { upgrade: plan().id };
    let effects = planner.step(Timestamp(13), staged).0;
    assert!(
        matches!(
            effects.last(),
            Some(Effect::Start { version, after_halt: Some(Height(H)), unseen_halt: None, .. }) if *version == new()
        ),
        "{effects:?}"
    );
}

#[test]
fn a_halt_that_is_found_with_the_new_version_ready_is_followed_by_it_at_once() {
    let records = [
        scheduled(),
        Record::Staged {
            upgrade: plan().id,
            version: new(),
        },
    ];
    let there = Observed {
        staged: vec![old(), new()],
        ..observed()
    };
    let (mut planner, effects) = recover(forgetful(), Timestamp(20), &records, there).unwrap();
    assert_eq!(asked_about(&effects.0), Some(plan()));
    let effects = planner.step(Timestamp(21), found()).0;
    let place = |wanted: &dyn Fn(&Effect) -> bool| effects.iter().position(wanted);
    let halted = place(&|effect| matches!(effect, Effect::Append(Record::Halted { .. })));
    let intent = place(&|effect| matches!(effect, Effect::Append(Record::UpgradeIntended { .. })));
    let start = place(&|effect| matches!(effect, Effect::Start { version, .. } if *version == new()));
    assert!(
        halted.is_some() && halted < intent && intent < start,
        "{effects:?}"
    );
}

#[test]
fn what_the_operator_says_while_it_is_being_found_out_counts() {
    let order = |order| Input::Operator { ticket: 1, order };
    // Not this upgrade: the old version is started after all, and is not asked about again.
    let (mut planner, _) = restarting();
    let _ = planner.step(Timestamp(12), order(Order::Skip(Height(H))));
    let effects = planner.step(Timestamp(13), found()).0;
    assert!(!has(&effects, &Record::Halted { plan: plan() }), "{effects:?}");
    assert_eq!(asked_about(&effects), None);
    // Kept stopped.
    let (mut planner, _) = restarting();
    let _ = planner.step(Timestamp(12), order(Order::StopNode));
    let effects = planner.step(Timestamp(13), found()).0;
    assert!(has(&effects, &Record::Halted { plan: plan() }) && !effects.iter().any(is_start));
    let effects = planner.step(Timestamp(14), order(Order::StartNode)).0;
    assert!(!effects.iter().any(is_start), "{effects:?}");
    // Visor is to end.
    let (mut planner, _) = restarting();
    assert!(planner.step(Timestamp(12), Input::StopRequested).0.is_empty());
    let effects = planner.step(Timestamp(13), found()).0;
    assert!(has(&effects, &Record::Halted { plan: plan() }), "{effects:?}");
    assert_eq!(effects.last(), Some(&Effect::Exit(ExitReason::Stopped)));
}

#[test]
fn what_nobody_asked_about_changes_nothing() {
    let mut planner = running();
    let before = planner.clone();
    assert!(planner.step(Timestamp(2), found()).0.is_empty());
    assert_eq!(planner.status(), before.status());
    // Without a journal nothing is started, and nothing is left that keeps visor from ending.
    let (mut planner, _) = restarting();
    let reason = "disk full".to_owned();
    let _ = planner.step(Timestamp(12), Input::AppendFailed { reason });
    let _ = planner.step(Timestamp(12), Input::StopRequested);
    let _ = planner.step(Timestamp(13), found());
    assert_eq!(planner.status().node, None);
    // An adopted node is asked itself.
    let runs = Observed {
        node: Some((Process { pid: 5 }, Some(old()))),
        ..observed()
    };
    let (_, effects) = recover(forgetful(), Timestamp(20), &[scheduled()], runs).unwrap();
    assert!(effects.0.is_empty(), "{effects:?}");
}
