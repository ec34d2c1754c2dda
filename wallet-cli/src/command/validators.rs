//! `wallet validators`

use clap::Args;

use crate::cli::Context;
use crate::command_error::CommandError;
use crate::document::{Document, ValidatorsDocument};
use crate::text::{self, printable};

/// List the active validators: who may propose and vote, with which power
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct ValidatorsArgs {}

pub(crate) async fn run(_: ValidatorsArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let validators = client.validators().await?;
    if context.ui.is_json() {
        let total = |sum: u64, power: u64| sum.saturating_add(power);
        return context.ui.document(&Document::new(ValidatorsDocument {
            chain_id: client.chain_id().to_string(),
            height: client.status().height.0,
            total_power: validators
                .iter()
                .map(|(validator, _)| validator.power.0)
                .fold(0, total),
            validators: validators.iter().map(Into::into).collect(),
        }));
    }
    let rows: Vec<_> = validators
        .iter()
        .map(|(validator, _)| {
            vec![
                printable(&validator.name),
                validator.power.to_string(),
                validator.id.to_string(),
                validator.governance_key.to_string(),
            ]
        })
        .collect();
    context.ui.print(&text::table(
        &["NAME", "POWER", "ID", "GOVERNANCE KEY"],
        &[1],
        &rows,
    ))
}
