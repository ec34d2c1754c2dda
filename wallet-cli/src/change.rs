//! `--add`, `--set-power` and `--rotate`: one change of the validator set each, as a person writes it.
//!
//! Fields are separated by commas, and a comma begins another field only where one of the known names and `=` follow it. So
//! names of validators may contain `,` and `=`.

use std::fmt;
use std::str::FromStr;

use governance::{
    GenesisValidator, ParseError, Power, PublicKey, Rejection, Validator, ValidatorChange, ValidatorId,
};

use crate::text::printable;

const ADD_FORM: &str = "name=NAME,governance-key=KEY,consensus-key=KEY,power=N";
const SET_POWER_FORM: &str = "ID=POWER, for example alice=30";
const ROTATE_FORM: &str = "ID,governance-key=KEY, or ID,consensus-key=KEY, or both";
/// As a proposal's id: fewer digits would name the wrong validator by chance too often.
const MIN_ID_DIGITS: usize = 8;

/// Why an argument names no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{found:?}: expected {expected}")]
    Form { expected: &'static str, found: String },
    #[error("`{field}=` is missing: expected {expected}")]
    Missing {
        field: &'static str,
        expected: &'static str,
    },
    #[error("`{field}=` stands twice: expected {expected}")]
    Twice { field: String, expected: &'static str },
    #[error("`{field}=`")]
    Key {
        field: &'static str,
        #[source]
        source: ParseError,
    },
    #[error("{found:?} is no power: expected a whole number from 1 to {}", u64::MAX)]
    Power { found: String },
    #[error("there is no validator {}", printable(found))]
    Unknown { found: String },
    #[error("{} fits several validators: {}", printable(found), printable(&fitting.join(", ")))]
    Ambiguous { found: String, fitting: Vec<String> },
}

/// `--add`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addition(pub(crate) GenesisValidator);

/// `--set-power`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPower {
    validator: String,
    power: Power,
}

/// `--rotate`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    validator: String,
    governance_key: Option<PublicKey>,
    consensus_key: Option<PublicKey>,
}

impl FromStr for Addition {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let (first, fields) = Fields::of(
            text,
            &["name", "governance-key", "consensus-key", "power"],
            ADD_FORM,
        )?;
        if !first.is_empty() {
            return Err(form(ADD_FORM, text));
        }
        Ok(Self(GenesisValidator {
            name: fields.required("name")?.to_owned(),
            governance_key: key("governance-key", fields.required("governance-key")?)?,
            consensus_key: key("consensus-key", fields.required("consensus-key")?)?,
            power: power(fields.required("power")?)?,
        }))
    }
}

impl FromStr for NewPower {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let (validator, number) = text
            .rsplit_once('=')
            .filter(|(validator, _)| !validator.is_empty())
            .ok_or_else(|| form(SET_POWER_FORM, text))?;
        Ok(Self {
            validator: validator.to_owned(),
            power: power(number)?,
        })
    }
}

impl FromStr for Rotation {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let (validator, fields) = Fields::of(text, &["governance-key", "consensus-key"], ROTATE_FORM)?;
        let optional = |field| fields.get(field).map(|text| key(field, text)).transpose();
        let rotation = Self {
            validator: validator.to_owned(),
            governance_key: optional("governance-key")?,
            consensus_key: optional("consensus-key")?,
        };
        let nothing = rotation.governance_key.is_none() && rotation.consensus_key.is_none();
        if validator.is_empty() || nothing {
            return Err(form(ROTATE_FORM, text));
        }
        Ok(rotation)
    }
}

/// `--remove`
pub(crate) fn removal(validator: &str, active: &[Validator]) -> Result<ValidatorChange, ChangeError> {
    Ok(ValidatorChange::Remove {
        validator: find(validator, active)?,
    })
}

impl NewPower {
    pub(crate) fn resolve(&self, active: &[Validator]) -> Result<ValidatorChange, ChangeError> {
        Ok(ValidatorChange::SetPower {
            validator: find(&self.validator, active)?,
            power: self.power,
        })
    }
}

impl Rotation {
    pub(crate) fn resolve(&self, active: &[Validator]) -> Result<ValidatorChange, ChangeError> {
        Ok(ValidatorChange::RotateKeys {
            validator: find(&self.validator, active)?,
            governance_key: self.governance_key,
            consensus_key: self.consensus_key,
        })
    }
}

/// What a change would do to the set, for a person to read before signing. Whether it may is for the chain to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    validators: (usize, usize),
    power: (u128, u128),
    moved: u128,
}

