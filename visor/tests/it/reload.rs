//! `config.toml` changes while visor runs (VIS-13).

use std::fs;

use serde_json::{Value, json};

use crate::scene::{Host, wait_for};

fn log_has(visor: &crate::scene::Visor, text: &str) {
    wait_for(text, || visor.log().contains(text).then_some(()));
}

#[test]
fn vis_13_a_changed_configuration_is_in_force_and_a_broken_one_is_not() {
    let mut host = Host::new();
    host.configure(&[("stop", "grace", "60s".into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);

    let good = fs::read_to_string(host.home().join("config.toml")).unwrap();
    fs::write(host.home().join("config.toml"), "[stop]\ngrase = \"1s\"\n").unwrap();
    let status = host.wait_status("the problem", |status| status["config_problem"] != Value::Null);
    let problem = status["config_problem"].as_str().unwrap();
    assert!(
        problem.contains("line 2") && problem.contains("grase"),
        "{problem}"
    );
    assert!(
        status["problems"].to_string().contains("not in force"),
        "{status:#}"
    );

    fs::write(host.home().join("config.toml"), good).unwrap();
    host.wait_status("the mended file", |status| {
        status["config_problem"] == Value::Null
    });

    // The new grace is what a stop goes by: with the old one this test would wait for a minute.
    host.behave(json!({ "ignore_sigterm": true }));
    host.configure(&[("stop", "grace", "50ms".into())]);
    log_has(&visor, "stop.grace");
    log_has(&visor, "config.at_next_start=false");
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

#[test]
fn vis_13_sighup_reads_the_configuration_too() {
    let mut host = Host::new();
    let visor = host.start();
    let before = host.wait_status("the node", |status| status["node_connected"] == true);
    host.configure(&[("restart", "max_retries", 9.into())]);
    let pid = rustix::process::Pid::from_raw(i32::try_from(visor.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    log_has(&visor, "restart.max_retries");
    let after = host.wait_status("the node", |status| status["node_connected"] == true);
    assert_eq!(
        after["node"]["pid"], before["node"]["pid"],
        "nothing was restarted"
    );
}
