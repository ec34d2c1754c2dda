//! What happens when one of them ends by itself, or hangs.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::log::Role;
use super::scene::{Host, Kind, V79, V80};

const BLOCKS: u64 = 25;

/// Every start of the core names the newest segment of the data node, or nothing when there is none: never H again.
fn assert_loads_after(host: &Host, height: u64, expected_starts: usize) {
    let log = host.log();
    log.assert_sane();
    let starts = log.starts(Role::Core);
    let new: Vec<_> = starts.iter().filter(|start| start.version == V80).collect();
    assert_eq!(new.len(), expected_starts, "{:#?}", log.lines);
    assert_eq!(new[0].load, Some(height));
    for start in &new[1..] {
        assert!(
            start.load.is_none_or(|load| load > height),
            "{start:?} after {height}"
        );
    }
}

#[test]
fn w_03_a_crash_after_the_upgrade_never_loads_h_again() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    // So many snapshots that the one of H is pruned when the second crash comes.
    host.behave(json!({ "snapshot_every": 2, "block_ms": 5 }));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, BLOCKS);
    host.behave(json!({ "exits": [
        { "role": "core", "height": height + 6, "code": 2 },
        { "role": "core", "height": height + 40, "code": 2 },
    ]}));
    host.wait_upgraded(V80);
    host.wait_height(height + 50);
    assert_loads_after(&host, height, 3);
    host.stop(visor);
}

#[test]
fn w_03_a_crash_of_the_pair_after_the_upgrade_begins_at_the_newest_segment() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({ "segment_lag": 3, "block_ms": 5 }));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, BLOCKS);
    host.behave(json!({ "exits": [
        { "role": "data", "height": height + 16, "code": 1 },
        { "role": "core", "height": height + 41, "code": 2 },
    ]}));
    host.wait_upgraded(V80);
    host.wait_height(height + 60);
    assert_loads_after(&host, height, 3);
    let last = host.log().starts(Role::Core).last().unwrap().load;
    assert!(last.is_some_and(|load| load % 10 == 0), "{last:?}");
    host.stop(visor);
}

#[test]
fn w_03_a_crash_before_the_new_versions_first_block_is_no_rollback_either() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    host.behave(json!({ "exit_at_start": { V80: 2 } }));
    host.with_keys("maxNumberOfRestarts = 100\nrestartsDelaySeconds = 0");
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, BLOCKS);
    host.wait("a second attempt", || {
        (host.log().versions().len() >= 3).then_some(())
    });
    host.behave(json!({ "exit_at_start": {} }));
    host.wait_upgraded(V80);
    let loaded = host.log();
    let loaded = loaded.said(Role::Core, "loaded");
    assert_eq!(loaded.last().unwrap().1, format!("{height} {V80}"));
    host.stop(visor);
}

fn exits_with_0(role: &str) {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({
        "exits": [{ "role": role, "height": 12, "code": 0 }],
        // It may be seen first otherwise, with a code of its own.
        "survives_data_node": true,
    }));
    let visor = host.start();
    host.wait_height(30);
    let status = host.wait_status("both again", |status| {
        status["restarts"] == 1 && status["node_connected"] == true
    });
    let problem = status["problems"][0].as_str().unwrap_or("").to_owned();
    assert!(problem.contains("code 0"), "{status}");
    let log = host.log();
    let starts = |role| log.starts(role).len();
    assert_eq!(
        (starts(Role::Core), starts(Role::DataNode)),
        (2, 2),
        "{:#?}",
        log.lines
    );
    host.stop(visor);
}

#[test]
fn w_23_exit_0_of_the_core_is_an_event() {
    exits_with_0("core");
}

#[test]
fn w_23_exit_0_of_the_data_node_is_an_event() {
    exits_with_0("data");
}

#[test]
fn w_24_when_the_data_node_fails_the_core_has_its_grace() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({
        // A core that waits for its events' end is one that ends in order; what it says last tells.
        "slow_end_ms": { "core": 300 },
        "exits": [{ "role": "data", "height": 12, "code": 3 }],
        "survives_data_node": true,
    }));
    let visor = host.start();
    host.wait_said(Role::DataNode, "start", 2);
    host.wait_height(20);
    assert_eq!(host.log().ends(Role::Core), ["0"]);
    host.stop(visor);
}

