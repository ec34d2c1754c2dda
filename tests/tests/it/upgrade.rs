//! The main job and its ordinary variations.

use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{ClusterOptions, HostView, NEW_VERSION, OLD_VERSION};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::story::{
    LIMIT, assert_equal_roots, binaries, network, propose_and_approve, run, stop, turn, upgraded,
    visor_status, wait,
};

async fn demo(args: &[&str]) -> Value {
    binaries().await;
    let (code, stdout, stderr) = run(Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--json", "--no-build"])
        .args(args))
    .await;
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    assert_eq!(
        stdout.lines().count(),
        1,
        "exactly one object on standard output: {stdout}"
    );
    serde_json::from_str(&stdout).expect("a JSON object")
}

#[tokio::test]
async fn demo_upgrades_four_hosts_to_equal_roots() {
    let _turn = turn().await;
    let summary = demo(&[]).await;
    assert_eq!(summary["outcome"], "upgraded");
    assert_eq!(
        (&summary["from"], &summary["to"]),
        (&OLD_VERSION.into(), &NEW_VERSION.into())
    );
    assert_eq!(
        (&summary["approving_power"], &summary["total_power"]),
        (&3.into(), &4.into())
    );
    let hosts = summary["hosts"].as_array().expect("hosts");
    assert_eq!(hosts.len(), 4);
    for host in hosts {
        assert_eq!(host["version"], NEW_VERSION);
        assert_eq!(host["restarts"], 0);
        assert_eq!(host["state_root_at_upgrade"], hosts[0]["state_root_at_upgrade"]);
        assert!(host["height"].as_u64() >= Some(summary["upgrade_height"].as_u64().expect("a height") + 5));
        assert!(host["node_down_ms"].is_u64(), "{host}");
    }
}

#[tokio::test]
async fn demo_lets_a_proposal_expire_at_exactly_two_thirds() {
    let _turn = turn().await;
    let summary = demo(&["--validators", "6", "--approvals", "4"]).await;
    assert_eq!(summary["outcome"], "expired");
    for host in summary["hosts"].as_array().expect("hosts") {
        assert_eq!(host["version"], OLD_VERSION);
        assert!(host["node_down_ms"].is_null(), "{host}");
    }
}

#[tokio::test]
async fn demo_leaves_nothing_behind_when_interrupted() {
    let _turn = turn().await;
    binaries().await;
    let home = tempfile::tempdir().expect("a directory");
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg("--home")
        .arg(home.path())
        .args(["--json", "--no-build"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo starts");
    let marker = home.path().to_str().expect("a readable path").to_owned();
    // Interrupt it while four visors and four nodes run.
    tokio::time::timeout(LIMIT, async {
        while processes_under(&marker).len() < 9 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the demo starts its network");
    let pid = demo
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
        .expect("it runs");
    rustix::process::kill_process(pid, Signal::INT).expect("interrupt");
    let status = tokio::time::timeout(LIMIT, demo.wait())
        .await
        .expect("it ends")
        .expect("it is waited for");
    assert_eq!(status.code(), Some(1));
    assert_eq!(processes_under(&marker), Vec::<String>::new());
}

/// Command lines of live processes that name a path under `marker`, our own test aside.
fn processes_under(marker: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(marker))
        .collect()
}

#[tokio::test]
async fn a_host_that_was_down_during_the_upgrade_joins_later() {
    let _turn = turn().await;
    let binaries = binaries().await;
    let mut cluster = network(ClusterOptions::default()).await;
    let artifact = binaries.new_node.to_str().expect("a readable path");
    let (height, _) = propose_and_approve(&cluster, artifact, 20, 3).await;
    cluster
        .host(3)
        .expect("host-3")
        .stop()
        .await
        .expect("host-3 stops in order");

    // A release of the future refuses a state that is not there yet, having executed nothing.
    let node_home = cluster.hosts()[3].node_home();
    let (code, _, stderr) = run(Command::new(&binaries.new_node)
        .args(["start", "--home"])
        .arg(&node_home))
    .await;
    assert_eq!(code, Some(11), "{stderr}");
    assert!(
        stderr.contains(OLD_VERSION) && stderr.contains(NEW_VERSION),
        "{stderr}"
    );

    wait(&cluster, "the others upgrade without it", |views| {
        views
            .iter()
            .take(3)
            .all(|view| upgraded(view) && view.height() >= height + 2)
    })
    .await;
    assert!(
        cluster.observer().views()[3].height() < height,
        "host-3 was down before the height"
    );
    cluster
        .host(3)
        .expect("host-3")
        .start_visor()
        .expect("its visor starts");
    let views = wait(&cluster, "host-3 catches up across the upgrade", |views| {
        let tip = views.iter().map(HostView::height).max().unwrap_or(0);
        upgraded(&views[3]) && views[3].height() + 1 >= tip
    })
    .await;
    assert_equal_roots(&views);
    for block in views[3].blocks.values() {
        assert_eq!(
            block.version,
            if block.height <= height {
                OLD_VERSION
            } else {
                NEW_VERSION
            },
            "block {}",
            block.height
        );
    }

    // The next_upgrade of Casper's form is gone once it is executed.
    let status = visor_status(&cluster, 3).await;
    assert_eq!(status["current_version"], NEW_VERSION, "{status}");
    stop(cluster).await;
}
