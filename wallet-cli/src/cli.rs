//! The command line: what can be asked for, and what holds for every command.

use std::env;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};
use governance::{ChainId, Subject};

use crate::client::Client;
use crate::command::{self, Command};
use crate::command_error::{CommandError, Kind};
use crate::describe::{Names, Surroundings};
use crate::exit_code;
use crate::keystore::{KeyName, Keystore};
use crate::ui::Ui;

/// A validator's wallet: keys, upgrade proposals, votes
///
/// Exit codes: 0 done, 1 rejected or failed, 2 wrong usage, 3 home or key, 4 no node answers,
/// 5 a certificate proves nothing, 255 a bug in the wallet.
#[derive(Parser)]
#[command(name = "wallet", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Folder of the keys [default: $XDG_CONFIG_HOME/visor-wallet or ~/.config/visor-wallet]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "WALLET_HOME",
        help_heading = "Global options"
    )]
    home: Option<PathBuf>,
    /// gRPC address of a governance node
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WALLET_NODE",
        default_value = "http://127.0.0.1:26657",
        help_heading = "Global options"
    )]
    node: String,
    /// The key to sign with [default: the only one]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "WALLET_KEY",
        help_heading = "Global options"
    )]
    key: Option<KeyName>,
    /// Refuse a node of any other chain
    #[arg(long, global = true, value_name = "ID", help_heading = "Global options")]
    chain_id: Option<ChainId>,
    /// Print one JSON object on standard output
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Sign without asking
    #[arg(long, global = true, help_heading = "Global options")]
    yes: bool,
}

/// What every command is given.
pub(crate) struct Context {
    home: Option<PathBuf>,
    node: String,
    pub(crate) key: Option<KeyName>,
    pub(crate) chain_id: Option<ChainId>,
    pub(crate) ui: Ui,
}

impl Context {
    pub(crate) fn keystore(&self) -> Result<Keystore, CommandError> {
        let home = self.home.clone().or_else(default_home).ok_or_else(|| {
            CommandError::new(
                Kind::Config,
                "neither HOME nor XDG_CONFIG_HOME is set, so there is no default home",
            )
            .with_hint("name one with --home or WALLET_HOME")
        })?;
        Ok(Keystore::new(&home))
    }

    pub(crate) async fn connect(&self) -> Result<Client, CommandError> {
        Ok(Client::connect(&self.node, self.chain_id.as_ref()).await?)
    }

    /// What a person wants to know beside a proposal; a program that confirmed beforehand is told nothing of it.
    pub(crate) async fn surroundings(
        &self,
        subject: &Subject,
        client: &mut Client,
    ) -> Result<Surroundings, CommandError> {
        let named = matches!(subject, Subject::Validators(_)) && !self.ui.is_silent();
        Ok(Surroundings {
            height: Some(client.status().height.0),
            interval: self.block_interval(client).await,
            parameters: Some(client.status().parameters),
            names: if named {
                Names::new(&client.validators().await?)
            } else {
                Names::default()
            },
        })
    }

    /// For the time to a height that a person reads.
    pub(crate) async fn block_interval(&self, client: &mut Client) -> Option<Duration> {
        if self.ui.is_silent() {
            return None;
        }
        client.block_interval().await
    }
}

/// Runs the wallet with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    // The panic's message is on standard error already; the code tells scripts that it was no answer of the network.
    panic::catch_unwind(run_command).unwrap_or_else(|_| ExitCode::from(exit_code::BUG))
}

fn run_command() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where each goes.
            drop(error.print());
            let code = if error.use_stderr() {
                exit_code::USAGE
            } else {
                exit_code::SUCCESS
            };
            return ExitCode::from(code);
        }
    };
    let Global {
        home,
        node,
        key,
        chain_id,
        json,
        yes,
    } = cli.global;
    let context = Context {
        home,
        node,
        key,
        chain_id,
        ui: Ui::new(json, yes),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli.command, &context)),
        Err(error) => Err(CommandError::new(Kind::Failed, error)),
    };
    match result {
        Ok(()) => ExitCode::from(exit_code::SUCCESS),
        Err(error) => error.report(&context.ui),
    }
}

fn default_home() -> Option<PathBuf> {
    // The XDG specification: a relative path is invalid and ignored.
    let configured = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let folder = configured.or_else(|| env::home_dir().map(|home| home.join(".config")))?;
    Some(folder.join("visor-wallet"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_whether_it_works_offline() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .filter(|command| command.get_name() != "help")
                    .for_each(check);
                return;
            }
            let help = command
                .get_long_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Works offline.") || help.contains("Needs a node."),
                "{}: {help}",
                command.get_name()
            );
        }
        check(&Cli::command());
    }
}
