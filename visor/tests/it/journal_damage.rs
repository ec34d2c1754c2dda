//! A journal with every kind of record, as visor writes it, cut and flipped at every byte; and what `visor run` says to a damaged one.

use std::fs;
use std::mem::discriminant;
use std::path::Path;

use serde_json::json;
use visor::journal::{Journal, JournalError};
use visor_planner::{
    Artifact, Backup, Exit, Height, Process, Record, Timestamp, UpgradeId, UpgradePlan, Version,
};

use crate::scene::{Host, wait_for};

/// One of each kind, in an order that a host could write them in.
fn every_kind() -> Vec<Record> {
    let version = |text: &str| Version(text.to_owned());
    let (from, at, reason) = (version("1.0.0"), Timestamp(1_700_000_000_000), "why".to_owned());
    let plan = UpgradePlan {
        id: UpgradeId("ab".repeat(32)),
        version: version("1.1.0"),
        height: Height(1_000),
    };
    vec![
        Record::StartIntended {
            version: from.clone(),
            at,
        },
        Record::NodeStarted {
            version: from.clone(),
            process: Process { pid: 4711 },
            at,
        },
        Record::NodeFailed {
            exit: Some(Exit::Code(3)),
            reason: reason.clone(),
            at,
        },
        Record::Healthy { at },
        Record::Scheduled {
            plan: plan.clone(),
            artifact: Some(Artifact {
                url: "https://example.org/node".to_owned(),
                size: 1,
                sha256: "cd".repeat(32),
            }),
        },
        Record::ManualPlanned {
            plan: plan.clone(),
            at,
        },
        Record::Unscheduled {
            plan: plan.clone(),
            at,
        },
        Record::Staged {
            upgrade: plan.id.clone(),
            version: plan.version.clone(),
        },
        Record::Skipped {
            height: Height(9),
            at,
        },
        Record::Unskipped {
            height: Height(9),
            at,
        },
        Record::Paused { at },
        Record::Resumed { at },
        Record::NodeHeld { at },
        Record::NodeReleased { at },
        Record::Halted { plan: plan.clone() },
        Record::UpgradeIntended {
            plan: plan.clone(),
            from: from.clone(),
            at,
            backup: true,
        },
        Record::NotBackedUp {
            plan: plan.clone(),
            reason: reason.clone(),
            at,
        },
        Record::BackedUp {
            plan: plan.clone(),
            from: from.clone(),
            backup: Backup {
                path: "/srv/visor/backups/1".to_owned(),
                bytes: 1,
                took_ms: 2,
            },
            at,
        },
        Record::GaveUp {
            reason: reason.clone(),
            at,
        },
        Record::RollbackIntended {
            plan: plan.clone(),
            from: from.clone(),
            reason: reason.clone(),
            by_hand: false,
            at,
        },
        Record::RollbackRefused { reason, at },
        Record::RollbackAllowed {
            signed: Height(1_000),
            at,
        },
        Record::Restored { at },
        Record::RolledBack {
            plan: plan.clone(),
            from: from.clone(),
            at,
        },
        Record::Migrated { at },
        Record::Downgraded {
            from: plan.version.clone(),
            to: from.clone(),
            at,
        },
        Record::Forced {
            version: from.clone(),
            at,
        },
        Record::ShutDown { at },
        Record::UpgradeCompleted {
            plan: plan.clone(),
            from,
            node_down_ms: 1,
            exit_to_exec_us: 2,
            stop_ms: 3,
            restarts: 4,
            hook: true,
        },
        Record::SuccessHookEnded { plan },
        Record::Stopped { at },
    ]
}

