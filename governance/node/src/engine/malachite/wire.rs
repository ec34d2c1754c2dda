//! The engine's messages as they are laid out in canonical bytes, and the way there and back.
//!
//! No message lacks a round where the engine relies on one: without it the type cannot be built.

use std::sync::Arc;

use arc_malachitebft_app_channel::app::engine::util::streaming::Sequence;
use arc_malachitebft_app_channel::app::types::core::{
    ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal, PolkaCertificate, PolkaSignature, Round,
    RoundCertificate, RoundCertificateType, RoundSignature, VoteType,
};
use governance::encoding::EncodingError;
use governance::{Digest, Signature, SignedTransaction};
use serde::{Deserialize, Serialize};

use super::context::{
    Address, Candidate, ChainHeight, GovernanceContext, Part, Proposal, ProposedBlock, Vote,
};
use crate::engine::Block;

/// Why a message cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    #[error("the message has no round where it needs one")]
    NoRound,
    #[error("the peer id is none")]
    PeerId,
    #[error("the block is not the one that the message names")]
    BlockId,
}

/// A vote as it is signed and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVote {
    pub(super) precommit: bool,
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) value: Option<Digest>,
    pub(super) address: Address,
}

/// A proposal as it is signed and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireProposal {
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) value: Digest,
    pub(super) pol_round: Option<u32>,
    pub(super) address: Address,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireMessage {
    Vote(WireVote, Signature),
    Proposal(WireProposal, Signature),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireLiveness {
    Vote(WireVote, Signature),
    Polka(WirePolka),
    Skip(WireRoundCertificate),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePolka {
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) value: Digest,
    pub(super) signatures: Vec<(Address, Signature)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireRoundCertificate {
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) skip: bool,
    pub(super) signatures: Vec<WireRoundSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireRoundSignature {
    pub(super) precommit: bool,
    pub(super) value: Option<Digest>,
    pub(super) address: Address,
    pub(super) signature: Signature,
}

/// The proof that a block was decided: `governance.v1` clients never see it, other nodes verify it when they sync.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireCommit {
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) value: Digest,
    pub(super) signatures: Vec<(Address, Signature)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireStream {
    pub(super) stream: Vec<u8>,
    pub(super) sequence: Sequence,
    pub(super) content: Option<WirePart>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WirePart {
    Block {
        round: u32,
        valid_round: Option<u32>,
        proposer: Address,
        block: Block,
        signature: Signature,
    },
    Transactions(Vec<SignedTransaction>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireProposedValue {
    pub(super) height: ChainHeight,
    pub(super) round: u32,
    pub(super) valid_round: Option<u32>,
    pub(super) proposer: Address,
    pub(super) id: Digest,
    pub(super) block: Option<Block>,
    pub(super) valid: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireStatus {
    pub(super) peer: Vec<u8>,
    pub(super) tip: ChainHeight,
    pub(super) earliest: ChainHeight,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireRequest {
    pub(super) first: ChainHeight,
    pub(super) last: ChainHeight,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireResponse {
    pub(super) first: ChainHeight,
    pub(super) values: Vec<(Vec<u8>, WireCommit)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireProof {
    pub(super) key: Vec<u8>,
    pub(super) peer: Vec<u8>,
    pub(super) signature: Signature,
}

pub(super) fn some_round(round: Round) -> Result<u32, WireError> {
    round.as_u32().ok_or(WireError::NoRound)
}

pub(super) fn any_round(round: Option<u32>) -> Round {
    round.map_or(Round::Nil, Round::new)
}

pub(super) const fn is_precommit(kind: VoteType) -> bool {
    match kind {
        VoteType::Precommit => true,
        VoteType::Prevote => false,
    }
}

pub(super) const fn vote_type(precommit: bool) -> VoteType {
    if precommit {
        VoteType::Precommit
    } else {
        VoteType::Prevote
    }
}

pub(super) fn to_option(value: &NilOrVal<Digest>) -> Option<Digest> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(id) => Some(*id),
    }
}

pub(super) fn to_nil(value: Option<Digest>) -> NilOrVal<Digest> {
    value.map_or(NilOrVal::Nil, NilOrVal::Val)
}

impl TryFrom<&Vote> for WireVote {
    type Error = WireError;

    fn try_from(vote: &Vote) -> Result<Self, WireError> {
        Ok(Self {
            precommit: is_precommit(vote.kind),
            height: vote.height,
            round: some_round(vote.round)?,
            value: to_option(&vote.value),
            address: vote.address,
        })
    }
}

impl From<WireVote> for Vote {
    fn from(wire: WireVote) -> Self {
        Self {
            kind: vote_type(wire.precommit),
            height: wire.height,
            round: Round::new(wire.round),
            value: to_nil(wire.value),
            address: wire.address,
        }
    }
}

impl TryFrom<&Proposal> for WireProposal {
    type Error = WireError;

    fn try_from(proposal: &Proposal) -> Result<Self, WireError> {
        Ok(Self {
            height: proposal.height,
            round: some_round(proposal.round)?,
            value: proposal.value.id,
            pol_round: proposal.pol_round.as_u32(),
            address: proposal.address,
        })
    }
}

impl From<WireProposal> for Proposal {
    fn from(wire: WireProposal) -> Self {
        Self {
            height: wire.height,
            round: Round::new(wire.round),
            value: Candidate {
                id: wire.value,
                block: None,
            },
            pol_round: any_round(wire.pol_round),
            address: wire.address,
        }
    }
}

impl TryFrom<&ExtendedCommitCertificate<GovernanceContext>> for WireCommit {
    type Error = WireError;

    fn try_from(certificate: &ExtendedCommitCertificate<GovernanceContext>) -> Result<Self, WireError> {
        Ok(Self {
            height: certificate.height,
            round: some_round(certificate.round)?,
            value: certificate.value_id,
            signatures: certificate
                .commit_signatures
                .iter()
                .map(|one| (one.address, one.signature))
                .collect(),
        })
    }
}

impl From<WireCommit> for ExtendedCommitCertificate<GovernanceContext> {
    fn from(wire: WireCommit) -> Self {
        let signature = |(address, signature)| ExtendedCommitSignature::new(address, signature, None);
        Self {
            height: wire.height,
            round: Round::new(wire.round),
            value_id: wire.value,
            commit_signatures: wire.signatures.into_iter().map(signature).collect(),
        }
    }
}

impl TryFrom<&PolkaCertificate<GovernanceContext>> for WirePolka {
    type Error = WireError;

    fn try_from(certificate: &PolkaCertificate<GovernanceContext>) -> Result<Self, WireError> {
        Ok(Self {
            height: certificate.height,
            round: some_round(certificate.round)?,
            value: certificate.value_id,
            signatures: certificate
                .polka_signatures
                .iter()
                .map(|one| (one.address, one.signature))
                .collect(),
        })
    }
}

impl From<WirePolka> for PolkaCertificate<GovernanceContext> {
    fn from(wire: WirePolka) -> Self {
        let signature = |(address, signature)| PolkaSignature::new(address, signature);
        Self {
            height: wire.height,
            round: Round::new(wire.round),
            value_id: wire.value,
            polka_signatures: wire.signatures.into_iter().map(signature).collect(),
        }
    }
}

impl TryFrom<&RoundCertificate<GovernanceContext>> for WireRoundCertificate {
    type Error = WireError;

    fn try_from(certificate: &RoundCertificate<GovernanceContext>) -> Result<Self, WireError> {
        let signature = |one: &RoundSignature<GovernanceContext>| WireRoundSignature {
            precommit: is_precommit(one.vote_type),
            value: to_option(&one.value_id),
            address: one.address,
            signature: one.signature,
        };
        Ok(Self {
            height: certificate.height,
            round: some_round(certificate.round)?,
            skip: match certificate.cert_type {
                RoundCertificateType::Skip => true,
                RoundCertificateType::Precommit => false,
            },
            signatures: certificate.round_signatures.iter().map(signature).collect(),
        })
    }
}

impl From<WireRoundCertificate> for RoundCertificate<GovernanceContext> {
    fn from(wire: WireRoundCertificate) -> Self {
        let signature = |one: WireRoundSignature| {
            RoundSignature::new(
                vote_type(one.precommit),
                to_nil(one.value),
                one.address,
                one.signature,
            )
        };
        Self {
            height: wire.height,
            round: Round::new(wire.round),
            cert_type: if wire.skip {
                RoundCertificateType::Skip
            } else {
                RoundCertificateType::Precommit
            },
            round_signatures: wire.signatures.into_iter().map(signature).collect(),
        }
    }
}

impl TryFrom<&Part> for WirePart {
    type Error = WireError;

    fn try_from(part: &Part) -> Result<Self, WireError> {
        Ok(match part {
            Part::Block(proposed) => Self::Block {
                round: some_round(proposed.round)?,
                valid_round: proposed.valid_round.as_u32(),
                proposer: proposed.proposer,
                block: Block::clone(&proposed.block),
                signature: proposed.signature,
            },
            Part::Transactions(transactions) => Self::Transactions(transactions.clone()),
        })
    }
}

impl From<WirePart> for Part {
    fn from(wire: WirePart) -> Self {
        match wire {
            WirePart::Block {
                round,
                valid_round,
                proposer,
                block,
                signature,
            } => Self::Block(ProposedBlock {
                round: Round::new(round),
                valid_round: any_round(valid_round),
                proposer,
                block: Arc::new(block),
                signature,
            }),
            WirePart::Transactions(transactions) => Self::Transactions(transactions),
        }
    }
}
