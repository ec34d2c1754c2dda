//! `wallet keys create`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::keystore::KeyName;

/// Create a new ed25519 key
///
/// The secret goes to HOME/keys/NAME.json, readable by you only, and is never shown; an existing key is never overwritten.
/// Prints the public key, which the chain's genesis or validator set must name before the key can propose and vote.
/// Works offline.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// What this wallet calls the key
    name: KeyName,
}

pub(crate) fn run(args: CreateArgs, context: &Context) -> Result<(), CommandError> {
    let store = context.keystore()?;
    let key = store.create(args.name)?;
    super::print(&key, &store, context)?;
    context
        .ui
        .note("Keep a copy of the file in a safe place: nobody can restore the key without it.");
    Ok(())
}
