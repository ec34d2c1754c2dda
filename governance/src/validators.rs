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
use crate::map::Trie;
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

#[derive(Clone, Default)]
struct Inner {
    by_id: BTreeMap<ValidatorId, Arc<Validator>>,
    names: BTreeMap<String, ValidatorId>,
    keys: Trie<PublicKey, KeyUse>,
    total_power: Power,
    digest: Digest,
}

#[derive(Clone)]
struct KeyUse {
    validator: Arc<Validator>,
    /// Ready to verify with when it is a governance key; a consensus key otherwise.
    governance: Option<VerificationKey>,
}

impl ValidatorSet {
    /// The set of `validators`, in any order.
    pub fn new(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        let nobody = Inner::default();
        let mut draft = Draft::of(&nobody);
        draft.check_count(validators.len())?;
        for validator in validators {
            draft.insert(validator)?;
        }
        draft.finish()
    }

    /// The validator with this id.
    pub fn get(&self, id: &ValidatorId) -> Option<&Validator> {
        self.0.by_id.get(id).map(AsRef::as_ref)
    }

    /// The validator that signs with this governance key.
    pub fn by_governance_key(&self, key: &PublicKey) -> Option<&Validator> {
        let found = self.0.keys.get(key)?;
        found.governance.as_ref().map(|_| found.validator.as_ref())
    }

    /// The key ready to verify with, when it is a governance key of the set.
    pub(crate) fn verification_key(&self, key: &PublicKey) -> Option<&VerificationKey> {
        self.0.keys.get(key)?.governance.as_ref()
    }

    /// Whether a validator uses the key, for governance or for blocks.
    pub fn uses_key(&self, key: &PublicKey) -> bool {
        self.0.keys.get(key).is_some()
    }

    /// All validators, ordered by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.0.by_id.values().map(AsRef::as_ref)
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
    pub(crate) fn changed(&self, changes: &[ValidatorChange]) -> Result<Self, Rejection> {
        self.draft(changes)?.finish().map_err(Rejection::ValidatorSet)
    }

    /// GOV-12: whether [`ValidatorSet::changed`] would succeed, in time that depends on the changes and not on the set.
    pub(crate) fn check_changes(&self, changes: &[ValidatorChange]) -> Result<(), Rejection> {
        self.draft(changes).map(|_| ())
    }

    fn draft(&self, changes: &[ValidatorChange]) -> Result<Draft<'_>, Rejection> {
        let total = self.total_power();
        let mut draft = Draft::of(&self.0);
        let mut enter = Vec::new();
        let mut moved = 0_u128;
        for change in changes {
            let id = change.validator();
            let held = self.get(&id);
            let after = after(change, held)?;
            let power = match (held, &after) {
                (Some(held), Some(after)) => {
                    let same_keys = (held.governance_key, held.consensus_key)
                        == (after.governance_key, after.consensus_key);
                    if same_keys {
                        held.power.0.abs_diff(after.power.0)
                    } else {
                        held.power.0
                    }
                }
                (Some(one), None) => one.power.0,
                (None, Some(one)) => one.power.0,
                (None, None) => 0,
            };
            moved = moved.saturating_add(u128::from(power));
            draft.remove(&id);
            enter.extend(after);
        }
        for validator in enter {
            draft.insert(validator).map_err(Rejection::ValidatorSet)?;
        }
        draft.check_count(draft.len()).map_err(Rejection::ValidatorSet)?;
        if moved.saturating_mul(3) >= u128::from(total.0) {
            return Err(Rejection::MovesTooMuch { moved, total });
        }
        Ok(draft)
    }
}

/// What the change makes of the validator that is `held` under its id; `None` when it leaves.
fn after(change: &ValidatorChange, held: Option<&Validator>) -> Result<Option<Validator>, Rejection> {
    let validator = change.validator();
    let mut after = match (change, held) {
        (ValidatorChange::Add(added), None) => return Ok(Some(added.enter())),
        (ValidatorChange::Add(_), Some(_)) => {
            return Err(Rejection::ValidatorSet(ValidatorSetError::IdTwice {
                id: validator,
            }));
        }
        (_, None) => return Err(Rejection::UnknownValidator { validator }),
        (_, Some(held)) => held.clone(),
    };
    match change {
        ValidatorChange::Add(_) => {}
        ValidatorChange::Remove { .. } => return Ok(None),
        ValidatorChange::SetPower { power, .. } => after.power = *power,
        ValidatorChange::RotateKeys {
            governance_key,
            consensus_key,
            ..
        } => {
            after.governance_key = governance_key.unwrap_or(after.governance_key);
            after.consensus_key = consensus_key.unwrap_or(after.consensus_key);
        }
    }
    if held == Some(&after) {
        let what = format!("validator {validator}");
        return Err(Rejection::NothingChanges { what });
    }
    Ok(Some(after))
}

