//! What a person reads of a proposal: everything that counts, with what stands around it as far as that is known.

use std::collections::BTreeMap;
use std::time::Duration;

use governance::{
    Account, Parameters, ParametersChange, Power, Proposal, Subject, Tally, Upgrade, Validator,
    ValidatorChange, ValidatorId, ValidatorsChange,
};

use crate::text::{distance, printable};

/// A name and a value; an empty name continues the line above.
pub(crate) type Line = (&'static str, String);

/// What is known beside the proposal itself. Without a node: nothing.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// The last block, for distances.
    pub(crate) height: Option<u64>,
    /// The time between two blocks.
    pub(crate) interval: Option<Duration>,
    /// The parameters in force.
    pub(crate) parameters: Option<Parameters>,
    /// The validators in force.
    pub(crate) names: Names,
}

/// Active validators by id, as a node tells them.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<ValidatorId, (String, Power)>);

impl Names {
    pub(crate) fn new(validators: &[(Validator, Account)]) -> Self {
        let entry = |(validator, _): &(Validator, Account)| {
            (validator.id, (printable(&validator.name), validator.power))
        };
        Self(validators.iter().map(entry).collect())
    }

    /// ` (NAME, power N)`, or nothing where none is known.
    fn remark(&self, id: &ValidatorId) -> String {
        self.0
            .get(id)
            .map_or_else(String::new, |(name, power)| format!(" ({name}, power {power})"))
    }
}

impl Surroundings {
    /// ` (in 10 blocks, …)`, or nothing where the present height is not known.
    fn distance(&self, height: u64) -> String {
        self.height.map_or_else(String::new, |now| {
            format!(" ({})", distance(now, height, self.interval))
        })
    }
}

/// Who is for it, and what is missing.
pub(crate) fn tally(tally: &Tally) -> String {
    let needed = match tally.needed() {
        Some(needed) => format!("{needed} needed"),
        None => "out of reach".to_owned(),
    };
    format!(
        "{} of {} approve, {needed}; {} reject",
        tally.approving, tally.total, tally.rejecting
    )
}

/// Everything about a proposal that a voter must see.
pub(crate) fn proposal(proposal: &Proposal, around: &Surroundings) -> Vec<Line> {
    let mut lines = vec![
        ("proposal", proposal.name()),
        ("id", proposal.id.to_string()),
        ("phase", proposal.phase.to_string()),
    ];
    lines.extend(subject(&proposal.subject, around));
    let close = proposal.votes_close_height.0;
    lines.push(match proposal.ended_height {
        Some(ended) => ("ended", format!("in block {ended}")),
        None => (
            "votes",
            format!("count until block {close}{}", around.distance(close)),
        ),
    });
    lines.push(("tally", tally(&proposal.tally)));
    lines
}

/// What a proposal says.
pub(crate) fn subject(subject: &Subject, around: &Surroundings) -> Vec<Line> {
    match subject {
        Subject::Upgrade(upgrade) => self::upgrade(upgrade, around),
        Subject::Cancel { target } => vec![("stops", target.to_string())],
        Subject::Validators(change) => validators(change, around),
        Subject::Parameters(change) => parameters(change, around),
    }
}

fn upgrade(upgrade: &Upgrade, around: &Surroundings) -> Vec<Line> {
    let mut lines = vec![("version", upgrade.version.to_string())];
    lines.push(height(upgrade.height.0, "of the old version", around));
    for artifact in &upgrade.artifacts {
        lines.push((
            "artifact",
            format!("{}  {}", artifact.platform, printable(&artifact.url)),
        ));
        lines.push(("", format!("{} bytes, sha256 {}", artifact.size, artifact.sha256)));
    }
    lines.extend(description(&upgrade.description));
    lines
}

fn validators(change: &ValidatorsChange, around: &Surroundings) -> Vec<Line> {
    let mut lines = vec![height(change.height.0, "of the old set", around)];
    for change in &change.changes {
        let id = change.validator();
        match change {
            ValidatorChange::Add(validator) => {
                lines.push((
                    "add",
                    format!("{}, power {}", printable(&validator.name), validator.power),
                ));
                lines.push(("", format!("id {id}")));
                lines.push(("", format!("governance key {}", validator.governance_key)));
                lines.push(("", format!("consensus key {}", validator.consensus_key)));
            }
            ValidatorChange::Remove { .. } => {
                lines.push(("remove", format!("{id}{}", around.names.remark(&id))));
            }
            ValidatorChange::SetPower { power, .. } => {
                lines.push((
                    "set power",
                    format!("{id}{} to {power}", around.names.remark(&id)),
                ));
            }
            ValidatorChange::RotateKeys {
                governance_key,
                consensus_key,
                ..
            } => {
                lines.push(("new keys", format!("{id}{}", around.names.remark(&id))));
                for (kind, key) in [("governance", governance_key), ("consensus", consensus_key)] {
                    lines.push((
                        "",
                        match key {
                            Some(key) => format!("{kind} key {key}"),
                            None => format!("{kind} key as before"),
                        },
                    ));
                }
            }
        }
    }
    lines.extend(description(&change.description));
    lines
}

fn parameters(change: &ParametersChange, around: &Surroundings) -> Vec<Line> {
    let threshold = |parameters: &Parameters| {
        format!(
            "{}/{}",
            parameters.threshold_numerator, parameters.threshold_denominator
        )
    };
    let line = |name: &'static str, value: &dyn Fn(&Parameters) -> String| {
        let new = value(&change.parameters);
        let remark = match around.parameters.as_ref().map(value) {
            Some(now) if now == new => " (as now)".to_owned(),
            Some(now) => format!(" (now {now})"),
            None => String::new(),
        };
        (name, format!("{new}{remark}"))
    };
    let mut lines = vec![
        height(change.height.0, "under the old parameters", around),
        line("min lead", &|parameters| {
            format!("{} blocks", parameters.min_lead_blocks)
        }),
        line("lock-in", &|parameters| {
            format!("{} blocks", parameters.lock_in_blocks)
        }),
        line("threshold", &threshold),
    ];
    lines.extend(description(&change.description));
    lines
}

fn height(height: u64, of: &str, around: &Surroundings) -> Line {
    (
        "height",
        format!("{height} is the last block {of}{}", around.distance(height)),
    )
}

fn description(text: &str) -> Vec<Line> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (if index == 0 { "text" } else { "" }, printable(line)))
        .collect()
}
