//! Changes of the validator set and of the parameters.

use governance::{GenesisValidator, Height, ParametersChange, Power, ValidatorChange, ValidatorsChange};

use super::field::{self, InvalidMessage};
use crate::pb::governance::v1 as pb;
use crate::pb::governance::v1::validator_change::Change as PbChange;

impl From<&ValidatorsChange> for pb::ValidatorsChange {
    fn from(change: &ValidatorsChange) -> Self {
        Self {
            height: change.height.0,
            changes: change.changes.iter().map(Into::into).collect(),
            description: change.description.clone(),
        }
    }
}

impl TryFrom<pb::ValidatorsChange> for ValidatorsChange {
    type Error = InvalidMessage;

    /// The types only: the rules of [`ValidatorsChange::validate`] are the state machine's.
    fn try_from(message: pb::ValidatorsChange) -> Result<Self, InvalidMessage> {
        Ok(Self {
            height: Height(message.height),
            changes: field::repeated("changes", message.changes)?,
            description: message.description,
        })
    }
}

impl From<&ValidatorChange> for pb::ValidatorChange {
    fn from(change: &ValidatorChange) -> Self {
        let change = match change {
            ValidatorChange::Add(validator) => PbChange::Add(pb::AddValidator {
                name: validator.name.clone(),
                governance_key: validator.governance_key.0.to_vec(),
                consensus_key: validator.consensus_key.0.to_vec(),
                power: validator.power.0,
            }),
            ValidatorChange::Remove { validator } => PbChange::Remove(pb::RemoveValidator {
                validator_id: validator.0.to_vec(),
            }),
            ValidatorChange::SetPower { validator, power } => PbChange::SetPower(pb::SetPower {
                validator_id: validator.0.to_vec(),
                power: power.0,
            }),
            ValidatorChange::RotateKeys {
                validator,
                governance_key,
                consensus_key,
            } => PbChange::RotateKeys(pb::RotateKeys {
                validator_id: validator.0.to_vec(),
                governance_key: governance_key.map(|key| key.0.to_vec()),
                consensus_key: consensus_key.map(|key| key.0.to_vec()),
            }),
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<pb::ValidatorChange> for ValidatorChange {
    type Error = InvalidMessage;

    fn try_from(message: pb::ValidatorChange) -> Result<Self, InvalidMessage> {
        match field::required("change", message.change, "one of the changes")? {
            PbChange::Add(add) => Ok(Self::Add(GenesisValidator {
                name: add.name,
                governance_key: field::bytes("add.governance_key", &add.governance_key)?,
                consensus_key: field::bytes("add.consensus_key", &add.consensus_key)?,
                power: Power(add.power),
            })),
            PbChange::Remove(remove) => Ok(Self::Remove {
                validator: field::bytes("remove.validator_id", &remove.validator_id)?,
            }),
            PbChange::SetPower(set) => Ok(Self::SetPower {
                validator: field::bytes("set_power.validator_id", &set.validator_id)?,
                power: Power(set.power),
            }),
            PbChange::RotateKeys(rotate) => Ok(Self::RotateKeys {
                validator: field::bytes("rotate_keys.validator_id", &rotate.validator_id)?,
                governance_key: field::optional_bytes(
                    "rotate_keys.governance_key",
                    rotate.governance_key.as_deref(),
                )?,
                consensus_key: field::optional_bytes(
                    "rotate_keys.consensus_key",
                    rotate.consensus_key.as_deref(),
                )?,
            }),
        }
    }
}

impl From<&ParametersChange> for pb::ParametersChange {
    fn from(change: &ParametersChange) -> Self {
        Self {
            height: change.height.0,
            parameters: Some((&change.parameters).into()),
            description: change.description.clone(),
        }
    }
}

impl TryFrom<pb::ParametersChange> for ParametersChange {
    type Error = InvalidMessage;

    /// The types only: the rules of [`ParametersChange::validate`] are the state machine's.
    fn try_from(message: pb::ParametersChange) -> Result<Self, InvalidMessage> {
        Ok(Self {
            height: Height(message.height),
            parameters: field::required("parameters", message.parameters, "a message")?.into(),
            description: message.description,
        })
    }
}
