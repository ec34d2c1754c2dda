//! What the stories share: taking turns, the built programs, and the words of a story.

use std::process::Command;
use std::time::Duration;

use e2e::{Binaries, Cluster, ClusterOptions, HostView, NEW_VERSION, Wallet};
use proto::pb::visor::v1::Phase;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// One network at a time.
static TURN: Mutex<()> = Mutex::const_new(());
static BINARIES: OnceCell<Binaries> = OnceCell::const_new();

/// Any single wait of a story; a healthy network needs a fraction of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Waits for this story's turn.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// The programs under test.
pub(crate) async fn binaries() -> &'static Binaries {
    BINARIES
        .get_or_init(|| async {
            tokio::task::spawn_blocking(Binaries::build)
                .await
                .expect("the build ran")
                .expect("the binaries are built")
        })
        .await
}

/// A network of `validators` hosts that has made its first blocks.
pub(crate) async fn network(options: ClusterOptions) -> Cluster {
    let mut cluster = Cluster::lay_out(binaries().await, &options)
        .await
        .expect("the hosts are laid out");
    cluster.start().expect("the visors start");
    wait(&cluster, "two blocks on every host", |views| {
        views.iter().all(|view| view.height() >= 2)
    })
    .await;
    cluster
}

/// Waits until the hosts look as wanted; fails with what they look like instead and the end of every log.
pub(crate) async fn wait(
    cluster: &Cluster,
    what: &str,
    condition: impl FnMut(&[HostView]) -> bool,
) -> Vec<HostView> {
    match cluster.observer().wait_until(what, LIMIT, condition).await {
        Ok(views) => views,
        Err(error) => panic!("{error:#}\n{}", cluster.log_tails(25)),
    }
}

/// Proposes 1.1.0 with `artifact` so many blocks ahead, and lets the first `approvals` validators approve. Returns the height and the id.
pub(crate) async fn propose_and_approve(
    cluster: &Cluster,
    artifact: &str,
    blocks_ahead: u64,
    approvals: usize,
) -> (u64, String) {
    let tip = cluster
        .observer()
        .views()
        .iter()
        .map(HostView::height)
        .max()
        .expect("hosts");
    let height = tip + blocks_ahead;
    let artifact = format!("linux/{}={artifact}", arch());
    let proposed = wallet(cluster, 0)
        .run(&[
            "propose",
            "--version",
            NEW_VERSION,
            "--height",
            &height.to_string(),
            "--artifact",
            &artifact,
            "--wait",
        ])
        .await
        .expect("the proposal is accepted");
    let id = proposed["proposal_id"].as_str().expect("an id").to_owned();
    // Each wallet asks its own node, and the proposer's was the first to know.
    let proposed_by = cluster.observer().tip() + 1;
    wait(cluster, "the proposal on every voter's node", |views| {
        views
            .iter()
            .take(approvals)
            .all(|view| view.height() >= proposed_by)
    })
    .await;
    for index in 1..approvals {
        wallet(cluster, index)
            .run(&["vote", "approve", &id, "--wait"])
            .await
            .expect("the vote is accepted");
    }
    (height, id)
}

pub(crate) fn wallet(cluster: &Cluster, index: usize) -> Wallet {
    cluster.wallet(index).expect("the wallet")
}

/// This machine's architecture in the words of artifacts.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Every host's roots agree wherever two hosts have the same block.
pub(crate) fn assert_equal_roots(views: &[HostView]) {
    for view in views {
        for (height, block) in &view.blocks {
            for other in views {
                if let Some(same) = other.blocks.get(height) {
                    assert_eq!(
                        block.state_root, same.state_root,
                        "block {height} on {} and {}",
                        view.name, other.name
                    );
                    assert_eq!(
                        block.version, same.version,
                        "block {height} on {} and {}",
                        view.name, other.name
                    );
                }
            }
        }
    }
}

/// `visor status --json` of a host.
pub(crate) async fn visor_status(cluster: &Cluster, index: usize) -> Value {
    let host = &cluster.hosts()[index];
    let output = run(Command::new(&binaries().await.visor)
        .args(["status", "--json", "--home"])
        .arg(host.visor_home()))
    .await;
    serde_json::from_str(&output.1).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) async fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("true")));
    let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output())
        .await
        .expect("it ends")
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Stops the cluster and asserts that nothing is left of it.
pub(crate) async fn stop(mut cluster: Cluster) {
    cluster.stop().await.expect("everything stops in order");
    for host in cluster.hosts() {
        assert_eq!(host.node_processes(), Vec::<u32>::new(), "{}", host.name());
    }
}

/// Whether the visor is at rest on the new version.
pub(crate) fn upgraded(view: &HostView) -> bool {
    view.version() == NEW_VERSION && view.phase() == Phase::Running
}
