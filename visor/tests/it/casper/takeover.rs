//! Hosts that the original launcher and its tools have worked on, and what they find after visor.

use std::fs;

use serde_json::json;

use super::scene::{Host, STATE};
use crate::scene::wait_for;

fn text(host: &Host) -> String {
    fs::read_to_string(host.config().join(STATE)).unwrap()
}

#[test]
fn casper_2_4_a_state_that_says_which_version_runs_is_taken_over_and_left_byte_by_byte() {
    let mut host = Host::with_upgrade(1000);
    let written = host.validator_text("1.0.0");
    host.write_state(&written);
    let launcher = host.start_validating("1.0.0");
    launcher.stop();
    assert_eq!(text(&host), written);
    assert_eq!(host.starts(), ["1.0.0"]);
}

#[test]
fn casper_2_4_a_migration_that_the_original_began_is_done() {
    let mut host = Host::with_upgrade(3);
    let written = host.migration_text("1.0.0", "2.0.0");
    host.write_state(&written);
    fs::write(host.node().join("era"), "2").unwrap();
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), [">2.0.0", "2.0.0"]);
    assert_eq!(text(&host), host.validator_text("2.0.0"));
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_4_what_is_written_of_a_migration_is_what_the_original_writes() {
    let mut host = Host::with_upgrade_ahead(3);
    host.behave("2.0.0", &json!({ "migrate_ms": 60_000 }));
    let launcher = host.start();
    host.wait_start(">2.0.0", 1);
    assert_eq!(text(&host), host.migration_text("1.0.0", "2.0.0"));
    launcher.stop();
    assert_eq!(text(&host), host.migration_text("1.0.0", "2.0.0"));
}

#[test]
fn casper_2_4_comments_and_unknown_keys_are_tolerated() {
    let mut host = Host::with_upgrade(1000);
    host.write_state(&format!(
        "# by hand\nunknown = 7\n{}",
        host.validator_text("1.0.0").replace('\'', "\"")
    ));
    let launcher = host.start_validating("1.0.0");
    launcher.stop();
    assert_eq!(host.starts(), ["1.0.0"]);
}

#[test]
fn casper_w36_what_force_run_version_wrote_is_followed_also_when_the_journal_says_otherwise() {
    let mut host = Host::new();
    for (version, activation) in [("1.0.0", 0), ("1.1.0", 0), ("2.0.0", 1000)] {
        host.stage(version, activation);
        host.behave(version, &json!({ "careless": true }));
    }
    host.write_state(&host.validator_text("1.1.0"));
    let launcher = host.start();
    host.wait_start("1.1.0", 1);
    // The tool writes while the launcher runs, without a line end, then stops and starts the unit.
    for (version, times) in [("1.0.0", 1), ("2.0.0", 1)] {
        host.write_state(host.validator_text(version).trim_end());
        let _ = times;
    }
    host.write_state(host.validator_text("1.0.0").trim_end());
    assert_eq!(host.starts(), ["1.1.0"], "nothing happens before");
    launcher.stop();
    assert_eq!(
        text(&host),
        host.validator_text("1.0.0").trim_end(),
        "and it is not written over"
    );
    let launcher = host.start();
    host.wait_start("1.0.0", 1);
    launcher.stop();
    host.write_state(host.validator_text("2.0.0").trim_end());
    let launcher = host.start();
    host.wait_start("2.0.0", 1);
    launcher.stop();
    assert_eq!(
        host.starts(),
        ["1.1.0", "1.0.0", "2.0.0"],
        "and nothing is migrated"
    );
    host.assert_sound();
}

#[test]
fn casper_w36_a_migration_that_was_under_way_is_dropped_by_what_the_tool_wrote() {
    let mut host = Host::with_upgrade_ahead(3);
    host.behave("2.0.0", &json!({ "migrate_ms": 60_000 }));
    let launcher = host.start();
    host.wait_start(">2.0.0", 1);
    launcher.kill();
    host.kill_node();
    host.write_state(host.validator_text("2.0.0").trim_end());
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w12_a_migration_that_a_killed_launcher_left_is_repeated_once_and_never_doubled() {
    let mut host = Host::with_upgrade_ahead(3);
    host.behave("2.0.0", &json!({ "migrate_ms": 700 }));
    let launcher = host.start();
    host.wait_start(">2.0.0", 1);
    launcher.kill();
    assert_eq!(text(&host), host.migration_text("1.0.0", "2.0.0"));
    let launcher = host.start_validating("2.0.0");
    let starts = host.starts();
    assert!(
        starts == ["1.0.0", ">2.0.0", ">2.0.0", "2.0.0"] || starts == ["1.0.0", ">2.0.0", "2.0.0"],
        "{starts:?}"
    );
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w12_an_adopted_node_that_asks_for_its_upgrade_gets_it() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    let launcher = host.start_validating("1.0.0");
    launcher.kill();
    let launcher = host.start();
    host.wait_status("the adopted node", |status| {
        status.node.as_ref().is_some_and(|node| node.adopted)
    });
    host.chainspec("2_0_0", "2.0.0", host.era() + 10);
    host.wait_validating("2.0.0");
    wait_for("the end of it", || (host.validator()? == "2.0.0").then_some(()));
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_10_a_visor_that_replaces_itself_keeps_the_node_and_learns_its_exit_code() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    // What was forced before is not forced again.
    let launcher = host.start_with(|command| {
        command.args(["-f", "1.0.0"]);
    });
    host.wait_validating("1.0.0");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(["self-restart", "--home"])
        .arg(host.own())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    host.wait_status("the adopted node", |status| {
        status.node.as_ref().is_some_and(|node| node.adopted)
    });
    let forced = |host: &Host| {
        let records = host.records();
        records
            .iter()
            .filter(|record| matches!(record, visor_planner::Record::Forced { .. }))
            .count()
    };
    assert_eq!(forced(&host), 1);
    host.chainspec("2_0_0", "2.0.0", host.era() + 10);
    host.wait_validating("2.0.0");
    assert_eq!(
        host.starts(),
        ["1.0.0", ">2.0.0", "2.0.0"],
        "no detour: the exit code is known"
    );
    assert_eq!(forced(&host), 1);
    launcher.stop();
    host.assert_sound();
}
