//! A node for visor's tests: it speaks node.v1 on a UNIX socket, makes a block every few milliseconds, and misbehaves as the file
//! `behaviour.json` in its home says (read again before every block).
//!
//! Its version is the text after the last `FAKE-VERSION:` at the very end of its own file, so that two versions are two different
//! files of the same program. It keeps its height in the file `height`, appends what it does to the file `log`, and takes locks for
//! life on `exclusive` (nodes) and `helpers` (their helpers): one that finds another alive writes the line `TWO` and exits with 99.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{Stream, StreamExt as _};
use proto::pb::governance::v1::{Artifact, Halt, ProposalPhase, Upgrade};
use proto::pb::node::v1::node_service_server::{NodeService, NodeServiceServer};
use proto::pb::node::v1::{
    AnnouncedUpgrade, GetCertificateRequest, GetCertificateResponse, GetReportRequest, NodeReport,
    WatchReportsRequest,
};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status};

const TRAILER: &[u8] = b"\nFAKE-VERSION:";
const TWO: u8 = 99;
const NEWER_VERSION_REQUIRED: u8 = 10;
const OLDER_VERSION_REQUIRED: u8 = 11;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Behaviour {
    /// Milliseconds between blocks; 20 when 0.
    block_ms: u64,
    /// The chain stands still.
    paused: bool,
    upgrade: Option<AnnouncedPlan>,
    /// Does not end on SIGTERM.
    ignore_sigterm: bool,
    /// Versions that exit at start, with this code.
    exit_at_start: Vec<String>,
    exit_code: u8,
    /// Versions that never open their socket.
    mute: Vec<String>,
    /// Exits with `exit_code` when a block of this height is made.
    exit_at_height: Option<u64>,
    /// Starts a helper that outlives it: in its group, or in a session of its own.
    helper: bool,
    helper_setsid: bool,
    helper_ignores_sigterm: bool,
    /// A version that makes no blocks.
    stall: Option<String>,
    /// The certificates it gives, in hexadecimal digits, by proposal.
    certificates: BTreeMap<String, String>,
    /// The version it reports; its own when absent.
    claims_version: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnnouncedPlan {
    id: String,
    version: String,
    height: u64,
    platform: String,
    url: String,
    size: u64,
    sha256: String,
    phase: String,
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["version", "--output", "json"] => {
            writeln!(io::stdout(), "{{\"version\":\"{}\"}}", version()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["start", "--home", home, "--socket", socket] => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let code = runtime.block_on(start(Path::new(home), Path::new(socket)))?;
            append(Path::new(home), &format!("exit {} {code}", std::process::id()))?;
            Ok(ExitCode::from(code))
        }
        ["helper", home, setsid, ignore] => helper(Path::new(home), setsid == "true", ignore == "true"),
        _ => bail!("unknown arguments {arguments:?}"),
    }
}

fn version() -> Result<String> {
    let mut file = File::open(std::env::current_exe()?)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(64)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let at = end
        .windows(TRAILER.len())
        .rposition(|window| window == TRAILER)
        .context("no version at the end of the file")?;
    Ok(String::from_utf8(end[at + TRAILER.len()..].to_vec())?
        .trim()
        .to_owned())
}

fn append(home: &Path, line: &str) -> Result<()> {
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(home.join("log"))?;
    log.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

fn behaviour(home: &Path) -> Result<Behaviour> {
    match fs::read(home.join("behaviour.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Behaviour::default()),
        Err(error) => Err(error.into()),
    }
}

fn height(home: &Path) -> Result<u64> {
    match fs::read_to_string(home.join("height")) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn lock(home: &Path, name: &str, operation: FlockOperation) -> Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(home.join(name))?;
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn helper(home: &Path, setsid: bool, ignore: bool) -> Result<ExitCode> {
    if setsid {
        rustix::process::setsid()?;
    }
    let _held = lock(home, "helpers", FlockOperation::NonBlockingLockShared)?;
    append(home, &format!("helper {}", std::process::id()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            // A helper that nobody ends must not outlive the tests.
            if tokio::time::timeout(Duration::from_secs(120), terminate.recv())
                .await
                .is_err()
                || !ignore
            {
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
}

async fn start(home: &Path, socket: &Path) -> Result<u8> {
    let version = version()?;
    let first = behaviour(home)?;
    let height = height(home)?;
    append(home, &format!("start {} {version} {height}", std::process::id()))?;
    let Some(_exclusive) = lock(home, "exclusive", FlockOperation::NonBlockingLockExclusive)? else {
        append(home, "TWO nodes")?;
        return Ok(TWO);
    };
    if lock(home, "helpers", FlockOperation::NonBlockingLockExclusive)?.is_none() {
        append(home, "TWO: a helper of the previous node is alive")?;
        return Ok(TWO);
    }
    if first.exit_at_start.contains(&version) {
        return Ok(first.exit_code);
    }
    if let Some(plan) = &first.upgrade {
        if version == plan.version && height < plan.height {
            return Ok(OLDER_VERSION_REQUIRED);
        }
        if version != plan.version && height >= plan.height {
            return Ok(NEWER_VERSION_REQUIRED);
        }
    }
    if first.helper {
        Command::new(std::env::current_exe()?)
            .args([
                "helper",
                &home.to_string_lossy(),
                &first.helper_setsid.to_string(),
                &first.helper_ignores_sigterm.to_string(),
            ])
            .spawn()?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let (reports, seen) = watch::channel(report(&version, height, &first)?);
    if !first.mute.contains(&version) {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(NodeServiceServer::new(Service {
                    reports: seen,
                    home: home.to_path_buf(),
                }))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
    }
    run(home, &version, height, &reports, &mut terminate).await
}

async fn run(
    home: &Path,
    version: &str,
    mut height: u64,
    reports: &watch::Sender<NodeReport>,
    terminate: &mut tokio::signal::unix::Signal,
) -> Result<u8> {
    loop {
        let behaviour = behaviour(home)?;
        let halted = behaviour
            .upgrade
            .as_ref()
            .is_some_and(|plan| height >= plan.height && version != plan.version);
        let stalled = behaviour.paused || behaviour.stall.as_deref() == Some(version);
        if !stalled && !halted {
            height += 1;
            let part = home.join("height.part");
            fs::write(&part, height.to_string())?;
            fs::rename(&part, home.join("height"))?;
        }
        reports.send_replace(report(version, height, &behaviour)?);
        if behaviour.exit_at_height == Some(height) {
            return Ok(behaviour.exit_code);
        }
        let block = Duration::from_millis(if behaviour.block_ms == 0 {
            20
        } else {
            behaviour.block_ms
        });
        tokio::select! {
            _ = terminate.recv() => {
                if !behaviour.ignore_sigterm {
                    return Ok(0);
                }
                append(home, "ignored SIGTERM")?;
            }
            () = tokio::time::sleep(block) => {}
        }
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    hex::decode(text).map_err(|error| anyhow::anyhow!("{error}"))
}

fn report(version: &str, height: u64, behaviour: &Behaviour) -> Result<NodeReport> {
    let mut report = NodeReport {
        chain_id: "fake".to_owned(),
        version: behaviour
            .claims_version
            .clone()
            .unwrap_or_else(|| version.to_owned()),
        height,
        upgrades: Vec::new(),
        halt: None,
        pid: std::process::id(),
    };
    if let Some(plan) = &behaviour.upgrade {
        let proposal_id = unhex(&plan.id)?;
        let over = version == plan.version && height > plan.height;
        if !over {
            report.upgrades.push(AnnouncedUpgrade {
                proposal_id: proposal_id.clone(),
                upgrade: Some(Upgrade {
                    version: plan.version.clone(),
                    height: plan.height,
                    artifacts: vec![Artifact {
                        platform: plan.platform.clone(),
                        url: plan.url.clone(),
                        size: plan.size,
                        sha256: unhex(&plan.sha256)?,
                    }],
                    description: String::new(),
                }),
                phase: match plan.phase.as_str() {
                    "voting" => ProposalPhase::Voting,
                    "approved" => ProposalPhase::Approved,
                    _ => ProposalPhase::LockedIn,
                }
                .into(),
            });
        }
        if version != plan.version && height >= plan.height {
            report.halt = Some(Halt {
                height: plan.height,
                proposal_id,
                version: plan.version.clone(),
            });
        }
    }
    Ok(report)
}

struct Service {
    reports: watch::Receiver<NodeReport>,
    home: PathBuf,
}

#[tonic::async_trait]
impl NodeService for Service {
    async fn get_report(&self, _: Request<GetReportRequest>) -> Result<Response<NodeReport>, Status> {
        Ok(Response::new(self.reports.borrow().clone()))
    }

    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        let id = hex::encode(request.into_inner().proposal_id);
        let certificates = behaviour(&self.home)
            .map_err(|error| Status::internal(error.to_string()))?
            .certificates;
        let certificate = certificates
            .get(&id)
            .ok_or_else(|| Status::failed_precondition("it has none"))?;
        Ok(Response::new(GetCertificateResponse {
            certificate: unhex(certificate).map_err(|error| Status::internal(error.to_string()))?,
        }))
    }

    type WatchReportsStream = Pin<Box<dyn Stream<Item = Result<NodeReport, Status>> + Send>>;

    async fn watch_reports(
        &self,
        _: Request<WatchReportsRequest>,
    ) -> Result<Response<Self::WatchReportsStream>, Status> {
        Ok(Response::new(Box::pin(
            WatchStream::new(self.reports.clone()).map(Ok),
        )))
    }
}
