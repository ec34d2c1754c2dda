//! GOV-06: ballots.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::{PublicKey, Signature};
use crate::numbers::Height;

/// What a validator thinks of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// For it.
    Approve,
    /// Against it.
    Reject,
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        })
    }
}

/// A validator's standing vote on one proposal, with the signature that proves it (GOV-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// For or against.
    pub choice: Choice,
    /// The block in which it was cast.
    pub height: Height,
    /// GOV-05: it was cast by proposing, not by voting.
    pub by_proposing: bool,
    /// The governance key that signed it.
    pub public_key: PublicKey,
    /// The sequence number of the signed transaction.
    pub sequence: u64,
    /// The last valid height of the signed transaction.
    pub last_valid_height: Height,
    /// The transaction's signature.
    pub signature: Signature,
}
