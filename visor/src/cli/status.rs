//! `visor status`.
use super::{CommandError, HomeArgument};
use crate::exit_code;

#[derive(clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &StatusArguments) -> Result<u8, CommandError> {
    let _ = (arguments.json, &arguments.home);
    Ok(exit_code::SUCCESS)
}
