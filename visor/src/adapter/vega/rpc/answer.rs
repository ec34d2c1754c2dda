//! What a core says of an upgrade, taken out of its JSON.
//!
//! As Go decodes it: the names of fields in any case, unknown fields ignored, a missing field or `null` as nothing, what follows the
//! first value left unread. Stricter than Go where a wrong answer would move a node: the id must be that of the question, and every
//! value of its own type.

use serde_json::Value;

use super::shown;
use crate::adapter::vega::tag;

/// What the core says of the next upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::adapter::vega) struct UpgradeStatus {
    /// Which upgrade.
    pub(in crate::adapter::vega) accepted: AcceptedRelease,
    /// H is committed, and this process executes nothing more. Only with a release that was accepted.
    pub(in crate::adapter::vega) ready: bool,
}

/// The upgrade that has enough votes just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::adapter::vega) enum AcceptedRelease {
    /// The core has executed no block and restored no snapshot, and cannot know.
    Unknown,
    /// None.
    None,
    /// This; the tag is safe as the name of a folder.
    Release {
        /// A strict semantic version with a leading `v`.
        tag: String,
        /// H, at least 1.
        height: u64,
    },
    /// One that cannot be carried out, and why.
    Unusable(String),
}

/// An answer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::adapter::vega) enum Senseless {
    #[error("read the answer: expected JSON, found nothing")]
    Empty,
    #[error("read the answer: expected JSON, found {found:?}")]
    NotJson {
        found: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("read the answer: expected the id {expected} of the question, found {found}")]
    OtherId { expected: u64, found: String },
    #[error("ask the core: it answered with the error {said:?}")]
    Refused { said: String },
    #[error("read the answer: expected {field} to be {expected}, found {found}")]
    Shape {
        field: &'static str,
        expected: &'static str,
        found: String,
    },
    #[error(
        "understand the core: it says that it is ready to upgrade, and {which}; it has halted and is left as it is: \
         look at its log, and upgrade by hand"
    )]
    ReadyForNothing { which: String },
}

impl Senseless {
    pub(super) fn is_of_a_live_core(&self) -> bool {
        match self {
            Self::ReadyForNothing { .. } => true,
            Self::Empty
            | Self::NotJson { .. }
            | Self::OtherId { .. }
            | Self::Refused { .. }
            | Self::Shape { .. } => false,
        }
    }
}

/// The answer to the question with this id.
pub(super) fn read(body: &[u8], id: u64) -> Result<UpgradeStatus, Senseless> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let reply = match values.next() {
        None => return Err(Senseless::Empty),
        Some(Ok(reply)) => reply,
        Some(Err(source)) => {
            return Err(Senseless::NotJson {
                found: shown(body),
                source,
            });
        }
    };
    if !reply.is_object() {
        return Err(shape("the answer", "an object", &reply));
    }
    let found = field(&reply, "id");
    if found.as_u64() != Some(id) {
        return Err(Senseless::OtherId {
            expected: id,
            found: short(found),
        });
    }
    let error = field(&reply, "error");
    if !error.is_null() {
        let said = error
            .as_str()
            .map_or_else(|| short(error), |text| shown(text.as_bytes()));
        return Err(Senseless::Refused { said });
    }
    let result = field(&reply, "result");
    if !result.is_object() {
        return Err(shape("result", "an object", result));
    }
    let ready = field(result, "ReadyToUpgrade");
    let ready = match ready.as_bool() {
        Some(ready) => ready,
        None if ready.is_null() => false,
        None => return Err(shape("ReadyToUpgrade", "true or false", ready)),
    };
    let accepted = accepted(field(result, "AcceptedReleaseInfo"))?;
    let which = match (&accepted, ready) {
        (_, false) | (AcceptedRelease::Release { .. }, true) => {
            return Ok(UpgradeStatus { accepted, ready });
        }
        (AcceptedRelease::Unknown, true) => "names no release (AcceptedReleaseInfo is null)".to_owned(),
        (AcceptedRelease::None, true) => "names no release (VegaReleaseTag is empty)".to_owned(),
        (AcceptedRelease::Unusable(reason), true) => format!("names one that cannot be used: {reason}"),
    };
    Err(Senseless::ReadyForNothing { which })
}

fn accepted(info: &Value) -> Result<AcceptedRelease, Senseless> {
    if info.is_null() {
        return Ok(AcceptedRelease::Unknown);
    }
    if !info.is_object() {
        return Err(shape("AcceptedReleaseInfo", "an object or null", info));
    }
    let tag = field(info, "VegaReleaseTag");
    let tag = match tag.as_str() {
        Some(tag) => tag,
        None if tag.is_null() => "",
        None => return Err(shape("VegaReleaseTag", "a string", tag)),
    };
    let height = field(info, "UpgradeBlockHeight");
    let height = match height.as_u64() {
        Some(height) => height,
        None if height.is_null() => 0,
        None => return Err(shape("UpgradeBlockHeight", "a whole number of 64 bits", height)),
    };
    Ok(match (tag.is_empty(), height) {
        (true, 0) => AcceptedRelease::None,
        (true, _) => AcceptedRelease::Unusable(format!("no tag for height {height}")),
        (false, 0) => AcceptedRelease::Unusable(format!("{:?} at height 0", shown(tag.as_bytes()))),
        (false, _) if is_release_tag(tag) => AcceptedRelease::Release {
            tag: tag.to_owned(),
            height,
        },
        (false, _) => AcceptedRelease::Unusable(format!(
            "expected a tag such as v0.80.0, found {:?} at height {height}",
            shown(tag.as_bytes())
        )),
    })
}

/// Whether a text is the tag of a release: a strict semantic version after a small `v`. Such a text is safe as the name of a folder.
pub(in crate::adapter::vega) fn is_release_tag(text: &str) -> bool {
    text.starts_with('v') && tag::is_release_tag(text)
}

/// A field of an object: under just this name, else in another case; `null` when there is none.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    let Some(fields) = object.as_object() else {
        return &NULL;
    };
    fields
        .get(name)
        .or_else(|| {
            let mut others = fields
                .iter()
                .filter(|(found, _)| found.eq_ignore_ascii_case(name));
            others.next().map(|(_, value)| value)
        })
        .unwrap_or(&NULL)
}

fn shape(field: &'static str, expected: &'static str, found: &Value) -> Senseless {
    Senseless::Shape {
        field,
        expected,
        found: short(found),
    }
}

fn short(value: &Value) -> String {
    shown(value.to_string().as_bytes())
}
