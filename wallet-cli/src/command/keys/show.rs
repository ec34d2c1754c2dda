//! `wallet keys show`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::keystore::KeyName;

/// Show a key's public key and validator id, never its secret
///
/// Works offline.
#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The key; without a name the one that would sign
    name: Option<KeyName>,
}

pub(crate) fn run(args: &ShowArgs, context: &Context) -> Result<(), CommandError> {
    let store = context.keystore()?;
    let key = store.choose(args.name.as_ref().or(context.key.as_ref()))?;
    super::print(&key, &store, context)
}
