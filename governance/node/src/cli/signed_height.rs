//! `governance signed-height`.

use std::path::PathBuf;

use clap::Args;
use governance::Height;

use super::{CommandError, Output, print};
use crate::exit_code;
use crate::home::Home;
use crate::node::{SIGNED_HEIGHT_FILE, STORE_FILE, WAL_FILE};
use crate::signed_height::{self, SignedHeightError};

#[derive(Debug, Args)]
pub(super) struct SignedHeightArguments {
    /// Home of the node; it may run or not
    #[arg(long)]
    home: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Json)]
    output: Output,
}

pub(super) fn run(arguments: &SignedHeightArguments) -> Result<(), CommandError> {
    let home = Home::new(&arguments.home);
    home.check_initialised().map_err(CommandError::config)?;
    let data = home.data();
    let height = match signed_height::read(&data.join(SIGNED_HEIGHT_FILE)) {
        Ok(height) => height,
        // Made by `governance init`, and never started.
        Err(SignedHeightError::Missing { .. })
            if !data.join(STORE_FILE).exists() && !data.join(WAL_FILE).exists() =>
        {
            Height(0)
        }
        Err(error @ SignedHeightError::Damaged { .. }) => {
            return Err(CommandError::new(exit_code::STORE, error));
        }
        Err(error @ SignedHeightError::Missing { .. }) => {
            return Err(CommandError::new(exit_code::FAILED, error));
        }
        // The same answer as a start gives.
        Err(error @ SignedHeightError::Io { .. }) => {
            return Err(CommandError::new(exit_code::DISK, error));
        }
    };
    match arguments.output {
        Output::Json => print(&serde_json::json!({ "signed_height": height.0 }).to_string()),
        Output::Human => print(&format!("signed height  {height}")),
    }
}
