//! The operator's commands, over a home whose visor runs, or does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use visor::journal::Journal;
use visor_planner::{Record, Timestamp};

use crate::scene::{Host, NEW, OLD};

const REFUSED: Option<i32> = Some(9);
const UNREACHABLE: Option<i32> = Some(4);

/// Runs `visor ARGUMENTS --home HOME` without a terminal.
fn visor(host: &Host, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .arg("--home")
        .arg(host.home())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The same with `--json`: the exit code and the object.
fn json_of(host: &Host, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = visor(host, &[arguments, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{arguments:?}: {error}; {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), value)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

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

#[test]
fn the_configuration_is_checked_as_run_would_and_shows_what_is_not_default() {
    let host = Host::new();
    let (code, checked) = json_of(&host, &["config", "check"]);
    assert_eq!((code, &checked["valid"]), (Some(0), &json!(true)));
    let changed = checked["changed"].as_array().unwrap();
    assert!(changed.contains(&json!({ "key": "stop.grace", "value": "\"2s\"", "default": "\"15s\"" })));
    assert!(!changed.iter().any(|change| change["key"] == "stop.delay"));

    // A file that is not in place yet.
    let file = host.node_home().join("next.toml");
    fs::write(&file, "[stop]\ngraze = \"1s\"\n").unwrap();
    let arguments = ["config", "check", "--file", file.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("line 2") && stderr(&output).contains("graze"));
    let (code, checked) = json_of(&host, &arguments);
    assert_eq!((code, &checked["valid"]), (Some(3), &json!(false)));
    assert!(checked["problem"].as_str().unwrap().contains("graze"));

    // The genesis counts too.
    fs::write(&file, "[governance]\ngenesis = \"nowhere.json\"\n").unwrap();
    let output = visor(&host, &arguments);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("nowhere.json"), "{}", stderr(&output));
}

#[test]
fn a_plan_is_shown_by_the_visor_that_runs_and_from_the_journal() {
    let mut host = Host::new();
    let visor_process = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let (code, plan) = json_of(&host, &["plan"]);
    assert_eq!((code, &plan["upgrades"]), (Some(0), &json!([])));
    host.hide_artifact(true);
    let height = host.announce(100_000);
    host.wait_status("a failed attempt", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    let (code, plan) = json_of(&host, &["plan"]);
    assert_eq!((code, &plan["visor_running"]), (Some(0), &json!(true)));
    let upgrade = &plan["upgrades"][0];
    assert_eq!(
        (&upgrade["version"], &upgrade["height"]),
        (&json!(NEW), &json!(height))
    );
    assert_eq!(
        (&upgrade["staged"], &upgrade["approved"]),
        (&json!(false), &json!(true))
    );
    assert!(upgrade["staging_problem"].is_string());
    assert!(upgrade["blocks_left"].as_u64().unwrap() < 100_000);
    assert_eq!(upgrade["artifact"]["sha256"].as_str().unwrap().len(), 64);
    visor_process.kill();

    let output = visor(&host, &["plan"]);
    assert_eq!(output.status.code(), UNREACHABLE);
    assert!(stderr(&output).contains("journal"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("v{NEW}@{height}, locked in, not staged")),
        "{text}"
    );
    let (code, offline) = json_of(&host, &["plan"]);
    assert_eq!((code, &offline["visor_running"]), (UNREACHABLE, &json!(false)));
    assert_eq!(offline["upgrades"][0]["artifact"], upgrade["artifact"]);
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        keys(&offline["upgrades"][0]),
        keys(upgrade),
        "every field is always there"
    );
}

#[test]
fn vis_06_a_binary_by_hand_must_be_the_accepted_one_and_replaces_nothing() {
    let mut host = Host::new();
    let visor_process = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.hide_artifact(true);
    host.announce(100_000);
    host.wait_status("the plan", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    visor_process.kill();
    let folder = host.home().join("v1.1.0");
    let left = || fs::read_dir(host.home().join("staging")).unwrap().count();

    // Other bytes of the same version.
    let other = host.binary_with(NEW, b"other bytes");
    let stage = |path: &std::path::Path| json_of(&host, &["stage", NEW, "--binary", path.to_str().unwrap()]);
    let (code, refused) = stage(&other);
    assert_eq!((code, &refused["accepted"]), (REFUSED, &json!(false)));
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("not the binary that the chain has accepted"),
        "{message}"
    );
    assert!(!folder.exists());
    assert_eq!(left(), 0);

    // The accepted ones, twice.
    let binary = host.binary(NEW);
    for created in [true, false] {
        let (code, done) = stage(&binary);
        assert_eq!(code, Some(0), "{done}");
        assert_eq!(
            (&done["created"], &done["visor_told"]),
            (&json!(created), &json!(false))
        );
        assert_eq!(done["accepted_as"], "ab".repeat(32));
        assert_eq!(done["folder"], folder.to_str().unwrap());
    }
    assert_eq!(
        fs::read(folder.join("fake-node")).unwrap(),
        fs::read(&binary).unwrap()
    );
    assert!(
        !folder.join("staged-for").exists(),
        "a folder made by hand is nobody's to take away"
    );
    let run = visor::run_config::RunConfig::read(&folder).unwrap();
    assert_eq!(run.version(), Some(NEW));
    assert_eq!(left(), 0);

    // The node has halted while no visor ran: the next one goes on at once.
    let height = host.height();
    let mut plan: Value =
        serde_json::from_slice(&fs::read(host.node_home().join("behaviour.json")).unwrap()).unwrap();
    plan["upgrade"]["height"] = json!(height + 5);
    host.behave(plan);
    let _visor = host.start();
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
}

#[test]
fn what_no_upgrade_names_is_staged_as_what_it_says_it_is() {
    let host = Host::new();
    let binary = host.binary("2.0.0");
    let path = binary.to_str().unwrap();
    for (arguments, part) in [
        (["stage", "2.0.1", "--binary", path], "it says that it is 2.0.0"),
        (
            ["stage", "1.0.0", "--binary", path],
            "in place already as genesis",
        ),
        (["stage", "2.0.0", "--binary", "/nowhere"], "found nothing"),
        (["stage", "2.0.0", "--binary", "/"], "found something else"),
    ] {
        let output = visor(&host, &arguments);
        assert_eq!(output.status.code(), REFUSED, "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{part:?} in {}", stderr(&output));
    }
    for arguments in [
        &["stage", "2.0.0"][..],
        &["stage", "--binary", path],
        &["stage", "two", "--binary", path],
    ] {
        assert_eq!(visor(&host, arguments).status.code(), Some(2), "{arguments:?}");
    }
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, done) = json_of(&host, &["stage", "v2.0.0", "--binary", path]);
    assert_eq!((code, &done["accepted_as"]), (Some(0), &Value::Null), "{done}");
    assert_eq!(done["size"], fs::metadata(&binary).unwrap().len());

    // A folder of that name with other contents stays as it is.
    let program = host.home().join("v2.0.0/fake-node");
    let before = fs::read(&program).unwrap();
    let other = host.binary_with("2.0.0", b"other");
    let output = visor(&host, &["stage", "2.0.0", "--binary", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), REFUSED);
    assert!(stderr(&output).contains("v2.0.0 exists"), "{}", stderr(&output));
    assert_eq!(fs::read(&program).unwrap(), before);
    assert_eq!(fs::read_dir(host.home().join("staging")).unwrap().count(), 0);
}

#[test]
fn orders_need_a_visor_and_say_so() {
    let host = Host::new();
    for arguments in [
        &["stage"][..],
        &["skip", "7"],
        &["skip", "--undo", "7"],
        &["upgrade-at", "7", "1.1.0"],
        &["pause"],
        &["resume"],
        &["stop-node"],
        &["start-node"],
        &["rollback", "--yes"],
        &["self-restart"],
    ] {
        let output = visor(&host, arguments);
        assert_eq!(output.status.code(), UNREACHABLE, "{arguments:?}");
        assert!(
            stderr(&output).contains("no visor answers"),
            "{}",
            stderr(&output)
        );
        let (code, answer) = json_of(&host, arguments);
        assert_eq!((code, &answer["accepted"]), (UNREACHABLE, &json!(false)));
        assert_eq!(answer["schema"], 1);
        assert!(answer["order"].is_string() && answer["message"].is_string());
    }
    assert!(!host.home().join("journal").exists(), "nothing was changed");
    assert_eq!(visor(&host, &["upgrade-at", "7", "seven"]).status.code(), Some(2));
    assert_eq!(visor(&host, &["skip", "high"]).status.code(), Some(2));
}

#[test]
fn a_rollback_without_a_backup_is_refused_before_anybody_is_asked() {
    let mut host = Host::new();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let (code, refused) = json_of(&host, &["rollback", "--yes"]);
    assert_eq!((code, &refused["accepted"]), (REFUSED, &json!(false)));
    assert!(refused["message"].as_str().unwrap().contains("no backup"));
    for field in ["version", "height", "backup", "backup_unix_ms"] {
        assert_eq!(refused[field], Value::Null);
    }
}

/// What `visor doctor` says of one check.
fn verdict<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} in {report:#}"));
    (
        found["verdict"].as_str().unwrap(),
        found["found"].as_str().unwrap(),
    )
}

