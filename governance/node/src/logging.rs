//! Log lines on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Goes before `[log] filter`.
const VARIABLE: &str = "GOVERNANCE_LOG";

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "[log] filter or the environment variable {VARIABLE}: expected a filter such as `info` or `info,governance_node=debug`, found `{found}`"
)]
pub(crate) struct LogError {
    found: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Sets up logging for the process.
pub(crate) fn start(log: &Log) -> Result<(), LogError> {
    let found = std::env::var(VARIABLE).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&found).map_err(|source| LogError { found, source })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
