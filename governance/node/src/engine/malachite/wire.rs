//! The engine's messages as canonical bytes, on the network and in the write-ahead log.
//!
//! Strict: every message has exactly one encoding, no round is missing where the engine relies on one, and more bytes
//! than a message of its kind can need are refused unread.

use std::sync::{Arc, Mutex, PoisonError};

use arc_malachitebft_app_channel::app::consensus::LivenessMsg;
use arc_malachitebft_app_channel::app::engine::util::streaming::Sequence;
use arc_malachitebft_app_channel::app::streaming::{StreamContent, StreamId, StreamMessage};
use arc_malachitebft_app_channel::app::types::codec::{Codec, HasEncodedLen};
use arc_malachitebft_app_channel::app::types::core::{
    ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal, PolkaCertificate, PolkaSignature, Round,
    RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage, ValidatorProof, Validity,
    VoteType,
};
use arc_malachitebft_app_channel::app::types::sync::{RawDecidedValue, Request, Response, Status};
use arc_malachitebft_app_channel::app::types::{PeerId, ProposedValue, SignedConsensusMsg};
use arc_malachitebft_sync::{ValueRequest, ValueResponse};
use bytes::Bytes;
use governance::encoding::{self, EncodingError};
use governance::{Digest, MAX_TRANSACTION_BYTES, Signature, SignedTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::context::{
    Address, Candidate, ChainHeight, GovernanceContext, Part, Proposal, ProposedBlock, Vote,
};
use crate::engine::{Block, MAX_BLOCK_BYTES};

/// A vote or a proposal without its block: some two hundred bytes.
const MAX_VOTE_BYTES: usize = 1024;
/// One signature per validator, about a hundred bytes each: ten thousand validators.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;
/// Transactions in one gossip message: four of the largest, or a few hundred votes.
pub(crate) const MAX_GOSSIP_BYTES: usize = 4 * MAX_TRANSACTION_BYTES;
/// A proposal part: a block and what its proposer says about it, or a gossip message.
pub(crate) const MAX_PART_BYTES: usize = MAX_BLOCK_BYTES + 1024;
/// What one answer to a sync request may hold.
pub(crate) const MAX_SYNC_BYTES: usize = 8 * 1024 * 1024;

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
    precommit: bool,
    height: ChainHeight,
    round: u32,
    value: Option<Digest>,
    address: Address,
}

/// A proposal as it is signed and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireProposal {
    height: ChainHeight,
    round: u32,
    value: Digest,
    pol_round: Option<u32>,
    address: Address,
}

#[derive(Serialize, Deserialize)]
enum WireMessage {
    Vote(WireVote, Signature),
    Proposal(WireProposal, Signature),
}

#[derive(Serialize, Deserialize)]
enum WireLiveness {
    Vote(WireVote, Signature),
    Polka(WirePolka),
    Skip(WireRoundCertificate),
}

#[derive(Serialize, Deserialize)]
struct WirePolka {
    height: ChainHeight,
    round: u32,
    value: Digest,
    signatures: Vec<(Address, Signature)>,
}

