//! Where a chain starts: its id, its first version, its parameters and its validators.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{PublicKey, ValidatorId};
use crate::error::Rejection;
use crate::numbers::Power;
use crate::tally;
use crate::text::ChainId;
use crate::validators::{Validator, ValidatorSet, ValidatorSetError};
use crate::version::ReleaseVersion;

/// The numbers that a chain chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// GOV-02, in blocks: how far ahead of its own block an upgrade's height must be.
    pub min_lead_blocks: u64,
    /// GOV-10, in blocks: how long before H the outcome is latched. At least 2, so that a cancel proposal can pass in between.
    pub lock_in_blocks: u64,
    /// GOV-07: approval must exceed this fraction of the total power. At least 2/3, below 1.
    pub threshold_numerator: u64,
    /// The fraction's denominator.
    pub threshold_denominator: u64,
}

/// A validator as genesis, or a change that adds it, names it; its id follows from its governance key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// For people.
    pub name: String,
    /// Signs proposals and votes.
    pub governance_key: PublicKey,
    /// Signs blocks.
    pub consensus_key: PublicKey,
    /// Its weight.
    pub power: Power,
}

/// Where a chain starts. In JSON: keys in hexadecimal digits, versions and ids as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Names the chain.
    pub chain_id: ChainId,
    /// The version that executes block 1.
    pub initial_version: ReleaseVersion,
    /// The chain's choices.
    pub parameters: Parameters,
    /// Everybody who validates block 1.
    pub validators: Vec<GenesisValidator>,
}

/// Why no chain can start there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// GOV-11 would be empty.
    #[error(
        "lock_in_blocks is {found}: expected at least 2, so that a cancel proposal can pass between lock-in and the height"
    )]
    LockIn {
        /// The number found.
        found: u64,
    },
    /// GOV-10 would come before anybody could vote.
    #[error(
        "min_lead_blocks is {min_lead_blocks} and lock_in_blocks is {lock_in_blocks}: expected more lead than lock-in, so that votes are possible"
    )]
    Lead {
        /// The lead found.
        min_lead_blocks: u64,
        /// The lock-in found.
        lock_in_blocks: u64,
    },
    /// The lead is beyond any height that can be proposed.
    #[error(
        "min_lead_blocks is {found}: expected at most {}, or no height could be proposed",
        crate::upgrade::MAX_LEAD_BLOCKS
    )]
    LeadTooLong {
        /// The lead found.
        found: u64,
    },
    /// GOV-07: looser than 2/3, or out of reach.
    #[error("the threshold is {numerator}/{denominator}: expected at least 2/3 and less than 1")]
    Threshold {
        /// The numerator found.
        numerator: u64,
        /// The denominator found.
        denominator: u64,
    },
    /// The validators are no set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
}

impl Parameters {
    /// Whether a chain can run with these.
    pub fn validate(&self) -> Result<(), GenesisError> {
        if self.lock_in_blocks < 2 {
            return Err(GenesisError::LockIn {
                found: self.lock_in_blocks,
            });
        }
        if self.min_lead_blocks <= self.lock_in_blocks {
            return Err(GenesisError::Lead {
                min_lead_blocks: self.min_lead_blocks,
                lock_in_blocks: self.lock_in_blocks,
            });
        }
        if self.min_lead_blocks > crate::upgrade::MAX_LEAD_BLOCKS {
            return Err(GenesisError::LeadTooLong {
                found: self.min_lead_blocks,
            });
        }
        if !tally::is_legal_threshold(self.threshold_numerator, self.threshold_denominator) {
            return Err(GenesisError::Threshold {
                numerator: self.threshold_numerator,
                denominator: self.threshold_denominator,
            });
        }
        Ok(())
    }

    /// GOV-12: `after`, if it is legal and another choice than this one.
    pub(crate) fn changed(&self, after: &Self) -> Result<Self, Rejection> {
        after.validate().map_err(Rejection::Parameters)?;
        if self == after {
            let what = "every parameter".into();
            return Err(Rejection::NothingChanges { what });
        }
        Ok(*after)
    }
}

impl Genesis {
    /// The validators as a set, if they are one.
    pub fn validator_set(&self) -> Result<ValidatorSet, GenesisError> {
        Ok(ValidatorSet::new(
            self.validators.iter().map(GenesisValidator::enter).collect(),
        )?)
    }
}

impl GenesisValidator {
    /// The validator that it becomes.
    pub(crate) fn enter(&self) -> Validator {
        Validator {
            id: ValidatorId::at_entry(&self.governance_key),
            name: self.name.clone(),
            governance_key: self.governance_key,
            consensus_key: self.consensus_key,
            power: self.power,
        }
    }
}
