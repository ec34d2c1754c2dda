//! What an operator of a launcher's host lives through.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use visor_planner::Record;

use super::scene::{Host, folder};
use crate::scene::wait_for;

#[test]
fn casper_2_7_one_launcher_walks_through_four_staged_versions() {
    let mut host = Host::new();
    for (version, activation) in [
        ("1.0.0", 0),
        ("1.1.0", 5),
        ("1.1.1", 5),
        ("1.2.0", 10),
        ("2.0.0", 15),
    ] {
        host.stage(version, activation);
    }
    host.write_state(&host.validator_text("1.0.0"));
    let launcher = host.start_validating("2.0.0");
    assert_eq!(
        host.starts(),
        [
            "1.0.0", ">1.1.0", "1.1.0", ">1.1.1", "1.1.1", ">1.2.0", "1.2.0", ">2.0.0", "2.0.0"
        ]
    );
    let text = fs::read_to_string(host.config().join(super::scene::STATE)).unwrap();
    assert_eq!(text, host.validator_text("2.0.0"));
    // The arguments, to the letter.
    let path = |version: &str| host.node_config(version).display().to_string();
    for start in host.events_of("start") {
        let version = start["version"].as_str().unwrap();
        let before = match version {
            "1.1.0" => "1.0.0",
            "1.1.1" => "1.1.0",
            "1.2.0" => "1.1.1",
            _ => "1.2.0",
        };
        let expected = if start["mode"] == "validator" {
            json!([host.binary(version), "validator", path(version)])
        } else {
            json!([
                host.binary(version),
                "migrate-data",
                "--old-config",
                path(before),
                "--new-config",
                path(version)
            ])
        };
        assert_eq!(start["args"], expected);
    }
    host.assert_sound();
    launcher.stop();
    host.assert_no_node();
    host.assert_sound();
    assert_eq!(host.validator().as_deref(), Some("2.0.0"));
}