#[derive(Serialize, Deserialize)]
struct WireRoundCertificate {
    height: ChainHeight,
    round: u32,
    skip: bool,
    signatures: Vec<WireRoundSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireRoundSignature {
    precommit: bool,
    value: Option<Digest>,
    address: Address,
    signature: Signature,
}

/// The proof that a block was decided: `governance.v1` clients never see it, other nodes verify it when they sync.
#[derive(Serialize, Deserialize)]
struct WireCommit {
    height: ChainHeight,
    round: u32,
    value: Digest,
    signatures: Vec<(Address, Signature)>,
}

#[derive(Serialize, Deserialize)]
struct WireStream {
    stream: Vec<u8>,
    sequence: Sequence,
    content: Option<WirePart>,
}

#[derive(Serialize, Deserialize)]
enum WirePart {
    Block {
        round: u32,
        valid_round: Option<u32>,
        proposer: Address,
        block: Block,
        signature: Signature,
    },
    Transactions(Vec<SignedTransaction>),
}

#[derive(Serialize, Deserialize)]
struct WireProposedValue {
    height: ChainHeight,
    round: u32,
    valid_round: Option<u32>,
    proposer: Address,
    id: Digest,
    block: Option<Block>,
    valid: bool,
}

#[derive(Serialize, Deserialize)]
struct WireStatus {
    peer: Vec<u8>,
    tip: ChainHeight,
    earliest: ChainHeight,
}

#[derive(Serialize, Deserialize)]
struct WireRequest {
    first: ChainHeight,
    last: ChainHeight,
}

#[derive(Serialize, Deserialize)]
struct WireResponse {
    first: ChainHeight,
    values: Vec<(Vec<u8>, WireCommit)>,
}

#[derive(Serialize, Deserialize)]
struct WireProof {
    key: Vec<u8>,
    peer: Vec<u8>,
    signature: Signature,
}

/// Blocks that the write-ahead log held when it was read.
pub(crate) type Recovered = Arc<Mutex<Vec<ProposedValue<GovernanceContext>>>>;

/// The codec for network, sync and write-ahead log.
///
/// The engine replays its log by itself and tells the application only the id that was decided. The blocks stand in the
/// log too; as they are read, the codec keeps them for the application. See [`WireCodec::recovered`].
#[derive(Clone, Debug, Default)]
pub(crate) struct WireCodec {
    recovered: Recovered,
}

impl WireCodec {
    /// The proposed values decoded since the last call.
    pub(crate) fn recovered(&self) -> Vec<ProposedValue<GovernanceContext>> {
        std::mem::take(&mut *self.recovered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bytes under which a certificate is stored.
pub(crate) fn encode_certificate(
    certificate: &ExtendedCommitCertificate<GovernanceContext>,
) -> Result<Vec<u8>, WireError> {
    Ok(encoding::to_canonical(&WireCommit::try_from(certificate)?))
}

/// The certificate in stored bytes.
pub(crate) fn decode_certificate(
    bytes: &[u8],
) -> Result<ExtendedCommitCertificate<GovernanceContext>, WireError> {
    Ok(encoding::from_canonical::<WireCommit>(bytes, MAX_CERTIFICATE_BYTES)?.into())
}

fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, WireError> {
    Ok(encoding::from_canonical(bytes, limit)?)
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    encoding::to_canonical(value).into()
}

fn some_round(round: Round) -> Result<u32, WireError> {
    round.as_u32().ok_or(WireError::NoRound)
}

fn any_round(round: Option<u32>) -> Round {
    round.map_or(Round::Nil, Round::new)
}

const fn is_precommit(kind: VoteType) -> bool {
    match kind {
        VoteType::Precommit => true,
        VoteType::Prevote => false,
    }
}

const fn vote_type(precommit: bool) -> VoteType {
    if precommit {
        VoteType::Precommit
    } else {
        VoteType::Prevote
    }
}

fn to_option(value: &NilOrVal<Digest>) -> Option<Digest> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(id) => Some(*id),
    }
}

fn to_nil(value: Option<Digest>) -> NilOrVal<Digest> {
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

impl Codec<Part> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<Part, WireError> {
        Ok(decode::<WirePart>(&bytes, MAX_PART_BYTES)?.into())
    }

    fn encode(&self, part: &Part) -> Result<Bytes, WireError> {
        Ok(encode(&WirePart::try_from(part)?))
    }
}

impl Codec<StreamMessage<Part>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<StreamMessage<Part>, WireError> {
        let wire: WireStream = decode(&bytes, MAX_PART_BYTES)?;
        let content = wire
            .content
            .map_or(StreamContent::Fin, |part| StreamContent::Data(part.into()));
        Ok(StreamMessage::new(
            StreamId::new(wire.stream.into()),
            wire.sequence,
            content,
        ))
    }

    fn encode(&self, message: &StreamMessage<Part>) -> Result<Bytes, WireError> {
        let content = match &message.content {
            StreamContent::Data(part) => Some(WirePart::try_from(part)?),
            StreamContent::Fin => None,
        };
        Ok(encode(&WireStream {
            stream: message.stream_id.to_bytes().to_vec(),
            sequence: message.sequence,
            content,
        }))
    }
}

impl Codec<SignedConsensusMsg<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<SignedConsensusMsg<GovernanceContext>, WireError> {
        Ok(match decode(&bytes, MAX_VOTE_BYTES)? {
            WireMessage::Vote(vote, signature) => {
                SignedConsensusMsg::Vote(SignedMessage::new(vote.into(), signature))
            }
            WireMessage::Proposal(proposal, signature) => {
                SignedConsensusMsg::Proposal(SignedMessage::new(proposal.into(), signature))
            }
        })
    }

    fn encode(&self, message: &SignedConsensusMsg<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&match message {
            SignedConsensusMsg::Vote(vote) => WireMessage::Vote((&vote.message).try_into()?, vote.signature),
            SignedConsensusMsg::Proposal(proposal) => {
                WireMessage::Proposal((&proposal.message).try_into()?, proposal.signature)
            }
        }))
    }
}

impl Codec<LivenessMsg<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<LivenessMsg<GovernanceContext>, WireError> {
        Ok(match decode(&bytes, MAX_CERTIFICATE_BYTES)? {
            WireLiveness::Vote(vote, signature) => {
                LivenessMsg::Vote(SignedMessage::new(vote.into(), signature))
            }
            WireLiveness::Polka(certificate) => LivenessMsg::PolkaCertificate(certificate.into()),
            WireLiveness::Skip(certificate) => LivenessMsg::SkipRoundCertificate(certificate.into()),
        })
    }

    fn encode(&self, message: &LivenessMsg<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&match message {
            LivenessMsg::Vote(vote) => WireLiveness::Vote((&vote.message).try_into()?, vote.signature),
            LivenessMsg::PolkaCertificate(certificate) => WireLiveness::Polka(certificate.try_into()?),
            LivenessMsg::SkipRoundCertificate(certificate) => WireLiveness::Skip(certificate.try_into()?),
        }))
    }
}

