//! Rollbacks: what is asked, what is proven, and when nothing is touched.

use visor_planner::{
    Backup, Effect, Exit, Height, Hook, HookPolicy, Input, Millis, NodeReport, Observed, Order, Pass, Phase,
    Planner, Process, Record, Timer, Timestamp, UpgradeId, recover,
};

use super::observed;
use super::operator::order;
use crate::world::{H, backed_up, new, old, plan};

fn host(node: Option<(Process, Option<visor_planner::Version>)>) -> Observed {
    Observed {
        node,
        staged: vec![old(), new()],
        current: Some(new()),
        ..observed()
    }
}

fn records() -> Vec<Record> {
    vec![
        Record::UpgradeIntended {
            plan: plan(),
            from: old(),
            at: Timestamp(1),
            backup: true,
        },
        Record::BackedUp {
            plan: plan(),
            from: old(),
            backup: Backup {
                path: "/b".to_owned(),
                bytes: 1,
                took_ms: 1,
            },
            at: Timestamp(2),
        },
    ]
}

fn started() -> Input {
    Input::NodeStarted {
        process: Process { pid: 8 },
        exit_to_exec_us: None,
    }
}

fn gone() -> Input {
    Input::NodeExited {
        exit: Exit::Code(0),
        companion: None,
    }
}

/// The new version reports and waits for other validators.
fn probation() -> Planner {
    let node = Some((Process { pid: 5 }, Some(new())));
    let (mut planner, _) = recover(backed_up(true), Timestamp(3), &records(), host(node)).unwrap();
    let _ = planner.step(Timestamp(4), Input::NodeReported(waiting()));
    assert_eq!(planner.status().phase, Phase::Probation);
    planner
}

fn waiting() -> NodeReport {
    NodeReport {
        version: new(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: None,
    }
}

#[test]
fn vis_11_what_was_signed_decides() {
    for (signed, restores) in [
        (Ok(Height(0)), true),
        (Ok(Height(H)), true),
        (Ok(Height(H + 1)), false),
        (Err("no answer".to_owned()), false),
    ] {
        let mut planner = probation();
        let (said, effects) = order(&mut planner, Order::Rollback);
        assert!(
            said.starts_with("done: rolling back from 1.1.0 to 1.0.0"),
            "{said}"
        );
        assert_eq!(effects.last(), Some(&Effect::Stop));
        let effects = planner.step(Timestamp(5), gone()).0;
        assert_eq!(effects, [Effect::AskSignedHeight { version: new() }]);
        let signed = Input::SignedHeight { signed };
        let effects = planner.step(Timestamp(6), signed.clone()).0;
        let restored = matches!(
            effects.as_slice(),
            [
                Effect::Append(Record::RollbackAllowed { .. }),
                Effect::Restore { .. }
            ]
        );
        assert_eq!(restored, restores, "{signed:?}: {effects:?}");
        if !restores {
            assert!(matches!(
                effects.first(),
                Some(Effect::Append(Record::RollbackRefused { .. }))
            ));
            assert!(
                matches!(effects.last(), Some(Effect::Start { version, .. }) if *version == new()),
                "the new version goes on: {effects:?}"
            );
        }
    }
}

#[test]
fn vis_11_after_a_refusal_the_new_version_is_on_probation_again() {
    let mut planner = probation();
    let _ = order(&mut planner, Order::Rollback);
    let _ = planner.step(Timestamp(5), gone());
    let signed = Err("no answer".to_owned());
    let _ = planner.step(Timestamp(6), Input::SignedHeight { signed });
    let _ = planner.step(Timestamp(7), started());
    let effects = planner.step(Timestamp(8), Input::NodeReported(waiting())).0;
    assert!(
        effects.contains(&Effect::CancelTimer(Timer::FirstReport)),
        "it has reported: {effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Probation);
}

#[test]
fn vis_11_one_ordered_while_the_new_version_starts_begins_with_its_stop() {
    let (mut planner, _) = recover(backed_up(true), Timestamp(3), &records(), host(None)).unwrap();
    let (said, effects) = order(&mut planner, Order::Rollback);
    assert!(said.starts_with("done"), "{said}");
    assert!(!effects.contains(&Effect::Stop), "there is nothing to stop yet");
    let effects = planner.step(Timestamp(5), started()).0;
    assert_eq!(effects.last(), Some(&Effect::Stop), "{effects:?}");
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Append(Record::RolledBack { .. }))),
        "nothing is rolled back yet"
    );
}

/// The restore was allowed when visor ended.
fn restoring() -> (Planner, Vec<Effect>) {
    let mut told = records();
    told.extend([
        Record::RollbackIntended {
            plan: plan(),
            from: old(),
            reason: "why".to_owned(),
            by_hand: true,
            at: Timestamp(3),
        },
        Record::RollbackAllowed {
            signed: Height(H),
            at: Timestamp(4),
        },
    ]);
    let (planner, effects) = recover(backed_up(true), Timestamp(5), &told, host(None)).unwrap();
    (planner, effects.0)
}

