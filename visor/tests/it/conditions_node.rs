//! A node that hangs, lies, loses its socket, or talks without end.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, NEW, OLD, Visor, wait_for};

fn started(host: &mut Host) -> Visor {
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    visor
}

fn wait_upgraded(host: &Host) {
    wait_for("the upgrade", || is_upgraded(host).then_some(()));
}

#[test]
fn vis_10_a_new_version_that_hangs_in_its_start_is_stopped_and_started_again() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5, "mute": [NEW] }));
    host.configure(&[("probation", "start_timeout", "300ms".into())]);
    let visor = started(&mut host);
    let height = host.announce(40);
    let status = host.wait_status("the second attempt", |status| {
        status["problems"]
            .as_array()
            .is_some_and(|problems| !problems.is_empty())
            && status["current_version"] == NEW
    });
    assert!(
        status["problems"][0]
            .as_str()
            .unwrap()
            .contains("has not reported within 300 ms"),
        "{status:#}"
    );
    host.behave(json!({ "mute": [] }));
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    assert!(host.ask().unwrap().last_upgrade.unwrap().restarts > 0);
    drop(visor);
}

#[test]
fn vis_08_an_old_version_that_hangs_in_its_stop_is_killed_and_the_upgrade_goes_on() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5, "ignore_sigterm": true }));
    host.configure(&[("stop", "grace", "300ms".into())]);
    let visor = started(&mut host);
    let height = host.announce(40);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    assert!(visor.log().contains("ignores SIGTERM"), "{}", visor.log());
    assert!(host.ask().unwrap().last_upgrade.unwrap().stop_ms >= 300);
}

#[test]
fn vis_10_a_new_version_that_reports_a_third_one_is_a_failed_start_until_it_does_not() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    host.configure(&[("start_after_upgrade", "max_retries", 50.into())]);
    let visor = started(&mut host);
    let height = host.announce(80);
    host.wait_status("staged", |status| status["phase"] == "staged");
    // Both versions say it: the old one must not be stopped for it, the new one not be believed.
    host.behave(json!({ "claims_version": "9.9.9" }));
    wait_for("the new version's second start", || {
        (host.starts().len() > 2).then_some(())
    });
    assert!(host.starts()[1..].iter().all(|version| version == NEW));
    host.behave(json!({ "claims_version": null }));
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    drop(visor);
}

#[test]
fn an_old_version_that_claims_to_be_the_new_one_is_upgraded_all_the_same() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = started(&mut host);
    host.behave(json!({ "claims_version": NEW }));
    let height = host.announce(60);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    drop(visor);
}

#[test]
fn a_node_whose_socket_file_is_removed_is_still_heard_and_upgraded() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = started(&mut host);
    fs::remove_file(host.node_home().join("s")).unwrap();
    let height = host.announce(60);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    drop(visor);
}

#[test]
fn vis_14_a_socket_that_was_gone_when_visor_began_is_found_when_it_comes_back() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    started(&mut host).kill();
    fs::remove_file(host.node_home().join("s")).unwrap();
    let visor = host.start();
    let status = host.wait_status("the adopted node", |status| status["node"]["adopted"] == true);
    assert_eq!(status["node_connected"], false);
    host.behave(json!({ "socket_generation": 1 }));
    host.wait_status("the link", |status| status["node_connected"] == true);
    assert_eq!(host.starts(), [OLD], "a node that is not heard is not restarted");
    let height = host.announce(60);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    drop(visor);
}

#[test]
fn vis_14_a_socket_that_is_bound_again_on_another_inode_is_followed() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = started(&mut host);
    let socket = host.node_home().join("s");
    let inode = || fs::metadata(&socket).map(|found| found.ino());
    let mut before = inode().unwrap();
    for generation in 1..=3 {
        // The old file is kept under another name, so that its number is not given to the new one.
        fs::hard_link(&socket, host.node_home().join(format!("s{generation}"))).unwrap();
        host.behave(json!({ "socket_generation": generation }));
        before = wait_for("another inode", || inode().ok().filter(|now| *now != before));
        let height = host.height();
        host.wait_status("news over the new socket", |status| {
            status["node_connected"] == true && status["node_height"].as_u64() > Some(height)
        });
    }
    assert_eq!(host.starts(), [OLD]);
    let height = host.announce(60);
    wait_upgraded(&host);
    assert_upgraded(&host, height);
    drop(visor);
}

/// Processor time of a process, in clock ticks (10 ms each), and its resident memory in KiB.
fn usage(pid: u32) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    (ticks, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// 10,000 lines a second: visor neither works for them nor grows, and the node writes on while visor stands still.
fn talkative(log_file: Option<&str>) {
    const PER_SECOND: u64 = 10_000;
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 200, "log_lines_per_second": PER_SECOND }));
    if let Some(name) = log_file {
        host.configure(&[("node", "log_file", name.into())]);
    }
    let mut visor = started(&mut host);
    let output = fs::read_link(format!("/proc/{}/fd/1", host.last_pid())).unwrap();
    let expected = match log_file {
        Some(name) => host.home().join(name),
        None => visor.log_path().to_path_buf(),
    };
    assert_eq!(output, expected.canonicalize().unwrap(), "no pipe of visor");

    let lines = || -> u64 {
        let text = fs::read_to_string(host.node_home().join("lines")).unwrap_or_default();
        text.parse().unwrap_or(0)
    };
    let written = |more: u64| {
        let (began, before) = (Instant::now(), lines());
        wait_for("lines", || (lines() >= before + more).then_some(()));
        began.elapsed()
    };
    written(PER_SECOND);
    let (ticks, memory) = usage(visor.pid());
    let took = written(2 * PER_SECOND);
    let (ticks_after, memory_after) = usage(visor.pid());
    // Five reports a second are all that visor has to do in this time.
    assert!(
        ticks_after - ticks <= 2 + u64::try_from(took.as_millis()).unwrap() / 50,
        "visor worked {} ms in {took:?}",
        (ticks_after - ticks) * 10
    );
    assert!(
        memory_after <= memory + 1024,
        "visor grew from {memory} to {memory_after} KiB"
    );

    // What stands still reads nothing: if anything of the node's output went through visor, the node would be stuck now.
    let pid = Pid::from_raw(i32::try_from(visor.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = written(2 * PER_SECOND);
    kill_process(pid, Signal::CONT).unwrap();
    assert!(stopped < Duration::from_secs(20), "{stopped:?}");

    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
    let text = fs::read_to_string(expected).unwrap();
    let said = text.lines().filter(|line| line.starts_with("line ")).count() as u64;
    assert!(said >= 5 * PER_SECOND, "{said} lines arrived");
}

#[test]
fn ten_thousand_lines_a_second_go_to_the_log_file_and_past_visor() {
    talkative(Some("node.log"));
}

#[test]
fn ten_thousand_lines_a_second_go_to_inherited_output_and_past_visor() {
    talkative(None);
}
