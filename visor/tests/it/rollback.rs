//! Backups, hooks, the operator's own upgrades and the way back, with a real visor and a real node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use toml::Value as Toml;

use crate::scene::{Host, NEW, OLD, wait_for};

/// A host whose node has data that is backed up before an upgrade, and that can prove what it has signed.
fn host() -> Host {
    let host = Host::new();
    let data = host.node_home().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("state"), "before").unwrap();
    let home = host.node_home().display().to_string();
    host.configure(&[
        ("backup", "paths", list(&[&data.display().to_string()])),
        ("backup", "reserve", 0.into()),
        ("backup", "retry_delay", "30ms".into()),
        (
            "upgrade",
            "signed_height_args",
            list(&["signed-height", "--home", &home]),
        ),
        ("start_after_upgrade", "max_retries", 1.into()),
    ]);
    host
}

fn list(items: &[&str]) -> Toml {
    Toml::Array(items.iter().map(|item| Toml::from(*item)).collect())
}

/// The version that wrote the node's data last.
fn written_by(host: &Host) -> String {
    fs::read_to_string(host.node_home().join("data/written-by")).unwrap()
}

fn signed(host: &Host, height: u64) {
    fs::write(host.node_home().join("signed"), height.to_string()).unwrap();
}

/// An operator's command; its exit code, output and errors.
fn visor(host: &Host, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .arg("--home")
        .arg(host.home())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn ordered(host: &Host, arguments: &[&str]) {
    let (code, out, error) = visor(host, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{error}");
}

/// The new version is put in place, and ordered for a height some blocks ahead.
fn order_upgrade(host: &Host, blocks: u64) -> u64 {
    host.binary(NEW);
    let artifact = host.artifact(NEW);
    ordered(host, &["stage", NEW, "--binary", artifact.to_str().unwrap()]);
    let height = host.height() + blocks;
    ordered(host, &["upgrade-at", &height.to_string(), NEW]);
    height
}

fn problems(status: &Value) -> String {
    status["problems"].to_string()
}

#[test]
fn the_operators_own_upgrade_is_backed_up_and_carried_out_at_its_height() {
    let mut host = host();
    let mut running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = order_upgrade(&host, 30);
    let status = host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
    });
    assert_eq!(status["last_upgrade"]["height"], height);
    assert_eq!(host.starts(), [OLD, NEW]);
    assert_eq!(status["last_backup"]["version"], OLD);
    assert_eq!(status["last_backup"]["height"], height);
    let backup = status["last_backup"]["path"].as_str().unwrap();
    assert!(fs::exists(backup).unwrap());
    assert_eq!(written_by(&host), NEW);
    running.terminate();
    assert_eq!(running.wait_exit().code(), Some(0));
}

#[test]
fn vis_11_with_rollback_chosen_the_old_version_comes_back_with_its_data() {
    let mut host = host();
    host.configure(&[("upgrade", "on_failure", "rollback".into())]);
    host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    signed(&host, 1);
    order_upgrade(&host, 30);
    let status = host.wait_status("the rollback", |status| {
        status["phase"] == "rolled_back" && status["node_connected"] == true
    });
    assert_eq!(status["current_version"], OLD);
    assert_eq!(written_by(&host), OLD, "version and data are back together");
    assert_eq!(host.starts(), [OLD, NEW, NEW, OLD]);
    assert!(problems(&status).contains("rolled back from 1.1.0"), "{status:#}");
    let height = host.height();
    wait_for("blocks of the old version", || {
        (host.height() > height + 3).then_some(())
    });
    host.assert_never_two();
}

#[test]
fn vis_11_nothing_is_rolled_back_once_this_host_has_signed_above_the_height() {
    let mut host = host();
    host.configure(&[("upgrade", "on_failure", "rollback".into())]);
    host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
    let mut running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = order_upgrade(&host, 30);
    signed(&host, height + 1);
    assert_eq!(running.wait_exit().code(), Some(6));
    assert_eq!(host.current(), "v1.1.0");
    assert_eq!(written_by(&host), NEW);
    assert_eq!(host.starts(), [OLD, NEW, NEW]);
    let (_, status) = host.status();
    assert!(
        problems(&status).contains("could make it sign twice"),
        "{status:#}"
    );
    host.assert_no_node();
}

#[test]
fn vis_11_what_nobody_can_prove_counts_as_signed() {
    let mut host = host();
    host.configure(&[("upgrade", "on_failure", "rollback".into())]);
    host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
    let mut running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    order_upgrade(&host, 30);
    assert_eq!(running.wait_exit().code(), Some(6), "there is no file `signed`");
    let (_, status) = host.status();
    assert!(problems(&status).contains("nothing proves"), "{status:#}");
}

