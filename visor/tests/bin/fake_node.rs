//! A node for visor's tests: it speaks node.v1 on a UNIX socket, makes a block every few milliseconds, and misbehaves as the file
//! `behaviour.json` in its home says (read again before every block).
//!
//! Its version is the text after the last `FAKE-VERSION:` at the very end of its own file, so that two versions are two different
//! files of the same program. It keeps its height in the file `height` and takes locks for life on `exclusive` (nodes) and `helpers`
//! (their helpers): one that finds another alive writes the line `TWO` and exits with 99. What it does it appends to the file `log`,
//! one line each: `start PID VERSION HEIGHT MONOTONIC_US UNIX_MS` before it takes the lock, `exit PID CODE MONOTONIC_US` while it holds it.

mod fake;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use futures_util::{Stream, StreamExt as _};
use proto::pb::governance::v1::{Artifact, Halt, ProposalPhase, Upgrade};
use proto::pb::node::v1::node_service_server::{NodeService, NodeServiceServer};
use proto::pb::node::v1::{
    AnnouncedUpgrade, GetCertificateRequest, GetCertificateResponse, GetReportRequest, NodeReport,
    WatchReportsRequest,
};
use rustix::fs::FlockOperation;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status};

use crate::fake::{lock, monotonic_us, trailer as version};

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
    /// Further upgrades, announced after that one.
    also: Vec<AnnouncedPlan>,
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
    /// When it changes, the socket is bound again under the same name and the old connections end.
    socket_generation: u64,
    /// Lines that it writes to its standard output in a second; how many it has written stands in the file `lines`. Read at start.
    log_lines_per_second: u64,
}

impl Behaviour {
    fn plans(&self) -> impl Iterator<Item = &AnnouncedPlan> {
        self.upgrade.iter().chain(&self.also)
    }

    /// The upgrade that a node of this version waits for at this height.
    fn halt(&self, version: &str, height: u64) -> Option<&AnnouncedPlan> {
        self.plans()
            .find(|plan| height >= plan.height && is_newer(&plan.version, version))
    }
}

fn is_newer(version: &str, than: &str) -> bool {
    let parts = |text: &str| -> Vec<u64> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    parts(version) > parts(than)
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
            let home = Path::new(home);
            // Held until the process is gone, beyond the line that it writes last.
            let exclusive = lock_at_start(home)?;
            let code = match exclusive {
                Some(_) => runtime.block_on(start(home, Path::new(socket)))?,
                None => TWO,
            };
            append(
                home,
                &format!("exit {} {code} {}", std::process::id(), monotonic_us()),
            )?;
            Ok(ExitCode::from(code))
        }
        ["companion", home, name, flags] => companion(Path::new(home), name, flags),
        ["helper", home, setsid, ignore, held] => {
            helper(Path::new(home), setsid == "true", ignore == "true", held)
        }
        ["signed-height", "--home", home] => {
            let signed = fs::read_to_string(Path::new(home).join("signed"))?;
            writeln!(io::stdout(), "{{\"signed_height\":{}}}", signed.trim())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("unknown arguments {arguments:?}"),
    }
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