/// Asserts that `visor doctor` fails because of this check, and names what it found.
fn assert_fails(host: &Host, arguments: &[&str], check: &str, part: &str) {
    let (code, report) = json_of(host, &[&["doctor"], arguments].concat());
    let (found, text) = verdict(&report, check);
    assert_eq!(found, "fail", "{check}: {report:#}");
    assert!(text.contains(part), "{part:?} in {text:?}");
    assert_eq!((code, &report["ready"]), (Some(10), &json!(false)));
}

fn assert_warns(host: &Host, arguments: &[&str], check: &str, part: &str) {
    let (code, report) = json_of(host, &[&["doctor"], arguments].concat());
    let (found, text) = verdict(&report, check);
    assert_eq!(found, "warn", "{check}: {report:#}");
    assert!(text.contains(part), "{part:?} in {text:?}");
    assert_eq!((code, &report["ready"]), (Some(0), &json!(true)), "{report:#}");
}

#[test]
fn the_doctor_finds_nothing_in_a_host_that_is_well() {
    let mut host = Host::new();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(100_000);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let before = fs::read(host.home().join("config.toml")).unwrap();
    let (code, report) = json_of(&host, &["doctor"]);
    assert_eq!(
        (code, &report["ready"], &report["failures"]),
        (Some(0), &json!(true), &json!(0)),
        "{report:#}"
    );
    for check in [
        "visor.running",
        "node.report",
        "upgrade.folder",
        "current.binary",
        "journal",
        "config.in_force",
    ] {
        assert_eq!(verdict(&report, check).0, "ok", "{report:#}");
    }
    assert!(
        verdict(&report, "upgrade.folder")
            .1
            .contains("accepted size and SHA-256")
    );
    for check in report["checks"].as_array().unwrap() {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["ok", "warn", "fail", "skipped"].contains(&verdict));
        assert_eq!(
            check["advice"].is_string(),
            verdict == "warn" || verdict == "fail"
        );
    }
    let text = String::from_utf8(visor(&host, &["doctor"]).stdout).unwrap();
    assert!(
        text.contains("nothing found that would make the next upgrade fail"),
        "{text}"
    );
    assert_eq!(fs::read(host.home().join("config.toml")).unwrap(), before);
}

