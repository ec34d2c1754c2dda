//! Called by the name of Vega's visor, the program has that program's commands and flags, and its exit codes: 0, or 1.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser as _;
use clap::{Parser, Subcommand};

use super::version::Output;
use super::{CommandError, chain, complain, print};
use crate::adapter::vega;
use crate::exit_code;
use crate::home::{Home, HomeError};

/// The name of the program that is replaced.
const NAME: &str = "vegavisor";

/// After any error.
pub(super) const FAILED: u8 = 1;

/// Without environment variables: the program that is replaced had none.
#[derive(Parser)]
#[command(
    name = NAME,
    about = "Runs the binaries of a Vega node, and upgrades them when the chain says so",
    args_override_self = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a home
    Init {
        /// The home of visor
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// With examples for a data node
        #[arg(
            long,
            num_args = 0..=1,
            require_equals = true,
            default_value = "false",
            default_missing_value = "true",
            value_parser = clap::builder::NonEmptyStringValueParser::new().try_map(|text| switch(&text)),
        )]
        with_data_node: bool,
    },
    /// Run the node of a home, and upgrade it when the chain says so
    Run {
        /// The home of visor
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
    },
    /// Show the version of this program
    Version {
        /// How to print it
        #[arg(long, value_enum, default_value = "human")]
        output: Output,
    },
}

/// A switch as Go writes it.
fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// Whether a program's name, with or without the way to it, is that of Vega's visor.
pub(super) fn is_named_so(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// The home has none of the files that Vega's visor needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "use the home {home}: expected Vega's files, a config.toml with its keys or a run-config.toml with a section [vega], found none. \
     `{NAME} init --home DIR` makes a new home", home = home.display()
)]
struct NoVegaHome {
    home: PathBuf,
}

/// Runs one command line and returns the exit code.
pub(super) fn main(arguments: Vec<OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is an answer, not an error; a closed stdout is nobody's loss.
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    let result = match arguments.command {
        None => help(),
        Some(Command::Init { home, with_data_node }) => init(&home, with_data_node),
        Some(Command::Run { home }) => run(&home),
        Some(Command::Version { output }) => version(output),
    };
    match result {
        Ok(code) => u8::from(code != exit_code::SUCCESS),
        Err(error) => {
            complain(&format!("{NAME}: failed to {}", chain(&error)));
            FAILED
        }
    }
}

fn help() -> Result<u8, CommandError> {
    use clap::CommandFactory as _;
    print(&Arguments::command().render_help().to_string())?;
    Ok(exit_code::SUCCESS)
}

/// Makes a Vega home.
pub(super) fn init(home: &Path, with_data_node: bool) -> Result<u8, CommandError> {
    let config_error =
        |error: Box<dyn std::error::Error + Send + Sync>| CommandError::new(exit_code::CONFIG, error);
    let home = std::path::absolute(home).map_err(|error| config_error(error.into()))?;
    crate::home::check_socket_path(&Home::at(home.clone()).socket(), "home folder of visor")
        .map_err(|error| config_error(error.into()))?;
    vega::init(&home, with_data_node).map_err(|error| config_error(error.into()))?;
    let home = home.display();
    complain(&format!(
        "Initialised {home}. Put the binary `vega` in {home}/genesis, correct its arguments in {home}/genesis/run-config.toml, look at \
         {home}/config.toml, then run it"
    ));
    Ok(exit_code::SUCCESS)
}

/// What Vega's visor calls a home is not there, or not whole.
#[derive(Debug, thiserror::Error)]
enum NoHome {
    #[error("open the home {home}: expected a folder that `{NAME} init --home {home}` makes", home = home.display())]
    Unreadable {
        home: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("use the home {home}: expected Vega's config.toml in it, found none. `{NAME} init --home DIR` makes a new home with one", home = home.display())]
    NoConfig { home: PathBuf },
}

fn run(home: &Path) -> Result<u8, CommandError> {
    let opened = Home::open(home).map_err(|error| match error {
        HomeError::Unreadable { path, source } => {
            CommandError::new(exit_code::CONFIG, NoHome::Unreadable { home: path, source })
        }
        HomeError::NotInitialised { path } => {
            CommandError::new(exit_code::CONFIG, NoHome::NoConfig { home: path })
        }
        HomeError::Socket(_) => error.into(),
    })?;
    if !vega::is_vega_home(&opened) {
        let home = home.to_path_buf();
        return Err(CommandError::new(exit_code::CONFIG, NoVegaHome { home }));
    }
    super::run::run_home(home)
}

fn version(output: Output) -> Result<u8, CommandError> {
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    let hash = super::version::HASH;
    print(&match output {
        Output::Human if hash.is_empty() => format!("visor {version}"),
        Output::Human => format!("visor {version} ({hash})"),
        // In this order, as scripts may read it with less than a parser.
        Output::Json => format!("{{\"version\":\"{version}\",\"hash\":\"{hash}\"}}"),
    })?;
    Ok(exit_code::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_name_alone_counts() {
        for (name, is) in [
            ("vegavisor", true),
            ("/usr/local/bin/vegavisor", true),
            ("./vegavisor", true),
            ("vegavisor2", false),
            ("/opt/vegavisor/visor", false),
            ("visor", false),
        ] {
            assert_eq!(is_named_so(OsStr::new(name)), is, "{name}");
        }
    }

    #[test]
    fn flags_are_taken_as_the_program_that_is_replaced_takes_them() {
        for (line, expected) in [
            ("init --home /h", Some(false)),
            ("init --home=/h --with-data-node", Some(true)),
            ("init --with-data-node=false --home /h", Some(false)),
            ("init --with-data-node=T --home /other --home /h", Some(true)),
            ("init --with-data-node=maybe --home /h", None),
            ("init --with-data-node", None),
            ("init --home /h --binary x", None),
            ("run", None),
            ("upgrade --home /h", None),
        ] {
            let found = match parsed(&format!("vegavisor {line}")).map(|arguments| arguments.command) {
                Ok(Some(Command::Init { home, with_data_node })) => {
                    assert_eq!(home, Path::new("/h"), "{line}");
                    Some(with_data_node)
                }
                Ok(_) | Err(_) => None,
            };
            assert_eq!(found, expected, "{line}");
        }
        assert!(parsed("vegavisor run --home /h").is_ok());
        assert!(parsed("vegavisor version --output json").is_ok());
        assert!(parsed("vegavisor version --output yaml").is_err());
    }
}
