//! At the height: the halt is only in the core's memory, so nothing may ever start the old version again.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use super::log::Role;
use super::scene::{Host, Kind, V79, V80, write_program};

const BLOCKS: u64 = 25;

/// Three seconds of blocks of 30 ms: visor hears of the release within one.
const IN_TIME: u64 = 100;

/// Long enough for a visor that would do the wrong thing.
const TEMPTATION: Duration = Duration::from_millis(700);

/// A problem or a staging problem that contains the text.
fn is_told(status: &Value, text: &str) -> bool {
    let staging = status["upgrade"]["staging_problem"].as_str().unwrap_or("");
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    staging.contains(text)
        || problems
            .iter()
            .any(|problem| problem.as_str().unwrap().contains(text))
}

fn has_seen_the_halt(host: &Host) -> bool {
    let entries = Journal::read(&Home::at(host.home()).journal()).unwrap();
    entries
        .iter()
        .any(|entry| matches!(entry.record, Record::Halted { .. }))
}

/// The host stands at H: the folder of the new version is missing, and visor has told so before.
fn halted_without_the_folder(kind: Kind) -> (Host, crate::scene::Visor, u64) {
    let mut host = Host::new(kind);
    host.behave(json!({ "block_ms": 30 }));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, IN_TIME);
    let status = host.wait_status("the missing folder to be told", |status| is_told(status, V80));
    assert!(
        status["node_height"].as_u64().unwrap() < height,
        "before the height: {status}"
    );
    host.wait_said(Role::Core, "ready", 1);
    host.wait("the record of the halt", || {
        has_seen_the_halt(&host).then_some(())
    });
    (host, visor, height)
}

fn w_02(kind: Kind) {
    let (host, visor, height) = halted_without_the_folder(kind);
    std::thread::sleep(TEMPTATION);
    let status = host.wait_connected();
    assert!(is_told(&status, V80), "{status}");
    assert_eq!(host.log().versions(), [V79], "it stays halted");
    assert_eq!(host.log().ends(Role::Core), [""; 0]);
    host.folder(V80, V80);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    assert_eq!(host.log().starts(Role::Core)[1].load, Some(height));
    host.stop(visor);
}

#[test]
fn w_02_without_the_new_folder_the_node_stays_halted_until_it_appears() {
    w_02(Kind::Core);
}

#[test]
fn w_02_without_the_new_folder_both_stay_halted_until_it_appears() {
    w_02(Kind::TwoBinaries);
}

fn w_02_killed(kind: Kind) {
    let (mut host, visor, height) = halted_without_the_folder(kind);
    visor.kill();
    host.kill_node();
    let visor = host.start();
    host.wait_status("the wait for the folder", |status| is_told(status, V80));
    std::thread::sleep(TEMPTATION);
    assert_eq!(host.log().versions(), [V79], "the old version never again");
    // And not after another one either.
    visor.kill();
    let visor = host.start();
    std::thread::sleep(TEMPTATION);
    assert_eq!(host.log().versions(), [V79]);
    host.folder(V80, V80);
    host.wait_upgraded(V80);
    let log = host.log();
    assert_eq!(log.versions(), [V79, V80]);
    assert_eq!(log.said(Role::Core, "loaded")[1].1, format!("{height} {V80}"));
    host.stop(visor);
}

#[test]
fn w_01_killed_at_the_halt_with_its_node_the_old_version_is_never_started_again() {
    w_02_killed(Kind::Core);
}

#[test]
fn w_01_killed_at_the_halt_with_both_the_old_version_is_never_started_again() {
    w_02_killed(Kind::TwoBinaries);
}

#[test]
fn w_01_a_core_that_dies_at_the_halt_while_it_waits_for_the_folder_is_not_started_again() {
    let (host, visor, _) = halted_without_the_folder(Kind::TwoBinaries);
    host.signal(Role::Core, Signal::KILL);
    host.wait("the data node's end", || {
        (host.log().ends(Role::DataNode) == ["0"]).then_some(())
    });
    std::thread::sleep(TEMPTATION);
    assert_eq!(host.log().versions(), [V79]);
    host.folder(V80, V80);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    host.stop(visor);
}

fn crash(kind: Kind, when: &str) -> Host {
    let mut host = Host::new(kind);
    host.folder(V80, V80);
    host.behave(json!({ "crash_at_halt": when }));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    host.stop(visor);
    host
}

#[test]
fn w_36_a_crash_at_the_halt_is_no_crash_of_the_old_version() {
    for kind in [Kind::Core, Kind::TwoBinaries] {
        let host = crash(kind, "when_seen");
        assert_eq!(host.log().versions(), [V79, V80]);
    }
}

