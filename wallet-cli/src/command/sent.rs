//! The answer of every command that sends a transaction.

use governance::{Choice, Proposal, ProposalId, Readiness};

use crate::cli::Context;
use crate::client::Client;
use crate::command_error::CommandError;
use crate::describe;
use crate::document::{Document, SentDocument};
use crate::sending::Sent;
use crate::text;

/// What the transaction is about.
pub(super) struct About {
    pub(super) proposal_id: ProposalId,
    pub(super) name: String,
    pub(super) choice: Option<Choice>,
    pub(super) readiness: Option<Readiness>,
}

/// Prints what was sent; after waiting also where the proposal stands now.
pub(super) async fn print(
    sent: &Sent,
    about: About,
    client: &mut Client,
    context: &Context,
) -> Result<(), CommandError> {
    let proposal = match sent.committed {
        Some(_) => standing(about.proposal_id, client, context).await,
        None => None,
    };
    if context.ui.is_json() {
        return context.ui.document(&Document::new(SentDocument {
            transaction_id: sent.id,
            proposal_id: about.proposal_id,
            name: about.name,
            choice: about.choice,
            readiness: about.readiness,
            committed_height: sent.committed.map(|height| height.0),
            proposal: proposal.as_ref().map(Into::into),
        }));
    }
    let mut lines = vec![
        ("transaction", sent.id.to_string()),
        ("proposal", about.name),
        ("id", about.proposal_id.to_string()),
    ];
    if let Some(height) = sent.committed {
        lines.push(("block", height.to_string()));
    }
    if let Some(proposal) = proposal {
        lines.push(("phase", proposal.phase.to_string()));
        lines.push(("tally", describe::tally(&proposal.tally)));
    }
    context.ui.print(&text::pairs(&lines))
}

/// The transaction is in its block, whatever happens here: a failure is told, and fails nothing.
async fn standing(id: ProposalId, client: &mut Client, context: &Context) -> Option<Proposal> {
    match client.proposal(&id.to_string()).await {
        Ok(proposal) => Some(proposal),
        Err(error) => {
            context.ui.status(&format!(
                "warning: the tally cannot be shown: {}",
                text::printable(&error.to_string())
            ));
            None
        }
    }
}
