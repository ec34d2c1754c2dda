//! What the operator orders, and what is said.

use visor_planner::{
    Answer, Config, Effect, ExitReason, Height, Input, NodeReport, Order, Phase, Planner, Record, Timestamp,
    UpgradeId, recover,
};

use super::{intended, observed, running};
use crate::world::{H, config, new, old, plan, version};

/// The answer, in words, with "done" or "no" before it, and what else is ordered.
pub(super) fn order(planner: &mut Planner, order: Order) -> (String, Vec<Effect>) {
    let mut effects = planner
        .step(Timestamp(50), Input::Operator { ticket: 5, order })
        .0;
    let at = effects
        .iter()
        .position(|effect| matches!(effect, Effect::Answer { ticket: 5, .. }))
        .expect("an answer");
    let Effect::Answer { answer, .. } = effects.remove(at) else {
        panic!("just found")
    };
    let said = match answer {
        Answer::Done(said) => format!("done: {said}"),
        Answer::Refused(why) => format!("no: {why}"),
    };
    let later = effects.get(at..).unwrap_or_default();
    assert!(
        later.iter().all(|effect| !matches!(
            effect,
            Effect::Append(Record::Paused { .. } | Record::Skipped { .. } | Record::NodeHeld { .. })
        )),
        "answered before it is durable"
    );
    (said, effects)
}

#[test]
fn every_order_is_answered_in_words() {
    let at = |height, to: &str| Order::UpgradeAt {
        height: Height(height),
        version: version(to),
    };
    let skip = || Order::Skip(Height(H));
    let unskip = || Order::Unskip(Height(H));
    // Each row's orders are given one after the other; the last answer counts.
    let table: Vec<(Vec<Order>, &str)> = vec![
        (vec![Order::StageNow], "no: no upgrade is known"),
        (
            vec![skip()],
            "done: the upgrade at height 6 will not be carried out",
        ),
        (vec![skip(), skip()], "done: height 6 was skipped already"),
        (vec![unskip()], "no: height 6 is not skipped"),
        (
            vec![skip(), unskip()],
            "done: the upgrade at height 6 will be carried out",
        ),
        (
            vec![at(9, "1.1.0")],
            "done: after block 9 this host goes on with 1.1.0",
        ),
        (vec![at(9, "1.0.0")], "no: 1.0.0 is the version that runs"),
        (
            vec![at(0, "1.1.0")],
            "no: expected a height above the node's, which is 0, found 0",
        ),
        (
            vec![at(9, "1.1.0"), at(9, "1.2.0")],
            "no: an upgrade to 1.1.0 is known for height 9",
        ),
        (
            vec![skip(), at(H, "1.1.0")],
            "no: height 6 is skipped; `visor skip --undo 6` comes first",
        ),
        (vec![Order::Pause], "done: no upgrade begins until `visor resume`"),
        (vec![Order::Pause, Order::Pause], "done: paused already"),
        (vec![Order::Resume], "done: not paused"),
        (vec![Order::StopNode], "done: the node is stopped and stays so"),
        (
            vec![Order::StopNode, Order::StopNode],
            "done: the node is kept stopped already",
        ),
        (vec![Order::StartNode], "no: the node is not kept stopped"),
        (
            vec![Order::StopNode, Order::StartNode],
            "done: the node is still being stopped",
        ),
        (
            vec![Order::Rollback],
            "no: the journal knows no upgrade that could be undone",
        ),
        (
            vec![Order::SelfRestart],
            "done: visor starts anew; the node runs on",
        ),
    ];
    for (orders, expected) in table {
        let mut planner = running();
        let mut said = String::new();
        for one in orders.clone() {
            (said, _) = order(&mut planner, one);
        }
        assert!(said.starts_with(expected), "{orders:?}: {said}");
    }
}

