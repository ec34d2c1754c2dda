//! Signatures of the consensus engine: `tag ‖ chain id ‖ message`, in canonical bytes.
//!
//! The tag keeps one kind of message from being taken for another, the chain id keeps a vote on one chain from counting
//! on another that has the same key.

use std::sync::Arc;

use arc_malachitebft_app_channel::app::types::core::{SignedMessage, ValidatorProof, VoteExtensionScope};
use arc_malachitebft_app_channel::{Signer, Verifier};
use arc_malachitebft_signing::{Error, VerificationResult};
use async_trait::async_trait;
use ed25519_dalek::{Signer as _, VerifyingKey};
use governance::{ChainId, Digest, Height, PublicKey, Signature, SigningKey, encoding};
use serde::Serialize;

use super::context::{ChainHeight, GovernanceContext, Proposal, Vote};
use super::wire::{WireProposal, WireVote};
use crate::signed_height::{SignedHeight, SignedHeightError};

const VOTE_TAG: &[u8] = b"visor/consensus/v1/vote\0";
const PROPOSAL_TAG: &[u8] = b"visor/consensus/v1/proposal\0";
const BLOCK_TAG: &[u8] = b"visor/consensus/v1/proposed-block\0";

/// Signs with this validator's consensus key. Not `Debug`: keys are never printed.
#[derive(Clone)]
pub(crate) struct ConsensusSigner {
    key: Arc<SigningKey>,
    chain_id: ChainId,
    /// Knows a height before anything is signed for it. Absent only where nothing leaves the process.
    signed: Option<SignedHeight>,
}

/// Checks what others have signed on this chain.
#[derive(Clone, Debug)]
pub(crate) struct ConsensusVerifier {
    chain_id: ChainId,
}

impl ConsensusSigner {
    pub(crate) fn new(key: SigningKey, chain_id: ChainId) -> Self {
        Self {
            key: Arc::new(key),
            chain_id,
            signed: None,
        }
    }

    /// The same, with a file that knows every height before anything is signed for it.
    pub(crate) fn remembering(self, signed: SignedHeight) -> Self {
        Self {
            signed: Some(signed),
            ..self
        }
    }

    /// Makes it durable that something is signed for this height. To be called before every signature.
    pub(crate) async fn mark(&self, height: ChainHeight) -> Result<(), SignedHeightError> {
        match &self.signed {
            Some(signed) => signed.mark(Height::from(height)).await,
            None => Ok(()),
        }
    }

    /// Waits until that has failed: then this node signs no more.
    pub(crate) async fn failed(&self) {
        match &self.signed {
            Some(signed) => signed.failed().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::from(&*self.key)
    }

    /// The proposer's signature over a block that it sends around for one round. After [`mark`](Self::mark).
    pub(crate) fn sign_block(&self, height: ChainHeight, round: u32, block: &Digest) -> Signature {
        self.sign(&preimage(BLOCK_TAG, &self.chain_id, &(height, round, block)))
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.key.sign(bytes).to_bytes())
    }
}

impl ConsensusVerifier {
    pub(crate) const fn new(chain_id: ChainId) -> Self {
        Self { chain_id }
    }

    /// Whether `key` has signed the block for that round.
    pub(crate) fn verify_block(
        &self,
        height: ChainHeight,
        round: u32,
        block: &Digest,
        signature: &Signature,
        key: &PublicKey,
    ) -> bool {
        verify(
            &preimage(BLOCK_TAG, &self.chain_id, &(height, round, block)),
            signature,
            key,
        )
    }
}

#[async_trait]
impl Signer<GovernanceContext> for ConsensusSigner {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<GovernanceContext, Vote>, Error> {
        let wire = WireVote::try_from(&vote).map_err(Error::from_source)?;
        self.mark(vote.height).await.map_err(Error::from_source)?;
        let signature = self.sign(&preimage(VOTE_TAG, &self.chain_id, &wire));
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(
        &self,
        proposal: Proposal,
    ) -> Result<SignedMessage<GovernanceContext, Proposal>, Error> {
        let wire = WireProposal::try_from(&proposal).map_err(Error::from_source)?;
        self.mark(proposal.height).await.map_err(Error::from_source)?;
        let signature = self.sign(&preimage(PROPOSAL_TAG, &self.chain_id, &wire));
        Ok(SignedMessage::new(proposal, signature))
    }

    /// Vote extensions are disabled at every height.
    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<GovernanceContext>,
        _extension: (),
    ) -> Result<SignedMessage<GovernanceContext, ()>, Error> {
        Err(Error::new())
    }

    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<ValidatorProof<GovernanceContext>, Error> {
        let bytes = ValidatorProof::<GovernanceContext>::signing_bytes(&public_key, &peer_id);
        Ok(ValidatorProof::new(public_key, peer_id, self.sign(&bytes)))
    }
}

#[async_trait]
impl Verifier<GovernanceContext> for ConsensusVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        let valid = WireVote::try_from(vote)
            .is_ok_and(|wire| verify(&preimage(VOTE_TAG, &self.chain_id, &wire), signature, key));
        Ok(VerificationResult::from_bool(valid))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        let valid = WireProposal::try_from(proposal)
            .is_ok_and(|wire| verify(&preimage(PROPOSAL_TAG, &self.chain_id, &wire), signature, key));
        Ok(VerificationResult::from_bool(valid))
    }

    /// Vote extensions are disabled at every height.
    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<GovernanceContext>,
        (): &(),
        _signature: &Signature,
        _key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        proof: &ValidatorProof<GovernanceContext>,
    ) -> Result<VerificationResult, Error> {
        let valid = proof
            .decoded_public_key()
            .is_ok_and(|key| verify(&proof.preimage(), &proof.signature, &key));
        Ok(VerificationResult::from_bool(valid))
    }
}

fn preimage<T: Serialize>(tag: &[u8], chain_id: &ChainId, message: &T) -> Vec<u8> {
    let mut bytes = tag.to_vec();
    bytes.extend_from_slice(&encoding::to_canonical(&(chain_id, message)));
    bytes
}

fn verify(bytes: &[u8], signature: &Signature, key: &PublicKey) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .is_ok()
    })
}
