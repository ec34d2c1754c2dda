//! The command line of `governance`: one file per command.

mod export;
mod genesis;
mod import;
mod init;
mod signed_height;
mod start;
mod status;
mod version;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use governance::ReleaseVersion;

use crate::exit_code;

/// A node of a governance chain.
#[derive(Debug, Parser)]
#[command(name = "governance", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's home: configuration and keys (offline)
    Init(init::InitArguments),
    /// Write the genesis that all nodes of a chain share (offline)
    Genesis(genesis::GenesisArguments),
    /// Run the node
    Start(start::StartArguments),
    /// Show where a running node stands
    Status(status::StatusArguments),
    /// Print the highest height that a node has signed a proposal or vote for (offline)
    SignedHeight(signed_height::SignedHeightArguments),
    /// Write the state of a stopped node to a file, for new nodes to start from (offline)
    Export(export::ExportArguments),
    /// Start a new node's store from such a file (offline)
    Import(import::ImportArguments),
    /// Print the release version and the hash of this binary (offline)
    Version(version::VersionArguments),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Human,
    /// One JSON object.
    Json,
}

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    code: u8,
    error: Box<dyn Error + Send + Sync>,
}

impl CommandError {
    pub(crate) fn new(code: u8, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    pub(crate) fn config(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::new(exit_code::FAILED, error)
    }
}

/// Runs the command line of this process. `release` is the version stamped into the binary.
#[must_use]
pub fn main(release: &ReleaseVersion) -> ExitCode {
    match panic::catch_unwind(|| run(release)) {
        Ok(Ok(())) => ExitCode::from(exit_code::OK),
        Ok(Err(failure)) => {
            // Without standard error the exit code still tells.
            let _ = writeln!(io::stderr(), "error: {}", chain(&*failure.error));
            ExitCode::from(failure.code)
        }
        // Where and why is on standard error already.
        Err(_) => ExitCode::from(exit_code::BUG),
    }
}

fn run(release: &ReleaseVersion) -> Result<(), CommandError> {
    match Arguments::parse().command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Genesis(arguments) => genesis::run(&arguments),
        Command::Start(arguments) => start::run(&arguments, release),
        Command::Status(arguments) => status::run(&arguments),
        Command::SignedHeight(arguments) => signed_height::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Version(arguments) => version::run(&arguments, release),
    }
}

/// An error with its causes, the outermost first.
#[must_use]
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Prints data.
fn print(text: &str) -> Result<(), CommandError> {
    match writeln!(io::stdout(), "{text}") {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Says something that is no data.
fn tell(text: &str) {
    // Without standard error the exit code still tells.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
