//! GOV-16: a real visor reports readiness to a chain that exists only here.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use governance::{PublicKey, Readiness};
use serde_json::{Value, json};

use crate::reporting_chain::{Chain, PROPOSAL, reporter_key};
use crate::scene::{Host, wait_for};

/// What visor's log says.
const LOGGED: &str = "a readiness report is not on the chain";

/// A home whose visor reports to `port`, with an upgrade far away that will be staged.
fn reporting_host(port: u16) -> Host {
    let host = Host::new();
    let key = reporter_key();
    let path = host.home().join("reporter.json");
    let content = json!({
        "schema": 1,
        "name": "host",
        "public_key": PublicKey::from(&key).to_string(),
        "secret_key": hex::encode(key.to_bytes()),
    });
    fs::write(&path, content.to_string()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    host.configure(&[
        ("reporter", "key", "reporter.json".into()),
        ("reporter", "node", format!("http://127.0.0.1:{port}").into()),
    ]);
    host
}

fn problem(status: &Value) -> Option<String> {
    let problems = status["problems"].as_array()?;
    problems
        .iter()
        .filter_map(Value::as_str)
        .find(|text| text.contains("is not reported"))
        .map(str::to_owned)
}

fn wait_height(host: &Host, blocks: u64) {
    let wanted = host.height() + blocks;
    wait_for("some blocks", || (host.height() >= wanted).then_some(()));
}

#[test]
fn gov_16_a_staged_upgrade_is_reported_once_also_by_the_next_visor() {
    let chain = Chain::new();
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    wait_height(&host, 3);
    // With nothing staged nobody is asked.
    assert_eq!(chain.with(|ledger| ledger.questions), 0);
    host.announce(10_000);
    wait_for("the report", || (!chain.reports().is_empty()).then_some(()));
    wait_for("the log line", || {
        visor.log().contains("the chain has the report").then_some(())
    });
    let asked = chain.with(|ledger| ledger.questions);
    // The status changes with every block; the report is done.
    wait_height(&host, 20);
    assert_eq!(chain.with(|ledger| ledger.questions), asked);
    visor.kill();

    let visor = host.start();
    wait_for("the second visor to look", || {
        visor.log().contains("report.already=true").then_some(())
    });
    assert_eq!(chain.reports(), [(PROPOSAL, Readiness::Verified, 7)]);
    assert_eq!(chain.with(|ledger| ledger.submissions), 1);
    let (_, status) = host.status();
    assert_eq!(status["problems"], json!([]));
}

#[test]
fn gov_16_a_report_that_waits_for_a_block_is_not_sent_again() {
    let chain = Chain::new();
    chain.with(|ledger| ledger.holds = true);
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    // It looks again and again, and sends once.
    wait_for("three looks", || {
        chain.with(|ledger| ledger.questions >= 4).then_some(())
    });
    assert_eq!(
        chain.with(|ledger| (ledger.submissions, ledger.waiting.len())),
        (1, 1)
    );
    visor.kill();
    // The next visor knows nothing of it, and the chain refuses a second one of the same number.
    let visor = host.start();
    let status = host.wait_status("the problem", |status| problem(status).is_some());
    assert!(problem(&status).unwrap().contains("GOV-13.replay"), "{status}");
    chain.with(|ledger| {
        assert_eq!(ledger.waiting.len(), 1);
        ledger.holds = false;
        ledger.commit_waiting();
    });
    host.wait_status("the end of the problem", |status| problem(status).is_none());
    assert_eq!(chain.reports(), [(PROPOSAL, Readiness::Verified, 7)]);
    assert!(visor.log().contains("the chain has the report"));
}

#[test]
fn gov_16_a_node_that_is_away_is_found_when_it_is_back() {
    let chain = Chain::new();
    // A port that was free a moment ago.
    let port = chain.serve(0).address.port();
    let mut host = reporting_host(port);
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    let status = host.wait_status("the problem", |status| problem(status).is_some());
    assert!(
        problem(&status)
            .unwrap()
            .contains("no node answers at http://127.0.0.1"),
        "{status}"
    );
    let _served = chain.serve(port);
    host.wait_status("the end of the problem", |status| problem(status).is_none());
    assert_eq!(chain.reports().len(), 1);
    assert_eq!(visor.log().matches(LOGGED).count(), 1, "{}", visor.log());
}

#[test]
fn gov_16_a_refusal_is_shown_with_its_code_until_it_is_over() {
    let chain = Chain::new();
    chain.with(|ledger| ledger.authorised = None);
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    let status = host.wait_status("the refusal", |status| problem(status).is_some());
    let text = problem(&status).unwrap();
    let key = PublicKey::from(&reporter_key()).to_string();
    for part in ["1.1.0", "rejected (GOV-16)", "wallet authorize-reporter", &key] {
        assert!(text.contains(part), "{part} in {text}");
    }
    wait_for("another attempt", || {
        chain.with(|ledger| ledger.questions >= 3).then_some(())
    });
    assert_eq!(visor.log().matches(LOGGED).count(), 1, "{}", visor.log());
    assert!(
        visor.log().contains("rejection.code=\"GOV-16\""),
        "{}",
        visor.log()
    );

    chain.with(|ledger| {
        ledger.authorised = Some(PublicKey::from(&reporter_key()));
        ledger.is_live = false;
    });
    host.wait_status("the other refusal", |status| {
        problem(status).is_some_and(|text| text.contains("rejected (GOV-16.proposal)"))
    });
    // The upgrade is gone: nothing is left to report, and nobody is alarmed.
    host.behave(json!({ "upgrade": null }));
    host.wait_status("no problem", |status| status["problems"] == json!([]));
    let asked = chain.with(|ledger| ledger.questions);
    wait_height(&host, 20);
    assert_eq!(chain.with(|ledger| ledger.questions), asked);
    assert!(chain.reports().is_empty());
}

#[test]
fn a_reporter_that_cannot_be_used_stops_visor_before_anything_begins() {
    let host = reporting_host(1);
    let key = host.home().join("reporter.json");
    let refused = |parts: &[&str]| {
        let output = host.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(host.starts().is_empty() && !host.home().join("journal").exists());
    };
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    refused(&["reporter.key", "config.toml", "0644", "chmod 600"]);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "{}").unwrap();
    refused(&["reporter.json", "expected a key file of the wallet"]);
    fs::remove_file(&key).unwrap();
    refused(&["reporter.json", "No such file"]);
    host.configure(&[("reporter", "node", "127.0.0.1:9090".into())]);
    refused(&["reporter.node", "http://"]);
}
