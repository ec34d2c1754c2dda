//! What the journal tells the operator: `visor history`, `visor journal dump`.

use std::fs;

use serde_json::{Value, json};

use crate::operator::{json_of, stderr, visor};
use crate::scene::{Host, NEW, OLD};

/// An upgrade from `OLD` to `NEW`, and its visor stopped.
fn upgraded() -> (Host, u64) {
    let mut host = Host::new();
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = host.announce(20);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    (host, height)
}

#[test]
fn history_tells_an_upgrade_and_the_end_of_the_node_in_their_order() {
    let (host, height) = upgraded();
    let (code, history) = json_of(&host, &["history"]);
    assert_eq!((code, &history["schema"]), (Some(0), &json!(1)));
    let events = history["events"].as_array().unwrap();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    let story = [
        "node_started",
        "upgrade_begun",
        "node_started",
        "upgraded",
        "stopped",
    ];
    let mut rest = names.iter();
    for part in story {
        assert!(rest.any(|name| *name == part), "{part} in {names:?}");
    }
    assert_eq!(names.last(), Some(&"stopped"), "newest last");
    let upgrade = events.iter().find(|event| event["event"] == "upgraded").unwrap();
    assert_eq!(upgrade["from"], OLD);
    assert_eq!(upgrade["to"], NEW);
    assert_eq!(upgrade["height"], height);
    assert_eq!(upgrade["restarts"], 0);
    for field in [
        "node_down_ms",
        "exit_to_exec_us",
        "stop_ms",
        "unix_ms",
        "sequence",
    ] {
        assert!(upgrade[field].is_u64(), "{field}: {upgrade}");
    }
    assert!(upgrade["time"].as_str().unwrap().ends_with('Z'));
    let keys = |event: &Value| -> Vec<String> { event.as_object().unwrap().keys().cloned().collect() };
    for event in events {
        assert_eq!(keys(event), keys(upgrade), "every field is always there");
    }

    let (_, last) = json_of(&host, &["history", "--limit", "1"]);
    assert_eq!(last["events"], json!([events.last().unwrap()]));
    let text = String::from_utf8(visor(&host, &["history"]).stdout).unwrap();
    assert!(
        text.contains(&format!("upgraded       {OLD} to {NEW} after block {height}")),
        "{text}"
    );
}

#[test]
fn history_of_a_home_without_a_past_is_empty_and_works_beside_a_running_visor() {
    let mut host = Host::new();
    assert_eq!(
        json_of(&host, &["history"]),
        (Some(0), json!({ "schema": 1, "events": [] }))
    );
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let (code, history) = json_of(&host, &["history"]);
    assert_eq!(code, Some(0));
    assert_eq!(history["events"][0]["event"], "node_started");
    assert_eq!(history["events"][0]["pid"], host.last_pid());
}

#[test]
fn a_dump_has_every_record_and_prints_what_stands_before_the_damage() {
    let (host, _) = upgraded();
    let (code, dump) = json_of(&host, &["journal", "dump"]);
    assert_eq!(code, Some(0));
    let count = dump["count"].as_u64().unwrap();
    let records = dump["records"].as_array().unwrap();
    assert_eq!(records.len() as u64, count);
    assert!(
        records
            .iter()
            .zip(0_u64..)
            .all(|(record, n)| record["sequence"] == n)
    );
    assert!(
        records
            .iter()
            .any(|record| record["record"]["UpgradeCompleted"].is_object())
    );
    assert_eq!((&dump["damage"], &dump["torn_bytes"]), (&Value::Null, &json!(0)));
    let (code, verified) = json_of(&host, &["journal", "dump", "--verify"]);
    assert_eq!((code, &verified["records"]), (Some(0), &Value::Null));
    assert_eq!(verified["count"], count);

    let path = host.home().join("journal");
    let whole = fs::read(&path).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&[7; 20]);
    fs::write(&path, &torn).unwrap();
    let (code, dump) = json_of(&host, &["journal", "dump"]);
    assert_eq!(
        (code, &dump["torn_bytes"], &dump["count"]),
        (Some(0), &json!(20), &json!(count))
    );

    let mut damaged = whole;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let (code, dump) = json_of(&host, &["journal", "dump"]);
    assert_eq!((code, &dump["count"]), (Some(7), &json!(count - 1)));
    let offset = dump["damage"]["offset"].as_u64().unwrap();
    assert!(dump["damage"]["reason"].is_string());
    let output = visor(&host, &["journal", "dump"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains(&format!("damaged at byte {offset}")));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("NodeStarted"), "{text}");
    assert_eq!(text.lines().count() as u64, count, "one line each, and the sum");
    assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was changed");
    // A damaged journal is no history.
    assert_eq!(visor(&host, &["history"]).status.code(), Some(7));
}
