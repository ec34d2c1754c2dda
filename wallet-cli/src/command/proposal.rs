//! `wallet proposal`

use std::collections::BTreeMap;

use clap::Args;
use governance::{Power, Proposal, Readiness, Subject, ValidatorId};

use crate::cli::Context;
use crate::client::{ListedBallot, ListedReport, Wanted};
use crate::command_error::CommandError;
use crate::describe;
use crate::document::{Document, OneProposalDocument, ProposalDocument};
use crate::text::{self, printable};

/// Show a proposal with its content, tally and votes, and how far the validators' hosts are with it
///
/// Needs a node.
#[derive(Args)]
pub(crate) struct ProposalArgs {
    /// Its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
}

pub(crate) async fn run(args: ProposalArgs, context: &Context) -> Result<(), CommandError> {
    let mut client = context.connect().await?;
    let proposal = client.proposal(&args.proposal).await?;
    let ballots = client.ballots(proposal.id).await?;
    let reports = match &proposal.subject {
        Subject::Upgrade(_) => client.reports(proposal.id).await?,
        Subject::Cancel { .. } | Subject::Validators(_) | Subject::Parameters(_) => Vec::new(),
    };
    if context.ui.is_json() {
        return context.ui.document(&Document::new(OneProposalDocument {
            chain_id: client.chain_id().to_string(),
            height: client.status().height.0,
            proposal: ProposalDocument::from(&proposal).with_lists(&ballots, &reports),
        }));
    }
    let around = context.surroundings(&proposal.subject, &mut client).await?;
    let proposer = client.validator(&Wanted::Id(proposal.proposer)).await?;
    let proposer = proposer.map_or_else(
        || proposal.proposer.to_string(),
        |(validator, _)| printable(&validator.name),
    );
    let mut lines = describe::proposal(&proposal, &around);
    if let Some(readiness) = readiness(&proposal, &reports) {
        lines.push(("hosts", readiness));
    }
    lines.push((
        "proposer",
        format!("{proposer} in block {}", proposal.submitted_height),
    ));
    context.ui.print(&text::pairs(&lines))?;
    let rows = rows(&ballots, &reports);
    if rows.is_empty() {
        return Ok(());
    }
    context.ui.print("\n")?;
    let head = ["VALIDATOR", "POWER", "VOTE", "BLOCK", "HOST"];
    context.ui.print(&text::table(&head, &[1, 3], &rows))
}

/// The power whose hosts are ready; nothing for what no host gets ready for.
fn readiness(proposal: &Proposal, reports: &[ListedReport]) -> Option<String> {
    proposal.upgrade()?;
    let power = |wanted: Readiness| {
        let one = |listed: &ListedReport| {
            let (_, power) = listed.active.as_ref()?;
            (listed.report.readiness == wanted).then_some(power.0)
        };
        reports.iter().filter_map(one).fold(0_u64, u64::saturating_add)
    };
    Some(format!(
        "power {} of {} has verified it, {} more has staged it",
        power(Readiness::Verified),
        proposal.tally.total,
        power(Readiness::Staged)
    ))
}

/// One row for everybody who has voted or reported, by validator id.
fn rows(ballots: &[ListedBallot], reports: &[ListedReport]) -> Vec<Vec<String>> {
    type Cells<'a> = (
        Option<&'a (String, Power)>,
        Option<&'a ListedBallot>,
        Option<&'a ListedReport>,
    );
    let mut all: BTreeMap<ValidatorId, Cells<'_>> = BTreeMap::new();
    for listed in ballots {
        all.insert(listed.validator, (listed.active.as_ref(), Some(listed), None));
    }
    for listed in reports {
        let cells = all
            .entry(listed.validator)
            .or_insert((listed.active.as_ref(), None, None));
        cells.2 = Some(listed);
    }
    let none = || "-".to_owned();
    let row = |(id, (active, ballot, report)): (ValidatorId, Cells<'_>)| {
        vec![
            active.map_or_else(|| id.to_string(), |(name, _)| printable(name)),
            active.map_or(Power::ZERO, |(_, power)| *power).to_string(),
            ballot.map_or_else(none, |listed| listed.ballot.choice.to_string()),
            ballot.map_or_else(none, |listed| listed.ballot.height.to_string()),
            report.map_or_else(none, |listed| listed.report.readiness.to_string()),
        ]
    };
    all.into_iter().map(row).collect()
}