#[test]
fn an_upgrade_that_has_begun_is_neither_skipped_nor_undone_without_a_backup() {
    let mut planner = intended();
    let (said, effects) = order(&mut planner, Order::Skip(Height(H)));
    assert!(
        said.starts_with("no: the upgrade to 1.1.0 at height 6 has begun"),
        "{said}"
    );
    assert!(effects.is_empty());
    let (said, effects) = order(&mut planner, Order::Rollback);
    assert!(
        said.starts_with("no: there is no backup of before the upgrade to 1.1.0"),
        "{said}"
    );
    assert!(effects.is_empty());
    let (said, _) = order(&mut planner, Order::Pause);
    assert!(
        said.contains("the one that has begun is carried to its end"),
        "{said}"
    );
}

#[test]
fn vis_01_without_a_journal_every_order_is_refused() {
    let mut planner = running();
    let reason = "disk full".to_owned();
    let _ = planner.step(Timestamp(2), Input::AppendFailed { reason });
    for one in [
        Order::StageNow,
        Order::Skip(Height(H)),
        Order::Pause,
        Order::StopNode,
        Order::Rollback,
        Order::SelfRestart,
    ] {
        let (said, effects) = order(&mut planner, one);
        assert!(
            said.starts_with("no: the journal cannot be written: disk full"),
            "{said}"
        );
        assert!(effects.is_empty());
    }
}

#[test]
fn a_visor_that_stops_is_not_started_anew() {
    let mut planner = running();
    let _ = planner.step(Timestamp(2), Input::StopRequested);
    let (said, effects) = order(&mut planner, Order::SelfRestart);
    assert_eq!(
        (said.as_str(), effects),
        ("no: visor is being stopped", Vec::new())
    );
}

#[test]
fn vis_01_a_failed_append_does_not_forget_a_start_of_an_earlier_batch() {
    // The first batch ordered the start; its answer is still to come when an order cannot be written down.
    let (mut planner, _) = recover(config(), Timestamp(0), &[], observed()).unwrap();
    let _ = planner.step(
        Timestamp(1),
        Input::Operator {
            ticket: 5,
            order: Order::Pause,
        },
    );
    let reason = "disk full".to_owned();
    let _ = planner.step(Timestamp(1), Input::AppendFailed { reason });
    let effects = planner.step(Timestamp(2), Input::StopRequested).0;
    assert!(
        !effects.contains(&Effect::Exit(ExitReason::Stopped)),
        "visor would end beside its node: {effects:?}"
    );
}

fn halted(config: Config) -> Planner {
    let records = [Record::Staged {
        upgrade: plan().id,
        version: new(),
    }];
    let mut seen = observed();
    seen.staged.push(new());
    seen.node = Some((visor_planner::Process { pid: 5 }, Some(old())));
    let (mut planner, _) = recover(config, Timestamp(0), &records, seen).unwrap();
    let _ = order(&mut planner, Order::Pause);
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    let effects = planner.step(Timestamp(10), Input::NodeReported(report)).0;
    assert!(!effects.contains(&Effect::Stop), "paused: {effects:?}");
    planner
}

#[test]
fn a_paused_upgrade_begins_with_the_resume() {
    let mut planner = halted(config());
    assert_eq!(planner.status().phase, Phase::Halting);
    let (_, effects) = order(&mut planner, Order::Resume);
    assert!(matches!(
        effects.first(),
        Some(Effect::Append(Record::Resumed { .. }))
    ));
    assert_eq!(effects.last(), Some(&Effect::Stop));
}

#[test]
fn a_folder_under_the_same_name_with_another_version_is_not_staged() {
    let records = [Record::Staged {
        upgrade: UpgradeId("aa".to_owned()),
        version: version("1.0.9"),
    }];
    let mut seen = observed();
    seen.staged.push(version("1.0.9"));
    seen.node = Some((visor_planner::Process { pid: 5 }, Some(old())));
    let (mut planner, _) = recover(config(), Timestamp(0), &records, seen).unwrap();
    let report = NodeReport {
        version: old(),
        height: Height(H),
        upgrades: Vec::new(),
        halt: Some(plan()),
    };
    let effects = planner.step(Timestamp(10), Input::NodeReported(report)).0;
    assert!(
        !effects.contains(&Effect::Stop),
        "1.1.0 is not there: {effects:?}"
    );
}
