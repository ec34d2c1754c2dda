//! `visor doctor`, over a home whose visor runs, or does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use visor::journal::Journal;
use visor_planner::{Record, Timestamp};

use crate::operator::{assert_fails, assert_warns, json_of, replace, verdict, visor};
use crate::scene::Host;

#[test]
fn the_doctor_finds_nothing_in_a_host_that_is_well() {
    let mut host = Host::new();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(100_000);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let before = fs::read(host.home().join("config.toml")).unwrap();
    let (code, report) = json_of(&host, &["doctor"]);
    assert_eq!(
        (code, &report["ready"], &report["failures"]),
        (Some(0), &json!(true), &json!(0)),
        "{report:#}"
    );
    for check in [
        "visor.running",
        "node.report",
        "upgrade.folder",
        "current.binary",
        "journal",
        "config.in_force",
    ] {
        assert_eq!(verdict(&report, check).0, "ok", "{report:#}");
    }
    assert!(
        verdict(&report, "upgrade.folder")
            .1
            .contains("accepted size and SHA-256")
    );
    for check in report["checks"].as_array().unwrap() {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["ok", "warn", "fail", "skipped"].contains(&verdict));
        assert_eq!(
            check["advice"].is_string(),
            verdict == "warn" || verdict == "fail"
        );
    }
    let text = String::from_utf8(visor(&host, &["doctor"]).stdout).unwrap();
    assert!(
        text.contains("nothing found that would make the next upgrade fail"),
        "{text}"
    );
    assert_eq!(fs::read(host.home().join("config.toml")).unwrap(), before);
}

