//! What must be true of a host after an upgrade, whatever happened on the way: from the node's own log, from visor's journal and
//! from the link.

use std::path::PathBuf;

use visor::home::Home;
use visor::journal::Journal;
use visor_planner::{Record, Timestamp};

use crate::scene::{Host, NEW, OLD};

/// A line that a node wrote as its first.
#[derive(Debug)]
struct Start {
    version: String,
    monotonic_us: i64,
    unix_ms: u64,
}

/// A visor answers, and says that the upgrade is over and the new version runs.
pub(crate) fn is_upgraded(host: &Host) -> bool {
    host.ask().is_some_and(|status| {
        status.current_version == NEW
            && status.node_connected
            && status.last_upgrade.is_some_and(|last| last.to == NEW)
    })
}

/// The end that every upgrade must come to.
pub(crate) fn assert_upgraded(host: &Host, height: u64) {
    host.assert_never_two();
    assert_eq!(host.current(), format!("v{NEW}"));
    assert!(host.height() > height, "no block above {height}");
    assert_one_after_the_other(host);
    let starts = starts(host);
    let first_new = starts
        .iter()
        .position(|start| start.version == NEW)
        .expect("the new version was started");
    assert!(
        starts[..first_new].iter().all(|start| start.version == OLD)
            && starts[first_new..].iter().all(|start| start.version == NEW),
        "never the old version after the new one: {starts:?}"
    );
    assert_journal(host, &starts);
}

/// A node's first line comes after the last line of every node before it. (One that was killed wrote none: the lock that each of
/// them holds for life stands for it.)
pub(crate) fn assert_one_after_the_other(host: &Host) {
    let log = host.node_log();
    let mut last = 0;
    for line in &log {
        let (when, word) = match line.split(' ').collect::<Vec<_>>()[..] {
            ["start", _pid, _version, _height, at, _unix] => (at, "start"),
            ["exit", _pid, _code, at] => (at, "exit"),
            _ => continue,
        };
        let when: i64 = when.parse().unwrap();
        assert!(when >= last, "{word} at {when} after {last}: {log:#?}");
        last = when;
    }
}

fn starts(host: &Host) -> Vec<Start> {
    host.node_log()
        .iter()
        .filter_map(|line| line.strip_prefix("start "))
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            Start {
                version: words[1].to_owned(),
                monotonic_us: words[3].parse().unwrap(),
                unix_ms: words[4].parse().unwrap(),
            }
        })
        .collect()
}

/// The journal reads clean, names one upgrade from its intent to its end, and nothing else was started after the intent. Returns when
/// that was, and the records.
pub(crate) fn assert_one_upgrade(home: PathBuf, new: &str) -> (Timestamp, Vec<Record>) {
    let records: Vec<Record> = Journal::read(&Home::at(home).journal())
        .unwrap()
        .into_iter()
        .map(|entry| entry.record)
        .collect();
    let intents: Vec<usize> = (0..records.len())
        .filter(|index| matches!(records[*index], Record::UpgradeIntended { .. }))
        .collect();
    let ends = records
        .iter()
        .filter(|record| matches!(record, Record::UpgradeCompleted { .. }))
        .count();
    assert_eq!((intents.len(), ends), (1, 1), "{records:#?}");
    let Record::UpgradeIntended { at, .. } = records[intents[0]] else {
        panic!("{records:#?}")
    };
    for record in &records[intents[0]..] {
        if let Record::NodeStarted { version, .. } | Record::StartIntended { version, .. } = record {
            assert_eq!(version.0, new, "{records:#?}");
        }
    }
    (at, records)
}

fn assert_journal(host: &Host, starts: &[Start]) {
    let (at, records) = assert_one_upgrade(host.home(), NEW);
    // The halt is answered by the intent: the node's own log says that nothing old was started from then on.
    for start in starts.iter().filter(|start| start.version == OLD) {
        assert!(start.unix_ms <= at.0, "{start:?} after the intent: {records:#?}");
        assert!(start.monotonic_us > 0);
    }
}
