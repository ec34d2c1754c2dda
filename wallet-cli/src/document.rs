//! What `--json` prints: one object with `"schema": 1`. The shapes are a contract, described in the README; fields are
//! added, never removed or changed.

mod proposal;

use governance::{
    Account, Choice, Parameters, Phase, ProposalId, PublicKey, Readiness, TransactionId, Validator,
    ValidatorId,
};
use serde::Serialize;

pub(crate) use self::proposal::{BallotDocument, ProposalDocument, ProvenDocument, TallyDocument};
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