/// A set in the making: what leaves `base`, and what enters.
struct Draft<'a> {
    base: &'a Inner,
    leaving: BTreeSet<ValidatorId>,
    entering: Inner,
    total_power: u64,
}

impl<'a> Draft<'a> {
    fn of(base: &'a Inner) -> Self {
        Self {
            base,
            leaving: BTreeSet::new(),
            entering: Inner::default(),
            total_power: base.total_power.0,
        }
    }

    fn len(&self) -> usize {
        let stay = self.base.by_id.len().saturating_sub(self.leaving.len());
        stay.saturating_add(self.entering.by_id.len())
    }

    fn check_count(&self, found: usize) -> Result<(), ValidatorSetError> {
        match found {
            0 => Err(ValidatorSetError::Empty),
            1..=MAX_VALIDATORS => Ok(()),
            _ => Err(ValidatorSetError::TooMany { found }),
        }
    }

    fn remove(&mut self, id: &ValidatorId) {
        if let Some(validator) = self.base.by_id.get(id)
            && self.leaving.insert(*id)
        {
            // Cannot saturate: it is a part of the sum.
            self.total_power = self.total_power.saturating_sub(validator.power.0);
        }
    }

    fn insert(&mut self, validator: Validator) -> Result<(), ValidatorSetError> {
        let id = validator.id;
        let name = &validator.name;
        if name.is_empty() || name.len() > MAX_VALIDATOR_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(ValidatorSetError::Name {
                name: crate::error::excerpt(name),
            });
        }
        let stays = |owner: &ValidatorId| !self.leaving.contains(owner);
        if self.base.names.get(name).is_some_and(stays) || self.entering.names.contains_key(name) {
            return Err(ValidatorSetError::NameTwice { name: name.clone() });
        }
        let (key, consensus_key) = (validator.governance_key, validator.consensus_key);
        let no_key = |key| {
            let name = name.clone();
            ValidatorSetError::Key { name, key }
        };
        let governance = VerificationKey::new(&key).ok_or_else(|| no_key(key))?;
        VerificationKey::new(&consensus_key).ok_or_else(|| no_key(consensus_key))?;
        // A key signs either governance or blocks.
        let entry = Arc::new(validator.clone());
        for (key, governance) in [(key, Some(governance)), (consensus_key, None)] {
            let taken = self
                .base
                .keys
                .get(&key)
                .is_some_and(|held| stays(&held.validator.id));
            let validator = Arc::clone(&entry);
            if taken
                || self
                    .entering
                    .keys
                    .insert(
                        key,
                        KeyUse {
                            validator,
                            governance,
                        },
                    )
                    .is_some()
            {
                let name = name.clone();
                return Err(ValidatorSetError::KeyTwice { name, key });
            }
        }
        if validator.power == Power::ZERO {
            return Err(ValidatorSetError::NoPower { name: name.clone() });
        }
        if self.base.by_id.contains_key(&id) && stays(&id) || self.entering.by_id.contains_key(&id) {
            return Err(ValidatorSetError::IdTwice { id });
        }
        let total = self.total_power.checked_add(validator.power.0);
        self.total_power = total.ok_or(ValidatorSetError::TotalPower)?;
        self.entering.names.insert(name.clone(), id);
        self.entering.by_id.insert(id, entry);
        Ok(())
    }

    fn finish(self) -> Result<ValidatorSet, ValidatorSetError> {
        self.check_count(self.len())?;
        let mut inner = self.base.clone();
        for id in &self.leaving {
            if let Some(validator) = inner.by_id.remove(id) {
                inner.names.remove(&validator.name);
                inner.keys.remove(&validator.governance_key);
                inner.keys.remove(&validator.consensus_key);
            }
        }
        inner.by_id.extend(self.entering.by_id);
        inner.names.extend(self.entering.names);
        for (key, entry) in self.entering.keys.iter() {
            inner.keys.insert(*key, entry.clone());
        }
        inner.total_power = Power(self.total_power);
        let all: Vec<&Validator> = inner.by_id.values().map(AsRef::as_ref).collect();
        inner.digest = encoding::tagged_blake3(encoding::VALIDATORS_TAG, &all);
        Ok(ValidatorSet(Arc::new(inner)))
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
