//! `wallet report`

use clap::{Args, ValueEnum};
use governance::{Action, Readiness, Rejection};

use crate::cli::Context;
use crate::command::judge;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::describe;
use crate::sending::{self, SendArgs};

/// Report how far your host is with an upgrade
///
/// Signed with the reporter key that the validator has authorised (`--key` chooses it). Reports are shown and never counted. A
/// report replaces the one before. Needs a node.
#[derive(Args)]
pub(crate) struct ReportArgs {
    /// The upgrade: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345
    #[arg(value_name = "ID")]
    proposal: String,
    /// staged: the artifact is on the host, with the proposal's size and digest. verified: it also runs there and says that
    /// it is the proposed version
    #[arg(value_enum)]
    readiness: ReadinessArg,
    /// The validator whose host it is, by id or name [default: the one that has authorised the key]
    #[arg(long, value_name = "ID")]
    validator: Option<String>,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReadinessArg {
    Staged,
    Verified,
}

impl From<ReadinessArg> for Readiness {
    fn from(readiness: ReadinessArg) -> Self {
        match readiness {
            ReadinessArg::Staged => Self::Staged,
            ReadinessArg::Verified => Self::Verified,
        }
    }
}

pub(crate) async fn run(args: ReportArgs, context: &Context) -> Result<(), CommandError> {
    let (mut client, author) = sending::begin_report(context, args.validator.as_deref()).await?;
    judge::running(client.status()).map_err(|rejection| CommandError::from(&rejection))?;
    let proposal = client.proposal(&args.proposal).await?;
    if proposal.upgrade().is_none() || !proposal.phase.is_live() {
        return Err(CommandError::from(&Rejection::NothingToReport {
            proposal: proposal.id,
        }));
    }
    let readiness = Readiness::from(args.readiness);
    let around = context.surroundings(&proposal.subject, &mut client).await?;
    let mut lines = vec![("report", readiness.to_string())];
    lines.extend(describe::proposal(&proposal, &around));
    context.ui.confirm(&author.introduction(&client), &lines)?;
    let action = Action::ReportReadiness {
        validator: author.validator.id,
        proposal: proposal.id,
        readiness,
    };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    let about = About {
        proposal_id: proposal.id,
        name: proposal.name(),
        choice: None,
        readiness: Some(readiness),
    };
    sent::print(&sent, about, &mut client, context).await
}
