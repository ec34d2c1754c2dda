//! What stands between an old version's exit and the new one's first instruction: `cargo bench -p visor --bench swap`.
//!
//! The same node that does nothing is exchanged again and again: by a bare loop of fork, exec and wait; by visor with its journal on
//! the disk, which is told by node.v1 as a real node tells it; and by `cosmovisor`, when its path is in COSMOVISOR. The node takes the
//! system's monotonic clock as its first act and as its last. Everything in one run, so that the ratios mean something.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use futures_util::{Stream, StreamExt as _};
use proto::pb::governance::v1::{Artifact, Halt, ProposalPhase, Upgrade};
use proto::pb::node::v1::node_service_server::{NodeService, NodeServiceServer};
use proto::pb::node::v1::{
    AnnouncedUpgrade, GetCertificateRequest, GetCertificateResponse, GetReportRequest, NodeReport,
    WatchReportsRequest,
};
use proto::pb::visor::v1::{Status as VisorStatus, WatchStatusRequest};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use visor::config::TEMPLATE;
use visor::home::Home;
use visor::run_config::{NodeRun, RunConfig};

/// Between the heights of two upgrades.
const BLOCKS: u64 = 10;
/// For one exchange; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
struct Options {
    /// Exchanges by the bare loop, and by visor
    #[arg(long, default_value_t = 1_000)]
    swaps: usize,
    /// Exchanges by a peer whose node ends by itself
    #[arg(long, default_value_t = 300)]
    peer_swaps: usize,
    /// Exchanges by a peer whose node stays until it is killed
    #[arg(long, default_value_t = 25)]
    slow_swaps: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() -> Result<()> {
    let options = Options::parse();
    // On the disk of the build, because a journal in memory would cost nothing.
    let dir = tempfile::Builder::new()
        .prefix("swap")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let node = PathBuf::from(env!("CARGO_BIN_EXE_idle-node"));
    let bare = bare(&dir.path().join("bare.log"), &node, options.swaps)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let ours = runtime.block_on(ours(&dir.path().join("v"), &node, options.swaps))?;
    let mut rows = vec![
        Row::new(
            "fork, exec and wait in a bare loop: exit to first instruction",
            bare,
        ),
        Row::new("visor: exit to first instruction", ours.exit_to_start),
        Row::new("visor: ready reported to first instruction", ours.ready_to_start),
    ];
    if let Some(peer) = std::env::var_os("COSMOVISOR") {
        let leaves = cosmovisor(
            &dir.path().join("leave"),
            peer.as_ref(),
            &node,
            "leave",
            options.peer_swaps,
        )?;
        rows.push(Row::new(
            "cosmovisor, the node ends by itself, no backup: exit to first instruction",
            gaps(&leaves, "exit"),
        ));
        let stays = cosmovisor(
            &dir.path().join("stay"),
            peer.as_ref(),
            &node,
            "stay",
            options.slow_swaps,
        )?;
        rows.push(Row::new(
            "cosmovisor, the node stays until it is killed: upgrade announced to first instruction",
            gaps(&stays, "ready"),
        ));
    }
    let unit = rows[0].at(0.5);
    println!("| what | swaps | median | p99 | longest | median in bare loops |");
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {} | {} | {} | {} | {:.2} |",
            row.what,
            row.times.len(),
            milliseconds(row.at(0.5)),
            milliseconds(row.at(0.99)),
            milliseconds(row.at(1.0)),
            row.at(0.5) as f64 / unit as f64,
        );
    }
    Ok(())
}

fn milliseconds(nanoseconds: i64) -> String {
    format!("{:.3} ms", nanoseconds as f64 / 1e6)
}

struct Row {
    what: &'static str,
    /// Nanoseconds, in ascending order.
    times: Vec<i64>,
}

impl Row {
    fn new(what: &'static str, mut times: Vec<i64>) -> Self {
        times.sort_unstable();
        Self { what, times }
    }

    fn at(&self, share: f64) -> i64 {
        let last = self.times.len().saturating_sub(1);
        let place = (last as f64 * share).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the number of swaps"
        )]
        let place = place as usize;
        self.times.get(place).copied().unwrap_or_default()
    }
}

fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

struct Event {
    word: String,
    at: i64,
}

fn events(log: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let event = |line: &str| {
        let mut words = line.split(' ');
        let (word, _pid, at) = (words.next()?, words.next()?, words.next()?);
        Some(Event {
            word: word.to_owned(),
            at: at.parse().ok()?,
        })
    };
    Ok(text.lines().filter_map(event).collect())
}

