//! What is known of a committed block and of the transactions in it, beside the block.

use governance::{Digest, Event, Height, ReleaseVersion, State, TransactionId};
use serde::{Deserialize, Serialize};

use crate::chronicle::Chronicle;

/// What is known of a committed block, besides the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// The block.
    pub height: Height,
    /// Its id.
    pub block: Digest,
    /// The chain's state root after it.
    pub state_root: Digest,
    /// The release version that executed it.
    pub version: ReleaseVersion,
    /// When this node had executed it, by its own clock: milliseconds since 1970-01-01 UTC. Not part of consensus.
    pub committed_at_unix_ms: u64,
    /// What happened in it.
    pub events: Vec<Event>,
    /// The transactions in it.
    pub transactions: Vec<TransactionId>,
}

/// What became of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionOutcome {
    /// The block.
    pub height: Height,
    /// Set when execution refused it and it changed nothing: the stable code and the text.
    pub rejection: Option<(String, String)>,
}

/// Everything that one block changes.
pub struct Commit<'a> {
    /// What is known of the block.
    pub record: &'a BlockRecord,
    /// Its canonical bytes.
    pub block: &'a [u8],
    /// The engine's proof that it was decided.
    pub certificate: &'a [u8],
    /// The state after the block before it, which the store holds.
    pub previous: &'a State,
    /// The state after it.
    pub state: &'a State,
    /// The chain's own state after it.
    pub chronicle: &'a Chronicle,
    /// What became of its transactions.
    pub outcomes: &'a [(TransactionId, TransactionOutcome)],
}

/// What the store holds when it is opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The governance state.
    pub state: State,
    /// The chain's own state.
    pub chronicle: Chronicle,
}
