//! What an operator lives through, with a real visor and a real node.

use std::time::Duration;

use serde_json::{Value, json};
use visor::home::Home;
use visor::journal::Journal;

use crate::scene::{Host, NEW, OLD, wait_for};

fn is_upgraded(status: &Value) -> bool {
    status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
}

/// The end that every upgrade must come to, whatever happened on the way.
fn assert_upgraded(host: &Host, height: u64) {
    assert_eq!(host.current(), "v1.1.0");
    host.assert_never_two();
    let starts = host.starts();
    let first_new = starts.iter().position(|version| version == NEW).unwrap();
    assert!(
        starts[first_new..].iter().all(|version| version == NEW),
        "never the old one again: {starts:?}"
    );
    assert!(host.height() > height);
    let entries = Journal::read(&Home::at(host.home()).journal()).unwrap();
    assert!(!entries.is_empty());
}

#[test]
fn an_upgrade_happens_at_its_height_and_visor_stops_the_node_when_told() {
    let mut host = Host::new();
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = host.announce(30);
    let status = host.wait_status("the upgrade", is_upgraded);
    assert_eq!(status["last_upgrade"]["from"], OLD);
    assert_eq!(status["last_upgrade"]["height"], height);
    assert_eq!(status["last_upgrade"]["restarts"], 0);
    assert_eq!(status["current_version"], NEW);
    assert_eq!(status["problems"], json!([]));
    assert_eq!(host.starts(), [OLD, NEW]);
    assert_upgraded(&host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
    let (code, status) = host.status();
    assert_eq!(code, Some(4), "no visor answers");
    assert_eq!(status["last_upgrade"]["to"], NEW, "and the journal still knows");
}

#[test]
fn vis_04_a_restarted_visor_adopts_the_node() {
    let mut host = Host::new();
    let visor = host.start();
    let before = host.wait_status("the node", |status| status["node_connected"] == true);
    visor.kill();
    let height = host.height();
    wait_for("blocks without a visor", || {
        (host.height() > height + 3).then_some(())
    });
    let mut visor = host.start();
    let after = host.wait_status("the adopted node", |status| status["node_connected"] == true);
    assert_eq!(
        after["node"],
        json!({ "pid": before["node"]["pid"], "adopted": true })
    );
    assert_eq!(host.starts(), [OLD]);
    // An adopted node is upgraded like any other.
    let height = host.announce(20);
    host.wait_status("the upgrade", is_upgraded);
    assert_upgraded(&host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

/// Kills visor as soon as its status shows `phase`, and lets the next one finish.
fn kill_in_phase(phase: &str, prepare: impl Fn(&mut Host), repair: impl Fn(&mut Host)) {
    let mut host = Host::new();
    prepare(&mut host);
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = host.announce(15);
    host.wait_status(phase, |status| status["phase"] == phase);
    visor.kill();
    repair(&mut host);
    let _visor = host.start();
    host.wait_status("the upgrade", is_upgraded);
    assert_upgraded(&host, height);
}

#[test]
fn vis_03_killed_while_staging() {
    // A fetch that does not succeed keeps the phase; the repaired one does.
    kill_in_phase(
        "staging",
        |host| {
            host.behave(json!({ "block_ms": 100 }));
            host.hide_artifact(true);
        },
        |host| host.hide_artifact(false),
    );
}

#[test]
fn vis_03_killed_while_staged() {
    kill_in_phase("staged", |host| host.behave(json!({ "block_ms": 100 })), |_| ());
}

#[test]
fn vis_03_killed_while_the_old_node_is_being_stopped() {
    kill_in_phase(
        "halting",
        |host| host.behave(json!({ "ignore_sigterm": true })),
        |host| {
            host.behave(json!({ "ignore_sigterm": false }));
        },
    );
}

#[test]
fn vis_03_killed_while_the_new_node_starts() {
    kill_in_phase(
        "starting",
        |host| {
            host.behave(json!({ "mute": [NEW] }));
            host.configure(&[("probation", "start_timeout", "500ms".into())]);
        },
        |host| host.behave(json!({ "mute": [] })),
    );
}

#[test]
fn vis_03_killed_on_probation() {
    kill_in_phase(
        "probation",
        |host| host.behave(json!({ "stall": NEW })),
        |host| host.behave(json!({ "stall": null })),
    );
}

#[test]
fn vis_03_killed_while_retrying() {
    kill_in_phase(
        "retrying",
        |host| {
            host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
            host.configure(&[
                ("start_after_upgrade", "initial_delay", "2s".into()),
                ("start_after_upgrade", "max_delay", "2s".into()),
            ]);
        },
        |host| host.behave(json!({ "exit_at_start": [] })),
    );
}

#[test]
fn vis_03_killed_at_any_millisecond_around_the_swap() {
    for milliseconds in 0..12 {
        let mut host = Host::new();
        host.behave(json!({ "block_ms": 5 }));
        let visor = host.start();
        host.wait_status("the node", |status| status["node_connected"] == true);
        let height = host.announce(60);
        host.wait_status("staged", |status| {
            status["phase"] == "staged" || is_upgraded(status)
        });
        wait_for("the height", || (host.height() >= height).then_some(()));
        std::thread::sleep(Duration::from_millis(milliseconds));
        visor.kill();
        let _visor = host.start();
        host.wait_status("the upgrade", is_upgraded);
        assert_upgraded(&host, height);
    }
}

#[test]
fn vis_06_a_corrupt_artifact_halts_the_host_safely_until_it_is_repaired() {
    let mut host = Host::new();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let pid = host.last_pid();
    host.corrupt_artifact();
    let height = host.announce(20);
    let status = host.wait_status("the halt", |status| {
        let told = status["upgrade"]["staging_problem"].is_string();
        status["phase"] == "halting" && status["node_height"] == height && told
    });
    let problem = status["upgrade"]["staging_problem"].as_str().unwrap();
    assert!(problem.contains("SHA-256"), "{problem}");
    assert!(!host.home().join("v1.1.0").exists());
    assert_eq!((host.last_pid(), host.current().as_str()), (pid, "genesis"));
    assert_eq!(host.starts(), [OLD]);
    host.binary(NEW);
    host.wait_status("the upgrade", is_upgraded);
    assert_upgraded(&host, height);
}

#[test]
fn vis_11_a_new_version_that_crashes_is_retried_and_then_stopped() {
    let mut host = Host::new();
    host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
    host.configure(&[("start_after_upgrade", "max_retries", 3.into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(20);
    assert_eq!(visor.wait_exit().code(), Some(6));
    assert_eq!(host.starts(), [OLD, NEW, NEW, NEW, NEW]);
    host.assert_never_two();
    host.assert_no_node();
    assert!(visor.log().contains("exited with code 3"), "{}", visor.log());
    let (code, status) = host.status();
    assert_eq!((code, &status["phase"]), (Some(4), &json!("failed")));
    // Repaired and started again, the same host goes on.
    host.behave(json!({ "exit_at_start": [] }));
    let _visor = host.start();
    host.wait_status("the upgrade", is_upgraded);
}

#[test]
fn vis_10_a_new_version_that_reports_another_is_a_failed_start() {
    let mut host = Host::new();
    host.configure(&[("start_after_upgrade", "max_retries", 1.into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.behave(json!({ "claims_version": OLD }));
    host.announce(20);
    assert_eq!(visor.wait_exit().code(), Some(6));
    host.assert_never_two();
    host.assert_no_node();
}

#[test]
fn vis_09_a_node_that_exits_with_0_by_itself_is_started_again() {
    let mut host = Host::new();
    host.behave(json!({ "exit_at_height": 10 }));
    let _visor = host.start();
    let status = host.wait_status("the restart", |status| {
        status["restarts"] == 1 && status["node_connected"] == true
    });
    assert!(
        status["problems"][0].as_str().unwrap().contains("code 0"),
        "{status}"
    );
    assert_eq!(host.starts(), [OLD, OLD]);
    host.assert_never_two();
}

#[test]
fn vis_03_helpers_that_outlive_the_node_are_ended_before_the_next_start() {
    let mut host = Host::new();
    host.behave(json!({ "helper": true, "helper_setsid": true, "helper_ignores_sigterm": true }));
    host.configure(&[("stop", "grace", "300ms".into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = host.announce(15);
    host.wait_status("the upgrade", is_upgraded);
    assert_upgraded(&host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

#[test]
fn vis_08_a_node_that_ignores_sigterm_is_stopped_and_a_second_signal_orphans_nothing() {
    let mut host = Host::new();
    host.behave(json!({ "ignore_sigterm": true }));
    host.configure(&[("stop", "grace", "300ms".into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    visor.terminate();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
    assert!(host.node_log().contains(&"ignored SIGTERM".to_owned()));
}

#[test]
fn vis_03_a_second_visor_is_refused_and_changes_nothing() {
    let mut host = Host::new();
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let output = host.command().output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("pid {}", visor.pid())), "{text}");
    assert_eq!(host.starts(), [OLD]);
    host.wait_status("the first one to go on", |status| {
        status["node_connected"] == true
    });
}

#[test]
fn vis_01_a_torn_journal_is_cut_and_a_damaged_one_is_refused() {
    let mut host = Host::new();
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    visor.kill();
    let path = host.home().join("journal");
    let whole = std::fs::read(&path).unwrap();

    let mut damaged = whole.clone();
    damaged[70] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let mut refused = host.start();
    assert_eq!(refused.wait_exit().code(), Some(7));
    assert!(refused.log().contains("damaged at byte 64"), "{}", refused.log());
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing was changed");

    // The end of an append that a power cut interrupted.
    let mut torn = whole;
    torn.extend_from_slice(&[7; 20]);
    std::fs::write(&path, &torn).unwrap();
    let visor = host.start();
    host.wait_status("the adopted node", |status| status["node"]["adopted"] == true);
    assert!(visor.log().contains("journal.torn_bytes=20"), "{}", visor.log());
    assert_eq!(host.starts(), [OLD]);
}

#[test]
fn a_node_whose_link_breaks_is_reconnected() {
    let mut host = Host::new();
    let _visor = host.start();
    let first = host.wait_status("the node", |status| status["node_connected"] == true);
    // A crash of the node alone: the next one opens a new socket under the same name.
    let pid = rustix::process::Pid::from_raw(host.last_pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.wait_status("the next node", |status| {
        status["node_connected"] == true && status["node"]["pid"] != first["node"]["pid"]
    });
    host.assert_never_two();
}
