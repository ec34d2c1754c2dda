//! The launcher's faults, one by one, and what visor does instead. What needs no processes is tested beside the code.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use visor_planner::Record;

use super::scene::{Host, STATE};
use crate::random::{Random, seed};
use crate::scene::wait_for;

#[test]
fn casper_w1_a_half_staged_version_blocks_no_start_and_is_named() {
    for (with_config, forced) in [(true, false), (false, false), (true, true)] {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        if with_config {
            host.stage_config("2.0.0", 1000);
        } else {
            host.stage_binary("2.0.0");
        }
        let launcher = host.start_with(|command| {
            if forced {
                command.args(["-f", "1.0.0"]);
            }
        });
        host.wait_validating("1.0.0");
        launcher.wait_log("2.0.0");
        host.wait_status("what is half there", |status| {
            status
                .installed_versions
                .iter()
                .any(|version| version.version == "2.0.0" && !version.complete && !version.problem.is_empty())
        });
        launcher.stop();
        assert_eq!(host.starts(), ["1.0.0"]);
    }
}

#[test]
fn casper_w2_a_new_version_that_cannot_be_started_is_waited_for_and_the_old_one_is_not_lost() {
    for broken in ["missing", "not executable"] {
        let mut host = Host::with_upgrade_ahead(3);
        // Many more attempts are made than a node that fails has.
        host.max_retries(2);
        if broken == "missing" {
            fs::remove_file(host.binary("2.0.0")).unwrap();
        } else {
            host.replace_binary("2.0.0", b"#!/bin/sh\nexit 1\n", 0o644);
        }
        let launcher = host.start();
        host.wait_start("1.0.0", 8);
        assert_eq!(
            host.validator().as_deref(),
            Some("1.0.0"),
            "{broken}: it is not pinned to what is not there"
        );
        launcher.wait_log("2.0.0");
        // Taken away, the old one runs on; put right and back, the upgrade goes on by itself.
        host.unstage("2.0.0");
        host.wait_validating("1.0.0");
        host.stage("2.0.0", host.era() + 5);
        host.wait_validating("2.0.0");
        launcher.stop();
        host.assert_sound();
    }
}

