//! The commands, one file each.

use clap::Subcommand;

use crate::cli::Context;
use crate::command_error::CommandError;

mod keys;
mod plan;
mod proposal;
mod proposals;
mod propose;
mod propose_cancel;
mod sent;
mod status;
mod transaction;
mod validators;
mod vote;
mod withdraw;

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    Propose(propose::ProposeArgs),
    ProposeCancel(propose_cancel::ProposeCancelArgs),
    Vote(vote::VoteArgs),
    Withdraw(withdraw::WithdrawArgs),
    Proposals(proposals::ProposalsArgs),
    Proposal(proposal::ProposalArgs),
    Plan(plan::PlanArgs),
    Validators(validators::ValidatorsArgs),
    Status(status::StatusArgs),
    Transaction(transaction::TransactionArgs),
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<(), CommandError> {
    match command {
        Command::Keys(command) => keys::run(command, context),
        Command::Propose(args) => propose::run(args, context).await,
        Command::ProposeCancel(args) => propose_cancel::run(args, context).await,
        Command::Vote(args) => vote::run(args, context).await,
        Command::Withdraw(args) => withdraw::run(args, context).await,
        Command::Proposals(args) => proposals::run(args, context).await,
        Command::Proposal(args) => proposal::run(args, context).await,
        Command::Plan(args) => plan::run(args, context).await,
        Command::Validators(args) => validators::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Transaction(args) => transaction::run(args, context).await,
    }
}
