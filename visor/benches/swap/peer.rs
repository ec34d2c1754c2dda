//! Programs that exchange the node, and what they need around them. Each in its best configuration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::timeline::{Event, events, gaps};

/// For one exchange; only a failure waits for it. The slowest waits two seconds before it looks.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the node's log.
const LOOK: Duration = Duration::from_millis(2);
/// After a start, before the node is told to end. A Casper node runs for days; meanwhile what the next upgrade will write is made durable.
const SETTLE: Duration = Duration::from_millis(500);
/// After the order to end, before the log is looked at: longer than an exchange.
const UNSEEN: Duration = Duration::from_millis(50);
/// As many versions as a host of that network has collected in some years.
const CASPER_VERSIONS: usize = 20;

/// Killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same file under another name: a thousand copies would say nothing more.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

pub(crate) fn bare(log: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
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

/// The same, with another program between the two, as at every upgrade of a Casper node.
pub(crate) fn bare_with_migration(log: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    for _ in 0..=swaps {
        for arguments in [&["run", &*log.to_string_lossy(), "once"][..], &["migrate-data"]] {
            let mut child = Command::new(node).args(arguments).stdin(Stdio::null()).spawn()?;
            child.wait()?;
        }
    }
    Ok(gaps(&events(log)?, "exit"))
}

/// The same for nodes that run for a while, as those of a launcher do: whoever waits for their end has slept, and so have the processors.
pub(crate) fn bare_with_rest_and_migration(log: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    for _ in 0..=swaps {
        let mut validator = Command::new(node);
        validator
            .args(["validator", "config.toml"])
            .env("IDLE_NODE_LOG", log);
        let mut migration = Command::new(node);
        migration.arg("migrate-data");
        let mut child = validator.stdin(Stdio::null()).spawn()?;
        let pid = Pid::from_child(&child);
        let ended = std::thread::spawn(move || {
            std::thread::sleep(SETTLE);
            kill_process(pid, Signal::TERM)
        });
        child.wait()?;
        migration.stdin(Stdio::null()).spawn()?.wait()?;
        // Behind the exchange that is measured.
        drop(ended);
    }
    Ok(gaps(&events(log)?, "exit"))
}

/// Its best configuration: no backup, restart after the upgrade, the binaries in place.
pub(crate) fn cosmovisor(
    root: &Path,
    program: &Path,
    node: &Path,
    what: &str,
    swaps: usize,
) -> Result<Vec<Event>> {
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

/// A home of Vega's visor with a core alone, whose admin RPC says at once that it is ready for the next version: no data node, no
/// delays, every binary in place.
pub(crate) fn vegavisor(root: &Path, program: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    let log = root.join("log");
    let socket = root.join("s");
    for number in 0..=swaps {
        let folder = root.join(match number {
            0 => "genesis".to_owned(),
            _ => format!("v1.0.{number}"),
        });
        fs::create_dir_all(&folder)?;
        link(node, &folder.join("idle-node"))?;
        let (log, socket) = (log.display().to_string(), socket.display().to_string());
        let name = format!("v1.0.{number}");
        let run = format!(
            "name = {name:?}\n[vega.binary]\npath = \"idle-node\"\nargs = [\"run\", {log:?}, \"vega\", {socket:?}]\n\
             [vega.rpc]\nsocketPath = {socket:?}\nhttpPath = \"/rpc\"\n"
        );
        fs::write(folder.join("run-config.toml"), run)?;
    }
    let config = "maxNumberOfRestarts = 3\nmaxNumberOfFirstConnectionRetries = 1000\nrestartsDelaySeconds = 1\n\
                  stopSignalTimeoutSeconds = 15\n[autoInstall]\nenabled = false\n";
    fs::write(root.join("config.toml"), config)?;
    std::os::unix::fs::symlink(root.join("genesis"), root.join("current"))?;
    let mut command = Command::new(program);
    command.args(["run", "--home"]).arg(root);
    let mut running = begin(command, root)?;
    // The node asks for the next one as soon as it is asked itself.
    let events = wait_for_starts(&mut running, &log, swaps + 1)?;
    end(running, &events)?;
    Ok(gaps(&events, "exit"))
}

/// Hosts of Casper's launcher, one after the other: the node ends with 0 when it is told to, the next version's `migrate-data` at once.
pub(crate) fn casper_launcher(root: &Path, program: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    let mut all = Vec::with_capacity(swaps);
    while all.len() < swaps {
        let swaps = CASPER_VERSIONS.min(swaps - all.len());
        all.extend(casper_host(
            &root.join(all.len().to_string()),
            program,
            node,
            swaps,
        )?);
    }
    Ok(all)
}

fn casper_host(root: &Path, program: &Path, node: &Path, swaps: usize) -> Result<Vec<i64>> {
    let log = root.join("log");
    for number in 0..=swaps {
        let version = format!("1_0_{number}");
        for (folder, file) in [("bin", "casper-node"), ("config", "config.toml")] {
            let folder = root.join(folder).join(&version);
            fs::create_dir_all(&folder)?;
            match file {
                "config.toml" => fs::write(folder.join(file), "")?,
                _ => link(node, &folder.join(file))?,
            }
        }
    }
    let mut command = Command::new(program);
    command
        // Without a state it would begin with the highest version.
        .args(["--force-version", "1.0.0"])
        .env("CASPER_BIN_DIR", root.join("bin"))
        .env("CASPER_CONFIG_DIR", root.join("config"))
        .env("IDLE_NODE_LOG", &log);
    let mut running = begin(command, root)?;
    for number in 1..=swaps {
        let events = wait_for_starts(&mut running, &log, number)?;
        std::thread::sleep(SETTLE);
        terminate(&events)?;
        // Whoever looks takes a processor from those that are measured.
        std::thread::sleep(UNSEEN);
    }
    let events = wait_for_starts(&mut running, &log, swaps + 1)?;
    end(running, &events)?;
    Ok(gaps(&events, "exit"))
}

fn begin(mut command: Command, root: &Path) -> Result<Running> {
    let output = File::create(root.join("supervisor.log"))?;
    let program = PathBuf::from(command.get_program());
    let child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("run {}", program.display()))?;
    Ok(Running(child))
}

/// Waits until so many nodes have begun.
fn wait_for_starts(running: &mut Running, log: &Path, count: usize) -> Result<Vec<Event>> {
    let mut began = std::time::Instant::now();
    let mut seen = 0;
    loop {
        let found = if log.exists() { events(log)? } else { Vec::new() };
        let starts = found.iter().filter(|event| event.word == "start").count();
        if starts >= count {
            return Ok(found);
        }
        if starts > seen {
            (began, seen) = (std::time::Instant::now(), starts);
        }
        let told = log.with_file_name("supervisor.log");
        let ended = running.0.try_wait()?;
        ensure!(
            ended.is_none() && began.elapsed() < PATIENCE,
            "expected {count} starts, found {starts} ({ended:?}); see {}",
            fs::read_to_string(told).unwrap_or_default()
        );
        std::thread::sleep(LOOK);
    }
}

/// Tells the newest node to end.
fn terminate(events: &[Event]) -> Result<()> {
    let newest = events.iter().rev().find(|event| event.word == "start");
    if let Some(pid) = newest.and_then(|event| Pid::from_raw(event.pid)) {
        kill_process(pid, Signal::TERM)?;
    }
    Ok(())
}

/// Ends the supervisor, and the node, whatever that makes of it.
fn end(mut running: Running, events: &[Event]) -> Result<()> {
    kill_process(Pid::from_child(&running.0), Signal::TERM)?;
    let began = std::time::Instant::now();
    while running.0.try_wait()?.is_none() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(LOOK);
    }
    // Gone already, when its supervisor has stopped it.
    let _ = terminate(events);
    Ok(())
}
