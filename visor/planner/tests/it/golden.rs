//! The journal is a durable format: a record must read the same for ever, whatever is renamed here.

use visor_planner::{
    Artifact, Backup, Exit, Height, Process, Record, Timestamp, UpgradeId, UpgradePlan, Version,
};

use crate::world::{new, old, plan};

const AT: Timestamp = Timestamp(9);
const PLAN: &str = r#"{"id":"aa","version":"1.1.0","height":6}"#;

/// One of each, with its text; `PLAN` stands for the plan.
fn records() -> Vec<(Record, &'static str)> {
    let plan = plan();
    let reason = "why".to_owned();
    vec![
        (
            Record::Scheduled {
                plan: plan.clone(),
                artifact: Some(Artifact {
                    url: "u".to_owned(),
                    size: 3,
                    sha256: "00".to_owned(),
                }),
            },
            r#"{"Scheduled":{"plan":PLAN,"artifact":{"url":"u","size":3,"sha256":"00"}}}"#,
        ),
        (
            Record::Staged {
                upgrade: UpgradeId("aa".to_owned()),
                version: new(),
            },
            r#"{"Staged":{"upgrade":"aa","version":"1.1.0"}}"#,
        ),
        (
            Record::Unscheduled {
                plan: plan.clone(),
                at: AT,
            },
            r#"{"Unscheduled":{"plan":PLAN,"at":9}}"#,
        ),
        (
            Record::Halted { plan: plan.clone() },
            r#"{"Halted":{"plan":PLAN}}"#,
        ),
        (
            Record::UpgradeIntended {
                plan: plan.clone(),
                from: old(),
                at: AT,
                backup: true,
            },
            r#"{"UpgradeIntended":{"plan":PLAN,"from":"1.0.0","at":9,"backup":true}}"#,
        ),
        (
            Record::BackedUp {
                plan: plan.clone(),
                from: old(),
                backup: Backup {
                    path: "/b".to_owned(),
                    bytes: 1,
                    took_ms: 2,
                },
                at: AT,
            },
            r#"{"BackedUp":{"plan":PLAN,"from":"1.0.0","backup":{"path":"/b","bytes":1,"took_ms":2},"at":9}}"#,
        ),
        (
            Record::NotBackedUp {
                plan: plan.clone(),
                reason: reason.clone(),
                at: AT,
            },
            r#"{"NotBackedUp":{"plan":PLAN,"reason":"why","at":9}}"#,
        ),
        (
            Record::RollbackIntended {
                plan: plan.clone(),
                from: old(),
                reason: reason.clone(),
                by_hand: true,
                at: AT,
            },
            r#"{"RollbackIntended":{"plan":PLAN,"from":"1.0.0","reason":"why","by_hand":true,"at":9}}"#,
        ),
        (
            Record::RollbackAllowed {
                signed: Height(6),
                at: AT,
            },
            r#"{"RollbackAllowed":{"signed":6,"at":9}}"#,
        ),
        (
            Record::RollbackRefused {
                reason: reason.clone(),
                at: AT,
            },
            r#"{"RollbackRefused":{"reason":"why","at":9}}"#,
        ),
        (Record::Restored { at: AT }, r#"{"Restored":{"at":9}}"#),
        (
            Record::RolledBack {
                plan: plan.clone(),
                from: old(),
                at: AT,
            },
            r#"{"RolledBack":{"plan":PLAN,"from":"1.0.0","at":9}}"#,
        ),
        (
            Record::ManualPlanned {
                plan: UpgradePlan::manual(Height(6), new()),
                at: AT,
            },
            r#"{"ManualPlanned":{"plan":{"id":"manual-6-1.1.0","version":"1.1.0","height":6},"at":9}}"#,
        ),
        (
            Record::Skipped {
                height: Height(6),
                at: AT,
            },
            r#"{"Skipped":{"height":6,"at":9}}"#,
        ),
        (
            Record::Unskipped {
                height: Height(6),
                at: AT,
            },
            r#"{"Unskipped":{"height":6,"at":9}}"#,
        ),
        (Record::Paused { at: AT }, r#"{"Paused":{"at":9}}"#),
        (Record::Resumed { at: AT }, r#"{"Resumed":{"at":9}}"#),
        (Record::NodeHeld { at: AT }, r#"{"NodeHeld":{"at":9}}"#),
        (Record::NodeReleased { at: AT }, r#"{"NodeReleased":{"at":9}}"#),
        (
            Record::StartIntended {
                version: old(),
                at: AT,
            },
            r#"{"StartIntended":{"version":"1.0.0","at":9}}"#,
        ),
        (
            Record::NodeStarted {
                version: Version("1.0.0".to_owned()),
                process: Process { pid: 7 },
                at: AT,
            },
            r#"{"NodeStarted":{"version":"1.0.0","process":{"pid":7},"at":9}}"#,
        ),
        (
            Record::NodeFailed {
                exit: Some(Exit::Code(1)),
                reason: reason.clone(),
                at: AT,
            },
            r#"{"NodeFailed":{"exit":{"Code":1},"reason":"why","at":9}}"#,
        ),
        (
            Record::NodeFailed {
                exit: Some(Exit::Signal(9)),
                reason: reason.clone(),
                at: AT,
            },
            r#"{"NodeFailed":{"exit":{"Signal":9},"reason":"why","at":9}}"#,
        ),
        (
            Record::NodeFailed {
                exit: Some(Exit::Unknown),
                reason: reason.clone(),
                at: AT,
            },
            r#"{"NodeFailed":{"exit":"Unknown","reason":"why","at":9}}"#,
        ),
        (Record::Healthy { at: AT }, r#"{"Healthy":{"at":9}}"#),
        (
            Record::UpgradeCompleted {
                plan: plan.clone(),
                from: old(),
                node_down_ms: 1,
                exit_to_exec_us: 2,
                stop_ms: 3,
                restarts: 4,
                hook: true,
            },
            r#"{"UpgradeCompleted":{"plan":PLAN,"from":"1.0.0","node_down_ms":1,"exit_to_exec_us":2,"stop_ms":3,"restarts":4,"hook":true}}"#,
        ),
        (
            Record::SuccessHookEnded { plan },
            r#"{"SuccessHookEnded":{"plan":PLAN}}"#,
        ),
        (Record::Migrated { at: AT }, r#"{"Migrated":{"at":9}}"#),
        (
            Record::Downgraded {
                from: new(),
                to: old(),
                at: AT,
            },
            r#"{"Downgraded":{"from":"1.1.0","to":"1.0.0","at":9}}"#,
        ),
        (
            Record::Forced {
                version: old(),
                at: AT,
            },
            r#"{"Forced":{"version":"1.0.0","at":9}}"#,
        ),
        (Record::ShutDown { at: AT }, r#"{"ShutDown":{"at":9}}"#),
        (
            Record::GaveUp { reason, at: AT },
            r#"{"GaveUp":{"reason":"why","at":9}}"#,
        ),
        (Record::Stopped { at: AT }, r#"{"Stopped":{"at":9}}"#),
    ]
}

/// A new record fails to compile here; its text belongs into the list above.
const fn is_listed(record: &Record) -> usize {
    match record {
        Record::Scheduled { .. } => 0,
        Record::Staged { .. } => 1,
        Record::Halted { .. } => 2,
        Record::UpgradeIntended { .. } => 3,
        Record::BackedUp { .. } => 4,
        Record::NotBackedUp { .. } => 5,
        Record::RollbackIntended { .. } => 6,
        Record::RollbackAllowed { .. } => 7,
        Record::RollbackRefused { .. } => 8,
        Record::Restored { .. } => 9,
        Record::RolledBack { .. } => 10,
        Record::ManualPlanned { .. } => 11,
        Record::Skipped { .. } => 12,
        Record::Unskipped { .. } => 13,
        Record::Paused { .. } => 14,
        Record::Resumed { .. } => 15,
        Record::NodeHeld { .. } => 16,
        Record::NodeReleased { .. } => 17,
        Record::StartIntended { .. } => 18,
        Record::NodeStarted { .. } => 19,
        Record::NodeFailed { .. } => 20,
        Record::Healthy { .. } => 21,
        Record::UpgradeCompleted { .. } => 22,
        Record::SuccessHookEnded { .. } => 23,
        Record::GaveUp { .. } => 24,
        Record::Stopped { .. } => 25,
        Record::Migrated { .. } => 26,
        Record::Downgraded { .. } => 27,
        Record::Forced { .. } => 28,
        Record::ShutDown { .. } => 29,
        Record::Unscheduled { .. } => 30,
    }
}

#[test]
fn every_record_is_written_and_read_as_ever() {
    let mut seen = std::collections::BTreeSet::new();
    for (record, text) in records() {
        let text = text.replace("PLAN", PLAN);
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        seen.insert(is_listed(&record));
    }
    assert!(seen.into_iter().eq(0..31), "each is in the list");
}

#[test]
fn records_of_the_version_before_backups_and_hooks_are_read() {
    let intended = r#"{"UpgradeIntended":{"plan":PLAN,"from":"1.0.0","at":9}}"#.replace("PLAN", PLAN);
    assert!(matches!(
        serde_json::from_str(&intended).unwrap(),
        Record::UpgradeIntended { backup: false, .. }
    ));
    let completed = r#"{"UpgradeCompleted":{"plan":PLAN,"from":"1.0.0","node_down_ms":1,"exit_to_exec_us":2,"stop_ms":3,"restarts":4}}"#;
    assert!(matches!(
        serde_json::from_str(&completed.replace("PLAN", PLAN)).unwrap(),
        Record::UpgradeCompleted { hook: false, .. }
    ));
}

#[test]
fn a_field_that_is_not_known_is_not_passed_over() {
    assert!(serde_json::from_str::<Record>(r#"{"Paused":{"at":9,"until":10}}"#).is_err());
}
