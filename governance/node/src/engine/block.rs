//! What consensus decides: a block.

use governance::encoding::{self, EncodingError};
use governance::{
    BlockRefusal, Digest, Height, MAX_TRANSACTION_BYTES, Rejection, SignedTransaction, TransactionId,
};
use serde::{Deserialize, Serialize};

/// Enough for sixteen transactions of the largest size, and small enough to cross a slow link within a propose timeout.
pub const MAX_BLOCK_BYTES: usize = 17 * MAX_TRANSACTION_BYTES;
/// Bounds the signatures that a validator checks before it votes: about 20 ms on one core, checked in one batch. Votes of
/// a chain with a short id fill the bytes of a block at about the same number.
pub const MAX_BLOCK_TRANSACTIONS: usize = 1_024;

/// What a block id covers.
const BLOCK_TAG: &[u8] = b"visor/block/v1\0";

/// A block: transactions in order, at a height, on top of a state.
///
/// It names no proposer and no time: neither may influence what execution gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its height.
    pub height: Height,
    /// The chain's state root after the block before it. A validator votes only for a block on top of its own state.
    pub parent_state_root: Digest,
    /// The transactions in the order of execution.
    pub transactions: Vec<SignedTransaction>,
}

/// Why a validator does not vote for a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Not the next height.
    #[error("expected height {expected}, found {found}")]
    Height {
        /// The next height here.
        expected: Height,
        /// The block's height.
        found: Height,
    },
    /// The proposer's state is not ours.
    #[error("expected parent state root {expected}, found {found}: the proposer's state and ours differ")]
    ParentStateRoot {
        /// The state root here.
        expected: Digest,
        /// The block's.
        found: Digest,
    },
    /// The running version may not execute it.
    #[error(transparent)]
    Version(BlockRefusal),
    /// Too many transactions.
    #[error("expected at most {MAX_BLOCK_TRANSACTIONS} transactions, found {found}")]
    TooManyTransactions {
        /// Transactions found.
        found: usize,
    },
    /// Too many bytes.
    #[error("expected at most {MAX_BLOCK_BYTES} bytes, found {found}")]
    TooLarge {
        /// Canonical bytes found.
        found: usize,
    },
    /// A transaction that nobody could have meant for this chain: its signature or its chain is wrong.
    #[error("transaction {id} must not stand in a block")]
    Transaction {
        /// The transaction.
        id: TransactionId,
        /// Why.
        #[source]
        rejection: Box<Rejection>,
    },
}

impl Block {
    /// The block in `bytes`; more than [`MAX_BLOCK_BYTES`] are refused unread.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, EncodingError> {
        encoding::from_canonical(bytes, MAX_BLOCK_BYTES)
    }

    /// The canonical bytes.
    pub fn to_canonical(&self) -> Vec<u8> {
        encoding::to_canonical(self)
    }

    /// The hash by which the block is voted for.
    pub fn id(&self) -> Digest {
        let mut bytes = BLOCK_TAG.to_vec();
        bytes.extend_from_slice(&self.to_canonical());
        Digest::of(&bytes)
    }
}