#[test]
fn the_doctor_says_what_is_wrong_with_a_home() {
    let host = Host::new();
    let home = host.home();
    let offline: &[&str] = &["--offline"];
    let (code, report) = json_of(&host, &["doctor", "--offline"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_fails(&host, &[], "visor.running", "no visor answers");
    assert_fails(&host, &[], "node.report", "gives no report");

    let config = fs::read(home.join("config.toml")).unwrap();
    fs::write(home.join("config.toml"), "[stop]\ngraze = 1\n").unwrap();
    assert_fails(&host, offline, "config.file", "graze");
    fs::write(home.join("config.toml"), &config).unwrap();

    let program = home.join("genesis/fake-node");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&host, offline, "current.binary", "cannot be executed");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = home.join("genesis/run-config.toml");
    let whole = fs::read_to_string(&run).unwrap();
    fs::write(&run, whole.replace("v1.0.0", "v1.0.7")).unwrap();
    assert_fails(&host, offline, "current.binary", "says that it is 1.0.0");
    fs::write(&run, "name = 1").unwrap();
    assert_fails(&host, offline, "current.run_config", "run-config.toml");
    fs::write(&run, whole).unwrap();
    let current = home.join("current");
    fs::remove_file(&current).unwrap();
    assert_fails(&host, offline, "current.link", "does not exist");
    std::os::unix::fs::symlink("v9.9.9", &current).unwrap();
    assert_fails(&host, offline, "current.link", "v9.9.9");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("genesis", &current).unwrap();

    let path = home.join("journal");
    let mut journal = Journal::open(&path).unwrap().journal;
    let at = Timestamp(0);
    journal.append(&Record::Stopped { at }, u64::MAX / 2).unwrap();
    assert_fails(&host, offline, "host.clock", "9999-12-31");
    let mut damaged = fs::read(&path).unwrap();
    damaged[70] ^= 1;
    fs::write(&path, damaged).unwrap();
    assert_fails(&host, offline, "journal", "damaged at byte 64");
    fs::remove_file(&path).unwrap();
    assert_eq!(visor(&host, &["doctor", "--offline"]).status.code(), Some(0));
    assert!(!path.exists(), "the doctor made none");
}

#[test]
fn a_binary_that_is_asked_for_its_version_cannot_speak_to_the_service_manager_for_visor() {
    let host = Host::new();
    let program = host.home().join("genesis/fake-node");
    let real = program.with_extension("real");
    fs::rename(&program, &real).unwrap();
    let script = format!(
        "#!/bin/sh\n[ -z \"$NOTIFY_SOCKET\" ] || exit 7\nexec {} \"$@\"\n",
        real.display()
    );
    replace(&program, script.as_bytes());
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(["doctor", "--offline", "--json", "--home"])
        .arg(host.home())
        .env("NOTIFY_SOCKET", host.root().join("manager"))
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    let (found, text) = verdict(&report, "current.binary");
    assert_eq!(found, "ok", "{text}");
}

#[test]
fn the_doctor_looks_at_what_the_operator_has_added() {
    let host = Host::new();
    let offline: &[&str] = &["--offline"];
    let network: &[&str] = &["--offline", "--network"];
    let hook = |command: &str, severity: &str| {
        let mut table = toml::Table::new();
        table.insert("command".to_owned(), toml::Value::Array(vec![command.into()]));
        table.insert("on_failure".to_owned(), severity.into());
        host.configure(&[("hooks", "before_stop", table.into())]);
    };
    hook("/nowhere/hook", "block");
    assert_fails(&host, offline, "hooks.before_stop", "no such file");
    hook("/nowhere/hook", "warn");
    assert_warns(&host, offline, "hooks.before_stop", "no such file");
    hook("/bin/sh", "block");
    assert_eq!(
        verdict(&json_of(&host, &["doctor", "--offline"]).1, "hooks.before_stop").0,
        "ok"
    );

    let command = toml::Value::Array(vec!["/nowhere/tell".into()]);
    host.configure(&[("notify", "command", command)]);
    assert_warns(&host, offline, "notify.command", "/nowhere/tell");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    host.configure(&[("notify", "webhook", format!("http://{address}/secret").into())]);
    let (_, report) = json_of(&host, &["doctor", "--offline"]);
    assert_eq!(verdict(&report, "notify.webhook").0, "skipped");
    let (_, report) = json_of(&host, &["doctor", "--offline", "--network"]);
    assert_eq!(
        verdict(&report, "notify.webhook"),
        ("ok", &*format!("{address} accepts connections"))
    );
    drop(listener);
    assert_warns(&host, network, "notify.webhook", &address.to_string());

    let missing = host.node_home().join("nothing");
    let paths = toml::Value::Array(vec![missing.to_str().unwrap().into()]);
    host.configure(&[("backup", "paths", paths)]);
    assert_fails(&host, offline, "backup.space", missing.to_str().unwrap());
    host.configure(&[("backup", "paths", toml::Value::Array(Vec::new()))]);

    host.configure(&[("governance", "genesis", "nowhere.json".into())]);
    assert_fails(&host, offline, "governance.genesis", "nowhere.json");
    host.configure(&[("governance", "genesis", "".into())]);

    let key = host.home().join("reporter.key");
    host.configure(&[
        ("reporter", "key", "reporter.key".into()),
        ("reporter", "node", "http://127.0.0.1:1".into()),
    ]);
    assert_fails(&host, offline, "reporter.key", "reporter.key");
    fs::write(&key, "secret").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&host, offline, "reporter.key", "mode 0644");
}

#[test]
fn the_doctor_says_what_the_next_upgrade_lacks() {
    let mut host = Host::new();
    let visor_process = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.hide_artifact(true);
    host.announce(100_000);
    host.wait_status("a failed attempt", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    assert_fails(&host, &[], "upgrade.staged", "No such file");
    assert_fails(&host, &[], "upgrade.artifact", "No such file");
    host.hide_artifact(false);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let staged = host.home().join("v1.1.0/fake-node");
    let whole = fs::read(&staged).unwrap();

    // For another machine: 8 is MIPS.
    let mut other = whole.clone();
    other[18] = 8;
    other[19] = 0;
    replace(&staged, &other);
    assert_fails(&host, &[], "upgrade.folder", "another machine (ELF 8)");
    let mut other = whole.clone();
    let last = other.len() - 1;
    other.push(other[last]);
    replace(&staged, &other);
    assert_fails(&host, &[], "upgrade.folder", "expected");
    replace(&staged, &whole);
    assert_eq!(visor(&host, &["doctor"]).status.code(), Some(0));

    // The node alone says otherwise than `current`.
    visor_process.kill();
    host.behave(json!({ "claims_version": "7.0.0" }));
    crate::scene::wait_for("the claim", || {
        let (_, report) = json_of(&host, &["doctor"]);
        let (found, text) = verdict(&report, "node.report");
        (found == "fail" && text.contains("7.0.0")).then_some(())
    });
}
