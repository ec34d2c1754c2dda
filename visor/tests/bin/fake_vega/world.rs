//! The folder of one host's Vega processes: their log, their locks, and what ends them.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::behaviour::Behaviour;
use crate::fake::{lock, monotonic_us};

/// The exit code of one that found another alive.
pub(crate) const DOUBLE: u8 = 99;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Role {
    #[serde(rename = "core")]
    Core,
    #[serde(rename = "data")]
    DataNode,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::DataNode => "data",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Core => Self::DataNode,
            Self::DataNode => Self::Core,
        }
    }
}

/// One process in it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) role: Role,
    pub(crate) version: String,
    pub(crate) home: PathBuf,
    folder: PathBuf,
    /// It has said that it waits for an upgrade: from then on it can only end by killing itself.
    pub(crate) ready: Cell<bool>,
    /// It ends, and makes no more blocks.
    pub(crate) ending: Cell<bool>,
}

impl World {
    pub(crate) fn of(role: Role, home: &Path, version: String) -> Result<Self> {
        let folder = home.parent().context("a home inside a folder")?.to_path_buf();
        fs::create_dir_all(home)?;
        Ok(Self {
            role,
            version,
            home: home.to_path_buf(),
            folder,
            ready: Cell::new(false),
            ending: Cell::new(false),
        })
    }

    pub(crate) fn behaviour(&self) -> Result<Behaviour> {
        Behaviour::read(&self.folder)
    }

    pub(crate) fn log(&self, line: &str) -> Result<()> {
        log(&self.folder, self.role, line)
    }

    /// Where the core sends its blocks.
    pub(crate) fn events(&self) -> PathBuf {
        self.folder.join("events")
    }

    /// Takes the locks for life. Nothing when somebody is alive who must not be.
    pub(crate) fn begin(&self, height: u64, load: Option<i64>) -> Result<Option<File>> {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let load = load.map_or_else(|| "-".to_owned(), |height| height.to_string());
        self.log(&format!(
            "start {} {} {height} {load} {} {unix_ms}",
            std::process::id(),
            self.version,
            monotonic_us()
        ))?;
        let Some(alive) = lock(&self.home, "exclusive", FlockOperation::NonBlockingLockExclusive)? else {
            self.log("DOUBLE: another one is alive")?;
            return Ok(None);
        };
        if lock(&self.home, "helpers", FlockOperation::NonBlockingLockExclusive)?.is_none() {
            self.log("DOUBLE: a helper of the previous one is alive")?;
            return Ok(None);
        }
        // Whichever of the two writes second sees the other.
        let executable = std::env::current_exe()?;
        let line = format!("{} {} {}", std::process::id(), self.version, executable.display());
        fs::write(self.running(self.role), line)?;
        if let Some(version) = self.version_beside()? {
            self.log(&format!("DOUBLE: {version} beside {}", self.version))?;
            return Ok(None);
        }
        if self.behaviour()?.helpers.contains(&self.role) {
            Command::new(executable).arg("helper").arg(&self.home).spawn()?;
        }
        Ok(Some(alive))
    }

    fn running(&self, role: Role) -> PathBuf {
        self.folder.join(format!("running-{}", role.word()))
    }

    /// The other process's version, when it runs and that is another one.
    fn version_beside(&self) -> Result<Option<String>> {
        let text = match fs::read_to_string(self.running(self.role.other())) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut words = text.splitn(3, ' ');
        let (Some(pid), Some(version), Some(executable)) = (words.next(), words.next(), words.next()) else {
            return Ok(None);
        };
        // A process that has ended has no executable any more, also before it is reaped.
        let alive =
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|found| found == Path::new(executable));
        Ok((alive && version != self.version).then(|| version.to_owned()))
    }

    pub(crate) fn end(&self, how: &str) -> Result<()> {
        self.log(&format!("end {} {how} {}", std::process::id(), monotonic_us()))
    }

    /// Ends when SIGTERM says so: with 0, and at the halt by SIGKILL, since the engine cannot be stopped there.
    pub(crate) async fn terminated(&self) -> Result<u8> {
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            terminate.recv().await;
            let behaviour = self.behaviour()?;
            if behaviour.ignores_sigterm(self.role) {
                self.log("ignored SIGTERM")?;
                continue;
            }
            self.ending.set(true);
            tokio::time::sleep(behaviour.end_takes(self.role)).await;
            if self.ready.get() {
                self.end("killed")?;
                kill_process(
                    Pid::from_raw(std::process::id().cast_signed()).context("a pid")?,
                    Signal::KILL,
                )?;
            }
            if self.role == Role::DataNode {
                crate::data_node::end_cleanly(self)?;
            }
            return Ok(0);
        }
    }
}

pub(crate) fn log(folder: &Path, role: Role, line: &str) -> Result<()> {
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("log"))?;
    log.write_all(format!("{} {line}\n", role.word()).as_bytes())?;
    Ok(())
}

/// Outlives the one that started it, and every SIGTERM.
pub(crate) fn helper(home: &Path) -> Result<ExitCode> {
    rustix::process::setsid()?;
    let _held = lock(home, "helpers", FlockOperation::NonBlockingLockShared)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let last = tokio::time::Instant::now() + Duration::from_secs(120);
        while tokio::time::timeout_at(last, terminate.recv()).await.is_ok() {}
        Ok(ExitCode::SUCCESS)
    })
}

/// Replaces a file at once.
pub(crate) fn put(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)?;
    Ok(())
}
