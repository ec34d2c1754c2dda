//! The chain in the consensus engine's words: addresses, heights, values, votes, proposals.
//!
//! A value is named by its block's id alone; the block itself travels once, in a proposal part, and is kept in the
//! write-ahead log. So votes, proposals and certificates stay small, whatever stands in a block.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_malachitebft_app_channel::app::types::core as malachite;
use governance::{Digest, Height, PublicKey, Signature, SigningKey, ValidatorId};
use malachite::{NilOrVal, Round, SignedExtension, VoteType};
use serde::{Deserialize, Serialize};

use super::proposer;
use super::validators::{Validator, Validators};
use crate::engine::Block;

/// The first 20 bytes of the SHA-256 of a consensus key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Address(pub(crate) [u8; 20]);

impl Address {
    pub(crate) fn of(key: &PublicKey) -> Self {
        let mut address = [0; 20];
        for (to, from) in address.iter_mut().zip(Digest::of(&key.0).0) {
            *to = from;
        }
        Self(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 40 hexadecimal digits")]
pub(crate) struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // The same length and the same digits as a validator id, which is another hash.
        let ValidatorId(bytes) = text.parse().map_err(|_| AddressError)?;
        Ok(Self(bytes))
    }
}

impl malachite::Address for Address {}

/// A height, as the engine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ChainHeight(pub(crate) u64);

impl fmt::Display for ChainHeight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<Height> for ChainHeight {
    fn from(height: Height) -> Self {
        Self(height.0)
    }
}

impl From<ChainHeight> for Height {
    fn from(height: ChainHeight) -> Self {
        Self(height.0)
    }
}

impl malachite::Height for ChainHeight {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, blocks: u64) -> Self {
        Self(self.0.saturating_add(blocks))
    }

    fn decrement_by(&self, blocks: u64) -> Option<Self> {
        self.0.checked_sub(blocks).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// What is decided: a block, known by its id. Two are equal when their ids are.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) id: Digest,
    /// Absent where only the id has travelled.
    pub(crate) block: Option<Arc<Block>>,
}

impl Candidate {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        Self {
            id: block.id(),
            block: Some(block),
        }
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id, formatter)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl malachite::Value for Candidate {
    type Id = Digest;

    fn id(&self) -> Digest {
        self.id
    }
}

/// A proposer's word that a block should be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: ChainHeight,
    pub(crate) round: Round,
    pub(crate) value: Candidate,
    pub(crate) pol_round: Round,
    pub(crate) address: Address,
}

impl malachite::Proposal<GovernanceContext> for Proposal {
    fn height(&self) -> ChainHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Candidate {
        &self.value
    }

    fn take_value(self) -> Candidate {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

/// A validator's vote in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: ChainHeight,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Digest>,
    pub(crate) address: Address,
}

impl malachite::Vote<GovernanceContext> for Vote {
    fn height(&self) -> ChainHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Digest> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Digest> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    fn extension(&self) -> Option<&SignedExtension<GovernanceContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<GovernanceContext>> {
        None
    }

    /// Vote extensions are disabled at every height, so the engine never attaches one.
    fn extend(self, _extension: SignedExtension<GovernanceContext>) -> Self {
        self
    }
}

/// What travels beside votes and proposals. Each part is a whole stream by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A proposer's block, signed so that nobody else can fill the rounds of others.
    Block(ProposedBlock),
    /// Transactions that wait at the sender.
    Transactions(Vec<governance::SignedTransaction>),
}

/// A block as its proposer sends it around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProposedBlock {
    pub(crate) round: Round,
    pub(crate) valid_round: Round,
    pub(crate) proposer: Address,
    pub(crate) block: Arc<Block>,
    pub(crate) signature: Signature,
}

impl malachite::ProposalPart<GovernanceContext> for Part {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// ed25519, as everywhere in this project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

/// Bytes that are no key or no signature.
#[derive(Clone, Debug, thiserror::Error)]
#[error("expected {expected} bytes, found {found}")]
pub(crate) struct LengthError {
    expected: usize,
    found: usize,
}

impl malachite::SigningScheme for Ed25519 {
    type DecodingError = LengthError;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = SigningKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, LengthError> {
        let array = bytes.try_into().map_err(|_| LengthError {
            expected: Signature::LENGTH,
            found: bytes.len(),
        })?;
        Ok(Signature(array))
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, LengthError> {
        let array = bytes.try_into().map_err(|_| LengthError {
            expected: PublicKey::LENGTH,
            found: bytes.len(),
        })?;
        Ok(PublicKey(array))
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// The engine's parameter: everything above together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GovernanceContext;

impl malachite::Context for GovernanceContext {
    type Address = Address;
    type Height = ChainHeight;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = Validators;
    type Timeouts = malachite::LinearTimeouts;
    type Value = Candidate;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, set: &'a Validators, height: ChainHeight, round: Round) -> &'a Validator {
        proposer::select(set, height, round)
    }

    fn new_proposal(
        &self,
        height: ChainHeight,
        round: Round,
        value: Candidate,
        pol_round: Round,
        address: Address,
    ) -> Proposal {
        Proposal {
            height,
            round,
            value,
            pol_round,
            address,
        }
    }

    fn new_prevote(
        &self,
        height: ChainHeight,
        round: Round,
        value: NilOrVal<Digest>,
        address: Address,
    ) -> Vote {
        Vote {
            kind: VoteType::Prevote,
            height,
            round,
            value,
            address,
        }
    }

    fn new_precommit(
        &self,
        height: ChainHeight,
        round: Round,
        value: NilOrVal<Digest>,
        address: Address,
    ) -> Vote {
        Vote {
            kind: VoteType::Precommit,
            height,
            round,
            value,
            address,
        }
    }
}
