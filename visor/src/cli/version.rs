//! `visor version`.

use super::{CommandError, print};
use crate::exit_code;

#[derive(clap::Args)]
pub(super) struct VersionArguments {
    /// How to print it
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// The commit that this program was built from, where whoever built it said so; else empty.
pub(super) const HASH: &str = match option_env!("VISOR_COMMIT") {
    Some(commit) => commit,
    None => "",
};

#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Output {
    Human,
    Json,
}

pub(super) fn version(arguments: &VersionArguments) -> Result<u8, CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    match arguments.output {
        Output::Human => print(&format!("visor {version}"))?,
        Output::Json => {
            print(&serde_json::json!({ "schema": 1, "version": version, "hash": HASH }).to_string())?;
        }
    }
    Ok(exit_code::SUCCESS)
}
