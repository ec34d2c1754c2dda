//! The command line: one file per command. What a command needs is the files of one home; orders also need the visor that
//! runs there, and its socket.

mod casper;
mod client;
mod command_error;
mod config;
mod doctor;
mod history;
mod init;
mod journal;
mod known;
mod pause;
mod plan;
mod resume;
mod rollback;
mod run;
mod self_restart;
mod skip;
mod stage;
mod start_node;
mod status;
mod stop_node;
mod text;
mod upgrade_at;
mod vegavisor;
mod verify;
mod version;

pub use command_error::{CommandError, chain};

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit_code;
use crate::run_config::is_version;

#[derive(Parser)]
#[command(
    name = "visor",
    version,
    about = "Stages, stops, swaps and restarts the node of a validator host",
    args_override_self = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a home for the version that runs now
    Init(init::InitArguments),
    /// Run the node of a home, and upgrade it when the chain says so
    Run(run::RunArguments),
    /// Show what a home's visor and its node are doing
    Status(status::StatusArguments),
    /// Show what happened in a home; works offline
    History(history::HistoryArguments),
    /// Show every upgrade that is known, and what is missing for it; offline from the journal
    Plan(plan::PlanArguments),
    /// Try staging again now; or put a binary in place by hand, which works offline
    Stage(stage::StageArguments),
    /// Do not carry out the upgrade of a height; needs a running visor
    Skip(skip::SkipArguments),
    /// Upgrade at a height without the chain's word; needs a running visor
    UpgradeAt(upgrade_at::UpgradeAtArguments),
    /// Begin no upgrade until `resume`; needs a running visor
    Pause(client::OrderArguments),
    /// Carry out upgrades again; needs a running visor
    Resume(client::OrderArguments),
    /// Stop the node and keep it stopped; needs a running visor
    StopNode(client::OrderArguments),
    /// Start a node that `stop-node` stopped; needs a running visor
    StartNode(client::OrderArguments),
    /// Go back to the version and the data of before the last upgrade; needs a running visor
    Rollback(rollback::RollbackArguments),
    /// Replace the running visor by the program that lies at its path now; the node runs on
    SelfRestart(client::OrderArguments),
    /// Find what would make the next upgrade fail
    Doctor(doctor::DoctorArguments),
    /// Check the configuration; works offline
    Config(config::ConfigArguments),
    /// Look into the journal; works offline
    Journal(journal::JournalArguments),
    /// Verify the certificate of an accepted proposal, with nothing but the genesis
    Verify(verify::VerifyArguments),
    /// Show the version of this program
    Version(version::VersionArguments),
}

#[derive(clap::Args)]
struct HomeArgument {
    /// The home of visor
    #[arg(long, env = "VISOR_HOME", value_name = "DIR")]
    home: PathBuf,
}

/// Runs one command line and returns the exit code. Called by the name of a tool that it replaces, the program is that tool.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments
        .first()
        .is_some_and(|program| vegavisor::is_named_so(program))
    {
        return vegavisor::main(arguments);
    }
    if arguments
        .first()
        .is_some_and(|program| casper::is_named_so(program))
    {
        return casper::main(arguments);
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not errors; a closed stdout is nobody's loss.
            let _ = error.print();
            return if error.use_stderr() {
                exit_code::USAGE
            } else {
                exit_code::SUCCESS
            };
        }
    };
    let result = match arguments.command {
        Command::Init(arguments) => init::init(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::History(arguments) => history::history(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Stage(arguments) => stage::stage(&arguments),
        Command::Skip(arguments) => skip::skip(&arguments),
        Command::UpgradeAt(arguments) => upgrade_at::upgrade_at(&arguments),
        Command::Pause(arguments) => pause::pause(&arguments),
        Command::Resume(arguments) => resume::resume(&arguments),
        Command::StopNode(arguments) => stop_node::stop_node(&arguments),
        Command::StartNode(arguments) => start_node::start_node(&arguments),
        Command::Rollback(arguments) => rollback::rollback(&arguments),
        Command::SelfRestart(arguments) => self_restart::self_restart(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Journal(arguments) => journal::journal(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Version(arguments) => version::version(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("visor: failed to {}", chain(&error)));
            error.exit_code()
        }
    }
}

/// What the program ends with after a panic, by the name that it was called by.
#[must_use]
pub fn code_of_a_bug(program: Option<&OsStr>) -> u8 {
    if program.is_some_and(casper::is_named_so) {
        casper::BUG
    } else if program.is_some_and(vegavisor::is_named_so) {
        vegavisor::FAILED
    } else {
        exit_code::BUG
    }
}

/// Writes data to standard output.
fn print(text: &str) -> Result<(), CommandError> {
    match writeln!(io::stdout(), "{text}") {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|source| CommandError::new(exit_code::FAILED, source)),
    }
}

/// Writes for people, beside the data. A closed stderr is nobody's loss.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A version on the command line, with or without a leading `v`.
fn version_argument(text: &str) -> Result<String, String> {
    let version = text.strip_prefix('v').unwrap_or(text);
    if is_version(version) {
        Ok(version.to_owned())
    } else {
        Err("expected three numbers such as 1.2.0".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
