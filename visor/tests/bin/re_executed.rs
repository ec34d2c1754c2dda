//! The least visor that replaces itself: it starts the unit of a home's `genesis` or adopts it, re-executes itself on SIGUSR1, and
//! stops the unit on SIGTERM. What it does stands on its standard output, one line each.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use visor::lock::{NodeLock, VisorLock};
use visor::process::{Found, StopOrder, Unit, find_running, re_exec, recognise};
use visor::run_config::RunConfig;

const STOP: StopOrder = StopOrder {
    delay: Duration::ZERO,
    grace: Duration::from_secs(10),
};

fn main() -> Result<()> {
    let home = PathBuf::from(std::env::args_os().nth(1).context("expected a home")?);
    let lock = VisorLock::acquire(&home.join("visor.lock"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(home, &lock))
}

async fn run(home: PathBuf, lock: &VisorLock) -> Result<()> {
    let mut restart = signal(SignalKind::user_defined1())?;
    let mut stop = signal(SignalKind::terminate())?;
    let node_lock = NodeLock::new(home.join("node.lock"));
    let folder = home.join("genesis");
    let launch = RunConfig::read(&folder)?.launch(&folder, None);
    let (word, mut unit) = match find_running(&node_lock).await? {
        Found::Nothing => ("started", Unit::start(&launch.ready()?, &node_lock, STOP)?),
        Found::Mains(mains) => (
            "adopted",
            Unit::adopt(&recognise(&launch, &mains), &node_lock, STOP)?,
        ),
        Found::Leftovers => bail!("something is left"),
    };
    say(&format!("{word} {}", unit.pid()))?;
    loop {
        tokio::select! {
            exit = unit.exit() => return say(&format!("exit {:?} {:?}", exit.code, exit.signal)),
            _ = stop.recv() => unit.stop(STOP),
            _ = restart.recv() => say(&format!("failed {}", re_exec(lock)))?,
        }
    }
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("write")
}
