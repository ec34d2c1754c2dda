//! Blocks on their way: proposed, fetched, decided.

use std::sync::Arc;

use arc_malachitebft_app_channel::app::engine::host::SyncedValueOutcome;
use arc_malachitebft_app_channel::app::types::ProposedValue;
use arc_malachitebft_app_channel::app::types::core::{
    CommitCertificate, ExtendedCommitCertificate, Round, Validity, VoteExtensions,
};
use governance::{Digest, Height};

use super::super::codec;
use super::super::context::{Address, Candidate, ChainHeight, ProposedBlock};
use super::super::proposals::Standing;
use super::super::proposer;
use super::super::validators::Validators;
use super::{Context, Driver, stopped};
use crate::engine::{Application, ApplicationError, Block, BlockFault, EngineError, Info};

impl<A: Application> Driver<A> {
    /// A block from another node: taken when its round's proposer has signed it.
    pub(super) fn received_block(&mut self, proposed: ProposedBlock) -> Option<ProposedValue<Context>> {
        let height = ChainHeight::from(proposed.block.height);
        let round = proposed.round.as_u32()?;
        let next = self.next_height();
        if self.info.halted || height < next {
            return None;
        }
        if height > next {
            // Judged when its height begins: the validator set may be another one then.
            let standing = if self.is_from_its_proposer(&proposed) {
                Standing::Accepted
            } else {
                Standing::Unknown
            };
            self.proposals.wait(round, proposed, standing);
            return None;
        }
        self.proposals.enter(height);
        self.judge(proposed)
    }

    /// Whether the one whose turn it is has signed this block for its height and round, by the set of the next height.
    fn is_from_its_proposer(&self, proposed: &ProposedBlock) -> bool {
        let Some(round) = proposed.round.as_u32() else {
            return false;
        };
        let height = ChainHeight::from(proposed.block.height);
        let turn = proposer::select(&self.validators, height, proposed.round);
        let id = proposed.block.id();
        proposed.proposer == turn.address
            && self
                .verifier
                .verify_block(height, round, &id, &proposed.signature, &turn.key)
    }

    /// A block of the next height, with this node's opinion of it. `None` when it is not its proposer's, or not wanted.
    pub(super) fn judge(&mut self, proposed: ProposedBlock) -> Option<ProposedValue<Context>> {
        if !self.is_from_its_proposer(&proposed) {
            tracing::debug!(
                block.height = proposed.block.height.0, validator.address = %proposed.proposer,
                "a block that its round's proposer has not signed"
            );
            return None;
        }
        let candidate = Candidate::new(Arc::clone(&proposed.block));
        if !self.proposals.take(
            proposed.round.as_u32()?,
            candidate.id,
            Arc::clone(&proposed.block),
        ) {
            return None;
        }
        let validity = self.validity(&proposed.block, &candidate.id);
        Some(ProposedValue {
            height: self.next_height(),
            round: proposed.round,
            valid_round: proposed.valid_round,
            proposer: proposed.proposer,
            value: candidate,
            validity,
        })
    }

    pub(super) fn validity(&mut self, block: &Block, id: &Digest) -> Validity {
        match self.application.validate_block(block) {
            Ok(()) => Validity::Valid,
            Err(fault @ BlockFault::ParentStateRoot { .. }) => {
                tracing::error!(
                    block.height = block.height.0, block.id = %id, block.fault = %fault,
                    "DIVERGENCE: refusing a block on top of another state than ours"
                );
                Validity::Invalid
            }
            Err(fault) => {
                tracing::warn!(block.height = block.height.0, block.id = %id, block.fault = %fault, "refusing a block");
                Validity::Invalid
            }
        }
    }

    /// A block that was decided while this node was away.
    pub(super) fn synced(
        &mut self,
        height: ChainHeight,
        round: Round,
        proposer: Address,
        bytes: &[u8],
    ) -> SyncedValueOutcome<Context> {
        let next = self.next_height();
        if self.info.halted || height != next {
            return SyncedValueOutcome::LocalTransientError;
        }
        let (Ok(block), Some(number)) = (Block::from_canonical(bytes), round.as_u32()) else {
            return SyncedValueOutcome::PeerFault;
        };
        if ChainHeight::from(block.height) != height {
            return SyncedValueOutcome::PeerFault;
        }
        let block = Arc::new(block);
        let candidate = Candidate::new(Arc::clone(&block));
        // More than two thirds have signed for an id; the engine compares it with this one. When it is the same and the
        // block builds on another state, then ours is not the chain's: executing it says so and stops the node, where a
        // refusal would leave it waiting for ever.
        let validity = match self.validity(&block, &candidate.id) {
            Validity::Invalid if block.parent_state_root != self.info.state_root => Validity::Valid,
            judged @ (Validity::Valid | Validity::Invalid) => judged,
        };
        self.proposals.enter(height);
        self.proposals.keep(number, candidate.id, block);
        SyncedValueOutcome::Verdict(ProposedValue {
            height,
            round,
            valid_round: Round::Nil,
            proposer,
            value: candidate,
            validity,
        })
    }

    /// A block is final: executed and made durable before the engine goes on.
    pub(super) fn decided(
        &mut self,
        certificate: CommitCertificate<Context>,
        extensions: VoteExtensions<Context>,
    ) -> Result<(), EngineError> {
        let height = Height::from(certificate.height);
        let id = certificate.value_id;
        if height <= self.info.height {
            tracing::warn!(block.height = height.0, "decided again what is committed already");
            return Ok(());
        }
        let block = self
            .proposals
            .get(&id)
            .ok_or(EngineError::UnknownBlock { height, block: id })?;
        let certificate =
            ExtendedCommitCertificate::from_commit_certificate_and_extensions(certificate, extensions);
        let certificate =
            codec::encode_certificate(&certificate).map_err(|error| stopped(&error.to_string()))?;
        // Disk work on a thread that may block: the engine's other parts go on meanwhile.
        let application = &mut self.application;
        let info = tokio::task::block_in_place(|| -> Result<Info, ApplicationError> {
            application.execute_block(&block)?;
            application.commit(certificate)
        })?;
        if info.validators != self.info.validators {
            self.follow(&info);
        }
        self.info = info;
        Ok(())
    }

    /// Another validator set decides the heights after this one.
    fn follow(&mut self, info: &Info) {
        let voted = self.validators.contains(&self.address);
        self.validators = Validators::new(&info.validators);
        let votes = self.validators.contains(&self.address);
        tracing::info!(
            block.height = info.height.0,
            validators.count = self.validators.as_slice().len(),
            validators.power = self.validators.total(),
            "the validator set changes with the next block"
        );
        match (voted, votes) {
            (false, true) => tracing::info!("this node votes from the next block on"),
            (true, false) => {
                tracing::warn!(
                    "this node's consensus key is in the validator set no more: it follows the chain without voting"
                );
            }
            (true, true) | (false, false) => {}
        }
    }
}
