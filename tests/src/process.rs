//! Running the binaries: to their end with captured output, or in the background with a log file.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

/// How a command ended.
#[derive(Debug)]
pub struct CommandOutput {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// Runs a command to its end. A non-zero exit is no error here: the caller judges it.
pub(crate) async fn run(command: Command) -> Result<CommandOutput> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {shown}"))?;
    Ok(CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command and fails with its standard error unless it exits 0.
pub(crate) async fn run_ok(command: Command) -> Result<CommandOutput> {
    let shown = format!("{command:?}");
    let output = run(command).await?;
    if output.code != Some(0) {
        bail!(
            "{shown} exited with {:?}: {}{}",
            output.code,
            output.stderr,
            output.stdout
        );
    }
    Ok(output)
}

/// A process in the background.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    log: PathBuf,
    /// Copies the outputs to the log, when the process does not write there itself.
    copying: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches only whoever owns this; both outputs are appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = append(log)?;
        let errors = file
            .try_clone()
            .with_context(|| format!("share {}", log.display()))?;
        let shown = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {shown}"))?;
        Ok(Self {
            child,
            log: log.to_path_buf(),
            copying: None,
        })
    }

    /// The same through a pipe: the process can speak when it can write to no file. It must have no children that outlive it.
    pub(crate) fn start_piped(mut command: Command, log: &Path) -> Result<Self> {
        let mut file = append(log)?;
        let (mut reader, writer) = std::io::pipe().context("make a pipe")?;
        let errors = writer.try_clone().context("share a pipe")?;
        let shown = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {shown}"))?;
        // The command holds ends of the pipe; the copying ends when the last one is closed.
        drop(command);
        let copying = std::thread::spawn(move || {
            drop(std::io::copy(&mut reader, &mut file));
        });
        Ok(Self {
            child,
            log: log.to_path_buf(),
            copying: Some(copying),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended; then all that it has said is in the log.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let ended = self
            .child
            .try_wait()
            .with_context(|| format!("wait for {}", self.child.id()))?;
        if ended.is_some() {
            self.finish_log();
        }
        Ok(ended)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // A process that has just ended cannot be signalled; that is what was wanted.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits for the end until `deadline`.
    pub(crate) async fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // std's Child has no awaitable end; this is a bounded poll of one system call.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills at once and reaps. For destructors.
    pub(crate) fn kill_now(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.finish_log();
    }

    /// After the end.
    fn finish_log(&mut self) {
        if let Some(copying) = self.copying.take() {
            drop(copying.join());
        }
    }

    /// The last `lines` lines of the log.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

/// The last `lines` lines of a file, or why it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let mut text = String::new();
    match File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => {
            let all: Vec<&str> = text.lines().collect();
            all.iter()
                .skip(all.len().saturating_sub(lines))
                .map(|line| format!("    {line}\n"))
                .collect()
        }
        Err(error) => format!("    (cannot read {}: {error})\n", path.display()),
    }
}

fn append(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}
