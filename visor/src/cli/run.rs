//! `visor run`.

use tracing_subscriber::EnvFilter;

use super::{CommandError, HomeArgument};
use crate::config::{Config, Log, LogFormat};
use crate::daemon;
use crate::exit_code;
use crate::home::Home;
use crate::lock::VisorLock;

#[derive(clap::Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    home: HomeArgument,
}

pub(super) fn run(arguments: &RunArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    let config = Config::read(&home.config())?;
    // Before anything is looked at: what another visor is changing must not be read.
    let lock = VisorLock::acquire(&home.visor_lock())?;
    start_log(&config.log);
    let runtime = runtime()?;
    let code = runtime.block_on(daemon::run(&home, &config));
    // A staging thread may be in the middle of a fetch; nobody waits for it.
    runtime.shutdown_background();
    drop(lock);
    code
}

/// One thread runs everything: a daemon that mostly waits needs no more.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::new(exit_code::FAILED, source))
}

fn start_log(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A subscriber is set already only in tests that run this twice in a process; theirs is as good.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
