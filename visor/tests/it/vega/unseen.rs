//! A core dies at its halt before anybody has seen it: the halt was in its memory alone, and is found out from what lies on the disk.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use visor_planner::Record;

use super::log::Role;
use super::proof::{has_recorded_the_halt, has_recorded_the_release, records};
use super::scene::{Host, Kind, V79, V80};

/// Three seconds of blocks of 30 ms: visor hears of the release within one. Of what it has never heard nothing can be found out.
const IN_TIME: u64 = 100;

/// Long enough for a visor that would do the wrong thing.
const TEMPTATION: Duration = Duration::from_millis(700);

/// The core dies at its halt before anybody has asked, and CometBFT's height is not told either.
fn dies_unseen(kind: Kind) -> Host {
    let mut host = Host::new(kind);
    host.folder(V80, V80);
    host.behave(json!({ "crash_at_halt": "unseen", "tendermint": "silent", "block_ms": 30 }));
    host
}

/// Exactly one core of the old version was alive, and one of the new one, which began at H.
fn assert_old_then_new(host: &Host, height: u64) {
    let log = host.log();
    assert_eq!(log.versions(), [V79, V80], "{:#?}", log.lines);
    assert_eq!(log.starts(Role::Core)[1].load, Some(height));
    assert!(log.said(Role::Core, "ready").is_empty(), "{:#?}", log.lines);
    assert!(has_recorded_the_halt(host));
}

#[test]
fn w_01_a_core_that_dies_at_its_halt_before_anybody_asks_is_not_started_again() {
    for kind in [Kind::Core, Kind::OneBinary, Kind::TwoBinaries] {
        let mut host = dies_unseen(kind);
        let visor = host.start();
        host.wait_connected();
        let height = host.accept(V80, IN_TIME);
        host.wait_upgraded(V80);
        assert_old_then_new(&host, height);
        host.stop(visor);
    }
}

#[test]
fn w_01_a_core_that_dies_at_its_halt_while_no_visor_runs_is_not_started_again() {
    for kind in [Kind::Core, Kind::TwoBinaries] {
        let mut host = dies_unseen(kind);
        let visor = host.start();
        host.wait_connected();
        let height = host.accept(V80, IN_TIME);
        host.wait("the accepted release in the journal", || {
            has_recorded_the_release(&host).then_some(())
        });
        visor.kill();
        host.wait("the end of the core", || {
            (!host.log().ends(Role::Core).is_empty()).then_some(())
        });
        host.kill_node();
        let visor = host.start();
        host.wait_upgraded(V80);
        assert_old_then_new(&host, height);
        host.stop(visor);
    }
}

#[test]
fn w_01_a_halt_that_is_found_waits_for_the_folder_like_one_that_was_seen() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "crash_at_halt": "unseen", "tendermint": "silent", "block_ms": 30 }));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, IN_TIME);
    host.wait("the record of the halt", || {
        has_recorded_the_halt(&host).then_some(())
    });
    std::thread::sleep(TEMPTATION);
    host.wait_status("the missing folder to be told", |status| {
        status["phase"] == "halting" && status["problems"].to_string().contains(V80)
    });
    assert_eq!(host.log().versions(), [V79]);
    host.folder(V80, V80);
    host.wait_upgraded(V80);
    assert_old_then_new(&host, height);
    host.stop(visor);
}

#[test]
fn w_06_both_die_before_the_data_node_has_published_h_and_the_core_comes_to_h_again() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({ "crash_at_halt": "before_ready", "tendermint": "silent", "block_ms": 30 }));
    let visor = host.start();
    host.wait_connected();
    // Beyond the first segment, and not at the end of one.
    host.wait_height(12);
    let height = (host.height() + IN_TIME).next_multiple_of(10) + 5;
    host.behave(json!({ "upgrades": [{ "tag": V80, "height": height }] }));
    host.wait("the accepted release in the journal", || {
        has_recorded_the_release(&host).then_some(())
    });
    visor.kill();
    host.wait_said(Role::Core, "halted", 1);
    // It has committed H, and not published it.
    host.signal(Role::DataNode, Signal::KILL);
    host.wait("the end of the core", || {
        (!host.log().ends(Role::Core).is_empty()).then_some(())
    });
    host.behave(json!({ "crash_at_halt": "never" }));
    let visor = host.start();
    host.wait_upgraded(V80);
    let log = host.log();
    assert_eq!(log.versions(), [V79, V79, V80], "{:#?}", log.lines);
    let starts = log.starts(Role::Core);
    assert!(starts[1].load.is_some_and(|load| load < height), "{starts:?}");
    assert_eq!(starts[2].load, Some(height));
    host.stop(visor);
}

#[test]
fn w_01_a_release_that_the_chain_takes_back_holds_up_no_restart() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "tendermint": "silent" }));
    let visor = host.start();
    host.wait_connected();
    // Of a height at which there is a snapshot in any case.
    let height = host.accept(V80, 200).next_multiple_of(10);
    host.behave(json!({ "upgrades": [{ "tag": V80, "height": height }] }));
    host.wait("the accepted release in the journal", || {
        has_recorded_the_release(&host).then_some(())
    });
    host.behave(json!({ "upgrades": [] }));
    host.wait("its end in the journal", || {
        records(&host)
            .iter()
            .any(|record| matches!(record, Record::Unscheduled { .. }))
            .then_some(())
    });
    host.behave(json!({ "exits": [{ "role": "core", "height": height + 1, "code": 1 }] }));
    host.wait_said(Role::Core, "start", 2);
    host.wait_height(height + 5);
    assert_eq!(host.log().versions(), [V79, V79]);
    host.stop(visor);
}
