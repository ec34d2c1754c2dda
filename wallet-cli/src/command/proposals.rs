//! `wallet proposals`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, ProposalDocument, ProposalsDocument};
use crate::text;

/// List the proposals, in order of submission
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct ProposalsArgs {
    /// Also the ended ones that the chain still remembers
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(args: ProposalsArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let proposals = client.proposals(args.all).await?;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(ProposalsDocument {
            chain_id: client.chain_id().to_string(),
            height: client.status().height.0,
            proposals: proposals.iter().map(ProposalDocument::from).collect(),
        }));
    }
    if proposals.is_empty() {
        context.ui.note(if args.all {
            "There is no proposal."
        } else {
            "There is no live proposal; --all lists the ended ones too."
        });
        return Ok(());
    }
    let rows: Vec<_> = proposals
        .iter()
        .map(|proposal| {
            vec![
                proposal.name(),
                proposal.id.to_string().chars().take(16).collect(),
                proposal.phase.to_string(),
                proposal.tally.approving.to_string(),
                proposal.tally.rejecting.to_string(),
                proposal.tally.total.to_string(),
                proposal.votes_close_height.to_string(),
            ]
        })
        .collect();
    let head = [
        "PROPOSAL",
        "ID",
        "PHASE",
        "APPROVE",
        "REJECT",
        "TOTAL",
        "VOTES UNTIL",
    ];
    context.ui.print(&text::table(&head, &[3, 4, 5, 6], &rows))
}