#[test]
fn w_34_one_that_has_just_ended_by_itself_does_not_disturb_the_stop() {
    // The data node is gone, too, when the stop comes to it.
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.with_keys("stopDelaySeconds = 1");
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_said(Role::Core, "ready", 1);
    host.wait_status("the order to stop", |status| status["phase"] == "halting");
    host.signal(Role::DataNode, Signal::KILL);
    host.signal(Role::Core, Signal::KILL);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    host.stop(visor);
}

#[test]
fn w_38_a_binary_of_another_version_is_found_before_the_height_and_never_started() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({ "block_ms": 30 }));
    host.folder(V80, V80);
    let data_node = host.home().join(V80).join("data-node");
    write_program(&data_node, "v0.80.1");
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, IN_TIME);
    let status = host.wait_status("the wrong version", |status| is_told(status, "v0.80.1"));
    assert!(status["node_height"].as_u64().unwrap() < height, "{status}");
    host.wait_said(Role::Core, "ready", 1);
    std::thread::sleep(TEMPTATION);
    assert_eq!(host.log().versions(), [V79]);
    assert_eq!(host.current(), "genesis");
    std::fs::remove_file(&data_node).unwrap();
    write_program(&data_node, V80);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    host.stop(visor);
}

#[test]
fn w_41_a_version_query_that_hangs_holds_nothing_up() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "block_ms": 30 }));
    host.folder(V80, V80);
    let binary = host.home().join(V80).join("vega");
    write_program(&binary, "v0.80.0 hangs");
    host.with_own("version_timeout = \"300ms\"\n");
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_status("the hanging query", |status| is_told(status, "version"));
    host.wait_said(Role::Core, "ready", 1);
    std::fs::remove_file(&binary).unwrap();
    write_program(&binary, V80);
    host.wait_upgraded(V80);
    host.stop(visor);
}

#[test]
fn w_53_a_release_that_is_a_path_is_not_followed() {
    let mut host = Host::new(Kind::Core);
    let outside = host.root().join("evil");
    std::fs::create_dir(&outside).unwrap();
    host.programs(&outside, V80);
    std::fs::write(outside.join("run-config.toml"), host.run_config(V80)).unwrap();
    host.behave(json!({ "shown_tag": "../evil" }));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_said(Role::Core, "ready", 1);
    host.wait("the refusal", || visor.log().contains("../evil").then_some(()));
    std::thread::sleep(TEMPTATION);
    assert_eq!(host.log().versions(), [V79]);
    assert_eq!(host.current(), "genesis");
    // What the chain really accepted is another thing.
    host.folder(V80, V80);
    host.behave(json!({ "shown_tag": null }));
    host.wait_upgraded(V80);
    host.stop(visor);
}

#[test]
fn w_55_a_height_in_the_run_configuration_does_not_win_at_an_upgrade() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    let path = host.home().join(V80).join("run-config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace(
            "[\"start\",",
            "[\"start\", \"--snapshot.load-from-block-height=7\",",
        ),
    )
    .unwrap();
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    assert_eq!(host.log().starts(Role::Core)[1].load, Some(height));
    host.stop(visor);
}

#[test]
fn w_04_a_data_node_that_is_never_ready_leaves_the_halt_to_the_operator_and_is_told() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({ "data_never_ready": true }));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_said(Role::Core, "halted", 1);
    std::thread::sleep(TEMPTATION);
    assert_eq!(
        host.log().versions(),
        [V79],
        "nothing is stopped before the segment is published"
    );
    host.stop(visor);
}

/// The last word of a line, which is a time.
fn time_of(rest: &str) -> i64 {
    rest.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn w_35_visor_asks_seldom_far_from_a_height_and_acts_at_once_at_it() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "log_questions": true, "block_ms": 50 }));
    let visor = host.start();
    host.wait_connected();
    let asked = || host.log().said(Role::Core, "asked ").len();
    let before = asked();
    std::thread::sleep(Duration::from_secs(3));
    let far = asked() - before;
    assert!(far <= 4, "{far} questions in 3 s, far from any height");
    let mut waits = Vec::new();
    for tag in [V80, "v0.81.0", "v0.82.0"] {
        host.folder(tag, tag);
        host.accept(tag, 20);
        host.wait_upgraded(tag);
        let log = host.log();
        let ready = time_of(log.said(Role::Core, "ready ").last().unwrap().1);
        let end = time_of(log.said(Role::Core, "end ").last().unwrap().1);
        waits.push((end - ready) / 1_000);
    }
    eprintln!("from ready to the core's end: {waits:?} ms");
    // On a loaded machine one or the other is late; the rule is one for visor, not for the machine.
    assert!(waits.iter().min().unwrap() <= &50, "{waits:?} ms");
    host.stop(visor);
}