impl Outcome {
    pub(crate) fn of(changes: &[ValidatorChange], active: &[Validator]) -> Result<Self, Rejection> {
        let before = active.iter().map(|validator| u128::from(validator.power.0)).sum();
        let mut outcome = Self {
            validators: (active.len(), active.len()),
            power: (before, before),
            moved: 0,
        };
        for change in changes {
            let validator = change.validator();
            let held = active.iter().find(|held| held.id == validator);
            let held = held.map(|held| u128::from(held.power.0));
            let held = || held.ok_or(Rejection::UnknownValidator { validator });
            let (validators, power) = (&mut outcome.validators.1, &mut outcome.power.1);
            let moved = match change {
                ValidatorChange::Add(added) => {
                    let new = u128::from(added.power.0);
                    *validators = validators.saturating_add(1);
                    *power = power.saturating_add(new);
                    new
                }
                ValidatorChange::Remove { .. } => {
                    let held = held()?;
                    *validators = validators.saturating_sub(1);
                    *power = power.saturating_sub(held);
                    held
                }
                ValidatorChange::SetPower { power: new, .. } => {
                    let (held, new) = (held()?, u128::from(new.0));
                    *power = power.saturating_sub(held).saturating_add(new);
                    held.abs_diff(new)
                }
                ValidatorChange::RotateKeys { .. } => held()?,
            };
            outcome.moved = outcome.moved.saturating_add(moved);
        }
        Ok(outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "from {} validators with power {} to {} with power {}; it moves power {} (a change moves less than a third)",
            self.validators.0, self.power.0, self.validators.1, self.power.1, self.moved
        )
    }
}

/// The validator that a person means: its id, its name, or at least eight of the id's first digits. What fits two of
/// them by different ways names neither: a validator chooses its name itself.
fn find(text: &str, active: &[Validator]) -> Result<ValidatorId, ChangeError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.to_ascii_lowercase();
    let is_prefix = digits.len() >= MIN_ID_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = |validator: &&Validator| {
        validator.name == text || is_prefix && validator.id.to_string().starts_with(&digits)
    };
    let fitting: Vec<_> = active.iter().filter(fits).collect();
    match fitting.as_slice() {
        [] => Err(ChangeError::Unknown {
            found: text.to_owned(),
        }),
        [validator] => Ok(validator.id),
        several => Err(ChangeError::Ambiguous {
            found: text.to_owned(),
            fitting: several
                .iter()
                .map(|validator| format!("{} ({})", validator.id, validator.name))
                .collect(),
        }),
    }
}

/// The fields of one argument.
struct Fields<'a> {
    found: Vec<(&'a str, &'a str)>,
    form: &'static str,
}

impl<'a> Fields<'a> {
    /// What stands before the first field, and the fields.
    fn of(text: &'a str, known: &[&str], expected: &'static str) -> Result<(&'a str, Self), ChangeError> {
        let begins = |rest: &str| {
            known
                .iter()
                .any(|name| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
        };
        let mut starts: Vec<usize> = Vec::new();
        if begins(text) {
            starts.push(0);
        }
        let commas = text.match_indices(',').map(|(at, _)| at.saturating_add(1));
        starts.extend(commas.filter(|at| text.get(*at..).is_some_and(begins)));
        let first = starts
            .first()
            .map_or(text, |at| text.get(..at.saturating_sub(1)).unwrap_or_default());
        let ends = starts
            .iter()
            .skip(1)
            .map(|at| at.saturating_sub(1))
            .chain([text.len()]);
        let mut found: Vec<(&str, &str)> = Vec::new();
        for (start, end) in starts.iter().zip(ends) {
            let field = text.get(*start..end).and_then(|field| field.split_once('='));
            let (name, value) = field.ok_or_else(|| form(expected, text))?;
            if found.iter().any(|(known, _)| *known == name) {
                return Err(ChangeError::Twice {
                    field: name.to_owned(),
                    expected,
                });
            }
            found.push((name, value));
        }
        Ok((
            first,
            Self {
                found,
                form: expected,
            },
        ))
    }

    fn get(&self, field: &str) -> Option<&'a str> {
        let found = self.found.iter().find(|(name, _)| *name == field)?;
        Some(found.1)
    }