impl Codec<PolkaCertificate<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<PolkaCertificate<GovernanceContext>, WireError> {
        Ok(decode::<WirePolka>(&bytes, MAX_CERTIFICATE_BYTES)?.into())
    }

    fn encode(&self, certificate: &PolkaCertificate<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&WirePolka::try_from(certificate)?))
    }
}

impl Codec<ProposedValue<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<ProposedValue<GovernanceContext>, WireError> {
        let wire: WireProposedValue = decode(&bytes, MAX_PART_BYTES)?;
        if wire.block.as_ref().is_some_and(|block| block.id() != wire.id) {
            return Err(WireError::BlockId);
        }
        let value = ProposedValue {
            height: wire.height,
            round: Round::new(wire.round),
            valid_round: any_round(wire.valid_round),
            proposer: wire.proposer,
            value: Candidate {
                id: wire.id,
                block: wire.block.map(Arc::new),
            },
            validity: Validity::from_bool(wire.valid),
        };
        self.recovered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(value.clone());
        Ok(value)
    }

    fn encode(&self, value: &ProposedValue<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&WireProposedValue {
            height: value.height,
            round: some_round(value.round)?,
            valid_round: value.valid_round.as_u32(),
            proposer: value.proposer,
            id: value.value.id,
            block: value.value.block.as_deref().cloned(),
            valid: value.validity.is_valid(),
        }))
    }
}

impl Codec<Status<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<Status<GovernanceContext>, WireError> {
        let wire: WireStatus = decode(&bytes, MAX_VOTE_BYTES)?;
        Ok(Status {
            peer_id: PeerId::from_bytes(&wire.peer).map_err(|_| WireError::PeerId)?,
            tip_height: wire.tip,
            history_min_height: wire.earliest,
        })
    }

    fn encode(&self, status: &Status<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&WireStatus {
            peer: status.peer_id.to_bytes(),
            tip: status.tip_height,
            earliest: status.history_min_height,
        }))
    }
}

impl Codec<Request<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<Request<GovernanceContext>, WireError> {
        let wire: WireRequest = decode(&bytes, MAX_VOTE_BYTES)?;
        Ok(Request::ValueRequest(ValueRequest::new(wire.first..=wire.last)))
    }

    fn encode(&self, request: &Request<GovernanceContext>) -> Result<Bytes, WireError> {
        let Request::ValueRequest(request) = request;
        Ok(encode(&WireRequest {
            first: *request.range.start(),
            last: *request.range.end(),
        }))
    }
}

impl Codec<Response<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<Response<GovernanceContext>, WireError> {
        let wire: WireResponse = decode(&bytes, MAX_SYNC_BYTES)?;
        let values = wire
            .values
            .into_iter()
            .map(|(block, certificate)| RawDecidedValue::new(block.into(), certificate.into()))
            .collect();
        Ok(Response::ValueResponse(ValueResponse::new(wire.first, values)))
    }

    fn encode(&self, response: &Response<GovernanceContext>) -> Result<Bytes, WireError> {
        let Response::ValueResponse(response) = response;
        let value = |value: &RawDecidedValue<GovernanceContext>| -> Result<(Vec<u8>, WireCommit), WireError> {
            Ok((value.value_bytes.to_vec(), (&value.certificate).try_into()?))
        };
        Ok(encode(&WireResponse {
            first: response.start_height,
            values: response.values.iter().map(value).collect::<Result<_, _>>()?,
        }))
    }
}

impl HasEncodedLen<Response<GovernanceContext>> for WireCodec {
    fn encoded_len(&self, response: &Response<GovernanceContext>) -> Result<usize, WireError> {
        Ok(Codec::<Response<GovernanceContext>>::encode(self, response)?.len())
    }
}

impl Codec<ValidatorProof<GovernanceContext>> for WireCodec {
    type Error = WireError;

    fn decode(&self, bytes: Bytes) -> Result<ValidatorProof<GovernanceContext>, WireError> {
        let wire: WireProof = decode(&bytes, MAX_VOTE_BYTES)?;
        Ok(ValidatorProof::new(wire.key, wire.peer, wire.signature))
    }

    fn encode(&self, proof: &ValidatorProof<GovernanceContext>) -> Result<Bytes, WireError> {
        Ok(encode(&WireProof {
            key: proof.public_key.clone(),
            peer: proof.peer_id.clone(),
            signature: proof.signature,
        }))
    }
}
