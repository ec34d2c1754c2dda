//! What the operator plans and puts in place: `visor plan`, `visor stage`, `visor upgrade-at`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::operator::{REFUSED, UNREACHABLE, accepted, json_of, refused, stderr, visor};
use crate::scene::{Host, NEW, OLD};

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
fn a_binary_that_nothing_waits_for_is_in_place_and_says_what_is_next() {
    let mut host = Host::new();
    let _running = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let binary = host.binary(NEW);
    let (code, done) = json_of(&host, &["stage", NEW, "--binary", binary.to_str().unwrap()]);
    assert_eq!((code, &done["visor_told"]), (Some(0), &json!(false)), "{done}");
    let message = done["message"].as_str().unwrap();
    assert!(
        message.contains("`visor upgrade-at HEIGHT 1.1.0`") && !message.contains("fail"),
        "{message}"
    );
    // Once more, when it is known and staged.
    accepted(&host, &["upgrade-at", "100000", NEW]);
    host.wait_status("staged", |status| status["upgrade"]["staged"] == true);
    let (_, done) = json_of(&host, &["stage", NEW, "--binary", binary.to_str().unwrap()]);
    let message = done["message"].as_str().unwrap();
    assert!(message.ends_with("has staged it already"), "{message}");
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
