//! `wallet vote`

use clap::{Args, ValueEnum};
use governance::{Action, Choice};

use crate::cli::Context;
use crate::command::proposing;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::describe;
use crate::sending::{self, SendArgs};

/// Vote for or against a proposal, or change your vote
///
/// Shows the proposal and its tally before anything is signed. A vote approves exact binaries: the node's answer is checked
/// against the proposal's id. Needs a node.
#[derive(Args)]
pub(crate) struct VoteArgs {
    /// For or against
    #[arg(value_enum)]
    choice: ChoiceArg,
    /// The proposal: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChoiceArg {
    Approve,
    Reject,
}

impl From<ChoiceArg> for Choice {
    fn from(choice: ChoiceArg) -> Self {
        match choice {
            ChoiceArg::Approve => Self::Approve,
            ChoiceArg::Reject => Self::Reject,
        }
    }
}

pub(crate) async fn run(args: VoteArgs, context: &Context) -> Result<(), CommandError> {
    let (mut client, author) = sending::begin(context).await?;
    let proposal = client.proposal(&args.proposal).await?;
    let choice = Choice::from(args.choice);
    let around = context.surroundings(&proposal.subject, &mut client).await?;
    let mut lines = vec![("vote", choice.to_string())];
    lines.extend(describe::proposal(&proposal, &around));
    if !context.ui.is_silent()
        && let Some(ballot) = client.ballot(proposal.id, author.validator.id).await?
    {
        lines.push((
            "note",
            format!(
                "your vote so far: {}, since block {}",
                ballot.choice, ballot.height
            ),
        ));
    }
    if choice == Choice::Approve && proposal.upgrade().is_some() {
        let proposals = client.proposals(false).await?;
        lines.extend(proposing::approval_that_moves(&proposals, &author, proposal.id));
    }
    context.ui.confirm(&author.introduction(&client), &lines)?;

    let action = Action::Vote {
        proposal: proposal.id,
        choice,
    };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    let about = About {
        proposal_id: proposal.id,
        name: proposal.name(),
        choice: Some(choice),
        readiness: None,
    };
    sent::print(&sent, about, &mut client, context).await
}
