//! One validator's host: a node's home, a visor's home, and the visor that runs both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::process::{Background, tail};

/// How long a visor may take to stop its node and itself before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What a process has used, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// Processor time since its start, milliseconds.
    pub cpu_ms: u64,
}

/// A host of the cluster.
#[derive(Debug)]
pub struct Host {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) visor_binary: PathBuf,
    pub(crate) rpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) visor_env: Vec<(String, String)>,
    pub(crate) visor: Option<Background>,
}

impl Host {
    /// `host-0`, `host-1`, and so on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Home of the node.
    #[must_use]
    pub fn node_home(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Home of the visor.
    #[must_use]
    pub fn visor_home(&self) -> PathBuf {
        self.root.join("visor")
    }

    /// Where the node serves gRPC.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    /// Where the node serves HTTP.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Everything that the visor and the node have written.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.root.join("visor.log")
    }

    /// Sets an environment variable for the visor's next start.
    pub fn set_visor_env(&mut self, name: &str, value: &str) {
        self.visor_env.retain(|(set, _)| set != name);
        self.visor_env.push((name.to_owned(), value.to_owned()));
    }

    /// Process id of the running visor.
    #[must_use]
    pub fn visor_pid(&self) -> Option<u32> {
        self.visor.as_ref().map(Background::id)
    }

    /// What the running visor has used; `None` when none runs.
    #[must_use]
    pub fn visor_usage(&self) -> Option<Usage> {
        let pid = self.visor_pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
        // Fields 14 and 15, counted after the name, which may hold blanks: user and system time in clock ticks.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Usage {
            resident_kib,
            cpu_ms: (user + system) * 1000 / per_second,
        })
    }

    /// Starts the visor.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start_visor(&mut self) -> Result<()> {
        if self.visor.is_some() {
            bail!("{} has a visor already", self.name);
        }
        let mut command = Command::new(&self.visor_binary);
        command
            .args(["run", "--home"])
            .arg(self.visor_home())
            .envs(self.visor_env.iter().cloned());
        self.visor = Some(Background::start(command, &self.log_path())?);
        Ok(())
    }

    /// Kills the visor alone with SIGKILL, as the kernel's out-of-memory killer would: its node lives on.
    ///
    /// # Errors
    /// When no visor runs.
    pub fn kill_visor(&mut self) -> Result<()> {
        let mut visor = self
            .visor
            .take()
            .with_context(|| format!("{} has no visor", self.name))?;
        visor.kill_now();
        Ok(())
    }

    /// Waits for the visor to end by itself.
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub async fn wait_visor_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let visor = self
            .visor
            .as_mut()
            .with_context(|| format!("{} has no visor", self.name))?;
        match visor.wait_until(Instant::now() + limit).await? {
            Some(status) => {
                self.visor = None;
                Ok(status)
            }
            None => bail!(
                "the visor of {} still runs after {limit:?}\n{}",
                self.name,
                visor.log_tail(30)
            ),
        }
    }

    /// Asks the visor to stop, which stops the node as well.
    pub(crate) fn request_stop(&self) {
        if let Some(visor) = &self.visor {
            visor.signal(Signal::TERM);
        }
    }

    /// Stops visor and node and leaves no process behind.
    ///
    /// # Errors
    /// When the visor did not stop by itself, or left a process of the node alive; they are killed then.
    pub async fn stop(&mut self) -> Result<()> {
        self.request_stop();
        let mut problem = None;
        if let Some(mut visor) = self.visor.take()
            && visor.wait_until(Instant::now() + STOP_LIMIT).await?.is_none()
        {
            problem = Some(format!(
                "the visor of {} did not stop within {STOP_LIMIT:?}",
                self.name
            ));
            visor.kill_now();
        }
        let left = self.kill_leftovers();
        if problem.is_none() && !left.is_empty() {
            problem = Some(format!(
                "the visor of {} left processes behind: {left:?}",
                self.name
            ));
        }
        problem.map_or(Ok(()), |problem| bail!("{problem}\n{}", self.log_tail(30)))
    }

    /// The last lines of visor and node.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log_path(), lines)
    }

    /// Processes of this host's node: those whose command line names the node's home.
    ///
    /// Read from `/proc`, not from the visor, because it is what checks the visor.
    #[must_use]
    pub fn node_processes(&self) -> Vec<u32> {
        processes_naming(&self.node_home())
    }

    fn kill_leftovers(&self) -> Vec<u32> {
        let left = self.node_processes();
        for pid in left
            .iter()
            .filter_map(|pid| i32::try_from(*pid).ok())
            .filter_map(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(visor) = &mut self.visor {
            visor.kill_now();
        }
        self.kill_leftovers();
    }
}

/// Live processes with `path` as a whole argument.
fn processes_naming(path: &Path) -> Vec<u32> {
    let wanted = path.as_os_str().as_encoded_bytes();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            // A zombie has an empty command line, so it is not counted as alive.
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == wanted))
        })
        .collect()
}
