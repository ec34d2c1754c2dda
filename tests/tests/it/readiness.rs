//! GOV-16: visors tell the chain by themselves that they are ready.

use std::fs;
use std::process::Command;

use e2e::{ClusterOptions, HostView};
use proto::pb::visor::v1::Phase;
use serde_json::Value;

use crate::story::{
    LIMIT, binaries, network, propose_and_approve, run, stop, turn, upgraded, visor_status, wait, wallet,
};

/// Of the validators, by index: this one's host reports under a key that its validator has authorised.
const AUTHORISED: usize = 0;
/// And this one's under a key that nobody has.
const UNKNOWN: usize = 1;

/// A key of the real wallet in the host's visor home; returns its public key.
async fn make_reporter_key(cluster: &e2e::Cluster, index: usize) -> String {
    let home = cluster.hosts()[index].visor_home();
    let (code, stdout, stderr) = run(Command::new(&binaries().await.wallet)
        .arg("--home")
        .arg(home.join("wallet"))
        .args(["--json", "keys", "create", "host"]))
    .await;
    assert_eq!(code, Some(0), "{stderr}");
    let said: Value = serde_json::from_str(&stdout).expect("a JSON object");
    // What `visor init` has written, with the reporter in it.
    let path = home.join("config.toml");
    let mut config: toml::Table = fs::read_to_string(&path)
        .expect("the configuration")
        .parse()
        .expect("TOML");
    let mut section = toml::Table::new();
    section.insert("key".to_owned(), "wallet/keys/host.json".into());
    section.insert("node".to_owned(), cluster.hosts()[index].rpc_url().into());
    config.insert("reporter".to_owned(), section.into());
    fs::write(path, config.to_string()).expect("the configuration is written");
    said["public_key"].as_str().expect("a public key").to_owned()
}

async fn reports(cluster: &e2e::Cluster, id: &str) -> Vec<Value> {
    let shown = wallet(cluster, 3)
        .run(&["proposal", id])
        .await
        .expect("the proposal");
    shown["proposal"]["reports"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn gov_16_a_host_reports_by_itself_that_it_has_verified_an_upgrade() {
    let _turn = turn().await;
    let mut cluster = network(ClusterOptions::default()).await;
    let mut keys = Vec::new();
    for index in [AUTHORISED, UNKNOWN] {
        keys.push(make_reporter_key(&cluster, index).await);
        let host = cluster.host(index).expect("a host");
        host.kill_visor().expect("its visor is killed");
        host.start_visor().expect("its visor starts with a reporter");
    }
    wallet(&cluster, AUTHORISED)
        .run(&["authorize-reporter", &keys[0], "--wait"])
        .await
        .expect("the reporter is authorised");

    let artifact = binaries()
        .await
        .new_node
        .to_str()
        .expect("a readable path")
        .to_owned();
    let (_, id) = propose_and_approve(&cluster, &artifact, 60, 3).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    let found = loop {
        let found = reports(&cluster, &id).await;
        let refused = visor_status(&cluster, UNKNOWN).await["problems"].to_string();
        if !found.is_empty() && refused.contains("rejected (GOV-16)") {
            assert!(refused.contains(&keys[1]), "it says which key: {refused}");
            break found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no report: {found:?} {refused}\n{}",
            cluster.log_tails(25)
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["readiness"], "verified");
    assert_eq!(found[0]["name"], "validator-0");
    assert_eq!(
        visor_status(&cluster, AUTHORISED).await["problems"],
        serde_json::json!([])
    );

    // A visor that starts anew asks, and leaves it at that.
    let host = cluster.host(AUTHORISED).expect("a host");
    host.kill_visor().expect("its visor is killed");
    host.start_visor().expect("its visor starts again");
    let views = wait(&cluster, "every host upgrades", |views| {
        views.iter().all(upgraded)
    })
    .await;
    assert!(views.iter().all(|view: &HostView| view.phase() == Phase::Running));
    assert_eq!(reports(&cluster, &id).await, found, "the same report, once");
    let (validators, status) = (
        wallet(&cluster, 2)
            .run(&["validators"])
            .await
            .expect("the validators"),
        visor_status(&cluster, UNKNOWN).await,
    );
    let of = |name: &str| {
        let all = validators["validators"].as_array().expect("a list");
        all.iter()
            .find(|validator| validator["name"] == name)
            .expect(name)
            .clone()
    };
    assert_eq!(of("validator-0")["next_report_sequence"], 1);
    assert_eq!(of("validator-1")["next_report_sequence"], 0);
    assert_eq!(
        status["problems"],
        serde_json::json!([]),
        "the upgrade is over, and so is the problem"
    );
    stop(cluster).await;
}
