//! What must be true of a Vega host after an upgrade, whatever happened on the way: from the log that its processes write, and from
//! visor's journal.

use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use super::log::Role;
use super::scene::{Host, V79, V80};
use crate::proof::assert_one_upgrade;

/// A visor answers, and says that the upgrade is over and the new version runs.
pub(crate) fn is_upgraded(host: &Host) -> bool {
    host.ask().is_some_and(|status| {
        status.current_version == V80
            && status.node_connected
            && status.last_upgrade.is_some_and(|last| last.to == V80)
    })
}

/// What visor has put down; nothing before its first start.
pub(crate) fn records(host: &Host) -> Vec<Record> {
    let journal = Home::at(host.home()).journal();
    if !journal.exists() {
        return Vec::new();
    }
    let entries = Journal::read(&journal).unwrap();
    entries.into_iter().map(|entry| entry.record).collect()
}

/// Whether visor has put down that it saw the halt.
pub(crate) fn has_recorded_the_halt(host: &Host) -> bool {
    records(host)
        .iter()
        .any(|record| matches!(record, Record::Halted { .. }))
}

/// Whether visor has put down which release the chain has accepted.
pub(crate) fn has_recorded_the_release(host: &Host) -> bool {
    records(host)
        .iter()
        .any(|record| matches!(record, Record::Scheduled { .. }))
}

/// The end that every upgrade from 0.79 to 0.80 must come to.
pub(crate) fn assert_upgraded(host: &Host, height: u64) {
    let log = host.log();
    log.assert_sane();
    assert_eq!(host.current(), V80);
    assert!(
        host.height() > height + 1,
        "no block of the new version above {height}"
    );
    for role in Role::BOTH {
        let starts = log.starts(role);
        let new = starts.iter().position(|start| start.version == V80);
        let new = new.unwrap_or(starts.len());
        assert!(
            starts[..new].iter().all(|start| start.version == V79)
                && starts[new..].iter().all(|start| start.version == V80),
            "never the old version after the new one: {starts:?}"
        );
        assert_one_after_the_other(&log.lines, role);
    }
    assert_journal(host, height);
}

/// A process's first line comes after the last line of every one of its role before it. (One that was killed wrote none: the lock that
/// each of them holds for life stands for it.)
fn assert_one_after_the_other(lines: &[String], role: Role) {
    let mut last = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let when: i64 = match words[..] {
            [of, "start", _pid, _version, _height, _load, at, _unix] if of == role.word() => {
                at.parse().unwrap()
            }
            [of, "end", _pid, _how, at] if of == role.word() => at.parse().unwrap(),
            _ => continue,
        };
        assert!(when >= last, "{line} after {last}: {lines:#?}");
        last = when;
    }
}

fn assert_journal(host: &Host, height: u64) {
    let (at, records) = assert_one_upgrade(host.home(), V80);
    for start in host.log().starts(Role::Core) {
        if start.version == V79 {
            assert!(start.unix_ms <= at.0, "{start:?} after the intent: {records:#?}");
        }
        // What has run past H by more than the block that was stored there is not thrown back to it.
        if start.load == Some(height) {
            assert_eq!(start.version, V80);
        }
    }
}
