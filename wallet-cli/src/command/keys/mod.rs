//! The commands around keys. None of them needs a node, and none shows a secret.

use clap::Subcommand;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, KeyDocument};
use crate::keystore::{Key, Keystore};
use crate::text;

mod create;
mod import;
mod list;
mod show;

/// Create, import and show keys
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    Create(create::CreateArgs),
    Import(import::ImportArgs),
    Show(show::ShowArgs),
    List(list::ListArgs),
}

pub(crate) fn run(command: KeysCommand, context: &Context) -> Result<(), CommandError> {
    match command {
        KeysCommand::Create(args) => create::run(args, context),
        KeysCommand::Import(args) => import::run(args, context),
        KeysCommand::Show(args) => show::run(&args, context),
        KeysCommand::List(args) => list::run(&args, context),
    }
}

/// The public side of a key.
fn print(key: &Key, store: &Keystore, context: &Context) -> Result<(), CommandError> {
    let file = store.path(&key.name).display().to_string();
    if context.ui.is_json() {
        return context.ui.document(&Document::new(KeyDocument {
            name: key.name.to_string(),
            public_key: key.public_key(),
            validator_id: key.validator_id(),
            file,
        }));
    }
    context.ui.print(&text::pairs(&[
        ("name", key.name.to_string()),
        ("public key", key.public_key().to_string()),
        ("validator id", key.validator_id().to_string()),
        ("file", file),
    ]))
}
