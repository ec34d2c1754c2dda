//! Proposals, votes, reports and proofs as `--json` prints them.

use governance::{
    Artifact, ChainId, Choice, Parameters, Phase, Proposal, ProposalId, Proven, Readiness, Subject, Tally,
    ValidatorChange,
};
use serde::Serialize;

use crate::client::{ListedBallot, ListedReport};

/// What a certificate has proven.
#[derive(Serialize)]
pub(crate) struct ProvenDocument {
    chain_id: ChainId,
    proposal_id: ProposalId,
    name: String,
    #[serde(flatten)]
    subject: SubjectDocument,
    votes_close_height: u64,
    /// How many validators approve it.
    approvals: usize,
    tally: TallyDocument,
    /// How many changes of validators or parameters lead from the genesis to it.
    changes_since_genesis: usize,
}

#[derive(Serialize)]
pub(crate) struct ProposalDocument {
    id: String,
    name: String,
    #[serde(flatten)]
    subject: SubjectDocument,
    proposer: String,
    submitted_height: u64,
    votes_close_height: u64,
    phase: Phase,
    ended_height: Option<u64>,
    tally: TallyDocument,
    /// `null` where they were not asked for.
    ballots: Option<Vec<BallotDocument>>,
    /// `null` where they were not asked for.
    reports: Option<Vec<ReportDocument>>,
}

/// What a proposal says. Every field is always there; what another kind of proposal says is `null` or empty.
#[derive(Serialize)]
struct SubjectDocument {
    /// `upgrade`, `cancel`, `validators` or `parameters`.
    kind: &'static str,
    /// The last block before it takes effect; `null` for a cancel.
    effect_height: Option<u64>,
    description: Option<String>,
    version: Option<String>,
    upgrade_height: Option<u64>,
    artifacts: Vec<Artifact>,
    target: Option<String>,
    changes: Vec<ValidatorChange>,
    parameters: Option<Parameters>,
}

#[derive(Serialize)]
pub(crate) struct TallyDocument {
    approving: u64,
    rejecting: u64,
    total: u64,
    /// The smallest approving power that is enough; `null` when even all of it is not.
    needed: Option<u64>,
    threshold_numerator: u64,
    threshold_denominator: u64,
}

#[derive(Serialize)]
pub(crate) struct BallotDocument {
    validator_id: String,
    choice: Choice,
    height: u64,
    by_proposing: bool,
    /// `null` when it is no active validator any more.
    name: Option<String>,
    /// As it is now.
    power: u64,
}

#[derive(Serialize)]
struct ReportDocument {
    validator_id: String,
    readiness: Readiness,
    height: u64,
    /// `null` when it is no active validator any more.
    name: Option<String>,
    /// As it is now.
    power: u64,
}

impl From<&Subject> for SubjectDocument {
    fn from(subject: &Subject) -> Self {
        let empty = Self {
            kind: "",
            effect_height: subject.height().map(|height| height.0),
            description: None,
            version: None,
            upgrade_height: None,
            artifacts: Vec::new(),
            target: None,
            changes: Vec::new(),
            parameters: None,
        };
        match subject {
            Subject::Upgrade(upgrade) => Self {
                kind: "upgrade",
                description: Some(upgrade.description.clone()),
                version: Some(upgrade.version.to_string()),
                upgrade_height: Some(upgrade.height.0),
                artifacts: upgrade.artifacts.clone(),
                ..empty
            },
            Subject::Cancel { target } => Self {
                kind: "cancel",
                target: Some(target.to_string()),
                ..empty
            },
            Subject::Validators(change) => Self {
                kind: "validators",
                description: Some(change.description.clone()),
                changes: change.changes.clone(),
                ..empty
            },
            Subject::Parameters(change) => Self {
                kind: "parameters",
                description: Some(change.description.clone()),
                parameters: Some(change.parameters),
                ..empty
            },
        }
    }
}

impl From<&Proposal> for ProposalDocument {
    fn from(proposal: &Proposal) -> Self {
        Self {
            id: proposal.id.to_string(),
            name: proposal.name(),
            subject: (&proposal.subject).into(),
            proposer: proposal.proposer.to_string(),
            submitted_height: proposal.submitted_height.0,
            votes_close_height: proposal.votes_close_height.0,
            phase: proposal.phase,
            ended_height: proposal.ended_height.map(|height| height.0),
            tally: (&proposal.tally).into(),
            ballots: None,
            reports: None,
        }
    }
}

impl ProposalDocument {
    pub(crate) fn with_lists(self, ballots: &[ListedBallot], reports: &[ListedReport]) -> Self {
        Self {
            ballots: Some(ballots.iter().map(Into::into).collect()),
            reports: Some(reports.iter().map(Into::into).collect()),
            ..self
        }
    }
}

impl ProvenDocument {
    pub(crate) fn new(chain_id: &ChainId, subject: &Subject, proven: &Proven, changes: usize) -> Self {
        Self {
            chain_id: chain_id.clone(),
            proposal_id: proven.proposal,
            name: subject.name(),
            subject: subject.into(),
            votes_close_height: proven.votes_close_height.0,
            approvals: proven.approvals,
            tally: (&proven.tally).into(),
            changes_since_genesis: changes,
        }
    }
}

impl From<&ListedBallot> for BallotDocument {
    fn from(listed: &ListedBallot) -> Self {
        Self {
            validator_id: listed.validator.to_string(),
            choice: listed.ballot.choice,
            height: listed.ballot.height.0,
            by_proposing: listed.ballot.by_proposing,
            name: listed.active.as_ref().map(|(name, _)| name.clone()),
            power: listed.active.as_ref().map_or(0, |(_, power)| power.0),
        }
    }
}

impl From<&ListedReport> for ReportDocument {
    fn from(listed: &ListedReport) -> Self {
        Self {
            validator_id: listed.validator.to_string(),
            readiness: listed.report.readiness,
            height: listed.report.height.0,
            name: listed.active.as_ref().map(|(name, _)| name.clone()),
            power: listed.active.as_ref().map_or(0, |(_, power)| power.0),
        }
    }
}

impl From<&Tally> for TallyDocument {
    fn from(tally: &Tally) -> Self {
        Self {
            approving: tally.approving.0,
            rejecting: tally.rejecting.0,
            total: tally.total.0,
            needed: tally.needed().map(|power| power.0),
            threshold_numerator: tally.threshold_numerator,
            threshold_denominator: tally.threshold_denominator,
        }
    }
}