/// From each event of a kind to the next start.
fn gaps(events: &[Event], from: &str) -> Vec<i64> {
    let mut gaps = Vec::new();
    let mut began = None;
    for event in events {
        if event.word == from {
            began = Some(event.at);
        } else if event.word == "start"
            && let Some(began) = began.take()
        {
            gaps.push(event.at - began);
        }
    }
    gaps
}

fn bare(log: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    for _ in 0..=swaps {
        let mut child = Command::new(node)
            .arg("run")
            .arg(log)
            .arg("once")
            .stdin(Stdio::null())
            .spawn()?;
        child.wait()?;
    }
    Ok(gaps(&events(log)?, "exit"))
}

struct Ours {
    exit_to_start: Vec<i64>,
    ready_to_start: Vec<i64>,
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The running version counts its predecessors.
fn version(number: usize) -> String {
    format!("1.0.{number}")
}

async fn ours(root: &Path, node: &Path, swaps: usize) -> Result<Ours> {
    let log = root.join("log");
    let home = Home::at(root.to_path_buf());
    let socket = root.join("s");
    fs::create_dir(root)?;
    for number in 0..=swaps {
        let folder = match number {
            0 => home.folder("genesis"),
            _ => home.folder(&Home::folder_name(&version(number))),
        };
        fs::create_dir(&folder)?;
        link(node, &folder.join("idle-node"))?;
        let run = RunConfig {
            name: format!("v{}", version(number)),
            node: NodeRun {
                binary: PathBuf::from("idle-node"),
                args: vec!["run".to_owned(), log.display().to_string(), "wait".to_owned()],
                socket: socket.clone(),
            },
            companions: Vec::new(),
        };
        fs::write(folder.join("run-config.toml"), toml::to_string(&run)?)?;
    }
    fs::write(home.config(), TEMPLATE)?;
    visor::swap::switch(&home, "genesis")?;

    let bytes = fs::read(node)?;
    let chain = Chain {
        artifact: Artifact {
            platform: visor::staging::host_platform(),
            url: format!("file://{}", node.display()),
            size: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).to_vec(),
        },
    };
    let (streams, mut opened) = mpsc::channel(1);
    let listener = UnixListener::bind(&socket)?;
    let server = tonic::transport::Server::builder().add_service(NodeServiceServer::new(Service { streams }));
    let server = tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let output = File::create(root.join("visor.log"))?;
    let mut visor = Running(
        Command::new(env!("CARGO_BIN_EXE_visor"))
            .arg("run")
            .arg("--home")
            .arg(root)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?,
    );
    let mut statuses = statuses(&home).await?;
    let mut ready = Vec::with_capacity(swaps);
    // A stream that ended would be opened again, by the link to a node that is on its way out.
    let mut kept = Vec::with_capacity(swaps);
    for number in 0..=swaps {
        // Every start opens the link once.
        let reports: mpsc::Sender<NodeReport> = tokio::time::timeout(PATIENCE, opened.recv())
            .await
            .with_context(|| format!("swap {number}: no connection"))?
            .context("no connection")?;
        reports.send(chain.report(number, false)).await?;
        let next = version(number + 1);
        let this = version(number);
        let done = |status: &VisorStatus| {
            let completed = status.last_upgrade.as_ref().map(|upgrade| upgrade.to.as_str());
            number == 0 || completed == Some(&this)
        };
        let staged = |status: &VisorStatus| {
            let upgrade = status.upgrade.as_ref();
            upgrade.is_some_and(|upgrade| upgrade.version == next && upgrade.staged)
        };
        wait(&mut statuses, |status| {
            done(status) && (number == swaps || staged(status))
        })
        .await
        .with_context(|| format!("swap {number}"))?;
        if number < swaps {
            ready.push(now());
            reports.send(chain.report(number, true)).await?;
        }
        kept.push(reports);
    }
    let pid = Pid::from_child(&visor.0);
    kill_process(pid, Signal::TERM)?;
    let status = visor.0.wait()?;
    ensure!(status.success(), "visor ended with {status}");
    server.abort();
    let events = events(&log)?;
    let exits = gaps(&events, "exit");
    ensure!(
        exits.len() == swaps,
        "expected {swaps} swaps, found {}",
        exits.len()
    );
    let starts = events.iter().filter(|event| event.word == "start").skip(1);
    Ok(Ours {
        exit_to_start: exits,
        ready_to_start: starts
            .zip(&ready)
            .map(|(start, ready)| start.at - ready)
            .collect(),
    })
}

/// The same file under another name: a thousand copies would say nothing more.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

