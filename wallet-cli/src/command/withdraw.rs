//! `wallet withdraw`

use clap::Args;
use governance::Action;

use crate::cli::Context;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::describe;
use crate::sending::{self, SendArgs};

/// Take your vote on a proposal back
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct WithdrawArgs {
    /// The proposal: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
    #[command(flatten)]
    send: SendArgs,
}

pub(crate) async fn run(args: WithdrawArgs, context: &Context) -> Result<(), CommandError> {
    let (mut client, author) = sending::begin(context).await?;
    let proposal = client.proposal(&args.proposal).await?;
    let around = context.surroundings(&proposal.subject, &mut client).await?;
    let own = match client.ballot(proposal.id, author.validator.id).await? {
        Some(ballot) => format!("your vote: {}, since block {}", ballot.choice, ballot.height),
        None => "your vote, although none is in a block".to_owned(),
    };
    let mut lines = vec![("withdraw", own)];
    lines.extend(describe::proposal(&proposal, &around));
    context.ui.confirm(&author.introduction(&client), &lines)?;
    let action = Action::Withdraw {
        proposal: proposal.id,
    };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    let about = About {
        proposal_id: proposal.id,
        name: proposal.name(),
        choice: None,
        readiness: None,
    };
    sent::print(&sent, about, &mut client, context).await
}
