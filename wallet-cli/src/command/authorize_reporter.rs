//! `wallet authorize-reporter`

use clap::Args;
use governance::{Action, PublicKey, Rejection};

use crate::cli::Context;
use crate::command_error::{CommandError, Kind};
use crate::document::{Document, ReporterDocument};
use crate::keystore::KeyName;
use crate::sending::{self, SendArgs};
use crate::text;

/// Let your host report readiness under a key of its own, or no longer
///
/// The reporter key can do nothing else: it neither proposes nor votes, and its reports never change a tally. A new one
/// replaces the one before. Needs a node.
#[derive(Args)]
pub(crate) struct AuthorizeReporterArgs {
    /// The reporter key: a public key in hexadecimal digits, or the name of a key in this wallet's home
    #[arg(
        value_name = "KEY",
        required_unless_present = "revoke",
        conflicts_with = "revoke"
    )]
    reporter: Option<String>,
    /// Nobody reports any more
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    send: SendArgs,
}

pub(crate) async fn run(args: AuthorizeReporterArgs, context: &Context) -> Result<(), CommandError> {
    let key = args
        .reporter
        .as_deref()
        .map(|text| find(text, context))
        .transpose()?;
    let (mut client, author) = sending::begin(context).await?;
    let validator = &author.validator;
    if let Some(key) = key
        && (key == validator.governance_key || key == validator.consensus_key)
    {
        return Err(CommandError::from(&Rejection::ReporterKey { key }));
    }
    let name = |key: Option<PublicKey>| key.map_or_else(|| "none".to_owned(), |key| key.to_string());
    let lines = [("reporter", name(key)), ("so far", name(author.account.reporter))];
    context.ui.confirm(&author.introduction(&client), &lines)?;
    let action = Action::AuthorizeReporter { key };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(ReporterDocument {
            transaction_id: sent.id,
            validator_id: validator.id,
            reporter_key: key,
            committed_height: sent.committed.map(|height| height.0),
        }));
    }
    let mut lines = vec![
        ("transaction", sent.id.to_string()),
        ("validator", validator.id.to_string()),
        ("reporter", name(key)),
    ];
    if let Some(height) = sent.committed {
        lines.push(("block", height.to_string()));
    }
    context.ui.print(&text::pairs(&lines))
}

/// Sixty-four digits are a key; everything else is a name.
fn find(text: &str, context: &Context) -> Result<PublicKey, CommandError> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let name: KeyName = text.parse().map_err(|error| {
        let message =
            format!("{text:?} is neither a public key (64 hexadecimal digits) nor a key's name: {error}");
        CommandError::new(Kind::Usage, message)
    })?;
    Ok(context.keystore()?.load(&name)?.public_key())
}