#[test]
fn the_doctor_says_what_is_wrong_with_a_home() {
    let host = Host::new();
    let home = host.home();
    let offline: &[&str] = &["--offline"];
    let (code, report) = json_of(&host, &["doctor", "--offline"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_fails(&host, &[], "visor.running", "no visor answers");
    assert_fails(&host, &[], "node.report", "gives no report");

    let config = fs::read(home.join("config.toml")).unwrap();
    fs::write(home.join("config.toml"), "[stop]\ngraze = 1\n").unwrap();
    assert_fails(&host, offline, "config.file", "graze");
    fs::write(home.join("config.toml"), &config).unwrap();

    let program = home.join("genesis/fake-node");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&host, offline, "current.binary", "cannot be executed");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = home.join("genesis/run-config.toml");
    let whole = fs::read_to_string(&run).unwrap();
    fs::write(&run, whole.replace("v1.0.0", "v1.0.7")).unwrap();
    assert_fails(&host, offline, "current.binary", "says that it is 1.0.0");
    fs::write(&run, "name = 1").unwrap();
    assert_fails(&host, offline, "current.run_config", "run-config.toml");
    fs::write(&run, whole).unwrap();
    let current = home.join("current");
    fs::remove_file(&current).unwrap();
    assert_fails(&host, offline, "current.link", "does not exist");
    std::os::unix::fs::symlink("v9.9.9", &current).unwrap();
    assert_fails(&host, offline, "current.link", "v9.9.9");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("genesis", &current).unwrap();

    let path = home.join("journal");
    let mut journal = Journal::open(&path).unwrap().journal;
    let at = Timestamp(0);
    journal.append(&Record::Stopped { at }, u64::MAX / 2).unwrap();
    assert_fails(&host, offline, "host.clock", "9999-12-31");
    let mut damaged = fs::read(&path).unwrap();
    damaged[70] ^= 1;
    fs::write(&path, damaged).unwrap();
    assert_fails(&host, offline, "journal", "damaged at byte 64");
    fs::remove_file(&path).unwrap();
    assert_eq!(visor(&host, &["doctor", "--offline"]).status.code(), Some(0));
    assert!(!path.exists(), "the doctor made none");
}

#[test]
fn the_doctor_looks_at_what_the_operator_has_added() {
    let host = Host::new();
    let offline: &[&str] = &["--offline"];
    let network: &[&str] = &["--offline", "--network"];
    let hook = |command: &str, severity: &str| {
        let mut table = toml::Table::new();
        table.insert("command".to_owned(), toml::Value::Array(vec![command.into()]));
        table.insert("on_failure".to_owned(), severity.into());
        host.configure(&[("hooks", "before_stop", table.into())]);
    };
    hook("/nowhere/hook", "block");
    assert_fails(&host, offline, "hooks.before_stop", "no such file");
    hook("/nowhere/hook", "warn");
    assert_warns(&host, offline, "hooks.before_stop", "no such file");
    hook("/bin/sh", "block");
    assert_eq!(
        verdict(&json_of(&host, &["doctor", "--offline"]).1, "hooks.before_stop").0,
        "ok"
    );

    let command = toml::Value::Array(vec!["/nowhere/tell".into()]);
    host.configure(&[("notify", "command", command)]);
    assert_warns(&host, offline, "notify.command", "/nowhere/tell");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    host.configure(&[("notify", "webhook", format!("http://{address}/secret").into())]);
    let (_, report) = json_of(&host, &["doctor", "--offline"]);
    assert_eq!(verdict(&report, "notify.webhook").0, "skipped");
    let (_, report) = json_of(&host, &["doctor", "--offline", "--network"]);
    assert_eq!(
        verdict(&report, "notify.webhook"),
        ("ok", &*format!("{address} accepts connections"))
    );
    drop(listener);
    assert_warns(&host, network, "notify.webhook", &address.to_string());

    let missing = host.node_home().join("nothing");
    let paths = toml::Value::Array(vec![missing.to_str().unwrap().into()]);
    host.configure(&[("backup", "paths", paths)]);
    assert_fails(&host, offline, "backup.space", missing.to_str().unwrap());
    host.configure(&[("backup", "paths", toml::Value::Array(Vec::new()))]);

    host.configure(&[("governance", "genesis", "nowhere.json".into())]);
    assert_fails(&host, offline, "governance.genesis", "nowhere.json");
    host.configure(&[("governance", "genesis", "".into())]);

    let key = host.home().join("reporter.key");
    host.configure(&[
        ("reporter", "key", "reporter.key".into()),
        ("reporter", "node", "http://127.0.0.1:1".into()),
    ]);
    assert_fails(&host, offline, "reporter.key", "reporter.key");
    fs::write(&key, "secret").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&host, offline, "reporter.key", "mode 0644");
}