#[test]
fn casper_2_7_code_102_goes_back_to_the_version_before_without_a_migration() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.stage("1.5.0", 0);
    host.behave("1.0.0", &json!({ "careless": true }));
    host.behave("1.5.0", &json!({ "careless": true }));
    let launcher = host.start();
    host.wait_start("1.5.0", 1);
    host.exit_once("1.5.0", 102);
    host.wait_start("1.0.0", 1);
    wait_for("the state file", || (host.validator()? == "1.0.0").then_some(()));
    assert_eq!(host.starts(), ["1.5.0", "1.0.0"]);
    let went_back = |record: &Record| matches!(record, Record::Downgraded { from, to, .. } if from.0 == "1.5.0" && to.0 == "1.0.0");
    wait_for("the record", || {
        host.records().iter().any(went_back).then_some(())
    });
    // And up again, when it asks for it.
    host.exit_once("1.0.0", 0);
    host.wait_start("1.5.0", 2);
    assert_eq!(host.starts()[2..], [">1.5.0", "1.5.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_7_code_102_of_a_migration_goes_back_from_the_new_version() {
    let mut host = Host::new();
    for (version, activation) in [("1.0.0", 0), ("1.1.0", 3), ("1.2.0", 100)] {
        host.stage(version, activation);
    }
    host.write_state(&host.validator_text("1.0.0"));
    host.migrate_exit_once("1.1.0", 102);
    let launcher = host.start();
    // Counted from the new one; the old one then asks for the same upgrade again.
    host.wait_validating("1.1.0");
    let starts = host.starts();
    assert_eq!(starts[..2], ["1.0.0", ">1.1.0"]);
    assert_eq!(starts[2..], ["1.0.0", ">1.1.0", "1.1.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_7_two_versions_that_only_ask_for_each_other_do_not_take_turns_for_ever() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.stage("2.0.0", 0);
    host.write_state(&host.validator_text("1.0.0"));
    host.max_retries(2);
    host.configure(&[
        ("restart", "initial_delay", "200ms".into()),
        ("restart", "max_delay", "10s".into()),
        ("restart", "jitter", 0.0.into()),
    ]);
    host.behave("1.0.0", &json!({ "exit_at_start": 0 }));
    host.behave("2.0.0", &json!({ "exit_at_start": 102 }));
    let mut launcher = host.start();
    assert_eq!(launcher.wait_exit().code(), Some(1), "{}", launcher.log());
    // Once, once more at once, and two retries.
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", "2.0.0"].repeat(4));
    let at = |kind: &str, key: &str, value: serde_json::Value| -> Vec<i64> {
        let events = host.events_of(kind).into_iter();
        events
            .filter(|event| event[key] == value)
            .map(|event| event["us"].as_i64().unwrap())
            .collect()
    };
    let (left, back) = (
        at("exit", "code", json!(102)),
        at("start", "version", json!("1.0.0")),
    );
    for (index, milliseconds) in [(2, 200), (3, 400)] {
        let waited = back[index] - left[index - 1];
        assert!(waited >= milliseconds * 1000, "{waited} before start {index}");
    }
    let log = launcher.out();
    for words in [
        "2.0.0 exited with code 102 and so asks for 1.0.0 again",
        "2 retries are used up",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert_eq!(
        host.validator().as_deref(),
        Some("1.0.0"),
        "what was asked for last"
    );
    host.assert_no_node();
    host.assert_sound();
    // Put right, it goes on by itself.
    host.behave("2.0.0", &json!({}));
    let launcher = host.start_validating("2.0.0");
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_7_code_103_ends_the_launcher_with_0_and_changes_no_state() {
    for mode in ["exit-once", "migrate-exit-once"] {
        let mut host = Host::with_upgrade_ahead(3);
        host.behave("2.0.0", &json!({ "careless": true }));
        match mode {
            "exit-once" => host.exit_once("1.0.0", 103),
            _ => host.migrate_exit_once("2.0.0", 103),
        }
        let mut launcher = host.start();
        assert_eq!(launcher.wait_exit().code(), Some(0), "{}", launcher.log());
        host.assert_no_node();
        host.assert_sound();
        let before = host.state();
        match mode {
            "exit-once" => assert_eq!(host.starts(), ["1.0.0"]),
            _ => assert_eq!(before["mode"].as_str(), Some("MigrateData")),
        }
        assert!(matches!(host.records().last(), Some(Record::ShutDown { .. })));
        // The next launcher goes on where the node stood.
        let starts = host.starts().len();
        let launcher = host.start();
        wait_for("the next start", || (host.starts().len() > starts).then_some(()));
        host.wait_start("2.0.0", 1);
        launcher.stop();
        host.assert_sound();
    }
}

#[test]
fn casper_2_9_the_shutdown_script_runs_after_103_and_its_code_is_the_launchers() {
    for (text, mode, expected) in [
        ("#!/bin/sh\necho said; echo complained >&2; exit 0\n", 0o755, 0),
        ("#!/bin/sh\necho said; echo complained >&2; exit 7\n", 0o755, 7),
        (
            "#!/bin/sh\necho said; echo complained >&2; kill -TERM $$\n",
            0o755,
            254,
        ),
        ("#!/bin/sh\nexit 7\n", 0o644, 0),
    ] {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        host.write_script(text, mode);
        host.exit_once("1.0.0", 103);
        let mut launcher = host.start();
        assert_eq!(launcher.wait_exit().code(), Some(expected), "{text}");
        if mode == 0o755 {
            assert!(
                launcher.out().lines().any(|line| line == "said"),
                "{}",
                launcher.log()
            );
            assert_eq!(launcher.err().trim(), "complained");
        } else {
            // W20: whoever asked to be stopped is not started again by a service manager.
            assert!(launcher.out().contains("cannot be run"), "{}", launcher.log());
        }
        host.assert_no_node();
        assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    }
}

#[test]
fn casper_2_9_a_signal_reaches_the_script_and_no_second_launcher_slips_in() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let mark = host.root().join("mark");
    host.write_script(
        &format!(
            "#!/bin/sh\ntrap 'echo told; exit 9' TERM\n: > {}\nwhile :; do sleep 0.02; done\n",
            mark.display()
        ),
        0o755,
    );
    host.exit_once("1.0.0", 103);
    let mut launcher = host.start();
    wait_for("the script", || mark.exists().then_some(()));
    let mut second = host.start();
    assert_eq!(second.wait_exit().code(), Some(1));
    assert_eq!(host.starts(), ["1.0.0"]);
    launcher.terminate();
    assert_eq!(launcher.wait_exit().code(), Some(9), "{}", launcher.log());
    assert!(launcher.out().lines().any(|line| line == "told"));
}

#[test]
fn casper_w14_a_script_that_uses_up_its_time_is_ended() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.write_script("#!/bin/sh\nsleep 100\n", 0o755);
    host.exit_once("1.0.0", 103);
    host.configure(&[("casper", "shutdown_script_timeout", "100ms".into())]);
    let mut launcher = host.start();
    assert_eq!(launcher.wait_exit().code(), Some(254));
    assert!(launcher.out().contains("used up its time"));
}

#[test]
fn casper_2_10_the_node_gets_the_launchers_environment_folder_and_input() {
    let mut host = Host::with_upgrade_ahead(3);
    let input = host.root().join("input");
    fs::write(&input, "words").unwrap();
    let root = host.root().canonicalize().unwrap();
    let launcher = host.start_with(|command| {
        command
            .env("NODE_CONFIG", "storage.x=1")
            .env("SOME_SECRET", "as it is")
            .current_dir(&root)
            .stdin(fs::File::open(&input).unwrap());
    });
    host.wait_validating("2.0.0");
    let starts = host.events_of("start");
    assert_eq!(starts.len(), 3);
    for start in starts {
        assert_eq!(start["cwd"], json!(root));
        assert_eq!(start["env"]["NODE_CONFIG"], "storage.x=1");
        assert_eq!(start["env"]["SOME_SECRET"], "as it is");
        assert_eq!(
            start["env"]["CASPER_CONFIG_DIR"],
            json!(host.config()),
            "its migrate-data reads it"
        );
        assert_eq!(start["stdin"], json!(root.join("input")));
        assert_eq!(start["stdout"], json!(root.join("launcher-1.out")));
        assert_eq!(start["stderr"], json!(root.join("launcher-1.err")));
    }
    launcher.stop();
}

#[test]
fn casper_5_a_newly_staged_version_is_shown_and_taken_at_its_era() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let launcher = host.start_validating("1.0.0");
    let activation = host.era() + 30;
    host.stage("2.0.0", activation);
    host.wait_status("the upgrade of the node's own page", |status| {
        status
            .upgrades
            .iter()
            .any(|upgrade| upgrade.version == "2.0.0" && upgrade.height == activation - 1)
    });
    host.wait_validating("2.0.0");
    let status = host.wait_status("the upgrade's end", |status| {
        status
            .last_upgrade
            .as_ref()
            .is_some_and(|last| last.to == "2.0.0")
    });
    assert_eq!(status.current_version, "2.0.0");
    assert_eq!(
        (status.chain_system.as_str(), status.position_unit.as_str()),
        ("casper", "era")
    );
    assert_eq!(status.last_upgrade.unwrap().from, "1.0.0");
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_5_status_shows_what_is_installed() {
    let mut host = Host::with_upgrade(1000);
    host.stage_config("3.0.0", 2000);
    host.write_state(&host.validator_text("1.0.0"));
    let launcher = host.start_validating("1.0.0");
    let (code, status) = host.status();
    assert_eq!(code, Some(0));
    let installed = status["installed_versions"].as_array().unwrap();
    let names: Vec<&str> = installed
        .iter()
        .map(|version| version["version"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["1.0.0", "2.0.0", "3.0.0"], "{status:#}");
    let problem = installed[2].to_string();
    assert!(
        problem.contains(&folder("3.0.0")),
        "what is missing, and where: {problem}"
    );
    launcher.stop();
    // And from the files alone.
    let (code, status) = host.status();
    assert_eq!(code, Some(4));
    assert_eq!(status["current_version"], "1.0.0");
    assert_eq!(status["installed_versions"].as_array().unwrap().len(), 3);
}

#[test]
fn casper_2_8_signals_that_mean_nothing_leave_everything_as_it_is() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let mut launcher = host.start_validating("1.0.0");
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ] {
        launcher.signal(signal);
        launcher.wait_log(name);
    }
    assert!(launcher.ended().is_none());
    assert_eq!(host.starts(), ["1.0.0"]);
    launcher.stop();
}

#[test]
fn casper_2_8_each_of_the_three_signals_stops_the_node_and_the_code_is_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        let mut launcher = host.start_validating("1.0.0");
        launcher.signal(signal);
        assert_eq!(launcher.wait_exit().code(), Some(0), "{signal:?}");
        host.assert_no_node();
        assert_eq!(host.events_of("exit")[0]["code"], 143, "it was told by SIGTERM");
        assert!(launcher.out().contains("received a signal"), "W22");
    }
}

