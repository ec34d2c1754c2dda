//! Events.

use governance::{Event, Height, Power};

use super::field::{self, InvalidMessage};
use super::{proposal, readiness, transaction};
use crate::pb::governance::v1 as pb;
use crate::pb::governance::v1::event::Event as PbEvent;

impl From<&Event> for pb::Event {
    fn from(event: &Event) -> Self {
        Self {
            event: Some(event.into()),
        }
    }
}

impl TryFrom<pb::Event> for Event {
    type Error = InvalidMessage;

    fn try_from(message: pb::Event) -> Result<Self, InvalidMessage> {
        field::required("event", message.event, "one of the events")?.try_into()
    }
}

impl From<&Event> for PbEvent {
    fn from(event: &Event) -> Self {
        match event {
            Event::ProposalSubmitted {
                proposal_id,
                proposer,
            } => Self::ProposalSubmitted(pb::ProposalSubmitted {
                proposal_id: proposal_id.0.to_vec(),
                proposer: proposer.0.to_vec(),
            }),
            Event::VoteCast {
                proposal_id,
                validator_id,
                choice,
            } => Self::VoteCast(pb::VoteCast {
                proposal_id: proposal_id.0.to_vec(),
                validator_id: validator_id.0.to_vec(),
                choice: pb::Choice::from(*choice).into(),
            }),
            Event::VoteWithdrawn {
                proposal_id,
                validator_id,
            } => Self::VoteWithdrawn(pb::VoteWithdrawn {
                proposal_id: proposal_id.0.to_vec(),
                validator_id: validator_id.0.to_vec(),
            }),
            Event::ApprovalMoved {
                validator_id,
                from,
                to,
            } => Self::ApprovalMoved(pb::ApprovalMoved {
                validator_id: validator_id.0.to_vec(),
                from: from.0.to_vec(),
                to: to.0.to_vec(),
            }),
            Event::ProposalPhaseChanged {
                proposal_id,
                from,
                to,
            } => Self::ProposalPhaseChanged(pb::ProposalPhaseChanged {
                proposal_id: proposal_id.0.to_vec(),
                from: pb::ProposalPhase::from(*from).into(),
                to: pb::ProposalPhase::from(*to).into(),
            }),
            Event::BallotLapsed {
                proposal_id,
                validator_id,
            } => Self::BallotLapsed(pb::BallotLapsed {
                proposal_id: proposal_id.0.to_vec(),
                validator_id: validator_id.0.to_vec(),
            }),
            Event::ValidatorsChanged {
                proposal_id,
                validators,
                total_power,
            } => Self::ValidatorsChanged(pb::ValidatorsChanged {
                proposal_id: proposal_id.0.to_vec(),
                validators: *validators,
                total_power: total_power.0,
            }),
            Event::ParametersChanged {
                proposal_id,
                parameters,
            } => Self::ParametersChanged(pb::ParametersChanged {
                proposal_id: proposal_id.0.to_vec(),
                parameters: Some(parameters.into()),
            }),
            Event::ChangeDropped {
                proposal_id,
                code,
                message,
            } => Self::ChangeDropped(pb::ChangeDropped {
                proposal_id: proposal_id.0.to_vec(),
                rejection: Some(pb::Rejection {
                    code: code.clone(),
                    message: message.clone(),
                }),
            }),
            Event::ReporterAuthorized { validator_id, key } => {
                Self::ReporterAuthorized(pb::ReporterAuthorized {
                    validator_id: validator_id.0.to_vec(),
                    key: key.map(|key| key.0.to_vec()),
                })
            }
            Event::ReadinessReported {
                proposal_id,
                validator_id,
                readiness,
            } => Self::ReadinessReported(pb::ReadinessReported {
                proposal_id: proposal_id.0.to_vec(),
                validator_id: validator_id.0.to_vec(),
                readiness: pb::Readiness::from(*readiness).into(),
            }),
            Event::UpgradeHalted {
                proposal_id,
                height,
                version,
            } => Self::UpgradeHalted(pb::UpgradeHalted {
                proposal_id: proposal_id.0.to_vec(),
                version: version.to_string(),
                height: height.0,
            }),
            Event::UpgradeActivated {
                proposal_id,
                from,
                to,
            } => Self::UpgradeActivated(pb::UpgradeActivated {
                proposal_id: proposal_id.0.to_vec(),
                from: from.to_string(),
                to: to.to_string(),
            }),
            Event::TransactionRejected {
                transaction_id,
                code,
                message,
            } => Self::TransactionRejected(pb::TransactionRejected {
                transaction_id: transaction_id.0.to_vec(),
                rejection: Some(pb::Rejection {
                    code: code.clone(),
                    message: message.clone(),
                }),
            }),
        }
    }
}

