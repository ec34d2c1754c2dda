//! `wallet propose-cancel`

use clap::Args;
use governance::{Action, Subject};

use crate::cli::Context;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::describe;
use crate::sending::{self, SendArgs};

/// Propose to stop an upgrade or a change that is locked in, and approve that
///
/// It is stopped when the cancel proposal passes the same threshold before the height. Needs a node.
#[derive(Args)]
pub(crate) struct ProposeCancelArgs {
    /// What to stop: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
    #[command(flatten)]
    send: SendArgs,
}

pub(crate) async fn run(args: ProposeCancelArgs, context: &Context) -> Result<(), CommandError> {
    let (mut client, author) = sending::begin(context).await?;
    let target = client.proposal(&args.proposal).await?;
    let subject = Subject::Cancel { target: target.id };
    let about = About {
        proposal_id: subject.id(client.chain_id()),
        name: subject.name(),
        choice: None,
        readiness: None,
    };
    let around = context.surroundings(&target.subject, &mut client).await?;
    let what = match &target.subject {
        Subject::Upgrade(_) => "to stop this upgrade",
        Subject::Validators(_) | Subject::Parameters(_) => "to stop this change",
        Subject::Cancel { .. } => "to stop this proposal",
    };
    let mut lines = vec![("propose", what.to_owned())];
    lines.extend(describe::proposal(&target, &around));
    context.ui.confirm(&author.introduction(&client), &lines)?;
    let action = Action::ProposeCancel { target: target.id };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    sent::print(&sent, about, &mut client, context).await
}
