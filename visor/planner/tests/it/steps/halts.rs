//! Nodes that forget their halt: past H the old version is never started again, unless the operator says that the upgrade is not to be.

use visor_planner::{
    Announced, ArtifactFact, Config, Effect, Exit, ExitReason, Height, HookPolicy, Input, NodeReport,
    Observed, Order, Phase, Planner, Process, Record, Standing, Timer, Timestamp, UpgradePlan, recover,
};

use super::ends::{ended, started};
use super::{is_start, observed};
use crate::world::{H, forgetful, hooked, new, old, plan};

pub(super) fn report(height: u64, halt: Option<UpgradePlan>) -> NodeReport {
    NodeReport {
        version: old(),
        height: Height(height),
        upgrades: vec![Announced {
            plan: plan(),
            standing: Standing::LockedIn,
            artifact: ArtifactFact::InPlace,
        }],
        halt,
    }
}

fn order(planner: &mut Planner, order: Order) -> Vec<Effect> {
    planner
        .step(Timestamp(50), Input::Operator { ticket: 1, order })
        .0
}

fn staged() -> Input {
    Input::Staged { upgrade: plan().id }
}

fn halted_record() -> Effect {
    Effect::Append(Record::Halted { plan: plan() })
}

/// Its node has halted; nothing is staged.
fn halted() -> Planner {
    let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    let effects = planner
        .step(Timestamp(2), Input::NodeReported(report(H, Some(plan()))))
        .0;
    assert!(effects.contains(&halted_record()), "{effects:?}");
    planner
}

/// The new version is started, and H is known to be the last block.
fn is_upgrade(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| {
        matches!(effect, Effect::Start { version, after_halt, .. } if *version == new() && *after_halt == Some(Height(H)))
    })
}

#[test]
fn a_halted_node_that_dies_is_not_started_again_and_the_new_version_is_once_it_is_there() {
    let mut planner = halted();
    let effects = ended(&mut planner, 10, 1);
    assert!(
        effects.is_empty(),
        "no failure is counted, no retry set: {effects:?}"
    );
    let status = planner.status();
    assert_eq!((status.phase, status.node), (Phase::Halting, None));
    let problem = &status.problems[0];
    for told in [
        "height 6",
        "1.0.0 is not started again",
        "1.1.0 is not staged",
        "put its folder in place",
        "visor skip 6",
    ] {
        assert!(problem.contains(told), "{told}: {problem}");
    }
    // A retry that was set before does not race with it.
    assert!(
        planner
            .step(Timestamp(11), Input::TimerFired(Timer::Restart))
            .0
            .is_empty()
    );
    let effects = planner.step(Timestamp(12), staged()).0;
    assert!(is_upgrade(&effects), "{effects:?}");
}

#[test]
fn a_node_that_dies_at_the_height_before_it_says_that_it_halts_is_not_started_again() {
    for (height, again) in [(H, false), (H - 1, true)] {
        let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
        let _ = started(&mut planner, 1, None);
        let _ = planner.step(Timestamp(2), Input::NodeReported(report(height, None)));
        let effects = ended(&mut planner, 10, 1);
        assert_eq!(effects.contains(&halted_record()), !again, "{effects:?}");
        let retried = effects
            .iter()
            .any(|effect| matches!(effect, Effect::SetTimer(Timer::Restart, _)));
        assert_eq!(retried, again, "{effects:?}");
        assert!(!effects.iter().any(is_start), "{effects:?}");
    }
    // With the new version ready it follows at once.
    let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    let _ = planner.step(Timestamp(2), Input::NodeReported(report(H, None)));
    let _ = planner.step(Timestamp(3), staged());
    assert!(is_upgrade(&ended(&mut planner, 10, 1)));
}

#[test]
fn a_companion_that_dies_at_the_halt_takes_the_node_with_it_and_nothing_else_happens() {
    let mut planner = halted();
    let ended = Input::NodeExited {
        exit: Exit::Signal(9),
        companion: Some("data".to_owned()),
    };
    assert!(planner.step(Timestamp(10), ended).0.is_empty());
    assert_eq!(planner.status().phase, Phase::Halting);
}