#[test]
fn the_doctor_says_what_the_next_upgrade_lacks() {
    let mut host = Host::new();
    let visor_process = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.hide_artifact(true);
    host.announce(100_000);
    host.wait_status("a failed attempt", |status| {
        status["upgrade"]["staging_problem"].is_string()
    });
    assert_fails(&host, &[], "upgrade.staged", "No such file");
    assert_fails(&host, &[], "upgrade.artifact", "No such file");
    host.hide_artifact(false);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let staged = host.home().join("v1.1.0/fake-node");
    let whole = fs::read(&staged).unwrap();

    // For another machine: 8 is MIPS.
    let mut other = whole.clone();
    other[18] = 8;
    other[19] = 0;
    replace(&staged, &other);
    assert_fails(&host, &[], "upgrade.folder", "another machine (ELF 8)");
    let mut other = whole.clone();
    let last = other.len() - 1;
    other.push(other[last]);
    replace(&staged, &other);
    assert_fails(&host, &[], "upgrade.folder", "expected");
    replace(&staged, &whole);
    assert_eq!(visor(&host, &["doctor"]).status.code(), Some(0));

    // The node alone says otherwise than `current`.
    visor_process.kill();
    host.behave(json!({ "claims_version": "7.0.0" }));
    crate::scene::wait_for("the claim", || {
        let (_, report) = json_of(&host, &["doctor"]);
        let (found, text) = verdict(&report, "node.report");
        (found == "fail" && text.contains("7.0.0")).then_some(())
    });
}

