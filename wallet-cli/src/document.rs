//! What `--json` prints: one object with `"schema": 1`. The shapes are a contract, described in the README; fields are
//! added, never removed or changed.

use governance::{Phase, Proposal, Subject, Tally, TransactionId, Validator};
use serde::Serialize;

use crate::client::Outcome;
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
    pub(crate) public_key: governance::PublicKey,
    pub(crate) validator_id: governance::ValidatorId,
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
    pub(crate) proposal_id: governance::ProposalId,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choice: Option<governance::Choice>,
    /// `null` when nobody waited.
    pub(crate) committed_height: Option<u64>,
    /// As it stands after that block; `null` when nobody waited.
    pub(crate) proposal: Option<ProposalDocument>,
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
pub(crate) struct ProposalDocument {
    id: String,
    name: String,
    /// `upgrade` or `cancel`.
    kind: &'static str,
    version: Option<String>,
    upgrade_height: Option<u64>,
    artifacts: Vec<governance::Artifact>,
    description: Option<String>,
    target: Option<String>,
    proposer: String,
    submitted_height: u64,
    votes_close_height: u64,
    phase: Phase,
    ended_height: Option<u64>,
    tally: TallyDocument,
    ballots: Vec<BallotDocument>,
}

#[derive(Serialize)]
struct TallyDocument {
    approving: u64,
    rejecting: u64,
    total: u64,
    /// The smallest approving power that is enough; `null` when even all of it is not.
    needed: Option<u64>,
    threshold_numerator: u64,
    threshold_denominator: u64,
}

#[derive(Serialize)]
struct BallotDocument {
    validator_id: String,
    choice: governance::Choice,
    height: u64,
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
    parameters: governance::Parameters,
    peers: u32,
    mempool_transactions: u32,
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
    /// `rejected`, `failed`, `usage`, `config`, `unreachable`.
    pub(crate) kind: &'static str,
    /// The rule's stable code when the network rejected the transaction.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

impl From<&Proposal> for ProposalDocument {
    fn from(proposal: &Proposal) -> Self {
        let (upgrade, target) = match &proposal.subject {
            Subject::Upgrade(upgrade) => (Some(upgrade), None),
            Subject::Cancel { target } => (None, Some(target.to_string())),
        };
        let ballots = proposal.ballots.iter().map(|(validator, ballot)| BallotDocument {
            validator_id: validator.to_string(),
            choice: ballot.choice,
            height: ballot.height.0,
        });
        Self {
            id: proposal.id.to_string(),
            name: proposal.name(),
            kind: if upgrade.is_some() { "upgrade" } else { "cancel" },
            version: upgrade.map(|upgrade| upgrade.version.to_string()),
            upgrade_height: upgrade.map(|upgrade| upgrade.height.0),
            artifacts: upgrade
                .map(|upgrade| upgrade.artifacts.clone())
                .unwrap_or_default(),
            description: upgrade.map(|upgrade| upgrade.description.clone()),
            target,
            proposer: proposal.proposer.to_string(),
            submitted_height: proposal.submitted_height.0,
            votes_close_height: proposal.votes_close_height.0,
            phase: proposal.phase,
            ended_height: proposal.ended_height.map(|height| height.0),
            tally: (&proposal.tally).into(),
            ballots: ballots.collect(),
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

impl From<&(Validator, u64)> for ValidatorDocument {
    fn from((validator, next_sequence): &(Validator, u64)) -> Self {
        Self {
            id: validator.id.to_string(),
            name: validator.name.clone(),
            governance_key: validator.governance_key.to_string(),
            consensus_key: validator.consensus_key.to_string(),
            power: validator.power.0,
            next_sequence: *next_sequence,
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