#[test]
fn casper_w2_a_version_that_is_put_right_is_not_kept_waiting_by_the_back_off() {
    let mut host = Host::with_upgrade(3);
    host.behave("1.0.0", &json!({ "paused": true }));
    host.write_state(&host.validator_text("1.0.0"));
    host.configure(&[
        ("restart", "initial_delay", "10m".into()),
        ("restart", "max_delay", "10m".into()),
        ("first_start", "initial_delay", "10m".into()),
        ("first_start", "max_delay", "10m".into()),
    ]);
    fs::remove_file(host.binary("2.0.0")).unwrap();
    let launcher = host.start();
    // It is known long before its era, as it should be.
    host.wait_status("the missing binary", |status| {
        status
            .upgrades
            .iter()
            .any(|upgrade| upgrade.staging_problem.contains("is missing"))
    });
    host.behave("1.0.0", &json!({}));
    launcher.wait_log("restart.retry");
    host.stage_binary("2.0.0");
    host.wait_validating("2.0.0");
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w3_a_state_file_that_says_nothing_stops_the_launcher_and_forcing_a_version_mends_it() {
    for text in [
        "",
        "mode = 'RunNodeAsVali",
        "mode = 'Unknown'\n",
        "version = '1.0.0'\n",
    ] {
        let mut host = Host::with_upgrade(1000);
        host.write_state(text);
        let mut launcher = host.start();
        assert_eq!(
            launcher.wait_exit().code(),
            Some(1),
            "{text:?}: {}",
            launcher.log()
        );
        assert!(launcher.err().contains("--force-version"), "{}", launcher.err());
        assert_eq!(
            fs::read_to_string(host.config().join(STATE)).unwrap(),
            text,
            "it is left as it is"
        );
        assert_eq!(host.starts(), Vec::<String>::new());
        let launcher = host.start_with(|command| {
            command.args(["-f", "1.0.0"]);
        });
        host.wait_validating("1.0.0");
        launcher.stop();
        host.assert_sound();
    }
}

#[test]
fn casper_w4_a_lost_state_file_starts_the_version_that_the_journal_knows() {
    let mut host = Host::with_upgrade_ahead(100_000);
    let launcher = host.start_validating("1.0.0");
    launcher.stop();
    fs::remove_file(host.config().join(STATE)).unwrap();
    let launcher = host.start();
    host.wait_start("1.0.0", 2);
    wait_for("the state file", || {
        (host.config().join(STATE).exists() && host.validator()? == "1.0.0").then_some(())
    });
    launcher.stop();
    assert_eq!(host.starts(), ["1.0.0", "1.0.0"]);
    host.assert_sound();
}

#[test]
fn casper_2_5_without_a_state_file_the_highest_version_is_started() {
    let mut host = Host::new();
    for version in ["1.0.0", "1.9.0", "1.10.0"] {
        host.stage(version, 0);
    }
    let launcher = host.start_validating("1.10.0");
    let text = fs::read_to_string(host.config().join(STATE)).unwrap();
    assert_eq!(text, host.validator_text("1.10.0"));
    launcher.stop();
    assert_eq!(host.starts(), ["1.10.0"]);
}

#[test]
fn casper_w5_a_node_that_answers_sigterm_with_0_is_not_upgraded() {
    let mut host = Host::with_upgrade_ahead(1000);
    host.behave("1.0.0", &json!({ "sigterm": "0" }));
    let launcher = host.start_validating("1.0.0");
    launcher.stop();
    assert_eq!(host.events_of("exit")[0]["code"], 0);
    assert_eq!(host.starts(), ["1.0.0"]);
    assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    host.assert_no_node();
    host.assert_sound();
}

#[test]
fn casper_w5_a_migration_that_is_stopped_with_0_is_not_taken_for_done() {
    let mut host = Host::with_upgrade_ahead(3);
    host.behave("2.0.0", &json!({ "migrate_ms": 60_000 }));
    let launcher = host.start();
    host.wait_start(">2.0.0", 1);
    launcher.stop();
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0"]);
    assert_eq!(host.state()["mode"].as_str(), Some("MigrateData"));
    host.assert_no_node();
    host.behave("2.0.0", &json!({}));
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w6_a_signal_between_two_processes_is_honoured() {
    let seed = seed();
    eprintln!("E2E_SEED={seed}");
    let mut random = Random::new(seed);
    for _ in 0..8 {
        let mut host = Host::with_upgrade_ahead(3);
        let mut launcher = host.start();
        wait_for("the old node's end", || {
            (!host.events_of("exit").is_empty()).then_some(())
        });
        // Before, between or after the starts that follow: the moment itself is the point.
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        launcher.terminate();
        assert_eq!(launcher.wait_exit().code(), Some(0), "{}", launcher.log());
        host.assert_no_node();
        host.assert_sound();
        let starts = host.starts().len();
        let launcher = host.start_validating("2.0.0");
        assert!(
            !host.starts()[starts..].contains(&"1.0.0".to_owned()) || starts == 1,
            "{:?}",
            host.starts()
        );
        launcher.stop();
        host.assert_sound();
    }
}

#[test]
fn casper_w6_a_second_signal_hastens_nothing_and_orphans_nothing() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.configure(&[("stop", "grace", "300ms".into())]);
    host.behave("1.0.0", &json!({ "sigterm": "ignore" }));
    let mut launcher = host.start_validating("1.0.0");
    let began = Instant::now();
    launcher.terminate();
    wait_for("the node to be told", || {
        (!host.events_of("ignored").is_empty()).then_some(())
    });
    launcher.signal(Signal::INT);
    launcher.signal(Signal::TERM);
    assert_eq!(launcher.wait_exit().code(), Some(0));
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "the node had its time"
    );
    host.assert_no_node();
    host.assert_sound();
}

