//! `visor doctor` on a launcher's host.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::scene::Host;
use crate::operator::verdict;

fn doctor(host: &Host, more: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .arg("doctor")
        .arg("--home")
        .arg(host.own())
        .arg("--json")
        .args(more)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report =
        report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[test]
fn operator_commands_speak_of_eras_and_say_how_this_visor_is_started_and_fed() {
    let mut host = Host::with_upgrade(1_000_000);
    host.write_state(&host.validator_text("1.0.0"));
    let launcher = host.start();
    host.wait_status("the node's word", |status| {
        status.node_connected && status.node_height > 0
    });
    host.wait_status("staged", |status| {
        status.upgrades.iter().any(|upgrade| upgrade.staged)
    });
    let operator = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_visor"))
            .args(arguments)
            .arg("--home")
            .arg(host.own())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, shown, _) = operator(&["history"]);
    assert!(shown.contains("2.0.0 after era 999999"), "{shown}");
    let (_, shown, _) = operator(&["plan"]);
    assert!(shown.contains(" eras"), "{shown}");
    let (code, _, said) = operator(&["stage", "2.0.0", "--binary", "/bin/true"]);
    assert_eq!(code, Some(9), "{said}");
    assert!(said.contains("staging tool"), "{said}");
    launcher.stop();
    for command in ["status", "pause", "doctor"] {
        let (_, shown, said) = operator(&[command]);
        let all = format!("{shown}{said}");
        assert!(
            all.contains("`visor run --casper`") && !all.contains("visor run --home"),
            "{all}"
        );
    }
}

#[test]
fn casper_w11_the_doctor_finds_what_would_make_the_next_upgrade_fail() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    let launcher = host.start_validating("1.0.0");
    host.wait_status("the node's word", |status| status.node_connected);
    host.wait_status("staged", |status| {
        status.upgrades.iter().any(|upgrade| upgrade.staged)
    });
    let (code, report) = doctor(&host, &[]);
    for check in [
        "current.link",
        "current.binary",
        "upgrade.folder",
        "upgrade.known",
        "visor.running",
        "versions",
    ] {
        assert_eq!(verdict(&report, check).0, "ok", "{report:#}");
    }
    assert_eq!(code, Some(0), "{report:#}");
    fs::remove_file(host.binary("2.0.0")).unwrap();
    host.stage_binary("3.0.0");
    let (code, report) = doctor(&host, &[]);
    assert_eq!(code, Some(10));
    let (found, text) = verdict(&report, "upgrade.folder");
    assert!(
        found == "fail" && text.contains("2.0.0: its binary"),
        "{report:#}"
    );
    assert_eq!(verdict(&report, "versions").0, "warn");
    launcher.stop();
    host.write_state("");
    let (_, report) = doctor(&host, &["--offline"]);
    assert_eq!(verdict(&report, "current.link").0, "fail", "{report:#}");
}