#[test]
fn w_24_when_the_core_fails_the_data_node_has_its_grace() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({
        "slow_end_ms": { "data": 300 },
        "exits": [{ "role": "core", "height": 12, "code": 3 }],
    }));
    let visor = host.start();
    host.wait_said(Role::Core, "start", 2);
    host.wait_height(20);
    let log = host.log();
    assert_eq!(
        (log.ends(Role::Core), log.ends(Role::DataNode)),
        (vec!["3"], vec!["0"])
    );
    host.stop(visor);
}

#[test]
fn w_25_the_data_node_has_its_grace_at_every_upgrade() {
    let mut host = Host::new(Kind::OneBinary);
    host.folder(V80, V80);
    host.behave(json!({ "slow_end_ms": { "data": 400 } }));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    let status = host.wait_upgraded(V80);
    assert_eq!(status["last_upgrade"]["restarts"], 0, "its signal is no failure");
    let log = host.log();
    assert_eq!(
        (log.ends(Role::Core), log.ends(Role::DataNode)),
        (vec!["killed"], vec!["0"])
    );
    host.stop(visor);
}

#[test]
fn w_27_when_the_restarts_are_used_up_both_are_stopped_in_order() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({ "exit_at_start": { V79: 3 }, "slow_end_ms": { "data": 200 } }));
    host.with_keys("maxNumberOfRestarts = 2");
    let mut visor = host.start();
    assert_eq!(visor.wait_exit().code(), Some(6), "{}", visor.log());
    host.assert_no_node();
    let log = host.log();
    assert_eq!(log.ends(Role::Core), ["3"; 3]);
    // One that was stopped before it could listen to signals has no end to tell.
    assert!(
        log.ends(Role::DataNode).iter().all(|code| *code == "0"),
        "{:#?}",
        log.lines
    );
    assert!(visor.log().contains("exited with code 3"), "{}", visor.log());
    log.assert_sane();
}

#[test]
fn w_28_a_healthy_time_resets_the_count_of_restarts() {
    let mut host = Host::new(Kind::Core);
    host.with_keys("maxNumberOfRestarts = 1");
    host.with_own("[restart]\nhealthy_after = \"100ms\"\n[first_start]\nhealthy_after = \"100ms\"\n");
    let exits: Vec<_> = [30, 60, 90, 120]
        .iter()
        .map(|height| json!({ "role": "core", "height": height, "code": 1 }))
        .collect();
    host.behave(json!({ "exits": exits }));
    let visor = host.start();
    host.wait_height(140);
    assert_eq!(host.log().versions().len(), 5);
    host.stop(visor);
}

#[test]
fn w_29_a_core_that_never_answers_is_started_again_and_visor_stays() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "hang_in_start": [V79] }));
    host.with_keys("maxNumberOfFirstConnectionRetries = 0\nmaxNumberOfRestartConnectionRetries = 0");
    let visor = host.start();
    host.wait_said(Role::Core, "hangs", 2);
    host.behave(json!({ "hang_in_start": [] }));
    host.wait_connected();
    host.stop(visor);
}

#[test]
fn w_32_while_the_rpc_hangs_a_crash_is_seen_all_the_same() {
    for rpc in ["silent", "endless"] {
        let mut host = Host::new(Kind::TwoBinaries);
        let visor = host.start();
        host.wait_connected();
        host.behave(json!({ "rpc": rpc }));
        host.wait_height(host.height() + 5);
        let began = Instant::now();
        host.signal(Role::Core, Signal::KILL);
        host.wait_said(Role::Core, "start", 2);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        host.behave(json!({ "rpc": "answers" }));
        host.wait_connected();
        host.stop(visor);
    }
}

#[test]
fn w_32_an_rpc_that_hangs_longer_than_allowed_is_a_failure_of_the_node() {
    let mut host = Host::new(Kind::Core);
    host.with_keys("maxNumberOfFirstConnectionRetries = 0\nmaxNumberOfRestartConnectionRetries = 0");
    let visor = host.start();
    host.wait_connected();
    host.behave(json!({ "rpc": "silent" }));
    host.wait_said(Role::Core, "start", 2);
    host.behave(json!({ "rpc": "answers" }));
    host.wait_connected();
    host.stop(visor);
}