#[test]
fn vis_11_a_restore_that_was_allowed_is_not_questioned_again() {
    let (_, effects) = restoring();
    assert!(
        matches!(effects.as_slice(), [Effect::Restore { .. }]),
        "{effects:?}"
    );
}

#[test]
fn vis_11_a_restore_that_failed_is_tried_again_after_the_delay_of_backups() {
    let (mut planner, _) = restoring();
    let failed = Input::RestoreFailed {
        upgrade: plan().id,
        reason: "no room".to_owned(),
    };
    let effects = planner.step(Timestamp(6), failed).0;
    assert_eq!(
        effects.last(),
        Some(&Effect::SetTimer(Timer::Backup, Millis(2_000)))
    );
    let effects = planner.step(Timestamp(2_006), Input::TimerFired(Timer::Backup)).0;
    assert!(
        matches!(effects.as_slice(), [Effect::Restore { .. }]),
        "{effects:?}"
    );
}

#[test]
fn vis_11_what_is_restored_for_another_upgrade_counts_for_nothing() {
    let (mut planner, _) = restoring();
    let upgrade = UpgradeId("another".to_owned());
    let reason = "no room".to_owned();
    for input in [
        Input::Restored {
            upgrade: upgrade.clone(),
        },
        Input::RestoreFailed { upgrade, reason },
    ] {
        assert_eq!(planner.step(Timestamp(6), input).0, []);
    }
    assert_eq!(planner.status().phase, Phase::RollingBack);
}

#[test]
fn vis_11_while_a_hook_works_on_the_data_nothing_is_rolled_back() {
    let mut config = backed_up(true);
    config.hooks.before_start = HookPolicy::Block;
    let (mut planner, effects) = recover(config, Timestamp(3), &records(), host(None)).unwrap();
    assert!(matches!(
        effects.0.as_slice(),
        [Effect::RunHook {
            hook: Hook::BeforeStart,
            ..
        }]
    ));
    let (said, effects) = order(&mut planner, Order::Rollback);
    assert!(
        said.starts_with("no: a backup or the hook before the start is at work"),
        "{said}"
    );
    assert!(effects.is_empty());
    let ended = Input::HookEnded {
        hook: Hook::BeforeStart,
        failure: Some("3".to_owned()),
    };
    let _ = planner.step(Timestamp(4), ended);
    let (said, effects) = order(&mut planner, Order::Rollback);
    assert!(said.starts_with("done"), "{said}");
    assert_eq!(effects.last(), Some(&Effect::AskSignedHeight { version: new() }));
}

#[test]
fn a_pass_is_not_ordered_again_by_a_stop_and_a_start_of_the_node() {
    let records = &records()[..1];
    let (mut planner, effects) = recover(backed_up(true), Timestamp(3), records, host(None)).unwrap();
    assert!(matches!(
        effects.0.as_slice(),
        [Effect::BackUp {
            pass: Pass::Second,
            ..
        }]
    ));
    let _ = order(&mut planner, Order::StopNode);
    let (_, effects) = order(&mut planner, Order::StartNode);
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::BackUp { .. })),
        "the first one still runs: {effects:?}"
    );
}

#[test]
fn a_node_kept_stopped_stays_so_when_its_rollback_is_refused() {
    let mut planner = probation();
    let _ = order(&mut planner, Order::StopNode);
    let _ = planner.step(Timestamp(5), gone());
    let (said, effects) = order(&mut planner, Order::Rollback);
    assert!(said.starts_with("done"), "{said}");
    assert_eq!(effects.last(), Some(&Effect::AskSignedHeight { version: new() }));
    let signed = Ok(Height(H + 1));
    let effects = planner.step(Timestamp(6), Input::SignedHeight { signed }).0;
    assert!(!effects.iter().any(super::is_start), "{effects:?}");
    assert_eq!(planner.status().phase, Phase::Held);
}

#[test]
fn a_node_that_is_released_in_the_middle_of_a_rollback_orders_nothing_twice() {
    let mut planner = probation();
    let (_, effects) = order(&mut planner, Order::StopNode);
    assert_eq!(effects.last(), Some(&Effect::Stop));
    let _ = planner.step(Timestamp(5), gone());
    let (_, effects) = order(&mut planner, Order::Rollback);
    assert_eq!(
        effects.last(),
        Some(&Effect::AskSignedHeight { version: new() }),
        "{effects:?}"
    );
    let (said, effects) = order(&mut planner, Order::StartNode);
    assert!(said.contains("when it has ended"), "{said}");
    assert!(
        matches!(effects.as_slice(), [Effect::Append(Record::NodeReleased { .. })]),
        "{effects:?}"
    );
}
