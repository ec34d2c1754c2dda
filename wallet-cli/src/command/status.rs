//! `wallet status`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, StatusDocument};
use crate::text::{self, printable};

/// Show where the chain and the node stand
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct StatusArgs {}

pub(crate) async fn run(_: StatusArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let status = client.status().clone();
    if context.ui.is_json() {
        return context
            .ui
            .document(&Document::new(StatusDocument::new(client.url(), &status)));
    }
    let height = status.height.0;
    let parameters = status.parameters;
    let mut lines = vec![
        ("chain", status.chain_id.to_string()),
        (
            "node",
            format!("{} at {}", printable(&status.moniker), client.url()),
        ),
        ("version", status.version.to_string()),
        ("height", height.to_string()),
        ("state root", status.state_root.clone()),
    ];
    let interval = context.block_interval(&mut client).await;
    lines.push(match &status.next_upgrade {
        Some((at, version)) => (
            "upgrade",
            format!(
                "to {version}; {at} is the last block before it ({})",
                text::distance(height, at.0, interval)
            ),
        ),
        None => ("upgrade", "none approved".to_owned()),
    });
    if let Some(halt) = &status.halt {
        lines.push((
            "halted",
            format!(
                "after block {}: the next one needs version {}",
                halt.height, halt.version
            ),
        ));
    }
    lines.push((
        "rules",
        format!(
            "propose {} blocks ahead, votes latch {} blocks ahead, approval above {}/{}",
            parameters.min_lead_blocks,
            parameters.lock_in_blocks,
            parameters.threshold_numerator,
            parameters.threshold_denominator
        ),
    ));
    lines.push(("peers", status.peers.to_string()));
    lines.push(("waiting", format!("{} transactions", status.mempool_transactions)));
    context.ui.print(&text::pairs(&lines))
}
