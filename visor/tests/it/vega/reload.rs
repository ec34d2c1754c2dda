//! Vega's `config.toml` and ours beside it take effect while visor runs.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::log::Role;
use super::scene::{FEW_KEYS, Host, Kind, V80};
use crate::scene::Visor;

/// Every key of Vega's with a value that is not its default, and a text that visor's log then has.
const EVERY_KEY: &str = "maxNumberOfFirstConnectionRetries = 77
maxNumberOfRestartConnectionRetries = 7
maxNumberOfRestarts = 9
restartsDelaySeconds = 3
stopDelaySeconds = 2
stopSignalTimeoutSeconds = 21
[upgradeFolders]
\"v0.80.0\" = \"the-next\"
[autoInstall]
enabled = true
repositoryOwner = \"somebody\"
repository = \"theirs\"
[autoInstall.asset]
name = \"their.zip\"
binaryName = \"their-vega\"
";

fn wait_log(host: &Host, visor: &Visor, text: &str) {
    host.wait(text, || visor.log().contains(text).then_some(()));
}

#[test]
fn w_57_every_key_is_taken_over_while_visor_runs() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_connected();
    host.configure(EVERY_KEY);
    // Everything that changed is named with its new value.
    for value in [
        "9",
        "3s",
        "2s",
        "21s",
        "the-next",
        "somebody",
        "theirs",
        "their.zip",
        "their-vega",
    ] {
        wait_log(&host, &visor, value);
    }
    host.stop(visor);
}

#[test]
fn w_56_a_change_counts_however_the_file_is_written_and_a_bad_one_changes_nothing() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_connected();
    let path = host.home().join("config.toml");
    // Replaced by a rename, then a second time, then written in place.
    host.with_keys("stopSignalTimeoutSeconds = 31");
    wait_log(&host, &visor, "31s");
    host.with_keys("stopSignalTimeoutSeconds = 32");
    wait_log(&host, &visor, "32s");
    fs::write(
        &path,
        FEW_KEYS.replace("stopSignalTimeoutSeconds = 5", "stopSignalTimeoutSeconds = 33"),
    )
    .unwrap();
    wait_log(&host, &visor, "33s");

    for bad in [
        "maxNumberOfRestarts = \"many\"\n",
        "maxNumberOfRestarts = -1\n",
        "maxNumb",
    ] {
        fs::write(&path, bad).unwrap();
        let status = host.wait_status("the mistake", |status| {
            status["problems"].to_string().contains("config.toml")
        });
        assert_eq!(status["node_connected"], true);
        host.configure(FEW_KEYS);
        host.wait_status("no mistake", |status| {
            !status["problems"].to_string().contains("config.toml")
        });
    }
    host.stop(visor);
}

#[test]
fn w_57_the_number_of_restarts_is_taken_live() {
    let mut host = Host::new(Kind::Core);
    host.with_keys("maxNumberOfRestarts = 1000");
    let mut visor = host.start();
    host.wait_connected();
    host.with_keys("maxNumberOfRestarts = 0");
    wait_log(&host, &visor, "max_retries");
    host.signal(Role::Core, Signal::KILL);
    assert_eq!(visor.wait_exit().code(), Some(6), "{}", visor.log());
    host.assert_no_node();
}

#[test]
fn w_57_the_stop_timeout_and_the_restarts_delay_are_taken_live() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "ignore_sigterm": ["core"] }));
    host.with_keys("stopSignalTimeoutSeconds = 600\nrestartsDelaySeconds = 600");
    let mut visor = host.start();
    host.wait_connected();
    host.with_keys("stopSignalTimeoutSeconds = 1\nrestartsDelaySeconds = 0");
    wait_log(&host, &visor, "1s");
    host.signal(Role::Core, Signal::KILL);
    host.wait_said(Role::Core, "start", 2);
    host.wait_connected();
    let began = Instant::now();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8));
    host.assert_no_node();
}

#[test]
fn w_57_an_upgrade_folder_is_taken_live() {
    let mut host = Host::new(Kind::Core);
    host.folder("the-next", V80);
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, 25);
    host.wait_said(Role::Core, "ready", 1);
    host.with_keys("[upgradeFolders]\n\"v0.80.0\" = \"the-next\"");
    host.wait_upgraded(V80);
    assert_eq!(host.current(), "the-next");
    host.stop(visor);
}

#[test]
fn our_own_file_is_strict_and_hot_as_well() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_connected();
    host.with_own("nonsense = 1\n");
    host.wait_status("the mistake", |status| {
        status["problems"].to_string().contains("visor.toml")
    });
    host.with_own("version_timeout = \"11s\"\n");
    wait_log(&host, &visor, "11s");
    host.wait_status("no mistake", |status| {
        !status["problems"].to_string().contains("visor.toml")
    });
    host.stop(visor);
}

#[test]
fn an_unknown_key_of_vegas_is_passed_over_with_one_warning() {
    let mut host = Host::new(Kind::Core);
    host.with_keys("somethingNew = true");
    let visor = host.start();
    host.wait_connected();
    let log = visor.log();
    assert_eq!(log.matches("somethingNew").count(), 1, "{log}");
    host.stop(visor);
}
