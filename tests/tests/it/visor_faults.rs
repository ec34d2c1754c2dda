//! Upgrades in which something goes wrong on a host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use e2e::{Cluster, ClusterOptions, NEW_VERSION, OLD_VERSION, crashing_node};
use proto::pb::visor::v1::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::story::{
    LIMIT, assert_equal_roots, binaries, network, propose_and_approve, run, stop, turn, upgraded,
    visor_status, wait,
};

fn current(cluster: &Cluster, index: usize) -> PathBuf {
    fs::read_link(cluster.hosts()[index].visor_home().join("current")).expect("`current` is a link")
}

/// Every host's visor is killed with SIGKILL once, each in another phase of the same upgrade, and started again at once, as a
/// service manager would.
#[tokio::test]
async fn a_visor_killed_in_any_phase_finishes_the_upgrade_after_its_restart() {
    let _turn = turn().await;
    let phases = [Phase::Staged, Phase::Halting, Phase::Starting, Phase::Probation];
    let mut cluster = network(ClusterOptions::default()).await;
    let artifact = binaries()
        .await
        .new_node
        .to_str()
        .expect("a readable path")
        .to_owned();
    let (height, _) = propose_and_approve(&cluster, &artifact, 20, 3).await;

    let mut killed = [false; 4];
    while killed.contains(&false) {
        let views = wait(&cluster, "a phase in which a visor is to be killed", |views| {
            (0..4).any(|index| !killed[index] && reached(&views[index].phases, phases[index]))
        })
        .await;
        for index in 0..4 {
            if !killed[index] && reached(&views[index].phases, phases[index]) {
                let host = cluster.host(index).expect("a host");
                host.kill_visor().expect("its visor is killed");
                let nodes = host.node_processes();
                assert!(nodes.len() <= 1, "{}: two nodes {nodes:?}", host.name());
                host.start_visor().expect("its visor starts again");
                killed[index] = true;
            }
        }
    }
    let views = wait(&cluster, "every host upgrades", |views| {
        views
            .iter()
            .all(|view| upgraded(view) && view.height() >= height + 3)
    })
    .await;
    assert_equal_roots(&views);
    for (index, host) in cluster.hosts().iter().enumerate() {
        assert_eq!(current(&cluster, index), PathBuf::from(format!("v{NEW_VERSION}")));
        assert_eq!(host.node_processes().len(), 1, "{} runs one node", host.name());
    }
    stop(cluster).await;
}

/// Whether the visor is in `wanted` or has been: short phases are over before they are seen.
fn reached(seen: &[Phase], wanted: Phase) -> bool {
    seen.iter().any(|phase| *phase as i32 >= wanted as i32)
}

#[tokio::test]
async fn a_host_with_a_corrupted_artifact_refuses_it_and_the_others_go_on() {
    let _turn = turn().await;
    let good = fs::read(&binaries().await.new_node).expect("the new node");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    let mut servers = JoinSet::new();
    let mirror = serve(&mut servers, good).await;
    // Host 3 fetches through a proxy that flips one bit.
    let proxy = serve(&mut servers, bad).await;
    let mut cluster = Cluster::lay_out(binaries().await, &ClusterOptions::default())
        .await
        .expect("laid out");
    cluster
        .host(3)
        .expect("host-3")
        .set_visor_env("http_proxy", &proxy);
    cluster.start().expect("the visors start");
    wait(&cluster, "two blocks on every host", |views| {
        views.iter().all(|view| view.height() >= 2)
    })
    .await;
    let (height, _) = propose_and_approve(&cluster, &format!("{mirror}/governance"), 20, 3).await;

    let views = wait(
        &cluster,
        "three hosts go on, host-3 waits at the height",
        |views| {
            views
                .iter()
                .take(3)
                .all(|view| upgraded(view) && view.height() >= height + 3)
                && views[3].height() == height
                && views[3].phase() == Phase::Halting
        },
    )
    .await;
    assert_equal_roots(&views);
    let status = visor_status(&cluster, 3).await;
    assert_eq!(status["current_version"], OLD_VERSION, "{status}");
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("SHA-256") || problems.contains("sha256"),
        "it says why: {problems}"
    );
    assert!(
        !cluster.hosts()[3]
            .visor_home()
            .join(format!("v{NEW_VERSION}"))
            .exists(),
        "nothing became executable"
    );
    assert_eq!(
        cluster.hosts()[3].node_processes().len(),
        1,
        "the old node stays up and serves"
    );

    // The old release, started again on the halted state, executes nothing and says what is needed.
    cluster
        .host(3)
        .expect("host-3")
        .stop()
        .await
        .expect("it stops in order");
    let node_home = cluster.hosts()[3].node_home();
    let (code, _, stderr) = run(Command::new(&binaries().await.old_node)
        .args(["start", "--home"])
        .arg(&node_home))
    .await;
    assert_eq!(code, Some(10), "{stderr}");
    assert!(stderr.contains(NEW_VERSION), "{stderr}");

    // Once the network path is repaired, the same host joins by itself.
    let host = cluster.host(3).expect("host-3");
    host.set_visor_env("http_proxy", "");
    host.start_visor().expect("its visor starts");
    let views = wait(&cluster, "host-3 joins", |views| {
        upgraded(&views[3]) && views[3].height() > height
    })
    .await;
    assert_equal_roots(&views);
    stop(cluster).await;
}

/// Serves `body` to every request, however it is addressed, as a mirror or as a proxy.
async fn serve(servers: &mut JoinSet<()>, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    servers.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read_buf(&mut request).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // A client that went away asks again.
            if stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(&body).await.is_ok() {
                drop(stream.shutdown().await);
            }
        }
    });
    url
}

#[tokio::test]
async fn a_release_that_dies_at_every_start_is_retried_then_stopped_safely() {
    let _turn = turn().await;
    let options = ClusterOptions {
        visor_config: vec![
            (
                "start_after_upgrade".to_owned(),
                "max_retries".to_owned(),
                2.into(),
            ),
            (
                "start_after_upgrade".to_owned(),
                "initial_delay".to_owned(),
                "50ms".into(),
            ),
        ],
        ..ClusterOptions::default()
    };
    let mut cluster = network(options).await;
    let script = cluster.root().join("governance");
    crashing_node(&script, NEW_VERSION).expect("the release nobody wants");
    let (height, _) = propose_and_approve(&cluster, script.to_str().expect("a readable path"), 20, 3).await;
    wait(&cluster, "the height", |views| {
        views.iter().all(|view| view.height() == height)
    })
    .await;
    for index in 0..4 {
        let status = cluster
            .host(index)
            .expect("a host")
            .wait_visor_exit(LIMIT)
            .await
            .expect("its visor gives up");
        let host = &cluster.hosts()[index];
        let log = host.log_tail(200);
        assert_eq!(status.code(), Some(6), "{log}");
        assert_eq!(
            log.matches("this release dies at every start").count(),
            3,
            "one start and two retries: {log}"
        );
        assert_eq!(
            host.node_processes(),
            Vec::<u32>::new(),
            "old and new are stopped"
        );
        assert_eq!(
            current(&cluster, index),
            PathBuf::from(format!("v{NEW_VERSION}")),
            "no fall back to another version"
        );
        let (code, _, stderr) = run(Command::new(&binaries().await.visor)
            .args(["status", "--home"])
            .arg(host.visor_home()))
        .await;
        assert_eq!(code, Some(4), "no visor answers: {stderr}");
    }
    stop(cluster).await;
}
