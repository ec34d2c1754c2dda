//! What a chain is made of: validators, parameters, the halt.

use governance::{Halt, Height, Parameters, Power, Rejection, Validator};

use super::field::{self, InvalidMessage};
use crate::pb::governance::v1 as pb;

/// A validator with the sequence number that its next transaction must carry.
impl From<(&Validator, u64)> for pb::Validator {
    fn from((validator, next_sequence): (&Validator, u64)) -> Self {
        Self {
            id: validator.id.0.to_vec(),
            name: validator.name.clone(),
            governance_key: validator.governance_key.0.to_vec(),
            consensus_key: validator.consensus_key.0.to_vec(),
            power: validator.power.0,
            next_sequence,
        }
    }
}

/// A validator with the sequence number that its next transaction must carry.
impl TryFrom<pb::Validator> for (Validator, u64) {
    type Error = InvalidMessage;

    fn try_from(message: pb::Validator) -> Result<Self, InvalidMessage> {
        let validator = Validator {
            id: field::bytes("id", &message.id)?,
            name: message.name,
            governance_key: field::bytes("governance_key", &message.governance_key)?,
            consensus_key: field::bytes("consensus_key", &message.consensus_key)?,
            power: Power(message.power),
        };
        Ok((validator, message.next_sequence))
    }
}

impl From<&Parameters> for pb::GovernanceParameters {
    fn from(parameters: &Parameters) -> Self {
        Self {
            min_lead_blocks: parameters.min_lead_blocks,
            lock_in_blocks: parameters.lock_in_blocks,
            threshold_numerator: parameters.threshold_numerator,
            threshold_denominator: parameters.threshold_denominator,
        }
    }
}

impl From<pb::GovernanceParameters> for Parameters {
    fn from(message: pb::GovernanceParameters) -> Self {
        Self {
            min_lead_blocks: message.min_lead_blocks,
            lock_in_blocks: message.lock_in_blocks,
            threshold_numerator: message.threshold_numerator,
            threshold_denominator: message.threshold_denominator,
        }
    }
}

impl From<&Halt> for pb::Halt {
    fn from(halt: &Halt) -> Self {
        Self {
            height: halt.height.0,
            proposal_id: halt.proposal.0.to_vec(),
            version: halt.version.to_string(),
        }
    }
}

impl TryFrom<pb::Halt> for Halt {
    type Error = InvalidMessage;

    fn try_from(message: pb::Halt) -> Result<Self, InvalidMessage> {
        Ok(Self {
            height: Height(message.height),
            proposal: field::bytes("proposal_id", &message.proposal_id)?,
            version: field::version("version", &message.version)?,
        })
    }
}

/// Code and text: the values of a rejection do not travel, so there is no way back.
impl From<&Rejection> for pb::Rejection {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: rejection.code().to_owned(),
            message: rejection.to_string(),
        }
    }
}
