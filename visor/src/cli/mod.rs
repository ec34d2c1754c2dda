//! The command line: one file per command. Every command works offline, from the files and the socket of one home.

mod command_error;
mod init;
mod run;
mod status;
mod verify;
mod version;

pub use command_error::{CommandError, chain};

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit_code;

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

/// Runs one command line and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
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
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Version(arguments) => version::version(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "visor: failed to {}", chain(&error));
            error.exit_code()
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
