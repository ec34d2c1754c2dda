//! Orders to the visor that runs, and the check of the configuration.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::operator::{
    REFUSED, UNREACHABLE, accepted, assert_warns, events, json_of, refused, replace, stderr, visor,
};
use crate::scene::{Host, NEW, OLD};

#[test]
fn the_configuration_is_checked_as_run_would_and_shows_what_is_not_default() {
    let host = Host::new();
    let (code, checked) = json_of(&host, &["config", "check"]);
    assert_eq!((code, &checked["valid"]), (Some(0), &json!(true)));
    let changed = checked["changed"].as_array().unwrap();
    assert!(changed.contains(&json!({ "key": "stop.grace", "value": "\"2s\"", "default": "\"15s\"" })));
    assert!(!changed.iter().any(|change| change["key"] == "stop.delay"));

    // A file that is not in place yet.
    let file = host.node_home().join("next.toml");
    fs::write(&file, "[stop]\ngraze = \"1s\"\n").unwrap();
    let arguments = ["config", "check", "--file", file.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("line 2") && stderr(&output).contains("graze"));
    let (code, checked) = json_of(&host, &arguments);
    assert_eq!((code, &checked["valid"]), (Some(3), &json!(false)));
    assert!(checked["problem"].as_str().unwrap().contains("graze"));

    // The genesis counts too.
    fs::write(&file, "[governance]\ngenesis = \"nowhere.json\"\n").unwrap();
    let output = visor(&host, &arguments);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("nowhere.json"), "{}", stderr(&output));
}

#[test]
fn orders_need_a_visor_and_say_so() {
    let host = Host::new();
    for arguments in [
        &["stage"][..],
        &["skip", "7"],
        &["skip", "--undo", "7"],
        &["upgrade-at", "7", "1.1.0"],
        &["pause"],
        &["resume"],
        &["stop-node"],
        &["start-node"],
        &["rollback", "--yes"],
        &["self-restart"],
    ] {
        let output = visor(&host, arguments);
        assert_eq!(output.status.code(), UNREACHABLE, "{arguments:?}");
        assert!(
            stderr(&output).contains("no visor answers"),
            "{}",
            stderr(&output)
        );
        let (code, answer) = json_of(&host, arguments);
        assert_eq!((code, &answer["accepted"]), (UNREACHABLE, &json!(false)));
        assert_eq!(answer["schema"], 1);
        assert!(answer["order"].is_string() && answer["message"].is_string());
    }
    assert!(!host.home().join("journal").exists(), "nothing was changed");
    assert_eq!(visor(&host, &["upgrade-at", "7", "seven"]).status.code(), Some(2));
    assert_eq!(visor(&host, &["skip", "high"]).status.code(), Some(2));
}

#[test]
fn a_rollback_without_a_backup_is_refused_before_anybody_is_asked() {
    let mut host = Host::new();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let (code, refused) = json_of(&host, &["rollback", "--yes"]);
    assert_eq!((code, &refused["accepted"]), (REFUSED, &json!(false)));
    assert!(refused["message"].as_str().unwrap().contains("no backup"));
    for field in ["version", "height", "backup", "backup_unix_ms"] {
        assert_eq!(refused[field], Value::Null);
    }
}

#[test]
fn a_paused_host_stays_halted_until_it_is_resumed_also_over_a_restart_of_visor() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    accepted(&host, &["pause"]);
    assert_eq!(json_of(&host, &["plan"]).1["paused"], true);
    assert_warns(&host, &[], "visor.running", "paused");
    let height = host.announce(20);
    let halted = |status: &Value| status["node_height"] == height && status["upgrade"]["staged"] == true;
    host.wait_status("the halt", halted);
    running.kill();
    let _running = host.start();
    let status = host.wait_status("the halt again", halted);
    assert_eq!(
        (&status["paused"], host.current().as_str()),
        (&json!(true), "genesis")
    );
    assert_eq!(host.starts(), [OLD]);
    accepted(&host, &["resume"]);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let events = events(&host);
    for event in ["paused", "resumed", "upgraded"] {
        assert!(events.iter().any(|found| found == event), "{event} in {events:?}");
    }
    host.assert_never_two();
}

#[test]
fn a_skipped_height_is_not_carried_out_until_the_skip_is_undone() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    refused(&host, &["skip", "--undo", "7"], "not skipped");
    let height = host.announce(40);
    accepted(&host, &["skip", &height.to_string()]);
    host.wait_status("the halt", |status| status["node_height"] == height);
    let (_, plan) = json_of(&host, &["plan"]);
    assert_eq!(plan["upgrades"][0]["skipped"], true, "{plan}");
    assert_warns(&host, &[], "upgrade.known", "skipped");
    assert_eq!(
        (host.starts(), host.current().as_str()),
        (vec![OLD.to_owned()], "genesis")
    );
    running.kill();
    let (_, plan) = json_of(&host, &["plan"]);
    assert_eq!(plan["upgrades"][0]["skipped"], true, "the journal knows: {plan}");
    let _running = host.start();
    let skipped = json!([height]);
    host.wait_status("the skip", |status| {
        status["skipped_heights"] == skipped && status["node_connected"] == true
    });
    accepted(&host, &["skip", "--undo", &height.to_string()]);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    host.assert_never_two();
}

#[test]
fn a_node_that_is_kept_stopped_stays_so_over_a_restart_of_visor() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    refused(&host, &["start-node"], "not kept stopped");
    accepted(&host, &["stop-node"]);
    host.wait_status("the end of the node", |status| status["node"].is_null());
    host.assert_no_node();
    running.kill();
    let _running = host.start();
    let status = host.wait_status("visor", |status| status["node_held"] == true);
    assert_eq!(
        (&status["phase"], &status["node"]),
        (&json!("held"), &Value::Null)
    );
    assert_warns(&host, &[], "node.report", "kept stopped");
    assert_eq!(host.starts(), [OLD]);
    accepted(&host, &["start-node"]);
    host.wait_status("the node again", |status| status["node_connected"] == true);
    assert_eq!(host.starts(), [OLD, OLD]);
    let events = events(&host);
    for event in ["node_held", "node_released"] {
        assert!(events.iter().any(|found| found == event), "{event} in {events:?}");
    }
}

#[test]
fn vis_04_visor_becomes_the_program_that_was_installed_and_the_node_runs_on() {
    let mut host = Host::new();
    // A visor of this host's own, which can be replaced.
    let program = host.home().join("visor");
    let install = || replace(&program, &fs::read(env!("CARGO_BIN_EXE_visor")).unwrap());
    install();
    let mut running = Command::new(&program)
        .args(["run", "--home"])
        .arg(host.home())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let before = host.wait_status("the node", |status| status["node_connected"] == true);
    install();
    accepted(&host, &["self-restart"]);
    let after = host.wait_status("the next visor", |status| {
        status["node_connected"] == true && status["started_unix_ms"] != before["started_unix_ms"]
    });
    assert_eq!(after["visor_pid"], before["visor_pid"], "the same process");
    assert_eq!(
        after["node"],
        json!({ "pid": before["node"]["pid"], "adopted": true })
    );
    assert_eq!(host.starts(), [OLD]);
    // An adopted node is upgraded like any other.
    host.announce(20);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0));
    host.assert_no_node();
    host.assert_never_two();
}
