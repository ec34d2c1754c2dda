//! The command line, the log and the exit codes, as scripts and service managers see them.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use serde_json::Value;
use visor_planner::Record;

use super::scene::Host;
use crate::scene::wait_for;

fn launcher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visor"))
        .arg0("/usr/bin/casper-node-launcher")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn casper_2_1_version_and_help_are_answers_and_anything_else_is_a_usage_error() {
    for option in ["-V", "--version"] {
        let output = launcher(&[option]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("Casper node launcher 1"), "{text}");
        assert_eq!(text.lines().count(), 1);
        let fourth = text.split(' ').nth(3).unwrap();
        assert!(
            fourth.starts_with('1') && fourth.split('.').count() == 3,
            "{text}"
        );
    }
    for option in ["-h", "--help"] {
        let output = launcher(&[option]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("--force-version"), "{text}");
    }
    for wrong in [
        ["-f", "2_0_0"].as_slice(),
        &["-f", "v1.0.0"],
        &["-f", "1.0"],
        &["-f"],
        &["run"],
        &["status"],
        &["--casper"],
        &["1.0.0"],
    ] {
        let output = launcher(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn casper_2_1_a_link_of_the_launchers_name_is_the_launcher() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("casper-node-launcher");
    symlink(env!("CARGO_BIN_EXE_visor"), &link).unwrap();
    let output = Command::new(&link).arg("-V").output().unwrap();
    assert!(output.stdout.starts_with(b"Casper node launcher 1"));
    // Its own name still means visor.
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"visor "));
}

#[test]
fn casper_2_1_visor_run_casper_is_the_same() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visor"));
        command
            .args(arguments)
            .env("CASPER_BIN_DIR", host.bin())
            .env("CASPER_CONFIG_DIR", host.config());
        command
    };
    let command = run(&["run", "--casper"]);
    let refused = run(&["run", "--casper", "-f", "9.0.0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let alone = run(&["run", "--home", "/nowhere", "-f", "1.0.0"])
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(2));
    let launcher = host.launch(command);
    host.wait_validating("1.0.0");
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_8_what_cannot_be_begun_ends_with_1() {
    let host = Host::new();
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = host.command();
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("casper-node-launcher: failed to "), "{text}");
        text
    };
    run(&|_| ());
    host.stage("1.0.0", 0);
    for (name, value) in [
        ("CASPER_BIN_DIR", ""),
        ("CASPER_CONFIG_DIR", ""),
        ("CASPER_BIN_DIR", "/nowhere"),
        ("CASPER_CONFIG_DIR", "/nowhere"),
    ] {
        let text = run(&|command| {
            command.env(name, value).current_dir("/");
        });
        assert!(text.contains("CASPER_BIN_DIR"), "{text}");
    }
    let text = run(&|command| {
        command.args(["-f", "9.0.0"]);
    });
    assert!(text.contains("9.0.0") && text.contains("missing"), "{text}");
    assert_eq!(host.starts(), Vec::<String>::new());
    assert!(!std::path::Path::new("/casper-visor").exists());
}

#[test]
fn casper_2_11_the_log_is_json_on_standard_output_with_four_keys() {
    let mut host = Host::with_upgrade_ahead(3);
    let launcher = host.start_validating("2.0.0");
    launcher.terminate();
    let mut launcher = launcher;
    assert_eq!(launcher.wait_exit().code(), Some(0));
    let lines: Vec<Value> = launcher
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 3);
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["fields", "level", "target", "timestamp"], "{line}");
        assert!(line["fields"]["message"].is_string(), "{line}");
        assert!(line["target"].as_str().unwrap().starts_with("visor"));
    }
    assert_eq!(launcher.err(), "");
    // W22: which version, its process, and why.
    let starts: Vec<&Value> = lines
        .iter()
        .map(|line| &line["fields"])
        .filter(|fields| {
            fields["node.version"].is_string()
                && fields["node.pid"].is_u64()
                && fields["node.why"].is_string()
        })
        .collect();
    let versions: Vec<&str> = starts
        .iter()
        .map(|fields| fields["node.version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["1.0.0", "2.0.0"], "{lines:#?}");
    assert!(launcher.out().contains("SIGTERM"));
}

#[test]
fn casper_2_2_rust_log_sets_the_level_and_a_bad_directive_is_named() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let launcher = host.start_with(|command| {
        command.env("RUST_LOG", "error,=what=");
    });
    host.wait_validating("1.0.0");
    assert!(launcher.err().contains("=what="), "{}", launcher.err());
    assert_eq!(launcher.out(), "");
    launcher.stop();
}

#[test]
fn casper_2_5_force_version_writes_the_state_and_forgets_a_migration() {
    let mut host = Host::new();
    for (version, activation) in [("1.0.0", 0), ("1.1.0", 0), ("2.0.0", 900)] {
        host.stage(version, activation);
    }
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        host.behave(version, &serde_json::json!({ "careless": true }));
    }
    host.write_state(&host.migration_text("1.1.0", "2.0.0"));
    let launcher = host.start_with(|command| {
        command.args(["--force-version", "1.0.0"]);
    });
    host.wait_start("1.0.0", 1);
    assert_eq!(host.starts(), ["1.0.0"], "no migration");
    assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    assert!(
        host.records()
            .iter()
            .any(|record| matches!(record, Record::Forced { version, .. } if version.0 == "1.0.0"))
    );
    // Another is refused while this one runs, and changes nothing.
    let mut second = host.start_with(|command| {
        command.args(["-f", "2.0.0"]);
    });
    assert_eq!(second.wait_exit().code(), Some(1));
    assert!(
        second.err().contains(&format!("pid {}", launcher.pid())),
        "{}",
        second.err()
    );
    assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    launcher.stop();
    // What was forced stays; up and down.
    let launcher = host.start();
    host.wait_start("1.0.0", 2);
    launcher.stop();
    let launcher = host.start_with(|command| {
        command.args(["-f", "2.0.0"]);
    });
    host.wait_start("2.0.0", 1);
    launcher.stop();
    assert_eq!(host.starts(), ["1.0.0", "1.0.0", "2.0.0"]);
    assert_eq!(host.validator().as_deref(), Some("2.0.0"));
}

#[test]
fn casper_2_5_force_version_replaces_a_node_that_a_dead_launcher_left() {
    let mut host = Host::with_upgrade_ahead(900);
    for version in ["1.0.0", "2.0.0"] {
        host.behave(version, &serde_json::json!({ "careless": true }));
    }
    let launcher = host.start();
    host.wait_start("1.0.0", 1);
    launcher.kill();
    let launcher = host.start_with(|command| {
        command.args(["-f", "2.0.0"]);
    });
    host.wait_start("2.0.0", 1);
    wait_for("its state", || (host.validator()? == "2.0.0").then_some(()));
    launcher.stop();
    assert_eq!(host.starts(), ["1.0.0", "2.0.0"]);
    host.assert_sound();
    host.assert_no_node();
}