impl TryFrom<PbEvent> for Event {
    type Error = InvalidMessage;

    fn try_from(message: PbEvent) -> Result<Self, InvalidMessage> {
        match message {
            PbEvent::ProposalSubmitted(event) => Ok(Self::ProposalSubmitted {
                proposal_id: field::bytes("proposal_submitted.proposal_id", &event.proposal_id)?,
                proposer: field::bytes("proposal_submitted.proposer", &event.proposer)?,
            }),
            PbEvent::VoteCast(event) => Ok(Self::VoteCast {
                proposal_id: field::bytes("vote_cast.proposal_id", &event.proposal_id)?,
                validator_id: field::bytes("vote_cast.validator_id", &event.validator_id)?,
                choice: transaction::choice("vote_cast.choice", event.choice)?,
            }),
            PbEvent::VoteWithdrawn(event) => Ok(Self::VoteWithdrawn {
                proposal_id: field::bytes("vote_withdrawn.proposal_id", &event.proposal_id)?,
                validator_id: field::bytes("vote_withdrawn.validator_id", &event.validator_id)?,
            }),
            PbEvent::ApprovalMoved(event) => Ok(Self::ApprovalMoved {
                validator_id: field::bytes("approval_moved.validator_id", &event.validator_id)?,
                from: field::bytes("approval_moved.from", &event.from)?,
                to: field::bytes("approval_moved.to", &event.to)?,
            }),
            PbEvent::ProposalPhaseChanged(event) => Ok(Self::ProposalPhaseChanged {
                proposal_id: field::bytes("proposal_phase_changed.proposal_id", &event.proposal_id)?,
                from: proposal::phase("proposal_phase_changed.from", event.from)?,
                to: proposal::phase("proposal_phase_changed.to", event.to)?,
            }),
            PbEvent::BallotLapsed(event) => Ok(Self::BallotLapsed {
                proposal_id: field::bytes("ballot_lapsed.proposal_id", &event.proposal_id)?,
                validator_id: field::bytes("ballot_lapsed.validator_id", &event.validator_id)?,
            }),
            PbEvent::ValidatorsChanged(event) => Ok(Self::ValidatorsChanged {
                proposal_id: field::bytes("validators_changed.proposal_id", &event.proposal_id)?,
                validators: event.validators,
                total_power: Power(event.total_power),
            }),
            PbEvent::ParametersChanged(event) => {
                let field = "parameters_changed.parameters";
                Ok(Self::ParametersChanged {
                    proposal_id: field::bytes("parameters_changed.proposal_id", &event.proposal_id)?,
                    parameters: field::required(field, event.parameters, "a message")?.into(),
                })
            }
            PbEvent::ChangeDropped(event) => {
                let field = "change_dropped.rejection";
                let rejection = field::required(field, event.rejection, "a message")?;
                Ok(Self::ChangeDropped {
                    proposal_id: field::bytes("change_dropped.proposal_id", &event.proposal_id)?,
                    code: rejection.code,
                    message: rejection.message,
                })
            }
            PbEvent::ReporterAuthorized(event) => Ok(Self::ReporterAuthorized {
                validator_id: field::bytes("reporter_authorized.validator_id", &event.validator_id)?,
                key: field::optional_bytes("reporter_authorized.key", event.key.as_deref())?,
            }),
            PbEvent::ReadinessReported(event) => Ok(Self::ReadinessReported {
                proposal_id: field::bytes("readiness_reported.proposal_id", &event.proposal_id)?,
                validator_id: field::bytes("readiness_reported.validator_id", &event.validator_id)?,
                readiness: readiness::readiness("readiness_reported.readiness", event.readiness)?,
            }),
            PbEvent::UpgradeHalted(event) => Ok(Self::UpgradeHalted {
                proposal_id: field::bytes("upgrade_halted.proposal_id", &event.proposal_id)?,
                height: Height(event.height),
                version: field::version("upgrade_halted.version", &event.version)?,
            }),
            PbEvent::UpgradeActivated(event) => Ok(Self::UpgradeActivated {
                proposal_id: field::bytes("upgrade_activated.proposal_id", &event.proposal_id)?,
                from: field::version("upgrade_activated.from", &event.from)?,
                to: field::version("upgrade_activated.to", &event.to)?,
            }),
            PbEvent::TransactionRejected(event) => {
                let field = "transaction_rejected.rejection";
                let rejection = field::required(field, event.rejection, "a message")?;
                Ok(Self::TransactionRejected {
                    transaction_id: field::bytes(
                        "transaction_rejected.transaction_id",
                        &event.transaction_id,
                    )?,
                    code: rejection.code,
                    message: rejection.message,
                })
            }
        }
    }
}
