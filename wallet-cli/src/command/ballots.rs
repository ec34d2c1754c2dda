//! `wallet ballots`

use clap::Args;

use crate::cli::Context;
use crate::client::ListedBallot;
use crate::command_error::CommandError;
use crate::document::{BallotDocument, BallotsDocument, Document};
use crate::text::{self, printable};

/// List the votes on a proposal, by validator id
///
/// The powers are those in force now; of an ended proposal the votes are those that counted last. Needs a node.
#[derive(Args)]
pub(crate) struct BallotsArgs {
    /// The proposal: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
}

pub(crate) async fn run(args: BallotsArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let proposal = client.proposal(&args.proposal).await?;
    let ballots = client.ballots(proposal.id).await?;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(BallotsDocument {
            chain_id: client.chain_id().to_string(),
            height: client.status().height.0,
            proposal_id: proposal.id,
            name: proposal.name(),
            phase: proposal.phase,
            tally: (&proposal.tally).into(),
            ballots: ballots.iter().map(BallotDocument::from).collect(),
        }));
    }
    if ballots.is_empty() {
        context.ui.note("Nobody votes on it.");
        return Ok(());
    }
    let row = |listed: &ListedBallot| {
        let (name, power) = match &listed.active {
            Some((name, power)) => (printable(name), power.to_string()),
            None => ("no longer active".to_owned(), "0".to_owned()),
        };
        let how = if listed.ballot.by_proposing {
            "proposed"
        } else {
            "voted"
        };
        vec![
            listed.validator.to_string(),
            name,
            listed.ballot.choice.to_string(),
            power,
            listed.ballot.height.to_string(),
            how.to_owned(),
        ]
    };
    let rows: Vec<_> = ballots.iter().map(row).collect();
    let head = ["VALIDATOR", "NAME", "VOTE", "POWER", "BLOCK", "HOW"];
    context.ui.print(&text::table(&head, &[3, 4], &rows))
}
