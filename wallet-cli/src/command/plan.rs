//! `wallet plan`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::describe;
use crate::document::{Document, PlanDocument};
use crate::text;

/// Show the upgrade that comes next, if one is approved
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct PlanArgs {}

pub(crate) async fn run(_: PlanArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let plan = client.plan().await?;
    let height = client.status().height.0;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(PlanDocument {
            chain_id: client.chain_id().to_string(),
            height,
            plan: plan.as_ref().map(Into::into),
        }));
    }
    match plan {
        Some(plan) => {
            let around = context.surroundings(&plan.subject, &mut client).await?;
            context
                .ui
                .print(&text::pairs(&describe::proposal(&plan, &around)))
        }
        None => {
            context
                .ui
                .note("No upgrade is approved; `wallet proposals` lists what is voted on.");
            Ok(())
        }
    }
}
