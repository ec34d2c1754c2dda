//! Visor with a chain of its own kind: the benchmark speaks node.v1 in the place of the node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{Stream, StreamExt as _};
use proto::pb::governance::v1::{Artifact, Halt, ProposalPhase, Upgrade};
use proto::pb::node::v1::node_service_server::{NodeService, NodeServiceServer};
use proto::pb::node::v1::{
    AnnouncedUpgrade, GetCertificateRequest, GetCertificateResponse, GetReportRequest, NodeReport,
    WatchReportsRequest,
};
use proto::pb::visor::v1::{Status as VisorStatus, WatchStatusRequest};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use visor::config::TEMPLATE;
use visor::home::Home;
use visor::run_config::{NodeRun, RunConfig};

use crate::peer::{Running, link};
use crate::timeline::{events, gaps, now};

/// Between the heights of two upgrades.
const BLOCKS: u64 = 10;
/// For one exchange; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ours {
    pub(crate) exit_to_start: Vec<i64>,
    pub(crate) ready_to_start: Vec<i64>,
}

/// The running version counts its predecessors.
fn version(number: usize) -> String {
    format!("1.0.{number}")
}

pub(crate) async fn ours(root: &Path, node: &Path, swaps: usize) -> Result<Ours> {
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
