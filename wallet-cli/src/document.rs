//! What `--json` prints: one object with `"schema": 1`. The shapes are a contract, described in the README; fields are
//! added, never removed or changed.

use governance::{
    Account, Artifact, ChainId, Choice, Parameters, Phase, Proposal, ProposalId, Proven, PublicKey,
    Readiness, Subject, Tally, TransactionId, Validator, ValidatorChange, ValidatorId,
};
use serde::Serialize;

use crate::client::{ListedBallot, ListedReport, Outcome};
use crate::node_status::NodeStatus;

/// Puts the schema before the fields of a document.
#[derive(Serialize)]
pub(crate) struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

impl<T> Document<T> {
    pub(crate) const fn new(content: T) -> Self {
        Self { schema: 1, content }
    }
}

#[derive(Serialize)]
pub(crate) struct KeyDocument {
    pub(crate) name: String,
    pub(crate) public_key: PublicKey,
    pub(crate) validator_id: ValidatorId,
    pub(crate) file: String,
}

#[derive(Serialize)]
pub(crate) struct KeysDocument {
    pub(crate) keys: Vec<KeyEntry>,
}

/// A key in the list: usable, or with the reason why it is not.
#[derive(Serialize)]
pub(crate) struct KeyEntry {
    pub(crate) name: String,
    pub(crate) public_key: Option<String>,
    pub(crate) validator_id: Option<String>,
    pub(crate) problem: Option<String>,
}

/// What was sent, and what is known of it.
#[derive(Serialize)]
pub(crate) struct SentDocument {
    pub(crate) transaction_id: TransactionId,
    pub(crate) proposal_id: ProposalId,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choice: Option<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) readiness: Option<Readiness>,
    /// `null` when nobody waited.
    pub(crate) committed_height: Option<u64>,
    /// As it stands after that block; `null` when nobody waited.
    pub(crate) proposal: Option<ProposalDocument>,
}

/// What `authorize-reporter` sent.
#[derive(Serialize)]
pub(crate) struct ReporterDocument {
    pub(crate) transaction_id: TransactionId,
    pub(crate) validator_id: ValidatorId,
    /// `null`: nobody reports any more.
    pub(crate) reporter_key: Option<PublicKey>,
    /// `null` when nobody waited.
    pub(crate) committed_height: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct TransactionDocument {
    transaction_id: String,
    outcome: &'static str,
    height: Option<u64>,
    rejection: Option<RejectionDocument>,
}

#[derive(Serialize)]
pub(crate) struct RejectionDocument {
    code: String,
    message: String,
}

#[derive(Serialize)]
pub(crate) struct ProposalsDocument {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) proposals: Vec<ProposalDocument>,
}

#[derive(Serialize)]
pub(crate) struct OneProposalDocument {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) proposal: ProposalDocument,
}

#[derive(Serialize)]
pub(crate) struct PlanDocument {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) plan: Option<ProposalDocument>,
}

#[derive(Serialize)]
pub(crate) struct BallotsDocument {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) proposal_id: ProposalId,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) tally: TallyDocument,
    pub(crate) ballots: Vec<BallotDocument>,
}

/// Where a certificate was written.
#[derive(Serialize)]
pub(crate) struct CertificateDocument {
    pub(crate) chain_id: String,
    pub(crate) proposal_id: ProposalId,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) bytes: usize,
    pub(crate) file: String,
}

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

#[derive(Serialize)]
pub(crate) struct ValidatorsDocument {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) total_power: u64,
    pub(crate) validators: Vec<ValidatorDocument>,
}

#[derive(Serialize)]
pub(crate) struct ValidatorDocument {
    id: String,
    name: String,
    governance_key: String,
    consensus_key: String,
    power: u64,
    next_sequence: u64,
    reporter_key: Option<String>,
    next_report_sequence: u64,
    /// The upgrade that it approved last and has not left.
    approves: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct StatusDocument {
    chain_id: String,
    node: String,
    moniker: String,
    version: String,
    height: u64,
    state_root: String,
    next_block_version: String,
    halt: Option<HaltDocument>,
    next_upgrade: Option<NextUpgradeDocument>,
    parameters: Parameters,
    peers: u32,
    mempool_transactions: u32,
    executed_changes: u64,
    validators: u64,
    total_power: u64,
}

#[derive(Serialize)]
struct HaltDocument {
    height: u64,
    proposal_id: String,
    version: String,
}

#[derive(Serialize)]
struct NextUpgradeDocument {
    height: u64,
    version: String,
}

#[derive(Serialize)]
pub(crate) struct ErrorDocument {
    pub(crate) error: ErrorContent,
}

#[derive(Serialize)]
pub(crate) struct ErrorContent {
    /// `rejected`, `failed`, `usage`, `config`, `unreachable`, `unproven`.
    pub(crate) kind: &'static str,
    /// The rule's stable code when the network rejected the transaction.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
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

impl From<&(Validator, Account)> for ValidatorDocument {
    fn from((validator, account): &(Validator, Account)) -> Self {
        Self {
            id: validator.id.to_string(),
            name: validator.name.clone(),
            governance_key: validator.governance_key.to_string(),
            consensus_key: validator.consensus_key.to_string(),
            power: validator.power.0,
            next_sequence: account.next_sequence,
            reporter_key: account.reporter.map(|key| key.to_string()),
            next_report_sequence: account.next_report_sequence,
            approves: account.approves.map(|proposal| proposal.to_string()),
        }
    }
}

impl StatusDocument {
    pub(crate) fn new(node: &str, status: &NodeStatus) -> Self {
        Self {
            chain_id: status.chain_id.to_string(),
            node: node.to_owned(),
            moniker: status.moniker.clone(),
            version: status.version.to_string(),
            height: status.height.0,
            state_root: status.state_root.clone(),
            next_block_version: status.next_block_version.to_string(),
            halt: status.halt.as_ref().map(|halt| HaltDocument {
                height: halt.height.0,
                proposal_id: halt.proposal.to_string(),
                version: halt.version.to_string(),
            }),
            next_upgrade: status
                .next_upgrade
                .as_ref()
                .map(|(height, version)| NextUpgradeDocument {
                    height: height.0,
                    version: version.to_string(),
                }),
            parameters: status.parameters,
            peers: status.peers,
            mempool_transactions: status.mempool_transactions,
            executed_changes: status.executed_changes,
            validators: status.validators,
            total_power: status.total_power.0,
        }
    }
}

impl TransactionDocument {
    pub(crate) fn new(id: TransactionId, outcome: &Outcome) -> Self {
        let (word, height, rejection) = match outcome {
            Outcome::Unknown => ("unknown", None, None),
            Outcome::Pending => ("pending", None, None),
            Outcome::Committed { height } => ("committed", Some(height.0), None),
            Outcome::Rejected {
                height,
                code,
                message,
            } => ("rejected", Some(height.0), Some((code, message))),
            Outcome::Dropped { code, message } => ("dropped", None, Some((code, message))),
        };
        Self {
            transaction_id: id.to_string(),
            outcome: word,
            height,
            rejection: rejection.map(|(code, message)| RejectionDocument {
                code: code.clone(),
                message: message.clone(),
            }),
        }
    }
}
