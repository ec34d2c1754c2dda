//! `wallet transaction`

use std::time::Duration;

use clap::Args;
use governance::TransactionId;

use crate::cli::Context;
use crate::client::Outcome;
use crate::command_error::CommandError;
use crate::document::{Document, TransactionDocument};
use crate::text::{self, printable};

/// Show what became of a transaction
///
/// Exits 0 whatever the outcome is: the answer is on standard output. Needs a node.
#[derive(Args)]
pub(crate) struct TransactionArgs {
    /// The id that was printed when it was sent
    #[arg(value_name = "ID")]
    id: TransactionId,
    /// Wait so long for the outcome to be final
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = text::parse_duration)]
    wait_timeout: Duration,
}

pub(crate) async fn run(args: TransactionArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let outcome = client.outcome(args.id, args.wait_timeout).await?;
    if context.ui.is_json() {
        return context
            .ui
            .document(&Document::new(TransactionDocument::new(args.id, &outcome)));
    }
    let words = match outcome {
        Outcome::Unknown => "unknown to this node: in no block, and not waiting for one".to_owned(),
        Outcome::Pending => "waiting for a block".to_owned(),
        Outcome::Committed { height } => format!("carried out in block {height}"),
        Outcome::Rejected {
            height,
            code,
            message,
        } => {
            format!(
                "rejected in block {height} ({}): {}",
                printable(&code),
                printable(&message)
            )
        }
        Outcome::Dropped { code, message } => {
            format!(
                "dropped before it was in a block ({}): {}",
                printable(&code),
                printable(&message)
            )
        }
    };
    context.ui.print(&text::pairs(&[
        ("transaction", args.id.to_string()),
        ("outcome", words),
    ]))
}