/// A new file in its place: the old one may be running.
fn replace(path: &Path, bytes: &[u8]) {
    let part = path.with_extension("part");
    fs::write(&part, bytes).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(part, path).unwrap();
}

/// Asserts that an order is accepted, and returns what visor says.
fn accepted(host: &Host, arguments: &[&str]) -> String {
    let (code, answer) = json_of(host, arguments);
    assert_eq!(
        (code, &answer["accepted"]),
        (Some(0), &json!(true)),
        "{arguments:?}: {answer}"
    );
    answer["message"].as_str().unwrap().to_owned()
}

fn refused(host: &Host, arguments: &[&str], part: &str) {
    let output = visor(host, arguments);
    assert_eq!(
        output.status.code(),
        REFUSED,
        "{arguments:?}: {}",
        stderr(&output)
    );
    let text = stderr(&output);
    assert!(
        text.starts_with("visor: failed to ") && text.contains(part),
        "{part:?} in {text}"
    );
    let (code, answer) = json_of(host, arguments);
    assert_eq!((code, &answer["accepted"]), (REFUSED, &json!(false)));
}

fn events(host: &Host) -> Vec<String> {
    let (_, history) = json_of(host, &["history"]);
    let events = history["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_paused_host_stays_halted_until_it_is_resumed_also_over_a_restart_of_visor() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    accepted(&host, &["pause"]);
    assert_eq!(json_of(&host, &["plan"]).1["paused"], true);
    assert_warns(&host, &[], "visor.running", "paused");
    let height = host.announce(20);
    let halted = |status: &Value| status["node_height"] == height && status["upgrade"]["staged"] == true;
    host.wait_status("the halt", halted);
    running.kill();
    let _running = host.start();
    let status = host.wait_status("the halt again", halted);
    assert_eq!(
        (&status["paused"], host.current().as_str()),
        (&json!(true), "genesis")
    );
    assert_eq!(host.starts(), [OLD]);
    accepted(&host, &["resume"]);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let events = events(&host);
    for event in ["paused", "resumed", "upgraded"] {
        assert!(events.iter().any(|found| found == event), "{event} in {events:?}");
    }
    host.assert_never_two();
}

#[test]
fn a_skipped_height_is_not_carried_out_until_the_skip_is_undone() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    refused(&host, &["skip", "--undo", "7"], "not skipped");
    let height = host.announce(40);
    accepted(&host, &["skip", &height.to_string()]);
    host.wait_status("the halt", |status| status["node_height"] == height);
    let (_, plan) = json_of(&host, &["plan"]);
    assert_eq!(plan["upgrades"][0]["skipped"], true, "{plan}");
    assert_warns(&host, &[], "upgrade.known", "skipped");
    assert_eq!(
        (host.starts(), host.current().as_str()),
        (vec![OLD.to_owned()], "genesis")
    );
    running.kill();
    let (_, plan) = json_of(&host, &["plan"]);
    assert_eq!(plan["upgrades"][0]["skipped"], true, "the journal knows: {plan}");
    let _running = host.start();
    let skipped = json!([height]);
    host.wait_status("the skip", |status| {
        status["skipped_heights"] == skipped && status["node_connected"] == true
    });
    accepted(&host, &["skip", "--undo", &height.to_string()]);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    host.assert_never_two();
}

