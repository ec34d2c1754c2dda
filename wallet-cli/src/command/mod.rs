//! The commands, one file each.

use clap::Subcommand;

use crate::cli::Context;
use crate::command_error::CommandError;

mod authorize_reporter;
mod ballots;
mod certificate;
mod judge;
mod keys;
mod plan;
mod proposal;
mod proposals;
mod propose;
mod propose_cancel;
mod propose_parameters;
mod propose_validators;
mod proposing;
mod report;
mod sent;
mod status;
mod transaction;
mod validators;
mod verify;
mod vote;
mod withdraw;

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    Propose(propose::ProposeArgs),
    ProposeValidators(propose_validators::ProposeValidatorsArgs),
    ProposeParameters(propose_parameters::ProposeParametersArgs),
    ProposeCancel(propose_cancel::ProposeCancelArgs),
    Vote(vote::VoteArgs),
    Withdraw(withdraw::WithdrawArgs),
    AuthorizeReporter(authorize_reporter::AuthorizeReporterArgs),
    Report(report::ReportArgs),
    Proposals(proposals::ProposalsArgs),
    Proposal(proposal::ProposalArgs),
    Ballots(ballots::BallotsArgs),
    Plan(plan::PlanArgs),
    Certificate(certificate::CertificateArgs),
    Verify(verify::VerifyArgs),
    Validators(validators::ValidatorsArgs),
    Status(status::StatusArgs),
    Transaction(transaction::TransactionArgs),
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<(), CommandError> {
    match command {
        Command::Keys(command) => keys::run(command, context),
        Command::Propose(args) => propose::run(args, context).await,
        Command::ProposeValidators(args) => propose_validators::run(args, context).await,
        Command::ProposeParameters(args) => propose_parameters::run(args, context).await,
        Command::ProposeCancel(args) => propose_cancel::run(args, context).await,
        Command::Vote(args) => vote::run(args, context).await,
        Command::Withdraw(args) => withdraw::run(args, context).await,
        Command::AuthorizeReporter(args) => authorize_reporter::run(args, context).await,
        Command::Report(args) => report::run(args, context).await,
        Command::Proposals(args) => proposals::run(args, context).await,
        Command::Proposal(args) => proposal::run(args, context).await,
        Command::Ballots(args) => ballots::run(args, context).await,
        Command::Certificate(args) => certificate::run(args, context).await,
        Command::Verify(args) => verify::run(&args, context),
        Command::Plan(args) => plan::run(args, context).await,
        Command::Validators(args) => validators::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Transaction(args) => transaction::run(args, context).await,
    }
}
