//! What happened in a block, in the past tense. The shell logs and streams these; nothing is decided from them.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};

use serde::{Deserialize, Serialize};

use crate::bytes::{ProposalId, PublicKey, TransactionId, ValidatorId};
use crate::error::Rejection;
use crate::genesis::Parameters;
use crate::numbers::{Height, Power};
use crate::proposal::Phase;
use crate::readiness::Readiness;
use crate::version::ReleaseVersion;
use crate::vote::Choice;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A proposal is live.
    ProposalSubmitted {
        /// Its id.
        proposal_id: ProposalId,
        /// Who proposed it.
        proposer: ValidatorId,
    },
    /// A validator voted, or changed its vote.
    VoteCast {
        /// The proposal.
        proposal_id: ProposalId,
        /// The voter.
        validator_id: ValidatorId,
        /// The vote.
        choice: Choice,
    },
    /// A validator took its vote back.
    VoteWithdrawn {
        /// The proposal.
        proposal_id: ProposalId,
        /// The voter.
        validator_id: ValidatorId,
    },
    /// GOV-06: an approval left one upgrade because its validator approved another.
    ApprovalMoved {
        /// The voter.
        validator_id: ValidatorId,
        /// The upgrade it left.
        from: ProposalId,
        /// The upgrade it went to.
        to: ProposalId,
    },
    /// A proposal entered another phase.
    ProposalPhaseChanged {
        /// The proposal.
        proposal_id: ProposalId,
        /// The phase before.
        from: Phase,
        /// The phase now.
        to: Phase,
    },
    /// GOV-12: a vote lapsed, because its voter left the set or its governance key changed.
    BallotLapsed {
        /// The proposal.
        proposal_id: ProposalId,
        /// The voter.
        validator_id: ValidatorId,
    },
    /// GOV-12: the next block is decided by another validator set.
    ValidatorsChanged {
        /// The change.
        proposal_id: ProposalId,
        /// How many validators there are now.
        validators: u64,
        /// Their power together.
        total_power: Power,
    },
    /// GOV-12: other parameters are in force from the next block on.
    ParametersChanged {
        /// The change.
        proposal_id: ProposalId,
        /// The parameters now.
        parameters: Parameters,
    },
    /// GOV-12: a locked-in change could not take effect at its height, because an earlier change had left no room for it.
    ChangeDropped {
        /// The change.
        proposal_id: ProposalId,
        /// The stable code of what it violates.
        code: String,
        /// The text.
        message: String,
    },
    /// GOV-16: a validator named the key under which its host reports.
    ReporterAuthorized {
        /// The validator.
        validator_id: ValidatorId,
        /// The reporter key; absent: nobody reports any more.
        key: Option<PublicKey>,
    },
    /// GOV-16: a validator's host said how far it is.
    ReadinessReported {
        /// The upgrade.
        proposal_id: ProposalId,
        /// The validator.
        validator_id: ValidatorId,
        /// How far it is.
        readiness: Readiness,
    },
    /// H is executed; the next block belongs to `version`.
    UpgradeHalted {
        /// The upgrade.
        proposal_id: ProposalId,
        /// H.
        height: Height,
        /// The version that executes H + 1.
        version: ReleaseVersion,
    },
    /// The first block of `to` has begun.
    UpgradeActivated {
        /// The upgrade.
        proposal_id: ProposalId,
        /// The version before.
        from: ReleaseVersion,
        /// The version now.
        to: ReleaseVersion,
    },
    /// A transaction that stood in the block but changed nothing (GOV-15). The shell makes it of a [`Rejection`].
    TransactionRejected {
        /// The transaction.
        transaction_id: TransactionId,
        /// The stable code.
        code: String,
        /// The text.
        message: String,
    },
}

impl Event {
    /// The event of a transaction that was refused in a block.
    pub fn rejected(transaction_id: TransactionId, rejection: &Rejection) -> Self {
        Self::TransactionRejected {
            transaction_id,
            code: rejection.code().to_owned(),
            message: rejection.to_string(),
        }
    }
}