#[test]
fn a_node_that_is_kept_stopped_stays_so_over_a_restart_of_visor() {
    let mut host = Host::new();
    let running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    refused(&host, &["start-node"], "not kept stopped");
    accepted(&host, &["stop-node"]);
    host.wait_status("the end of the node", |status| status["node"].is_null());
    host.assert_no_node();
    running.kill();
    let _running = host.start();
    let status = host.wait_status("visor", |status| status["node_held"] == true);
    assert_eq!(
        (&status["phase"], &status["node"]),
        (&json!("held"), &Value::Null)
    );
    assert_warns(&host, &[], "node.report", "kept stopped");
    assert_eq!(host.starts(), [OLD]);
    accepted(&host, &["start-node"]);
    host.wait_status("the node again", |status| status["node_connected"] == true);
    assert_eq!(host.starts(), [OLD, OLD]);
    let events = events(&host);
    for event in ["node_held", "node_released"] {
        assert!(events.iter().any(|found| found == event), "{event} in {events:?}");
    }
}

#[test]
fn an_upgrade_of_the_operators_own_takes_the_binary_that_was_put_in_place() {
    let mut host = Host::new();
    let _running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    refused(&host, &["upgrade-at", "1", NEW], "above the node's");
    refused(&host, &["upgrade-at", "100000", OLD], "the version that runs");
    refused(&host, &["stage"], "no upgrade is known");
    let height = host.height() + 40;
    accepted(&host, &["upgrade-at", &height.to_string(), NEW]);
    let (_, plan) = json_of(&host, &["plan"]);
    assert_eq!(plan["upgrades"][0]["standing"], "manual", "{plan}");
    assert_eq!(plan["upgrades"][0]["height"], height);
    let binary = host.binary(NEW);
    let (code, done) = json_of(&host, &["stage", NEW, "--binary", binary.to_str().unwrap()]);
    assert_eq!(
        (code, &done["created"], &done["visor_told"]),
        (Some(0), &json!(true), &json!(true)),
        "{done}"
    );
    let status = host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    assert_eq!(status["last_upgrade"]["height"], height);
    host.assert_never_two();
}

#[test]
fn vis_04_visor_becomes_the_program_that_was_installed_and_the_node_runs_on() {
    let mut host = Host::new();
    // A visor of this host's own, which can be replaced.
    let program = host.home().join("visor");
    let install = || replace(&program, &fs::read(env!("CARGO_BIN_EXE_visor")).unwrap());
    install();
    let mut running = Command::new(&program)
        .args(["run", "--home"])
        .arg(host.home())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let before = host.wait_status("the node", |status| status["node_connected"] == true);
    install();
    accepted(&host, &["self-restart"]);
    let after = host.wait_status("the next visor", |status| {
        status["node_connected"] == true && status["started_unix_ms"] != before["started_unix_ms"]
    });
    assert_eq!(after["visor_pid"], before["visor_pid"], "the same process");
    assert_eq!(
        after["node"],
        json!({ "pid": before["node"]["pid"], "adopted": true })
    );
    assert_eq!(host.starts(), [OLD]);
    // An adopted node is upgraded like any other.
    host.announce(20);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0));
    host.assert_no_node();
    host.assert_never_two();
}
