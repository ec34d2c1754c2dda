//! `wallet proposal`

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, OneProposalDocument};
use crate::text::{self, printable};

/// Show a proposal with its artifacts, tally and votes
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct ProposalArgs {
    /// Its id, at least 8 of the id's first digits, or its name like v1.2.0@12345
    #[arg(value_name = "ID")]
    proposal: String,
}

pub(crate) async fn run(args: ProposalArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let proposal = client.proposal(&args.proposal).await?;
    let height = client.status().height.0;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(OneProposalDocument {
            chain_id: client.chain_id().to_string(),
            height,
            proposal: (&proposal).into(),
        }));
    }
    let names: BTreeMap<_, _> = client
        .validators()
        .await?
        .into_iter()
        .map(|(validator, _)| (validator.id, validator.name))
        .collect();
    let name = |id| {
        names
            .get(&id)
            .map_or_else(|| format!("{id}"), |name| printable(name))
    };
    let interval = context.block_interval(&mut client).await;
    let mut lines = text::proposal(&proposal, height, interval);
    lines.push((
        "proposer",
        format!(
            "{} in block {}",
            name(proposal.proposer),
            proposal.submitted_height
        ),
    ));
    context.ui.print(&text::pairs(&lines))?;
    let rows: Vec<_> = proposal
        .ballots
        .iter()
        .map(|(id, ballot)| vec![name(*id), ballot.choice.to_string(), ballot.height.to_string()])
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    context.ui.print("\n")?;
    context
        .ui
        .print(&text::table(&["VALIDATOR", "VOTE", "BLOCK"], &[2], &rows))
}