#[test]
fn casper_w7_a_signal_before_the_first_process_stops_the_launcher() {
    for milliseconds in 0..12 {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        let mut launcher = host.start();
        // Before its first instruction nobody could hold the signal.
        wait_for("the launcher's beginning", || {
            let holder = fs::read_to_string(host.own().join("visor.lock")).ok()?;
            (holder.trim() == launcher.pid().to_string()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(milliseconds));
        launcher.terminate();
        let ended = launcher.wait_exit();
        assert_eq!(ended.code(), Some(0), "{ended}: {}", launcher.log());
        host.assert_no_node();
    }
}

#[test]
fn casper_w8_a_crashed_node_is_started_again() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    let launcher = host.start();
    for (times, signal) in [(2, Signal::KILL), (3, Signal::ILL), (4, Signal::ABORT)] {
        host.wait_validating("1.0.0");
        let pid = rustix::process::Pid::from_raw(host.last_pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        host.wait_start("1.0.0", times);
    }
    host.exit_once("1.0.0", 101);
    host.wait_start("1.0.0", 5);
    host.wait_validating("1.0.0");
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w9_w14_a_migration_may_fail_and_is_repeated() {
    let mut host = Host::with_upgrade_ahead(3);
    host.migrate_exit_once("2.0.0", 1);
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w10_a_backup_is_made_before_the_migration() {
    let mut host = Host::with_upgrade_ahead(40);
    let data = host.node().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("blocks"), "old").unwrap();
    host.configure(&[
        ("backup", "paths", toml::Value::try_from([&data]).unwrap()),
        ("backup", "reserve", 0.into()),
        ("backup", "retry_delay", "20ms".into()),
    ]);
    let launcher = host.start_validating("2.0.0");
    let backed_up = host.records().into_iter().find_map(|record| {
        let Record::BackedUp { backup, .. } = record else {
            return None;
        };
        Some(backup.path)
    });
    assert!(backed_up.is_some(), "{:#?}", host.records());
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w11_what_would_fail_at_the_upgrade_is_told_before() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.stage("2.0.0", 1000);
    host.replace_binary("2.0.0", b"#!/bin/sh\nexit 1\n", 0o644);
    host.write_state(&host.validator_text("1.0.0"));
    let launcher = host.start_validating("1.0.0");
    let problem_of = |version: &str| {
        let status = host.ask()?;
        let found = status
            .installed_versions
            .into_iter()
            .find(|found| found.version == version)?;
        (!found.complete).then_some(found.problem)
    };
    let problem = wait_for("the binary's problem", || problem_of("2.0.0"));
    assert!(problem.contains("executed"), "{problem}");
    fs::remove_file(host.node_config("2.0.0")).unwrap();
    wait_for("the missing configuration", || {
        problem_of("2.0.0").filter(|problem| problem.contains("config.toml") || problem.contains("executed"))
    });
    launcher.stop();
}

#[test]
fn casper_w12_a_node_that_a_killed_launcher_left_is_adopted() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    let launcher = host.start_validating("1.0.0");
    let pid = host.last_pid();
    launcher.kill();
    let era = host.era();
    wait_for("eras without a launcher", || (host.era() > era + 2).then_some(()));
    let launcher = host.start();
    let status = host.wait_status("the adopted node", |status| {
        status.node.as_ref().is_some_and(|node| node.adopted)
    });
    assert_eq!(i64::from(status.node.unwrap().pid), i64::from(pid));
    assert_eq!(host.starts(), ["1.0.0"]);
    // It upgrades as any other.
    host.chainspec("2_0_0", "2.0.0", host.era() + 5);
    host.wait_validating("2.0.0");
    launcher.stop();
    host.assert_no_node();
    host.assert_sound();
}

#[test]
fn casper_w12_what_a_node_leaves_behind_is_ended_before_the_next_start() {
    for (setsid, ignore) in [(false, false), (false, true), (true, true)] {
        let mut host = Host::with_upgrade_ahead(3);
        host.configure(&[("stop", "grace", "300ms".into())]);
        let behaviour = json!({ "helper": true, "helper_setsid": setsid, "helper_ignores_sigterm": ignore });
        host.behave("1.0.0", &behaviour);
        host.behave("2.0.0", &behaviour);
        let launcher = host.start_validating("2.0.0");
        launcher.stop();
        assert_eq!(host.starts(), ["1.0.0", ">2.0.0", "2.0.0"]);
        host.assert_no_node();
        host.assert_sound();
    }
}

#[test]
fn casper_w13_a_second_launcher_is_refused_and_changes_nothing() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    let launcher = host.start_validating("1.0.0");
    for forced in [false, true] {
        let mut second = host.start_with(|command| {
            if forced {
                command.args(["-f", "2.0.0"]);
            }
        });
        assert_eq!(second.wait_exit().code(), Some(1));
        assert!(
            second.err().contains(&format!("pid {}", launcher.pid())),
            "{}",
            second.err()
        );
    }
    assert_eq!(host.starts(), ["1.0.0"]);
    assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w13_a_node_that_another_launcher_started_is_not_doubled() {
    let mut host = Host::with_upgrade_ahead(1_000_000);
    let mut stranger = std::process::Command::new(host.binary("1.0.0"))
        .arg("validator")
        .arg(host.node_config("1.0.0"))
        .spawn()
        .unwrap();
    host.wait_validating("1.0.0");
    for _ in 0..2 {
        let mut launcher = host.start();
        assert_eq!(launcher.wait_exit().code(), Some(1), "{}", launcher.log());
        let pid = format!("process {}", stranger.id());
        assert!(launcher.err().contains(&pid), "{}", launcher.err());
    }
    assert_eq!(host.starts(), ["1.0.0"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let launcher = host.start();
    host.wait_start("1.0.0", 2);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w14_a_node_and_a_migration_that_ignore_sigterm_are_ended_after_their_time() {
    let mut host = Host::with_upgrade_ahead(1000);
    host.configure(&[("stop", "grace", "200ms".into())]);
    host.behave("1.0.0", &json!({ "sigterm": "ignore" }));
    let launcher = host.start_validating("1.0.0");
    launcher.stop();
    host.assert_no_node();
    host.write_state(&host.migration_text("1.0.0", "2.0.0"));
    host.behave(
        "2.0.0",
        &json!({ "migrate_ms": 60_000, "migrate_ignores_sigterm": true }),
    );
    let launcher = host.start();
    host.wait_start(">2.0.0", 1);
    launcher.stop();
    host.assert_no_node();
    host.assert_sound();
}

#[test]
fn casper_w16_code_101_is_retried_only_as_often_as_the_operator_allows() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    host.max_retries(2);
    host.behave("1.0.0", &json!({ "exit_at_start": 101 }));
    let mut launcher = host.start();
    assert_eq!(launcher.wait_exit().code(), Some(1));
    assert_eq!(host.starts(), ["1.0.0"; 3]);
    assert!(launcher.out().contains("101"), "{}", launcher.log());
    host.assert_sound();
}

#[test]
fn casper_w17_paths_that_lead_to_another_version_are_refused_and_new_folders_are_followed() {
    let mut host = Host::with_upgrade(1000);
    let contradiction = host
        .validator_text("1.0.0")
        .replace("version = '1.0.0'", "version = '2.0.0'");
    host.write_state(&contradiction);
    let mut launcher = host.start();
    assert_eq!(launcher.wait_exit().code(), Some(1));
    assert!(
        launcher.err().contains("1.0.0") && launcher.err().contains("2.0.0"),
        "{}",
        launcher.err()
    );
    assert_eq!(host.starts(), Vec::<String>::new());
}

#[test]
fn casper_w19_a_higher_version_without_a_readable_chainspec_stops_no_walk() {
    let mut host = Host::with_upgrade(5);
    host.stage("1.5.0", 3);
    fs::remove_dir_all(host.config().join("1_5_0")).unwrap();
    host.write_state(&host.validator_text("1.0.0"));
    // A binary without a configuration: the node does not see it, and visor does not stumble over it.
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w20_scripts_that_cannot_be_run_leave_the_node_stopped() {
    for kind in ["mode", "folder", "interpreter", "dangling"] {
        let mut host = Host::new();
        host.stage("1.0.0", 0);
        match kind {
            "mode" => host.write_script("#!/bin/sh\nexit 3\n", 0o644),
            "folder" => fs::create_dir(host.script()).unwrap(),
            "interpreter" => host.write_script("#!/no/such/shell\n", 0o755),
            _ => symlink("nowhere", host.script()).unwrap(),
        }
        host.exit_once("1.0.0", 103);
        let mut launcher = host.start();
        assert_eq!(launcher.wait_exit().code(), Some(0), "{kind}: {}", launcher.log());
        assert_eq!(host.starts(), ["1.0.0"]);
        assert_eq!(
            launcher.out().contains("\"ERROR\""),
            kind != "dangling",
            "{}",
            launcher.log()
        );
    }
}

#[test]
fn casper_w12_a_folder_that_others_may_write_is_made_private() {
    let mut host = Host::new();
    host.stage("1.0.0", 0);
    fs::set_permissions(host.own(), fs::Permissions::from_mode(0o755)).unwrap();
    let launcher = host.start_validating("1.0.0");
    let mode = fs::metadata(host.own()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    launcher.stop();
}
