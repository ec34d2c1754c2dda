//! `wallet propose-cancel`

use clap::Args;
use governance::{Action, Subject};

use crate::cli::Context;
use crate::command::sent::{self, About};
use crate::command_error::CommandError;
use crate::sending::{self, SendArgs};
use crate::text;

/// Propose to stop an upgrade that is locked in, and approve that
///
/// The upgrade is stopped when the cancel proposal passes the same threshold before the height. Needs a node.
#[derive(Args)]
pub(crate) struct ProposeCancelArgs {
    /// The upgrade: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345
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
        name: text::subject_name(&subject),
        choice: None,
    };
    let interval = context.block_interval(&mut client).await;
    let mut lines = vec![("propose", "to stop this upgrade".to_owned())];
    lines.extend(text::proposal(&target, client.status().height.0, interval));
    context.ui.confirm(&author.introduction(&client), &lines)?;
    let action = Action::ProposeCancel { target: target.id };
    let sent = author.send(action, &mut client, &args.send, context).await?;
    sent::print(&sent, about, &mut client, context).await
}