#[test]
fn casper_2_7_a_retry_waits_longer_each_time() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.max_retries(3);
    for section in ["restart", "first_start", "start_after_upgrade"] {
        host.configure(&[
            (section, "initial_delay", "100ms".into()),
            (section, "max_delay", "10s".into()),
            (section, "jitter", 0.0.into()),
        ]);
    }
    host.behave("1.0.0", &json!({ "exit_at_start": 101 }));
    let began = Instant::now();
    let mut launcher = host.start();
    assert_eq!(launcher.wait_exit().code(), Some(1), "{}", launcher.log());
    assert!(began.elapsed() >= Duration::from_millis(100 + 200 + 400));
    assert_eq!(host.starts(), ["1.0.0"; 4]);
    let at: Vec<i64> = host
        .events_of("start")
        .iter()
        .map(|start| start["us"].as_i64().unwrap())
        .collect();
    for (pair, milliseconds) in at.windows(2).zip([100, 200, 400]) {
        assert!(pair[1] - pair[0] >= milliseconds * 1000, "{at:?}");
    }
    host.assert_sound();
}

#[test]
fn casper_2_7_the_single_attempt_of_the_original_is_there_on_request() {
    let single = |host: &mut Host| {
        let mut launcher = host.start_with(|command| {
            command.env("CASPER_LAUNCHER_SINGLE_ATTEMPT", "1");
        });
        assert_eq!(launcher.wait_exit().code(), Some(1), "{}", launcher.log());
        host.assert_sound();
        host.assert_no_node();
    };
    // A code without a meaning, a signal, an upgrade to nothing, a downgrade to nothing.
    for code in [1, 7, 101, 143, -9, -6, 0, 102] {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        host.behave("1.0.0", &json!({ "exit_at_start": code }));
        single(&mut host);
        assert_eq!(host.starts(), ["1.0.0"], "{code}");
        assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    }
    // A migration that fails.
    let mut host = Host::with_upgrade_ahead(3);
    host.behave("2.0.0", &json!({ "migrate_exit": 1 }));
    single(&mut host);
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0"]);
    let text = fs::read_to_string(host.config().join(super::scene::STATE)).unwrap();
    assert_eq!(text, host.migration_text("1.0.0", "2.0.0"));
    // Mended and started again it goes on with the migration.
    host.behave("2.0.0", &json!({}));
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}
