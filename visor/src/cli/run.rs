//! `visor run`.
use super::{CommandError, HomeArgument};
use crate::exit_code;
#[derive(clap::Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    home: HomeArgument,
}
pub(super) fn run(arguments: &RunArguments) -> Result<u8, CommandError> {
    let _ = &arguments.home;
    Err(CommandError::new(
        exit_code::BUG,
        std::io::Error::other("to come"),
    ))
}
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::new(exit_code::FAILED, source))
}