#[test]
fn vis_11_a_rollback_by_hand_is_carried_out_once_it_is_confirmed() {
    let mut host = host();
    host.behave(json!({ "stall": NEW }));
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    signed(&host, 1);
    order_upgrade(&host, 30);
    host.wait_status("probation", |status| status["phase"] == "probation");
    let (code, _, error) = visor(&host, &["rollback"]);
    assert_ne!(
        code,
        Some(0),
        "without a terminal it has to be confirmed by a flag: {error}"
    );
    ordered(&host, &["rollback", "--yes"]);
    host.wait_status("the rollback", |status| {
        status["phase"] == "rolled_back" && status["node_connected"] == true
    });
    assert_eq!(host.starts(), [OLD, NEW, OLD]);
    assert_eq!(written_by(&host), OLD);
    // The operator wants it after all.
    host.behave(json!({ "stall": null }));
    let height = host.wait_status("the height", |_| true)["skipped_heights"][0].clone();
    ordered(&host, &["skip", "--undo", &height.to_string()]);
    host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
    });
    host.assert_never_two();
}

#[test]
fn vis_11_a_rollback_finds_its_backup_also_after_the_configuration_has_changed() {
    let mut host = host();
    host.behave(json!({ "stall": NEW }));
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    signed(&host, 1);
    order_upgrade(&host, 30);
    host.wait_status("probation", |status| status["phase"] == "probation");
    running.kill();
    // No longer wanted, and somewhere else: it holds for the next upgrade.
    host.configure(&[
        ("backup", "paths", Toml::Array(Vec::new())),
        ("backup", "folder", "elsewhere".into()),
    ]);
    let _visor = host.start();
    host.wait_status("probation again", |status| {
        status["phase"] == "probation" && status["node_connected"] == true
    });
    ordered(&host, &["rollback", "--yes"]);
    host.wait_status("the rollback", |status| {
        status["phase"] == "rolled_back" && status["node_connected"] == true
    });
    assert_eq!(written_by(&host), OLD, "version and data are back together");
    assert!(!host.home().join("elsewhere").exists());
    host.assert_never_two();
}

#[test]
fn a_backup_that_fails_keeps_the_upgrade_waiting_until_it_succeeds() {
    let mut host = host();
    host.configure(&[("backup", "first_pass_blocks", 1.into())]);
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    order_upgrade(&host, 60);
    host.wait_status("staged", |status| status["upgrade"]["staged"] == true);
    let data = host.node_home().join("data");
    let away = host.node_home().join("away");
    fs::rename(&data, &away).unwrap();
    let status = host.wait_status("the failed backup", |status| status["phase"] == "backing_up");
    assert_eq!(status["node"], Value::Null);
    host.wait_status("the reason", |status| {
        problems(status).contains("the backup failed")
    });
    fs::rename(&away, &data).unwrap();
    host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
    });
    assert_eq!(host.starts(), [OLD, NEW]);
}

#[test]
fn hooks_run_around_an_upgrade_and_a_failing_one_holds_it_up() {
    let mut host = host();
    let script = host.node_home().join("hook.sh");
    let told = host.node_home().join("told");
    let open = host.node_home().join("open");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho \"$VISOR_HOOK $VISOR_VERSION_OLD $VISOR_VERSION_NEW $VISOR_UPGRADE_HEIGHT\" >> {}\n\
             if [ $VISOR_HOOK = before_stop ] && [ ! -e {} ]; then exit 7; fi\n",
            told.display(),
            open.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let command = list(&[script.to_str().unwrap()]);
    let hook = Toml::Table(toml::Table::from_iter([("command".to_owned(), command)]));
    host.configure(&[
        ("hooks", "retry_delay", "30ms".into()),
        ("hooks", "before_stop", hook.clone()),
        ("hooks", "before_start", hook.clone()),
        ("hooks", "after_success", hook),
    ]);
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = host.announce(30);
    let status = host.wait_status("the hook that fails", |status| {
        problems(status).contains("the hook before the stop failed")
    });
    assert_eq!(status["phase"], "halting");
    assert_ne!(
        status["node"],
        Value::Null,
        "the halted node still serves its peers"
    );
    fs::write(&open, "").unwrap();
    host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
    });
    let lines = wait_for("the hook after", || {
        let text = fs::read_to_string(&told).unwrap();
        text.contains("after_success").then_some(text)
    });
    let mut names: Vec<&str> = lines.lines().collect();
    names.dedup();
    assert_eq!(
        names,
        [
            format!("before_stop {OLD} {NEW} {height}"),
            format!("before_start {OLD} {NEW} {height}"),
            format!("after_success {OLD} {NEW} {height}"),
        ]
    );
    assert!(
        lines.lines().count() > 3,
        "the hook that failed was run again: {lines}"
    );
}