#[test]
fn a_halted_node_that_dies_when_the_new_version_is_ready_is_followed_by_it_at_once() {
    let (mut planner, _) = recover(
        {
            let mut config = forgetful();
            config.hooks = hooked(HookPolicy::Block, HookPolicy::Off, HookPolicy::Off).hooks;
            config
        },
        Timestamp(0),
        &[],
        observed(),
    )
    .unwrap();
    let _ = started(&mut planner, 1, None);
    let _ = planner.step(Timestamp(2), Input::NodeReported(report(2, None)));
    let _ = planner.step(Timestamp(3), staged());
    let effects = planner
        .step(Timestamp(4), Input::NodeReported(report(H, Some(plan()))))
        .0;
    // The hook stands before the intent, so that the halt is written down although the folder is complete.
    let record = effects.iter().position(|effect| *effect == halted_record());
    let hook = effects
        .iter()
        .position(|effect| matches!(effect, Effect::RunHook { .. }));
    assert!(record.is_some() && record < hook, "{effects:?}");
    assert!(ended(&mut planner, 5, 1).is_empty(), "the hook still runs");
    let passed = Input::HookEnded {
        hook: visor_planner::Hook::BeforeStop,
        failure: None,
    };
    let effects = planner.step(Timestamp(6), passed).0;
    assert!(is_upgrade(&effects), "{effects:?}");
}

#[test]
fn the_intent_that_comes_at_once_says_the_halt_too() {
    let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    let _ = planner.step(Timestamp(2), Input::NodeReported(report(2, None)));
    let _ = planner.step(Timestamp(3), staged());
    let effects = planner
        .step(Timestamp(4), Input::NodeReported(report(H, Some(plan()))))
        .0;
    assert!(!effects.contains(&halted_record()), "{effects:?}");
    assert_eq!(effects.last(), Some(&Effect::Stop));
    let effects = ended(&mut planner, 5, 0);
    assert!(is_upgrade(&effects), "{effects:?}");
}

/// Visor is started again with a node that has halted, or without any.
fn recovered(config: Config, records: &[Record], runs: bool) -> (Planner, Vec<Effect>) {
    let found = Observed {
        node: runs.then(|| (Process { pid: 5 }, Some(old()))),
        ..observed()
    };
    let (planner, effects) = recover(config, Timestamp(20), records, found).unwrap();
    (planner, effects.0)
}

fn until_halted() -> Vec<Record> {
    vec![
        Record::StartIntended {
            version: old(),
            at: Timestamp(0),
        },
        Record::Scheduled {
            plan: plan(),
            artifact: None,
        },
        Record::Halted { plan: plan() },
    ]
}

#[test]
fn after_a_restart_of_visor_the_old_version_is_not_started_and_the_new_one_is_staged() {
    for scheduled in [true, false] {
        let mut records = until_halted();
        if !scheduled {
            records.remove(1);
        }
        let (mut planner, effects) = recovered(forgetful(), &records, false);
        let expected = Announced {
            plan: plan(),
            standing: Standing::LockedIn,
            artifact: ArtifactFact::InPlace,
        };
        assert_eq!(effects, [Effect::Stage(expected)]);
        assert_eq!(planner.status().phase, Phase::Halting);
        let effects = planner.step(Timestamp(30), staged()).0;
        assert!(is_upgrade(&effects), "{effects:?}");
    }
}

#[test]
fn an_adopted_node_is_still_known_to_have_halted() {
    let (mut planner, effects) = recovered(forgetful(), &until_halted(), true);
    assert!(effects.is_empty(), "{effects:?}");
    let _ = ended(&mut planner, 21, 1);
    assert_eq!(planner.status().node, None);
    let again = planner.step(Timestamp(22), Input::TimerFired(Timer::Restart)).0;
    assert!(!again.iter().any(is_start), "{again:?}");
}

#[test]
fn paused_upgrades_keep_the_node_ended_and_resume_goes_on() {
    let mut planner = halted();
    let _ = order(&mut planner, Order::Pause);
    let _ = planner.step(Timestamp(9), staged());
    assert!(ended(&mut planner, 10, 1).is_empty());
    let effects = order(&mut planner, Order::Resume);
    assert!(is_upgrade(&effects), "{effects:?}");

    let mut records = until_halted();
    records.push(Record::Paused { at: Timestamp(3) });
    let (mut planner, effects) = recovered(forgetful(), &records, false);
    assert!(!effects.iter().any(is_start), "{effects:?}");
    let _ = planner.step(Timestamp(30), staged());
    let effects = order(&mut planner, Order::Resume);
    assert!(is_upgrade(&effects), "{effects:?}");
}

