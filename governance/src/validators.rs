//! The validator set: who may propose and vote (GOV-01), and with which power.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{PublicKey, ValidatorId};
use crate::numbers::Power;

/// GOV-14. Ten times the largest set that runs BFT consensus anywhere we know of.
pub const MAX_VALIDATORS: usize = 100_000;
/// GOV-14. A name is a line in a table.
pub const MAX_VALIDATOR_NAME_BYTES: usize = 64;

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Stable, also when its keys change.
    pub id: ValidatorId,
    /// For people.
    pub name: String,
    /// Signs proposals and votes.
    pub governance_key: PublicKey,
    /// Signs blocks; only the engine uses it.
    pub consensus_key: PublicKey,
    /// Its weight.
    pub power: Power,
}

/// Why a list of validators is no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody.
    #[error("there is no validator: name at least one")]
    Empty,
    /// Too many.
    #[error("there are {found} validators, at most {MAX_VALIDATORS} are allowed")]
    TooMany {
        /// Validators found.
        found: usize,
    },
    /// A name that cannot be shown.
    #[error(
        "validator name {name:?}: expected 1 to {MAX_VALIDATOR_NAME_BYTES} bytes without control characters"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name twice.
    #[error("two validators are named {name:?}: give each its own name")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// A key that is no key.
    #[error("key {key} of validator {name:?} is no valid ed25519 public key")]
    Key {
        /// The validator.
        name: String,
        /// The key.
        key: PublicKey,
    },
    /// A key twice.
    #[error(
        "key {key} of validator {name:?} is used twice: every governance key and every consensus key is used once"
    )]
    KeyTwice {
        /// The validator with the second use.
        name: String,
        /// The key.
        key: PublicKey,
    },
    /// An id twice.
    #[error("two validators have the id {id}")]
    IdTwice {
        /// The id.
        id: ValidatorId,
    },
    /// No weight.
    #[error("validator {name:?} has no power: give it at least 1, or leave it out")]
    NoPower {
        /// The validator.
        name: String,
    },
    /// GOV-02: sums fit their type.
    #[error("the powers of all validators together exceed {}: scale them down", u64::MAX)]
    TotalPower,
}

/// The active validators, ordered by id.
///
/// Invariants: not empty; ids, names and keys are unique; every power is above 0; the total fits [`Power`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Validator>", into = "Vec<Validator>")]
pub struct ValidatorSet {
    by_id: BTreeMap<ValidatorId, Validator>,
    by_governance_key: BTreeMap<PublicKey, ValidatorId>,
    total_power: Power,
}

impl ValidatorSet {
    /// The set of `validators`, in any order.
    pub fn new(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if validators.len() > MAX_VALIDATORS {
            return Err(ValidatorSetError::TooMany {
                found: validators.len(),
            });
        }
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        let mut total = 0_u64;
        for validator in &validators {
            let name = &validator.name;
            if name.is_empty() || name.len() > MAX_VALIDATOR_NAME_BYTES || name.chars().any(char::is_control)
            {
                return Err(ValidatorSetError::Name {
                    name: crate::error::excerpt(name),
                });
            }
            if !names.insert(name) {
                return Err(ValidatorSetError::NameTwice { name: name.clone() });
            }
            for key in [validator.governance_key, validator.consensus_key] {
                if !keys.insert(key) {
                    return Err(ValidatorSetError::KeyTwice {
                        name: name.clone(),
                        key,
                    });
                }
            }
            if validator.power == Power::ZERO {
                return Err(ValidatorSetError::NoPower { name: name.clone() });
            }
            total = total
                .checked_add(validator.power.0)
                .ok_or(ValidatorSetError::TotalPower)?;
        }
        let by_governance_key = validators
            .iter()
            .map(|validator| (validator.governance_key, validator.id))
            .collect();
        let mut by_id = BTreeMap::new();
        for validator in validators {
            let id = validator.id;
            if by_id.insert(id, validator).is_some() {
                return Err(ValidatorSetError::IdTwice { id });
            }
        }
        Ok(Self {
            by_id,
            by_governance_key,
            total_power: Power(total),
        })
    }

    /// The validator with this id.
    pub fn get(&self, id: &ValidatorId) -> Option<&Validator> {
        self.by_id.get(id)
    }

    /// The validator that signs with this governance key.
    pub fn by_governance_key(&self, key: &PublicKey) -> Option<&Validator> {
        self.by_governance_key.get(key).and_then(|id| self.by_id.get(id))
    }

    /// All validators, ordered by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.by_id.values()
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The sum of all powers.
    pub const fn total_power(&self) -> Power {
        self.total_power
    }
}

impl TryFrom<Vec<Validator>> for ValidatorSet {
    type Error = ValidatorSetError;

    fn try_from(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        Self::new(validators)
    }
}

impl From<ValidatorSet> for Vec<Validator> {
    fn from(set: ValidatorSet) -> Self {
        set.by_id.into_values().collect()
    }
}
