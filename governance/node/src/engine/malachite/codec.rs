//! Messages and bytes, on the network and in the write-ahead log.
//!
//! Strict: every message has exactly one encoding, and more bytes than a message of its kind can need are refused unread.

use std::sync::{Arc, Mutex, PoisonError};

use arc_malachitebft_app_channel::app::consensus::LivenessMsg;
use arc_malachitebft_app_channel::app::streaming::{StreamContent, StreamId, StreamMessage};
use arc_malachitebft_app_channel::app::types::codec::{Codec, HasEncodedLen};
use arc_malachitebft_app_channel::app::types::core::{
    ExtendedCommitCertificate, PolkaCertificate, Round, SignedMessage, ValidatorProof, Validity,
};
use arc_malachitebft_app_channel::app::types::sync::{RawDecidedValue, Request, Response, Status};
use arc_malachitebft_app_channel::app::types::{PeerId, ProposedValue, SignedConsensusMsg};
use arc_malachitebft_sync::{ValueRequest, ValueResponse};
use bytes::Bytes;
use governance::{MAX_TRANSACTION_BYTES, encoding};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Candidate, GovernanceContext, Part};
use super::wire::{
    WireCommit, WireError, WireLiveness, WireMessage, WirePart, WirePolka, WireProof, WireProposedValue,
    WireRequest, WireResponse, WireStatus, WireStream, any_round, some_round,
};
use crate::engine::MAX_BLOCK_BYTES;

#[cfg(test)]
mod tests;

/// A vote or a proposal without its block: some two hundred bytes.
const MAX_VOTE_BYTES: usize = 1024;
/// One signature per validator, at most 118 bytes each: ten thousand validators, and some.
pub(crate) const MAX_CERTIFICATE_BYTES: usize = 2 * 1024 * 1024;
/// Transactions in one gossip message: four of the largest, or a few hundred votes.
pub(crate) const MAX_GOSSIP_BYTES: usize = 4 * MAX_TRANSACTION_BYTES;
/// A proposal part: a block and what its proposer says about it, or a gossip message.
pub(crate) const MAX_PART_BYTES: usize = MAX_BLOCK_BYTES + 1024;
/// What one answer to a sync request may hold.
pub(crate) const MAX_SYNC_BYTES: usize = 8 * 1024 * 1024;

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