async fn statuses(home: &Home) -> Result<Streaming<VisorStatus>> {
    let began = now();
    loop {
        if let Ok(mut client) = visor::rpc::connect(&home.socket()).await {
            return Ok(client.watch_status(WatchStatusRequest {}).await?.into_inner());
        }
        if now() - began > 30_000_000_000 {
            bail!(
                "visor does not answer; see {}",
                home.root().join("visor.log").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn wait(statuses: &mut Streaming<VisorStatus>, wanted: impl Fn(&VisorStatus) -> bool) -> Result<()> {
    let mut last = VisorStatus::default();
    let found = tokio::time::timeout(PATIENCE, async {
        while let Some(status) = statuses.message().await? {
            if wanted(&status) {
                return Ok(());
            }
            last = status;
        }
        bail!("visor has ended")
    })
    .await;
    found.unwrap_or_else(|_| bail!("waited {PATIENCE:?}; the last status was {last:?}"))
}

/// What a node of the benchmark says of itself and of the next version.
struct Chain {
    artifact: Artifact,
}

impl Chain {
    fn report(&self, number: usize, halted: bool) -> NodeReport {
        let next = number as u64 + 1;
        let mut proposal_id = vec![7; 32];
        proposal_id[..8].copy_from_slice(&next.to_be_bytes());
        let height = next * BLOCKS;
        NodeReport {
            chain_id: "idle".to_owned(),
            version: version(number),
            height: if halted { height } else { height - BLOCKS + 1 },
            upgrades: vec![AnnouncedUpgrade {
                proposal_id: proposal_id.clone(),
                upgrade: Some(Upgrade {
                    version: version(number + 1),
                    height,
                    artifacts: vec![self.artifact.clone()],
                    description: String::new(),
                }),
                phase: ProposalPhase::LockedIn.into(),
            }],
            halt: halted.then(|| Halt {
                height,
                proposal_id,
                version: version(number + 1),
            }),
            pid: 0,
        }
    }
}

struct Service {
    /// For every stream that visor opens, the end that feeds it.
    streams: mpsc::Sender<mpsc::Sender<NodeReport>>,
}

#[tonic::async_trait]
impl NodeService for Service {
    async fn get_report(&self, _: Request<GetReportRequest>) -> Result<Response<NodeReport>, Status> {
        Err(Status::unimplemented("visor watches"))
    }

    async fn get_certificate(
        &self,
        _: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        Err(Status::failed_precondition("it has none"))
    }

    type WatchReportsStream = Pin<Box<dyn Stream<Item = Result<NodeReport, Status>> + Send>>;

    async fn watch_reports(
        &self,
        _: Request<WatchReportsRequest>,
    ) -> Result<Response<Self::WatchReportsStream>, Status> {
        let (sender, reports) = mpsc::channel(4);
        let ended = |_| Status::unavailable("the benchmark is over");
        self.streams.send(sender).await.map_err(ended)?;
        Ok(Response::new(Box::pin(ReceiverStream::new(reports).map(Ok))))
    }
}

/// Its best configuration: no backup, restart after the upgrade, the binaries in place.
fn cosmovisor(root: &Path, program: &Path, node: &Path, what: &str, swaps: usize) -> Result<Vec<Event>> {
    let versions = root.join("cosmovisor");
    let bin = |folder: PathBuf| -> Result<()> {
        fs::create_dir_all(folder.join("bin"))?;
        link(node, &folder.join("bin/idle-node"))
    };
    bin(versions.join("genesis"))?;
    for number in 1..=swaps {
        bin(versions.join("upgrades").join(format!("v{number}")))?;
    }
    fs::create_dir(root.join("data"))?;
    let log = root.join("log");
    let output = File::create(root.join("cosmovisor.log"))?;
    let mut child = Running(
        Command::new(program)
            .args(["run", "run"])
            .arg(&log)
            .arg(what)
            .env("DAEMON_HOME", root)
            .env("DAEMON_NAME", "idle-node")
            .env("DAEMON_RESTART_AFTER_UPGRADE", "true")
            .env("DAEMON_ALLOW_DOWNLOAD_BINARIES", "false")
            .env("UNSAFE_SKIP_BACKUP", "true")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("run {}", program.display()))?,
    );
    // The last node finds no next version and fails, and cosmovisor with it.
    child.0.wait()?;
    let events = events(&log)?;
    let starts = events.iter().filter(|event| event.word == "start").count();
    ensure!(
        starts == swaps + 1,
        "expected {swaps} swaps by cosmovisor, found {}; see {}",
        starts.saturating_sub(1),
        root.join("cosmovisor.log").display()
    );
    Ok(events)
}