fn helper(home: &Path, setsid: bool, ignore: bool, held: &str) -> Result<ExitCode> {
    if setsid {
        rustix::process::setsid()?;
    }
    let _held = lock(home, held, FlockOperation::NonBlockingLockShared)?;
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

fn lock_at_start(home: &Path) -> Result<Option<File>> {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let (pid, version, height, monotonic_us) =
        (std::process::id(), version()?, height(home)?, monotonic_us());
    append(
        home,
        &format!("start {pid} {version} {height} {monotonic_us} {unix_ms}"),
    )?;
    let exclusive = lock(home, "exclusive", FlockOperation::NonBlockingLockExclusive)?;
    if exclusive.is_none() {
        append(home, "TWO nodes")?;
        return Ok(None);
    }
    if lock(home, "helpers", FlockOperation::NonBlockingLockExclusive)?.is_none() {
        append(home, "TWO: a helper of the previous node is alive")?;
        return Ok(None);
    }
    Ok(exclusive)
}

/// Writes so many lines a second to standard output, and how many there were to the file `lines`.
fn chatter(home: &Path, per_second: u64) -> Result<()> {
    let count = home.join("lines");
    let began = Instant::now();
    let mut written = 0_u64;
    loop {
        let due = u64::try_from(began.elapsed().as_millis())? * per_second / 1_000;
        let mut output = io::stdout().lock();
        while written < due {
            written += 1;
            writeln!(
                output,
                "line {written} of a node that has much to say and says it at once"
            )?;
        }
        drop(output);
        fs::write(&count, written.to_string())?;
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process beside the node. Ends with the code in the file `end-NAME` once that is there. Its flags, in one text: it
/// `ignores` SIGTERM, starts a `helper` with a session of its own that ignores it too, or `forks` such a one and ends.
fn companion(home: &Path, name: &str, flags: &str) -> Result<ExitCode> {
    append(home, &format!("companion {name} {}", std::process::id()))?;
    let exclusive = format!("exclusive-{name}");
    let Some(_exclusive) = lock(home, &exclusive, FlockOperation::NonBlockingLockExclusive)? else {
        append(home, &format!("TWO of {name}"))?;
        return Ok(ExitCode::from(TWO));
    };
    if lock(
        home,
        &format!("helpers-{name}"),
        FlockOperation::NonBlockingLockExclusive,
    )?
    .is_none()
    {
        append(home, &format!("TWO: a helper of the previous {name} is alive"))?;
        return Ok(ExitCode::from(TWO));
    }
    if flags.contains("helper") || flags.contains("forks") {
        let path = home.to_string_lossy();
        Command::new(std::env::current_exe()?)
            .args(["helper", &path, "true", "true", &format!("helpers-{name}")])
            .spawn()?;
    }
    if flags.contains("forks") {
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        append(home, &format!("ready {name}"))?;
        // One that nobody ends must not outlive the tests.
        let last = tokio::time::Instant::now() + Duration::from_secs(120);
        while tokio::time::Instant::now() < last {
            let told = tokio::time::timeout(Duration::from_millis(5), terminate.recv()).await;
            if told.is_ok() && !flags.contains("ignores") {
                append(home, &format!("end {name}"))?;
                break;
            }
            if let Ok(code) = fs::read_to_string(home.join(format!("end-{name}"))) {
                return Ok(ExitCode::from(code.trim().parse::<u8>()?));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn start(home: &Path, socket: &Path) -> Result<u8> {
    let version = version()?;
    let first = behaviour(home)?;
    let height = height(home)?;
    let data = home.join("data");
    if data.is_dir() {
        // As a migration would: it cannot be undone but by a backup.
        fs::write(data.join("written-by"), &version)?;
    }
    if first.exit_at_start.contains(&version) {
        return Ok(first.exit_code);
    }
    if first
        .plans()
        .any(|plan| version == plan.version && height < plan.height)
    {
        return Ok(OLDER_VERSION_REQUIRED);
    }
    if first.halt(&version, height).is_some() {
        return Ok(NEWER_VERSION_REQUIRED);
    }
    if first.log_lines_per_second > 0 {
        let (home, per_second) = (home.to_path_buf(), first.log_lines_per_second);
        thread::spawn(move || chatter(&home, per_second));
    }
    if first.helper {
        Command::new(std::env::current_exe()?)
            .args([
                "helper",
                &home.to_string_lossy(),
                &first.helper_setsid.to_string(),
                &first.helper_ignores_sigterm.to_string(),
                "helpers",
            ])
            .spawn()?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let (reports, seen) = watch::channel(report(&version, height, &first)?);
    let listen = || serve(home, socket, &seen);
    let server = if first.mute.contains(&version) {
        None
    } else {
        Some((first.socket_generation, listen()?))
    };
    run(home, &version, height, &reports, &mut terminate, server, &listen).await
}

/// A server that ends with all its connections when it is dropped.
struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn serve(home: &Path, socket: &Path, reports: &watch::Receiver<NodeReport>) -> Result<Listening> {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    // Every generation has a copy of its own: dropping it ends the streams, which the server's end alone does not.
    let (copy, copied) = watch::channel(reports.borrow().clone());
    let service = Service {
        reports: copied,
        home: home.to_path_buf(),
    };
    let mut reports = reports.clone();
    Ok(Listening(tokio::spawn(async move {
        let server = tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(NodeServiceServer::new(service))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        let _ends_with_this = Ending(server.abort_handle());
        while reports.changed().await.is_ok() {
            copy.send_replace(reports.borrow_and_update().clone());
        }
    })))
}

/// Ends a task when dropped.
struct Ending(tokio::task::AbortHandle);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(
    home: &Path,
    version: &str,
    mut height: u64,
    reports: &watch::Sender<NodeReport>,
    terminate: &mut tokio::signal::unix::Signal,
    mut server: Option<(u64, Listening)>,
    listen: &impl Fn() -> Result<Listening>,
) -> Result<u8> {
    loop {
        let behaviour = behaviour(home)?;
        if let Some((generation, listening)) = server.take() {
            server = Some(if generation == behaviour.socket_generation {
                (generation, listening)
            } else {
                drop(listening);
                (behaviour.socket_generation, listen()?)
            });
        }
        let halted = behaviour.halt(version, height).is_some();
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
    for plan in behaviour.plans() {
        let over = !is_newer(&plan.version, version) && height > plan.height;
        if !over {
            report.upgrades.push(AnnouncedUpgrade {
                proposal_id: unhex(&plan.id)?,
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
    }
    if let Some(plan) = behaviour.halt(version, height) {
        report.halt = Some(Halt {
            height: plan.height,
            proposal_id: unhex(&plan.id)?,
            version: plan.version.clone(),
        });
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
