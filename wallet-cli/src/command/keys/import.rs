//! `wallet keys import`

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::Context;
use crate::command_error::{CommandError, Kind};
use crate::keystore::{KeyName, KeystoreError};

/// Import an ed25519 key from a file or from standard input
///
/// Accepts the 32-byte seed as 64 hexadecimal digits, or a key file of this wallet. Works offline.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// What this wallet calls the key
    name: KeyName,
    /// Read the key from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: ImportArgs, context: &Context) -> Result<(), CommandError> {
    let store = context.keystore()?;
    let key = match &args.file {
        Some(path) => {
            let file = File::open(path).map_err(|source| KeystoreError::Io {
                what: "open",
                path: path.clone(),
                source,
            })?;
            store.import(args.name, file, path)?
        }
        None if io::stdin().is_terminal() => {
            // A secret typed or pasted here would stay on the screen.
            let message = "the key is read from standard input, which is a terminal";
            return Err(CommandError::new(Kind::Usage, message)
                .with_hint("name its file with --file, or pipe it into the wallet"));
        }
        None => store.import(args.name, io::stdin(), Path::new("standard input"))?,
    };
    super::print(&key, &store, context)
}
