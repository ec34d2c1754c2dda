//! How a validator is named in a question.

use std::fmt;

use governance::{Account, PublicKey, Validator, ValidatorId};
use proto::pb::governance::v1::get_validator_request::Key;

use crate::text::printable;

/// The validator that is asked for.
pub(crate) enum Wanted {
    Id(ValidatorId),
    GovernanceKey(PublicKey),
    ReporterKey(PublicKey),
    Name(String),
}

impl Wanted {
    /// Forty digits are an id, everything else is a name.
    pub(crate) fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }

    pub(super) fn is_met(&self, (validator, account): &(Validator, Account)) -> bool {
        match self {
            Self::Id(id) => validator.id == *id,
            Self::GovernanceKey(key) => validator.governance_key == *key,
            Self::ReporterKey(key) => account.reporter == Some(*key),
            Self::Name(name) => validator.name == *name,
        }
    }
}

impl From<&Wanted> for Key {
    fn from(wanted: &Wanted) -> Self {
        match wanted {
            Wanted::Id(id) => Self::Id(id.0.to_vec()),
            Wanted::GovernanceKey(key) => Self::GovernanceKey(key.0.to_vec()),
            Wanted::ReporterKey(key) => Self::ReporterKey(key.0.to_vec()),
            Wanted::Name(name) => Self::Name(name.clone()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(formatter, "validator {id}"),
            Self::GovernanceKey(key) => write!(formatter, "the validator with governance key {key}"),
            Self::ReporterKey(key) => write!(formatter, "the validator with reporter key {key}"),
            Self::Name(name) => write!(formatter, "validator {}", printable(name)),
        }
    }
}
