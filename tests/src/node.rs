//! One node without a visor: a process that the test itself starts, kills and starts again.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use proto::pb::governance::v1::GetStatusResponse;
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::client::Client;
use crate::layout::MadeHome;
use crate::process::{Background, tail};

/// How long a node may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two attempts to reach a node that is just starting.
const RETRY: Duration = Duration::from_millis(5);

/// Runs its arguments with SIGXFSZ ignored: a write beyond the limit on file sizes then fails like one to a full disk,
/// instead of ending the process.
const IGNORE_FILE_SIZE_SIGNAL: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// Resident memory as the kernel counts it.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now, KiB.
    pub resident_kib: u64,
    /// The most since the process was started, KiB.
    pub peak_kib: u64,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(crate) binary: PathBuf,
    pub(crate) p2p: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) made: MadeHome,
    pub(crate) log: PathBuf,
    /// What runs the binary: words before its own command line.
    pub(crate) launcher: Vec<OsString>,
    pub(crate) process: Option<Background>,
}

impl Node {
    /// `node-0`, `node-1`, and so on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The file with its blocks and state.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.home.join("data/chain.redb")
    }

    /// The file with what it has signed at the height under way.
    #[must_use]
    pub fn write_ahead_log(&self) -> PathBuf {
        self.home.join("data/consensus.wal")
    }

    /// The key that signs its blocks, hexadecimal.
    #[must_use]
    pub fn consensus_key(&self) -> &str {
        &self.made.consensus_key
    }

    /// Where it serves gRPC.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    /// Where other nodes connect.
    #[must_use]
    pub fn p2p_address(&self) -> SocketAddr {
        self.p2p
    }

    /// Where it serves gRPC, as an address.
    #[must_use]
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Process id; `None` when it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Background::id)
    }

    /// A client of its own; connects when it is used, again after every restart of the node.
    ///
    /// # Errors
    /// When the address makes no URL.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.rpc_url())
    }

    /// Lets `words` run the binary from the next start on, for example in another namespace.
    pub fn launch_with(&mut self, words: impl IntoIterator<Item = OsString>) {
        self.launcher = words.into_iter().collect();
    }

    /// Lets it run another release from the next start on.
    pub fn run_release(&mut self, binary: &Path) {
        self.binary = binary.to_path_buf();
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("{} runs already", self.name);
        }
        let words = self
            .launcher
            .iter()
            .cloned()
            .chain(IGNORE_FILE_SIZE_SIGNAL.map(OsString::from))
            .collect::<Vec<_>>();
        let (program, arguments) = words.split_first().context("a program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(&self.binary)
            .args(["start", "--home"])
            .arg(&self.home)
            .env_remove("GOVERNANCE_LOG");
        self.process = Some(Background::start_piped(command, &self.log)?);
        Ok(())
    }

    /// Kills it with SIGKILL and reaps it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self
            .process
            .take()
            .with_context(|| format!("{} does not run", self.name))?;
        process.kill_now();
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or had to be killed.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(process) = &self.process {
            process.signal(Signal::TERM);
        }
        self.wait_exit(STOP_LIMIT).await
    }

    /// Waits for its end, and kills it when that does not come.
    ///
    /// # Errors
    /// When it does not run, or had to be killed.
    pub async fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut process = self
            .process
            .take()
            .with_context(|| format!("{} does not run", self.name))?;
        if let Some(status) = process.wait_until(Instant::now() + limit).await? {
            return Ok(status);
        }
        process.kill_now();
        bail!(
            "{} still ran after {limit:?} and was killed\n{}",
            self.name,
            self.log_tail(30)
        )
    }

    /// Its first answer after a start.
    ///
    /// # Errors
    /// When it ends instead, or answers nothing within `limit`.
    pub async fn first_status(&mut self, limit: Duration) -> Result<GetStatusResponse> {
        let deadline = Instant::now() + limit;
        loop {
            // A new client each time: a connection that was refused is tried again later by the old one.
            if let Ok(Ok(status)) = tokio::time::timeout(limit, self.client()?.status()).await {
                return Ok(status);
            }
            let process = self.process.as_mut().context("it does not run")?;
            if let Some(status) = process.ended()? {
                bail!("{} ended with {status}\n{}", self.name, self.log_tail(30));
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} does not answer within {limit:?}\n{}",
                    self.name,
                    self.log_tail(30)
                );
            }
            // Nothing tells when a port is bound; this is a bounded poll.
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Lets the running node write no file beyond so many bytes, or lifts that again.
    ///
    /// # Errors
    /// When it does not run, or the kernel refuses.
    pub fn limit_file_size(&self, bytes: Option<u64>) -> Result<()> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .with_context(|| format!("{} does not run", self.name))?;
        // The soft limit alone, so that it can be lifted.
        let limit = Rlimit {
            current: bytes,
            maximum: rustix::process::getrlimit(Resource::Fsize).maximum,
        };
        rustix::process::prlimit(Some(pid), Resource::Fsize, limit)
            .with_context(|| format!("limit the file size of {}", self.name))?;
        Ok(())
    }

    /// What it has used; `None` when it does not run.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse().ok()
        };
        Some(Memory {
            resident_kib: kib("VmRSS:")?,
            peak_kib: kib("VmHWM:")?,
        })
    }

    /// Everything that it has said, in all its lives.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        match std::fs::read(&self.log) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("read {}", self.log.display())),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill_now();
        }
    }
}
