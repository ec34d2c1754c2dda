//! From a subject to a proposal on the chain: shown, confirmed, signed, sent.

use governance::{Proposal, ProposalId, Rejection, Subject};

use crate::cli::Context;
use crate::client::Client;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::describe::{self, Line};
use crate::sending::{Author, SendArgs};

/// Proposes `subject`; `notes` are what else the proposer should know before signing.
pub(super) async fn propose(
    subject: &Subject,
    notes: Vec<Line>,
    author: &Author,
    client: &mut Client,
    send: &SendArgs,
    context: &Context,
) -> Result<(), CommandError> {
    let about = About {
        proposal_id: subject.id(client.chain_id()),
        name: subject.name(),
        choice: None,
        readiness: None,
    };
    let proposals = client.proposals(false).await?;
    if proposals.iter().any(|proposal| proposal.id == about.proposal_id) {
        return Err(CommandError::from(&Rejection::AlreadyProposed {
            proposal: about.proposal_id,
        }));
    }
    let around = context.surroundings(subject, client).await?;
    let mut lines = vec![
        ("propose", about.name.clone()),
        ("id", about.proposal_id.to_string()),
    ];
    lines.extend(describe::subject(subject, &around));
    lines.extend(notes);
    for proposal in proposals.iter().filter(|proposal| proposal.name() == about.name) {
        lines.push((
            "note",
            format!(
                "another proposal has this name and other content: {}",
                proposal.id
            ),
        ));
    }
    if matches!(subject, Subject::Upgrade(_)) {
        lines.extend(approval_that_moves(&proposals, author, about.proposal_id));
    }
    context.ui.confirm(&author.introduction(client), &lines)?;
    let sent = author.send(subject.to_action(), client, send, context).await?;
    sent::print(&sent, about, client, context).await
}

/// GOV-06: an approval of the upgrade `id` takes the voter's approval from another one.
pub(super) fn approval_that_moves(proposals: &[Proposal], author: &Author, id: ProposalId) -> Option<Line> {
    let left = author.account.approves.filter(|approved| *approved != id)?;
    let open = |proposal: &&Proposal| proposal.id == left && proposal.phase.is_open();
    let proposal = proposals.iter().find(open)?;
    let text = format!("your approval of {} moves to this proposal", proposal.name());
    Some(("note", text))
}
