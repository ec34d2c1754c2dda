//! The validator set: who may propose and vote (GOV-01), and with which power.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, PublicKey, ValidatorId};
use crate::change::ValidatorChange;
use crate::encoding;
use crate::error::Rejection;
use crate::numbers::Power;
use crate::signature::VerificationKey;

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

/// The active validators, ordered by id. Cheap to clone: a set never changes, a change makes a new one.
///
/// Invariants: not empty; ids, names and keys are unique; keys are valid; every power is above 0; the total fits [`Power`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<Validator>", into = "Vec<Validator>")]
pub struct ValidatorSet(Arc<Inner>);

struct Inner {
    by_id: BTreeMap<ValidatorId, Validator>,
    by_governance_key: BTreeMap<PublicKey, (ValidatorId, VerificationKey)>,
    consensus_keys: BTreeSet<PublicKey>,
    total_power: Power,
    digest: Digest,
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
        let mut by_governance_key = BTreeMap::new();
        let mut consensus_keys = BTreeSet::new();
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
            let usable = |key| {
                VerificationKey::new(&key).ok_or_else(|| ValidatorSetError::Key {
                    name: name.clone(),
                    key,
                })
            };
            // A key signs either governance or blocks.
            let key = validator.governance_key;
            let entry = (validator.id, usable(key)?);
            if consensus_keys.contains(&key) || by_governance_key.insert(key, entry).is_some() {
                let name = name.clone();
                return Err(ValidatorSetError::KeyTwice { name, key });
            }
            let key = validator.consensus_key;
            usable(key)?;
            if by_governance_key.contains_key(&key) || !consensus_keys.insert(key) {
                let name = name.clone();
                return Err(ValidatorSetError::KeyTwice { name, key });
            }
            if validator.power == Power::ZERO {
                return Err(ValidatorSetError::NoPower { name: name.clone() });
            }
            total = total
                .checked_add(validator.power.0)
                .ok_or(ValidatorSetError::TotalPower)?;
        }
        let mut by_id = BTreeMap::new();
        for validator in validators {
            let id = validator.id;
            if by_id.insert(id, validator).is_some() {
                return Err(ValidatorSetError::IdTwice { id });
            }
        }
        let digest = encoding::tagged_digest(encoding::VALIDATORS_TAG, &by_id.values().collect::<Vec<_>>());
        Ok(Self(Arc::new(Inner {
            by_id,
            by_governance_key,
            consensus_keys,
            total_power: Power(total),
            digest,
        })))
    }

    /// The validator with this id.
    pub fn get(&self, id: &ValidatorId) -> Option<&Validator> {
        self.0.by_id.get(id)
    }

    /// The validator that signs with this governance key.
    pub fn by_governance_key(&self, key: &PublicKey) -> Option<&Validator> {
        let (id, _) = self.0.by_governance_key.get(key)?;
        self.get(id)
    }

    /// The key ready to verify with, when it is a governance key of the set.
    pub(crate) fn verification_key(&self, key: &PublicKey) -> Option<VerificationKey> {
        self.0.by_governance_key.get(key).map(|(_, key)| *key)
    }

    /// Whether a validator uses the key, for governance or for blocks.
    pub fn uses_key(&self, key: &PublicKey) -> bool {
        self.0.by_governance_key.contains_key(key) || self.0.consensus_keys.contains(key)
    }

    /// All validators, ordered by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.0.by_id.values()
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.by_id.len()
    }

    /// The sum of all powers.
    pub fn total_power(&self) -> Power {
        self.0.total_power
    }

    /// The hash over the whole set; part of the state root.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// GOV-12: the set after `changes`, if that is a legal one and they move less than a third of the power.
    pub fn changed(&self, changes: &[ValidatorChange]) -> Result<Self, Rejection> {
        let total = self.total_power();
        let mut by_id = self.0.by_id.clone();
        let mut moved = 0_u128;
        for change in changes {
            let validator = change.validator();
            let entry = by_id.get_mut(&validator);
            let power = match (change, entry) {
                (ValidatorChange::Add(_), Some(_)) => {
                    return Err(Rejection::ValidatorSet(ValidatorSetError::IdTwice {
                        id: validator,
                    }));
                }
                (ValidatorChange::Add(added), None) => {
                    by_id.insert(validator, added.enter());
                    added.power.0
                }
                (_, None) => return Err(Rejection::UnknownValidator { validator }),
                (ValidatorChange::Remove { .. }, Some(entry)) => {
                    let power = entry.power.0;
                    by_id.remove(&validator);
                    power
                }
                (ValidatorChange::SetPower { power, .. }, Some(entry)) => {
                    let before = core::mem::replace(&mut entry.power, *power);
                    before.0.abs_diff(power.0)
                }
                (
                    ValidatorChange::RotateKeys {
                        governance_key,
                        consensus_key,
                        ..
                    },
                    Some(entry),
                ) => {
                    let before = (entry.governance_key, entry.consensus_key);
                    entry.governance_key = governance_key.unwrap_or(before.0);
                    entry.consensus_key = consensus_key.unwrap_or(before.1);
                    if before == (entry.governance_key, entry.consensus_key) {
                        0
                    } else {
                        entry.power.0
                    }
                }
            };
            if power == 0 && !matches!(change, ValidatorChange::Add(_)) {
                return Err(Rejection::NothingChanges {
                    what: format!("validator {validator}"),
                });
            }
            moved = moved.saturating_add(u128::from(power));
        }
        if moved.saturating_mul(3) >= u128::from(total.0) {
            return Err(Rejection::MovesTooMuch { moved, total });
        }
        Self::new(by_id.into_values().collect()).map_err(Rejection::ValidatorSet)
    }
}

impl fmt::Debug for ValidatorSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for ValidatorSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.digest == other.0.digest
    }
}

impl Eq for ValidatorSet {}

impl TryFrom<Vec<Validator>> for ValidatorSet {
    type Error = ValidatorSetError;

    fn try_from(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        Self::new(validators)
    }
}

impl From<ValidatorSet> for Vec<Validator> {
    fn from(set: ValidatorSet) -> Self {
        set.iter().cloned().collect()
    }
}
