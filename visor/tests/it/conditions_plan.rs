//! The chain changes its mind, says things twice, or says them while visor is away.

use serde_json::{Value, json};
use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, NEW, OLD, Visor, wait_for};

const NEWEST: &str = "1.2.0";

fn started() -> (Host, Visor) {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    (host, visor)
}

fn wait_upgraded(host: &Host) {
    wait_for("the upgrade", || is_upgraded(host).then_some(()));
}

fn count(host: &Host, wanted: impl Fn(&Record) -> bool) -> usize {
    let entries = Journal::read(&Home::at(host.home()).journal()).unwrap();
    entries.iter().filter(|entry| wanted(&entry.record)).count()
}

fn finish(host: &Host, mut visor: Visor) {
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
    host.assert_no_node();
}

/// The chain goes on with the old version beyond the height that was once announced.
fn assert_not_upgraded(host: &Host, height: u64) {
    wait_for("blocks beyond the old height", || {
        (host.height() > height + 5).then_some(())
    });
    assert_eq!(host.starts(), [OLD]);
    assert_eq!(host.current(), "genesis");
    assert_eq!(
        count(host, |record| matches!(record, Record::UpgradeIntended { .. })),
        0
    );
}

#[test]
fn an_upgrade_cancelled_after_staging_is_not_carried_out() {
    let (mut host, visor) = started();
    let height = host.announce(200);
    host.wait_status("staged", |status| status["phase"] == "staged");
    host.behave(json!({ "upgrade": null }));
    let status = host.wait_status("the cancellation", |status| status["phase"] == "running");
    assert_eq!(status["upgrade"], Value::Null);
    assert_not_upgraded(&host, height);
    // Nor by the next visor, which finds the folder and the record of the staging.
    visor.kill();
    let visor = host.start();
    host.wait_status("the adopted node", |status| status["node_connected"] == true);
    assert_not_upgraded(&host, height);
    finish(&host, visor);
}

#[test]
fn an_upgrade_cancelled_while_it_is_staged_is_staged_no_more() {
    let (mut host, visor) = started();
    host.hide_artifact(true);
    let height = host.announce(200);
    host.wait_status("staging", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    host.behave(json!({ "upgrade": null }));
    host.wait_status("the cancellation", |status| status["phase"] == "running");
    host.hide_artifact(false);
    assert_not_upgraded(&host, height);
    assert!(!host.home().join("v1.1.0").exists());
    finish(&host, visor);
}

/// The same version under another proposal, with the folder that the first one has left.
fn moved(by: i64) {
    let (mut host, visor) = started();
    let first = host.announce(300);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let height = first.saturating_add_signed(by);
    let mut plan = host.plan(NEW, height);
    plan["id"] = json!("cd".repeat(32));
    host.behave(json!({ "upgrade": plan }));
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    let status = host.ask().unwrap();
    assert_eq!(status.last_upgrade.unwrap().height, height);
    finish(&host, visor);
}

#[test]
fn an_upgrade_moved_to_a_later_height_happens_there() {
    moved(40);
}

#[test]
fn an_upgrade_moved_to_an_earlier_height_happens_there() {
    moved(-150);
}

#[test]
fn an_upgrade_moved_under_its_own_id_happens_at_the_new_height() {
    let (mut host, visor) = started();
    let height = host.announce(300) - 150;
    host.wait_status("staged", |status| status["phase"] == "staged");
    let plan = host.plan(NEW, height);
    host.behave(json!({ "upgrade": plan }));
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    assert_eq!(host.ask().unwrap().last_upgrade.unwrap().height, height);
    finish(&host, visor);
}

#[test]
fn the_same_plan_announced_twice_is_carried_out_once() {
    let (mut host, visor) = started();
    let height = host.announce(80);
    let mut twin = host.plan(NEW, height);
    twin["id"] = json!("cd".repeat(32));
    let same = host.plan(NEW, height);
    host.behave(json!({ "also": [twin, same] }));
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    assert_eq!(host.starts(), [OLD, NEW]);
    let status = host.wait_status("rest", |status| status["phase"] == "running");
    assert_eq!(status["problems"], json!([]));
    finish(&host, visor);
}

/// Both upgrades, one after the other, whatever visor was doing when the second one was announced.
fn one_after_the_other(host: &Host, heights: [u64; 2], visor: Visor) {
    host.wait_status("the second upgrade", |status| {
        status["last_upgrade"]["to"] == NEWEST && status["node_connected"] == true
    });
    host.assert_never_two();
    assert_eq!(host.starts(), [OLD, NEW, NEWEST]);
    assert_eq!(host.current(), format!("v{NEWEST}"));
    assert!(host.height() > heights[1]);
    let ends: Vec<u64> = Journal::read(&Home::at(host.home()).journal())
        .unwrap()
        .into_iter()
        .filter_map(|entry| {
            let Record::UpgradeCompleted { plan, .. } = entry.record else {
                return None;
            };
            Some(plan.height.0)
        })
        .collect();
    assert_eq!(ends, heights);
    finish(host, visor);
}

#[test]
fn an_upgrade_announced_while_another_is_on_probation_comes_after_it() {
    let (mut host, visor) = started();
    host.behave(json!({ "stall": NEW }));
    let first = host.announce(60);
    host.wait_status("probation", |status| status["phase"] == "probation");
    host.binary(NEWEST);
    let second = host.plan(NEWEST, first + 60);
    host.behave(json!({ "also": [second], "stall": null }));
    one_after_the_other(&host, [first, first + 60], visor);
}

#[test]
fn an_upgrade_one_block_after_another_waits_for_its_staging() {
    let (mut host, visor) = started();
    let first = host.announce(40);
    host.binary(NEWEST);
    let second = host.plan(NEWEST, first + 1);
    host.behave(json!({ "also": [second] }));
    one_after_the_other(&host, [first, first + 1], visor);
}

#[test]
fn an_upgrade_announced_while_another_is_fetched_in_vain_is_staged_all_the_same() {
    let (mut host, visor) = started();
    host.hide_artifact(true);
    let first = host.announce(400);
    host.wait_status("staging", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    host.binary(NEWEST);
    let second = host.plan(NEWEST, first + 40);
    host.behave(json!({ "also": [second] }));
    wait_for("the first artifact to be missed", || {
        (host.height() >= first).then_some(())
    });
    host.hide_artifact(false);
    one_after_the_other(&host, [first, first + 40], visor);
}

#[test]
fn an_upgrade_that_was_missed_from_its_announcement_on_is_named_by_the_operator() {
    let (mut host, visor) = started();
    visor.kill();
    let height = host.announce(20);
    wait_for("the height", || (host.height() >= height).then_some(()));
    // While its node runs, it can still be asked.
    host.kill_node();
    let visor = host.start();
    host.name_the_upgrade(height);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    finish(&host, visor);
}

#[test]
fn a_height_that_was_reached_while_visor_was_down_is_answered_by_the_next() {
    for staged in [true, false] {
        let (mut host, visor) = started();
        if !staged {
            host.hide_artifact(true);
        }
        let height = host.announce(150);
        if staged {
            host.wait_status("staged", |status| status["phase"] == "staged");
        } else {
            host.wait_status("staging", |status| {
                status["upgrade"]["staging_problem"].is_string()
            });
        }
        visor.kill();
        wait_for("the height", || (host.height() >= height).then_some(()));
        assert_eq!(host.starts(), [OLD]);
        host.hide_artifact(false);
        let visor = host.start();
        wait_upgraded(&host);
        assert_upgraded(&host, height);
        assert_eq!(host.starts(), [OLD, NEW]);
        finish(&host, visor);
    }
}