#[test]
fn w_31_no_delay_keeps_visor_from_being_stopped() {
    let mut host = Host::new(Kind::Core);
    host.with_keys("restartsDelaySeconds = 600");
    host.behave(json!({ "exits": [{ "role": "core", "height": 5, "code": 1 }] }));
    let mut visor = host.start();
    host.wait_said(Role::Core, "end", 1);
    let began = Instant::now();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(host.log().versions().len(), 1);
    host.assert_no_node();
}

#[test]
fn w_31_a_crash_in_the_stop_delay_is_seen_at_once() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    host.with_keys("stopDelaySeconds = 600");
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_said(Role::Core, "ready", 1);
    host.wait_status("the order to stop", |status| status["phase"] == "halting");
    host.signal(Role::Core, Signal::KILL);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    drop(visor);
}

#[test]
fn w_33_nothing_starts_before_all_that_was_started_is_gone() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({
        "helpers": ["core", "data"],
        "ignore_sigterm": ["data"],
        "exits": [{ "role": "core", "height": 8, "code": 1 }],
    }));
    host.with_keys("stopSignalTimeoutSeconds = 1");
    let visor = host.start();
    host.wait_said(Role::Core, "start", 2);
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    host.log().assert_sane();
    assert_eq!(host.log().versions(), [V79, V79, V80]);
    host.stop(visor);
}

#[test]
fn w_37_the_first_start_of_a_visor_aligns_the_two() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({ "segment_lag": 5 }));
    let visor = host.start();
    // A snapshot that the data node has not published.
    host.wait("a snapshot ahead of the segments", || {
        let height = host.height();
        (height > 20 && height % 10 == 1).then_some(())
    });
    host.kill_node();
    visor.kill();
    let visor = host.start();
    host.wait_connected();
    host.wait_height(host.height() + 20);
    let starts = host.log().starts(Role::Core);
    assert!(starts.last().unwrap().load.is_some(), "{starts:?}");
    host.log().assert_sane();
    host.stop(visor);
}

#[test]
fn w_41_a_segment_query_that_fails_is_not_the_end() {
    for segments in ["fails", "garbage"] {
        let mut host = Host::new(Kind::OneBinary);
        host.with_keys("maxNumberOfRestarts = 1000");
        host.behave(json!({ "segments": segments }));
        let visor = host.start();
        host.wait_status("the query to be told", |status| {
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            !problems.is_empty()
        });
        host.behave(json!({ "segments": "answers" }));
        host.wait_connected();
        host.stop(visor);
    }
}

#[test]
fn w_41_no_segment_yet_is_no_failure() {
    let mut host = Host::new(Kind::OneBinary);
    host.behave(json!({ "segments": "none", "exits": [{ "role": "core", "height": 15, "code": 1 }] }));
    let visor = host.start();
    host.wait_said(Role::Core, "start", 2);
    host.wait_connected();
    let starts = host.log().starts(Role::Core);
    assert!(starts.iter().all(|start| start.load.is_none()), "{starts:?}");
    visor.terminate();
    drop(visor);
}

#[test]
fn w_30_an_absent_stop_timeout_is_no_instant_kill() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.configure("maxNumberOfRestarts = 3\n");
    host.behave(json!({ "slow_end_ms": { "core": 300, "data": 300 } }));
    let visor = host.start();
    host.wait_connected();
    host.stop(visor);
    let log = host.log();
    assert_eq!(
        (log.ends(Role::Core), log.ends(Role::DataNode)),
        (vec!["0"], vec!["0"])
    );
}

#[test]
fn w_40_an_upgrade_leaves_nothing_behind_in_visor() {
    let mut host = Host::new(Kind::TwoBinaries);
    let visor = host.start();
    host.wait_connected();
    let count = |what: &str| {
        let path = format!("/proc/{}/{what}", visor.pid());
        std::fs::read_dir(path).unwrap().count()
    };
    let mut seen = Vec::new();
    for number in 80..84 {
        let tag = format!("v0.{number}.0");
        host.folder(&tag, &tag);
        host.accept(&tag, 15);
        host.wait_upgraded(&tag);
        // Threads that only wait for work end by and by.
        let least = (0..40).map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            (count("fd"), count("task"))
        });
        seen.push(least.min().unwrap());
    }
    let (first, last) = (seen[0], seen[3]);
    assert!(
        last.0 <= first.0 + 2,
        "descriptors and threads after each upgrade: {seen:?}"
    );
    assert!(
        last.1 <= first.1 + 12,
        "descriptors and threads after each upgrade: {seen:?}"
    );
    host.stop(visor);
}
