//! Visor is killed at every place of a life in which the new version never comes up and the backup is restored. The next visor always
//! brings back the old version and its data, together.

use std::fs;

use proto::pb::visor::v1::Phase;
use serde_json::json;
use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use crate::crash_points::{die_at_each, live, places_of};
use crate::proof::assert_one_after_the_other;
use crate::scene::{Host, NEW, OLD, wait_for};

/// An ordinary run kills at every so many places; `E2E_PLACES=all` at each.
const SAMPLE: usize = 6;

fn host() -> Host {
    let mut host = Host::new();
    let data = host.node_home().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("state"), "before").unwrap();
    fs::write(host.node_home().join("signed"), "1").unwrap();
    let home = host.node_home().display().to_string();
    let strings = |items: &[&str]| toml::Value::try_from(items).unwrap();
    host.configure(&[
        ("backup", "paths", strings(&[&data.display().to_string()])),
        ("backup", "reserve", 0.into()),
        ("backup", "retry_delay", "20ms".into()),
        ("hooks", "retry_delay", "20ms".into()),
        ("upgrade", "on_failure", "rollback".into()),
        (
            "upgrade",
            "signed_height_args",
            strings(&["signed-height", "--home", &home]),
        ),
        ("start_after_upgrade", "max_retries", 0.into()),
    ]);
    host.behave(json!({ "block_ms": 4, "exit_at_start": [NEW], "exit_code": 3 }));
    host.announce(40);
    host
}

/// The old version was started on the data of the height, where it executes nothing more, and has said so.
fn is_back(host: &Host) -> bool {
    host.ask().is_some_and(|status| {
        status.phase() == Phase::RolledBack && status.current_version == OLD && status.node.is_none()
    })
}

fn records(host: &Host) -> Vec<Record> {
    let entries = Journal::read(&Home::at(host.home()).journal()).unwrap();
    entries.into_iter().map(|entry| entry.record).collect()
}

fn assert_back(host: &Host) {
    host.assert_never_two();
    assert_one_after_the_other(host);
    assert_eq!(host.current(), "genesis");
    let data = host.node_home().join("data");
    assert_eq!(fs::read_to_string(data.join("state")).unwrap(), "before");
    assert_eq!(fs::read_to_string(data.join("written-by")).unwrap(), OLD);
    let aside = fs::read_dir(host.node_home())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("data.before-rollback"))
        .any(|path| fs::read_to_string(path.join("written-by")).unwrap() == NEW);
    assert!(aside, "what the new version wrote is kept");
    let records = records(host);
    let at = |wanted: fn(&Record) -> bool| records.iter().position(wanted).unwrap();
    let restored = at(|record| matches!(record, Record::Restored { .. }));
    assert!(at(|record| matches!(record, Record::RollbackAllowed { .. })) < restored);
    for record in &records[restored..] {
        if let Record::NodeStarted { version, .. } | Record::StartIntended { version, .. } = record {
            assert_eq!(version.0, OLD, "the new version on restored data: {records:#?}");
        }
    }
    let ends = records
        .iter()
        .filter(|record| matches!(record, Record::RolledBack { .. }))
        .count();
    assert_eq!(ends, 1, "{records:#?}");
}

fn die_at(place: &str) -> bool {
    let mut host = host();
    let mut visor = host.start_faulty(&[("VISOR_FAULT_POINT", place)]);
    let killed = live(&host, &mut visor, is_back);
    let mut next = host.start_faulty(&[]);
    wait_for("the end of the rollback", || {
        assert!(next.ended().is_none(), "the next visor ended: {}", next.log());
        is_back(&host).then_some(())
    });
    next.terminate();
    assert_eq!(next.wait_exit().code(), Some(0));
    host.assert_no_node();
    assert_back(&host);
    killed
}

#[test]
fn vis_11_killed_at_every_place_of_a_rollback_version_and_data_go_back_together() {
    let mut host = host();
    let all = places_of(&mut host, is_back);
    assert_back(&host);
    assert!(all.len() > 100, "so few places: {all:?}");
    die_at_each("a rollback", &all, SAMPLE, &die_at);
}
