//! Readiness and its reports.

use governance::{Height, Readiness, ReadinessReport, Validator, ValidatorId};

use super::field::{self, InvalidMessage};
use crate::pb::governance::v1 as pb;

impl From<Readiness> for pb::Readiness {
    fn from(readiness: Readiness) -> Self {
        match readiness {
            Readiness::Staged => Self::Staged,
            Readiness::Verified => Self::Verified,
        }
    }
}

impl TryFrom<pb::Readiness> for Readiness {
    type Error = InvalidMessage;

    fn try_from(message: pb::Readiness) -> Result<Self, InvalidMessage> {
        readiness("readiness", message.into())
    }
}

/// The readiness in a field that holds it as a number.
pub(super) fn readiness(field: &str, value: i32) -> Result<Readiness, InvalidMessage> {
    match field::enumeration(field, value, &pb::Readiness::Unspecified, "Readiness")? {
        pb::Readiness::Staged => Ok(Readiness::Staged),
        pb::Readiness::Verified => Ok(Readiness::Verified),
        pb::Readiness::Unspecified => Err(InvalidMessage::new(field, "a readiness", "none")),
    }
}

/// A report, and the validator as it is now if it is active.
impl From<(&ValidatorId, &ReadinessReport, Option<&Validator>)> for pb::ReadinessReport {
    fn from((id, report, validator): (&ValidatorId, &ReadinessReport, Option<&Validator>)) -> Self {
        Self {
            validator_id: id.0.to_vec(),
            readiness: pb::Readiness::from(report.readiness).into(),
            height: report.height.0,
            validator: validator.map(Into::into),
        }
    }
}

impl TryFrom<pb::ReadinessReport> for (ValidatorId, ReadinessReport) {
    type Error = InvalidMessage;

    fn try_from(message: pb::ReadinessReport) -> Result<Self, InvalidMessage> {
        let report = ReadinessReport {
            readiness: readiness("readiness", message.readiness)?,
            height: Height(message.height),
        };
        Ok((field::bytes("validator_id", &message.validator_id)?, report))
    }
}