#[test]
fn skip_starts_the_old_version_again_and_that_is_remembered() {
    let mut planner = halted();
    let _ = ended(&mut planner, 10, 1);
    let effects = order(&mut planner, Order::Skip(Height(H)));
    let is_old = |effect: &Effect| matches!(effect, Effect::Start { version, after_halt: None, .. } if *version == old());
    assert!(effects.iter().any(is_old), "{effects:?}");

    // After a skip the old version has run past H: a later word of the operator does not make that a halt again.
    let mut records = until_halted();
    records.push(Record::Skipped {
        height: Height(H),
        at: Timestamp(3),
    });
    let (_, effects) = recovered(forgetful(), &records, false);
    assert!(effects.iter().any(is_old), "{effects:?}");
    records.push(Record::StartIntended {
        version: old(),
        at: Timestamp(4),
    });
    records.push(Record::Unskipped {
        height: Height(H),
        at: Timestamp(5),
    });
    let (_, effects) = recovered(forgetful(), &records, false);
    assert!(effects.iter().any(is_old), "{effects:?}");
}

#[test]
fn a_held_node_that_is_released_at_the_halt_waits_too() {
    let mut planner = halted();
    let effects = order(&mut planner, Order::StopNode);
    assert_eq!(effects.last(), Some(&Effect::Stop));
    let _ = ended(&mut planner, 10, 0);
    let effects = order(&mut planner, Order::StartNode);
    assert!(!effects.iter().any(is_start), "{effects:?}");
    let _ = planner.step(Timestamp(12), Input::StopRequested);
    let mut planner = halted();
    assert_eq!(planner.step(Timestamp(5), Input::StopRequested).0, [Effect::Stop]);
    assert_eq!(
        ended(&mut planner, 6, 0).last(),
        Some(&Effect::Exit(ExitReason::Stopped))
    );
}

#[test]
fn only_the_first_start_after_the_end_of_the_old_node_names_its_height() {
    let mut planner = halted();
    let _ = planner.step(Timestamp(3), staged());
    let effects = ended(&mut planner, 10, 0);
    assert!(is_upgrade(&effects), "{effects:?}");
    let _ = started(&mut planner, 11, None);
    let _ = ended(&mut planner, 12, 1);
    let effects = planner.step(Timestamp(13), Input::TimerFired(Timer::Restart)).0;
    assert!(
        effects.iter().any(is_start) && !is_upgrade(&effects),
        "{effects:?}"
    );

    // After a restart of visor nobody knows whether it was started.
    let mut records = until_halted();
    records.push(Record::UpgradeIntended {
        plan: plan(),
        from: old(),
        at: Timestamp(4),
        backup: false,
    });
    let (_, effects) = recovered(forgetful(), &records, false);
    assert!(
        effects.iter().any(is_start) && !is_upgrade(&effects),
        "{effects:?}"
    );
}

#[test]
fn a_node_that_gives_no_answer_is_stopped_and_its_end_is_a_failure() {
    let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
    let _ = started(&mut planner, 1, None);
    let silent = || Input::NodeUnresponsive {
        reason: "no answer for 60 s".to_owned(),
    };
    assert_eq!(planner.step(Timestamp(2), silent()).0, [Effect::Stop]);
    assert!(planner.step(Timestamp(3), silent()).0.is_empty());
    let effects = ended(&mut planner, 4, 0);
    assert!(
        effects.iter().any(|effect| matches!(
            effect,
            Effect::Append(Record::NodeFailed { reason, .. }) if reason == "no answer for 60 s"
        )),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Retrying);
}

#[test]
fn a_node_that_is_stopped_at_its_height_before_it_says_that_it_halts_has_halted_too() {
    let at_height = || {
        let (mut planner, _) = recover(forgetful(), Timestamp(0), &[], observed()).unwrap();
        let _ = started(&mut planner, 1, None);
        let _ = planner.step(Timestamp(2), Input::NodeReported(report(H, None)));
        planner
    };
    let mut planner = at_height();
    let _ = order(&mut planner, Order::StopNode);
    assert_eq!(ended(&mut planner, 10, 0)[0], halted_record());
    let effects = order(&mut planner, Order::StartNode);
    assert!(!effects.iter().any(is_start), "{effects:?}");

    let mut planner = at_height();
    let _ = planner.step(Timestamp(3), Input::StopRequested);
    assert_eq!(ended(&mut planner, 10, 0)[0], halted_record());

    let mut planner = at_height();
    let silent = Input::NodeUnresponsive {
        reason: "no answer for 60 s".to_owned(),
    };
    let _ = planner.step(Timestamp(3), silent);
    let effects = ended(&mut planner, 10, 0);
    assert_eq!(effects[0], halted_record());
    assert_eq!(planner.status().phase, Phase::Halting);
    let effects = planner.step(Timestamp(12), staged()).0;
    assert!(is_upgrade(&effects), "{effects:?}");
}