/// How many kinds there are. A new one does not compile here until it is counted, and then fails until it is above.
fn kinds(record: &Record) -> usize {
    match record {
        Record::Scheduled { .. }
        | Record::Unscheduled { .. }
        | Record::Staged { .. }
        | Record::Halted { .. }
        | Record::UpgradeIntended { .. }
        | Record::BackedUp { .. }
        | Record::NotBackedUp { .. }
        | Record::RollbackIntended { .. }
        | Record::RollbackAllowed { .. }
        | Record::RollbackRefused { .. }
        | Record::Restored { .. }
        | Record::RolledBack { .. }
        | Record::ManualPlanned { .. }
        | Record::Skipped { .. }
        | Record::Unskipped { .. }
        | Record::Paused { .. }
        | Record::Resumed { .. }
        | Record::NodeHeld { .. }
        | Record::NodeReleased { .. }
        | Record::StartIntended { .. }
        | Record::NodeStarted { .. }
        | Record::NodeFailed { .. }
        | Record::Healthy { .. }
        | Record::UpgradeCompleted { .. }
        | Record::SuccessHookEnded { .. }
        | Record::GaveUp { .. }
        | Record::Migrated { .. }
        | Record::Downgraded { .. }
        | Record::Forced { .. }
        | Record::ShutDown { .. }
        | Record::Stopped { .. } => 31,
    }
}

/// The bytes of a journal with every kind, and where each record ends.
fn sample(path: &Path) -> (Vec<u8>, Vec<usize>) {
    let records = every_kind();
    for (index, record) in records.iter().enumerate() {
        assert!(
            records[..index]
                .iter()
                .all(|other| discriminant(other) != discriminant(record)),
            "twice: {record:?}"
        );
    }
    assert_eq!(records.len(), kinds(&records[0]));
    let mut journal = Journal::open(path).unwrap().journal;
    let length = || usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    let mut ends = vec![length()];
    for record in &records {
        journal.append(record, 1_700_000_000_000).unwrap();
        ends.push(length());
    }
    let read: Vec<Record> = Journal::read(path)
        .unwrap()
        .into_iter()
        .map(|entry| entry.record)
        .collect();
    assert_eq!(read, records);
    (fs::read(path).unwrap(), ends)
}

#[test]
fn vis_01_a_journal_of_every_record_cut_at_every_byte_keeps_what_was_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (bytes, ends) = sample(&path);
    let records = every_kind();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        match Journal::read(&path) {
            Ok(entries) => {
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                let read: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
                assert_eq!(read, records[..whole], "cut at {cut}");
            }
            Err(JournalError::Damaged { .. }) => assert!(cut < ends[0], "cut at {cut}"),
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
    // What is left is written on, as if the rest had never been.
    let cut = ends[10] + 5;
    fs::write(&path, &bytes[..cut]).unwrap();
    let mut opened = Journal::open(&path).unwrap();
    assert_eq!((opened.entries.len(), opened.torn_bytes), (10, 5));
    opened.journal.append(&records[0], 1).unwrap();
    assert_eq!(Journal::read(&path).unwrap().len(), 11);
}

#[test]
fn vis_01_a_journal_of_every_record_flipped_at_every_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (mut bytes, _) = sample(&path);
    for offset in 0..bytes.len() {
        let flip = 1 << (offset % 8);
        bytes[offset] ^= flip;
        fs::write(&path, &bytes).unwrap();
        let read = Journal::read(&path);
        assert!(
            matches!(read, Err(JournalError::Damaged { .. })),
            "flip {flip} at {offset}: {read:?}"
        );
        bytes[offset] ^= flip;
    }
}

#[test]
fn vis_01_a_visor_with_a_damaged_journal_ends_with_7_and_leaves_the_node_alone() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = host.start();
    host.announce(1_000_000);
    host.wait_status("staged", |status| status["phase"] == "staged");
    visor.kill();
    let pid = host.last_pid();
    let path = host.home().join("journal");
    let whole = fs::read(&path).unwrap();
    let places = [0, 20, 40, 64, 72, 80, 100, whole.len() / 2, whole.len() - 1];
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let mut visor = host.start();
        assert_eq!(visor.wait_exit().code(), Some(7), "flip at {place}");
        let said = visor.log();
        for part in ["is damaged at byte", path.to_str().unwrap(), "runbook"] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "it was changed");
        let height = host.height();
        wait_for("blocks of the same node", || {
            (host.height() > height).then_some(())
        });
    }
    // A file that was cut to less than its header is no torn end either.
    fs::write(&path, &whole[..63]).unwrap();
    assert_eq!(host.start().wait_exit().code(), Some(7));
    fs::write(&path, &whole).unwrap();
    let mut visor = host.start();
    host.wait_status("the adopted node", |status| status["node"]["adopted"] == true);
    assert_eq!(host.last_pid(), pid);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}
