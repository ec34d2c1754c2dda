//! What a chain is made of: validators, parameters, the halt.

use governance::{Account, Halt, Height, Parameters, Power, Rejection, Validator};

use super::field::{self, InvalidMessage};
use crate::pb::governance::v1 as pb;

/// A validator with what the chain remembers of it.
impl From<(&Validator, &Account)> for pb::Validator {
    fn from((validator, account): (&Validator, &Account)) -> Self {
        Self {
            id: validator.id.0.to_vec(),
            name: validator.name.clone(),
            governance_key: validator.governance_key.0.to_vec(),
            consensus_key: validator.consensus_key.0.to_vec(),
            power: validator.power.0,
            next_sequence: account.next_sequence,
            reporter_key: account.reporter.map(|key| key.0.to_vec()),
            next_report_sequence: account.next_report_sequence,
            approves: account.approves.map(|proposal| proposal.0.to_vec()),
        }
    }
}

/// A validator with what the chain remembers of it.
impl TryFrom<pb::Validator> for (Validator, Account) {
    type Error = InvalidMessage;

    fn try_from(message: pb::Validator) -> Result<Self, InvalidMessage> {
        let validator = Validator {
            id: field::bytes("id", &message.id)?,
            name: message.name,
            governance_key: field::bytes("governance_key", &message.governance_key)?,
            consensus_key: field::bytes("consensus_key", &message.consensus_key)?,
            power: Power(message.power),
        };
        let account = Account {
            next_sequence: message.next_sequence,
            reporter: field::optional_bytes("reporter_key", message.reporter_key.as_deref())?,
            next_report_sequence: message.next_report_sequence,
            approves: field::optional_bytes("approves", message.approves.as_deref())?,
        };
        Ok((validator, account))
    }
}

/// What a list of ballots or reports says of a validator that is active.
impl From<&Validator> for pb::ActiveValidator {
    fn from(validator: &Validator) -> Self {
        Self {
            name: validator.name.clone(),
            power: validator.power.0,
        }
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
