//! One field of a message, checked.

use std::str::FromStr;

use governance::{Height, ParseError, ReleaseVersion};

/// Kept of what was found: an error is no place to repeat a megabyte of somebody's input.
const EXCERPT_CHARACTERS: usize = 80;

/// A message that is no domain value: which field, what it should hold, what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: expected {expected}, found {found}")]
pub struct InvalidMessage {
    field: String,
    expected: String,
    found: String,
    code: &'static str,
}

impl InvalidMessage {
    /// The path of the field from the message's top, for example `transaction.vote.proposal_id`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The rule's stable code, for the metadata key `rejection-code`: `GOV-03.format` or `GOV-14.format`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn new(field: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            expected: expected.into(),
            found: found.into(),
            code: "GOV-14.format",
        }
    }

    /// The same error, seen from the message that holds `parent`.
    pub(super) fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// A message field that must be there.
pub(super) fn required<T>(field: &str, value: Option<T>, expected: &str) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::new(field, expected, "nothing"))
}

/// A message field that must be there, converted.
pub(super) fn nested<M, T>(field: &str, value: Option<M>) -> Result<T, InvalidMessage>
where
    T: TryFrom<M, Error = InvalidMessage>,
{
    T::try_from(required(field, value, "a message")?).map_err(|error| error.within(field))
}

/// Every element of a repeated field, converted.
pub(super) fn repeated<M, T>(field: &str, values: Vec<M>) -> Result<Vec<T>, InvalidMessage>
where
    T: TryFrom<M, Error = InvalidMessage>,
{
    let convert =
        |(index, value)| T::try_from(value).map_err(|error| error.within(&format!("{field}[{index}]")));
    values.into_iter().enumerate().map(convert).collect()
}

/// Bytes of a fixed length.
pub(super) fn bytes<const LENGTH: usize, T: From<[u8; LENGTH]>>(
    field: &str,
    value: &[u8],
) -> Result<T, InvalidMessage> {
    let array: [u8; LENGTH] = value.try_into().map_err(|_| {
        InvalidMessage::new(field, format!("{LENGTH} bytes"), format!("{} bytes", value.len()))
    })?;
    Ok(array.into())
}

/// Bytes of a fixed length, or nothing. Empty bytes are not nothing.
pub(super) fn optional_bytes<const LENGTH: usize, T: From<[u8; LENGTH]>>(
    field: &str,
    value: Option<&[u8]>,
) -> Result<Option<T>, InvalidMessage> {
    value.map(|value| bytes(field, value)).transpose()
}

/// A text with a form of its own.
pub(super) fn text<T: FromStr<Err = ParseError>>(field: &str, value: &str) -> Result<T, InvalidMessage> {
    value
        .parse()
        .map_err(|error: ParseError| InvalidMessage::new(field, error.expected, quoted(value)))
}

/// A release version in its one canonical form: the `v` that people may write is not for the wire.
pub(super) fn version(field: &str, value: &str) -> Result<ReleaseVersion, InvalidMessage> {
    let parsed: Option<ReleaseVersion> = value.parse().ok();
    parsed
        .filter(|version| version.to_string() == value)
        .ok_or_else(|| InvalidMessage {
            code: "GOV-03.format",
            ..InvalidMessage::new(
                field,
                "a semantic version of at most 64 bytes without `v` and build metadata, for example 1.2.3",
                quoted(value),
            )
        })
}

/// A known value of an enumeration; `unspecified` is none.
pub(super) fn enumeration<E: TryFrom<i32> + PartialEq>(
    field: &str,
    value: i32,
    unspecified: &E,
    name: &str,
) -> Result<E, InvalidMessage> {
    E::try_from(value)
        .ok()
        .filter(|known| known != unspecified)
        .ok_or_else(|| {
            InvalidMessage::new(
                field,
                format!("a specified value of {name}"),
                format!("number {value}"),
            )
        })
}

/// A height of which 0 means "none".
pub(super) fn height_or_none(value: u64) -> Option<Height> {
    (value != 0).then_some(Height(value))
}

pub(super) fn quoted(value: &str) -> String {
    match value.char_indices().nth(EXCERPT_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
        None => format!("{value:?}"),
    }
}
