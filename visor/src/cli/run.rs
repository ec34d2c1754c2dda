//! `visor run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::CommandError;
use super::casper::{self, LauncherArguments};
use crate::adapter;
use crate::config::{Log, LogFormat};
use crate::daemon::{self, Ended};
use crate::exit_code;
use crate::home::Home;
use crate::lock::VisorLock;
use crate::process::re_exec;

#[derive(clap::Args)]
pub(super) struct RunArguments {
    /// The home of visor
    #[arg(
        long,
        env = "VISOR_HOME",
        value_name = "DIR",
        required_unless_present = "casper"
    )]
    home: Option<PathBuf>,
    /// Do what casper-node-launcher does, in the folders that CASPER_BIN_DIR and CASPER_CONFIG_DIR name
    #[arg(long)]
    casper: bool,
    #[command(flatten)]
    launcher: LauncherArguments,
}

pub(super) fn run(arguments: &RunArguments) -> Result<u8, CommandError> {
    if !arguments.casper && arguments.launcher.is_forcing() {
        return Err(CommandError::new(
            exit_code::USAGE,
            "force a version: expected --casper beside it",
        ));
    }
    match &arguments.home {
        Some(home) if !arguments.casper => run_home(home),
        Some(_) | None => Ok(casper::launch(&arguments.launcher)),
    }
}

/// Runs the visor of a home, whichever chain system it is of.
pub(super) fn run_home(home: &Path) -> Result<u8, CommandError> {
    let home = Home::open(home)?;
    let looking = adapter::of_home(&home);
    if looking.name() == "casper" {
        let refusal = "run this home: it belongs to a casper-node-launcher; expected `visor run --casper`, or the launcher's name";
        return Err(CommandError::new(exit_code::USAGE, refusal));
    }
    let config = looking.read_config()?;
    // Before anything is looked at: what another visor is changing must not be read.
    let lock = VisorLock::acquire(&home.visor_lock())?;
    start_log(&config.log);
    let mut config = config;
    loop {
        let adapter = adapter::open(&home, &config)?;
        let runtime = runtime()?;
        let ended = runtime.block_on(daemon::run(&home, Arc::clone(&adapter), &config, None));
        // A staging thread may be in the middle of a fetch; nobody waits for it.
        runtime.shutdown_background();
        match ended? {
            Ended::Code(code) => return Ok(code),
            Ended::ShutDown => return Ok(exit_code::SUCCESS),
            Ended::SelfRestart => {
                // It returns only when it fails: then this program goes on, and adopts the node itself.
                let error = re_exec(&lock);
                tracing::error!(%error, "visor cannot become the program at its path; it goes on as it is");
                config = adapter.read_config().unwrap_or(config);
            }
        }
    }
}

/// One thread runs everything: a daemon that mostly waits needs no more.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::new(exit_code::FAILED, source))
}

fn start_log(log: &Log) {
    // Not an `EnvFilter`: its pattern matching would be a good part of the daemon's memory.
    let filter = log
        .level
        .parse::<Targets>()
        .unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry();
    // A subscriber is set already only in tests that run this twice in a process; theirs is as good.
    let _ = match log.format {
        LogFormat::Text => registry.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_filter(filter))
            .try_init(),
    };
}
