//! `wallet keys list`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, KeyEntry, KeysDocument};
use crate::text;

/// List the keys of this wallet
///
/// A key that cannot be used is listed with the reason. Works offline.
#[derive(Args)]
pub(crate) struct ListArgs {}

pub(crate) fn run(_: &ListArgs, context: &Context) -> Result<(), CommandError> {
    let store = context.keystore()?;
    let mut keys = Vec::new();
    for name in store.names()? {
        let (key, problem) = match store.load(&name) {
            Ok(key) => (Some(key), None),
            Err(error) => (None, Some(error.to_string())),
        };
        keys.push(KeyEntry {
            name: name.to_string(),
            public_key: key.as_ref().map(|key| key.public_key().to_string()),
            validator_id: key.as_ref().map(|key| key.validator_id().to_string()),
            problem,
        });
    }
    if context.ui.is_json() {
        return context.ui.document(&Document::new(KeysDocument { keys }));
    }
    if keys.is_empty() {
        context
            .ui
            .note("There is no key yet; create one with: wallet keys create NAME");
        return Ok(());
    }
    let rows: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let public_key = key.public_key.or(key.problem).unwrap_or_default();
            vec![
                key.name,
                key.validator_id.unwrap_or_else(|| "-".to_owned()),
                public_key,
            ]
        })
        .collect();
    context
        .ui
        .print(&text::table(&["NAME", "VALIDATOR ID", "PUBLIC KEY"], &[], &rows))
}