    fn required(&self, field: &'static str) -> Result<&'a str, ChangeError> {
        self.get(field).ok_or(ChangeError::Missing {
            field,
            expected: self.form,
        })
    }
}

fn form(expected: &'static str, found: &str) -> ChangeError {
    ChangeError::Form {
        expected,
        found: found.to_owned(),
    }
}

fn key(field: &'static str, text: &str) -> Result<PublicKey, ChangeError> {
    text.parse().map_err(|source| ChangeError::Key { field, source })
}

fn power(text: &str) -> Result<Power, ChangeError> {
    let number: Option<u64> = text.parse().ok();
    number
        .filter(|power| *power > 0 && !text.starts_with('+'))
        .map(Power)
        .ok_or_else(|| ChangeError::Power {
            found: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }

    fn validator(byte: u8, name: &str) -> Validator {
        Validator {
            id: ValidatorId([byte; 20]),
            name: name.to_owned(),
            governance_key: PublicKey([byte; 32]),
            consensus_key: PublicKey([byte.wrapping_add(100); 32]),
            power: Power(1),
        }
    }

    #[test]
    fn an_addition_takes_its_fields_in_any_order_and_names_with_commas() {
        let text = format!(
            "power=7,name=a, b=c,consensus-key={},governance-key={}",
            digits(2),
            digits(1)
        );
        let Addition(added) = text.parse().expect("an addition");
        assert_eq!(added.name, "a, b=c");
        assert_eq!(added.governance_key, PublicKey([1; 32]));
        assert_eq!(added.consensus_key, PublicKey([2; 32]));
        assert_eq!(added.power, Power(7));
    }

    #[test]
    fn an_addition_that_is_none_says_what_is_wrong() {
        let (one, two) = (digits(1), digits(2));
        for (text, expected) in [
            (String::new(), "expected name=NAME"),
            ("alice".to_owned(), "expected name=NAME"),
            (
                format!("name=a,governance-key={one},power=1"),
                "`consensus-key=` is missing",
            ),
            (
                format!("name=a,name=b,governance-key={one},consensus-key={two},power=1"),
                "`name=` stands twice",
            ),
            (
                format!("name=a,governance-key=xyz,consensus-key={two},power=1"),
                "`governance-key=`",
            ),
            (
                format!("name=a,governance-key={one},consensus-key={two},power=0"),
                "\"0\" is no power",
            ),
            (
                format!("name=a,governance-key={one},consensus-key={two},power=+1"),
                "\"+1\" is no power",
            ),
        ] {
            let error = text.parse::<Addition>().expect_err("it is none").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_rotation_names_at_least_one_key() {
        let rotation: Rotation = format!("al,ice,consensus-key={}", digits(3))
            .parse()
            .expect("a rotation");
        assert_eq!(rotation.validator, "al,ice");
        assert_eq!(rotation.governance_key, None);
        assert_eq!(rotation.consensus_key, Some(PublicKey([3; 32])));
        for text in ["alice", "", ",", &format!("governance-key={}", digits(3))] {
            assert!(text.parse::<Rotation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_power_stands_after_the_last_equals_sign() {
        let new: NewPower = "a=b=12".parse().expect("a power");
        assert_eq!((new.validator.as_str(), new.power), ("a=b", Power(12)));
        for text in ["alice", "=5", "alice=", "alice=0", "alice=-1", "alice=1.5"] {
            assert!(text.parse::<NewPower>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_outcome_is_counted() {
        let active: Vec<_> = (1..=4).map(|byte| validator(byte, "v")).collect();
        let changes = [
            ValidatorChange::Remove {
                validator: active[0].id,
            },
            ValidatorChange::SetPower {
                validator: active[1].id,
                power: Power(5),
            },
            ValidatorChange::RotateKeys {
                validator: active[2].id,
                governance_key: None,
                consensus_key: Some(PublicKey([9; 32])),
            },
            ValidatorChange::Add(GenesisValidator {
                name: "new".to_owned(),
                governance_key: PublicKey([7; 32]),
                consensus_key: PublicKey([8; 32]),
                power: Power(u64::MAX),
            }),
        ];
        let outcome = Outcome::of(&changes, &active).expect("all are active");
        let most = u128::from(u64::MAX);
        assert_eq!(
            outcome,
            Outcome {
                validators: (4, 4),
                power: (4, 7 + most),
                moved: 6 + most,
            }
        );
        let stranger = ValidatorChange::Remove {
            validator: ValidatorId([9; 20]),
        };
        let error = Outcome::of(&[stranger], &active).expect_err("nobody has that id");
        assert_eq!(error.code(), "GOV-12.unknown");
    }

    #[test]
    fn a_validator_is_found_by_id_name_and_digits_and_never_by_chance() {
        let active = [
            validator(0xaa, "alice"),
            validator(0xbb, "bob"),
            validator(0xcc, "aaaaaaaa"),
        ];
        let id = |byte| Ok(ValidatorId([byte; 20]));
        assert_eq!(find("alice", &active), id(0xaa));
        assert_eq!(find(&"BB".repeat(20), &active), id(0xbb));
        assert_eq!(find("bbbbbbbb", &active), id(0xbb));
        // An id is an id, whoever is called like it.
        assert_eq!(find(&"dd".repeat(20), &active), id(0xdd));
        for unknown in ["", "Alice", "bbbbbbb", "ali"] {
            assert!(
                matches!(find(unknown, &active), Err(ChangeError::Unknown { .. })),
                "{unknown}"
            );
        }
        assert!(matches!(
            find("aaaaaaaa", &active),
            Err(ChangeError::Ambiguous { .. })
        ));
    }
}
