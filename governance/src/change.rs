//! GOV-12: what a change of the validator set or of the parameters says, and what it may look like.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{PublicKey, ValidatorId};
use crate::error::Rejection;
use crate::genesis::{GenesisValidator, Parameters};
use crate::numbers::{Height, Power};
use crate::upgrade::validate_description;

/// GOV-14. Sixty-four entries of the largest size fit a transaction, and one change moves less than a third of the power.
pub const MAX_VALIDATOR_CHANGES: usize = 64;

/// What becomes of one validator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidatorChange {
    /// It enters. Its id follows from its governance key.
    Add(GenesisValidator),
    /// It leaves.
    Remove {
        /// The validator.
        validator: ValidatorId,
    },
    /// It gets another power, above 0.
    SetPower {
        /// The validator.
        validator: ValidatorId,
        /// The power from then on.
        power: Power,
    },
    /// It gets one or two new keys; its id stays.
    RotateKeys {
        /// The validator.
        validator: ValidatorId,
        /// Signs proposals and votes from then on; absent: as before.
        governance_key: Option<PublicKey>,
        /// Signs blocks from then on; absent: as before.
        consensus_key: Option<PublicKey>,
    },
}

impl ValidatorChange {
    /// The validator that it is about.
    pub fn validator(&self) -> ValidatorId {
        match self {
            Self::Add(validator) => ValidatorId::at_entry(&validator.governance_key),
            Self::Remove { validator }
            | Self::SetPower { validator, .. }
            | Self::RotateKeys { validator, .. } => *validator,
        }
    }
}

/// A change of the validator set at a height.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorsChange {
    /// H: the last block of the old set.
    pub height: Height,
    /// Every validator at most once.
    pub changes: Vec<ValidatorChange>,
    /// Free text for the people who vote.
    pub description: String,
}

/// A change of the parameters at a height.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersChange {
    /// H: the last block under the old parameters.
    pub height: Height,
    /// All parameters, also those that stay.
    pub parameters: Parameters,
    /// Free text for the people who vote.
    pub description: String,
}

impl ValidatorsChange {
    /// GOV-12, GOV-14: everything about the content that can be judged without a chain's state.
    pub fn validate(&self) -> Result<(), Rejection> {
        if self.changes.is_empty() || self.changes.len() > MAX_VALIDATOR_CHANGES {
            return Err(Rejection::ChangeCount {
                found: self.changes.len(),
            });
        }
        let mut named = BTreeSet::new();
        for change in &self.changes {
            let validator = change.validator();
            if !named.insert(validator) {
                return Err(Rejection::ChangedTwice { validator });
            }
        }
        validate_description(&self.description)
    }
}

impl ParametersChange {
    /// GOV-12, GOV-14: everything about the content that can be judged without a chain's state.
    pub fn validate(&self) -> Result<(), Rejection> {
        self.parameters.validate().map_err(Rejection::Parameters)?;
        validate_description(&self.description)
    }
}
