//! Proposals with their phase and tally, and the ballots beside them.

use governance::{Ballot, Height, Phase, Power, Proposal, Subject, Tally, Validator, ValidatorId};

use super::field::{self, InvalidMessage};
use super::transaction;
use crate::pb::governance::v1 as pb;
use crate::pb::governance::v1::proposal::Subject as PbSubject;

impl From<&Proposal> for pb::Proposal {
    fn from(proposal: &Proposal) -> Self {
        Self {
            id: proposal.id.0.to_vec(),
            subject: Some((&proposal.subject).into()),
            proposer: proposal.proposer.0.to_vec(),
            submitted_height: proposal.submitted_height.0,
            votes_close_height: proposal.votes_close_height.0,
            phase: pb::ProposalPhase::from(proposal.phase).into(),
            ended_height: proposal.ended_height.unwrap_or_default().0,
            tally: Some((&proposal.tally).into()),
            ballots_root: proposal.ballots_root.0.to_vec(),
            reports_root: proposal.reports_root.0.to_vec(),
        }
    }
}

impl TryFrom<pb::Proposal> for Proposal {
    type Error = InvalidMessage;

    fn try_from(message: pb::Proposal) -> Result<Self, InvalidMessage> {
        let phase = phase("phase", message.phase)?;
        let ended_height = field::height_or_none(message.ended_height);
        if phase.is_live() != ended_height.is_none() {
            return Err(InvalidMessage::new(
                "ended_height",
                if phase.is_live() {
                    "0, because the proposal is live"
                } else {
                    "the height at which the proposal ended"
                },
                message.ended_height.to_string(),
            ));
        }
        Ok(Self {
            id: field::bytes("id", &message.id)?,
            subject: field::required("subject", message.subject, "one of the subjects")?.try_into()?,
            proposer: field::bytes("proposer", &message.proposer)?,
            submitted_height: Height(message.submitted_height),
            votes_close_height: Height(message.votes_close_height),
            phase,
            ended_height,
            tally: field::nested("tally", message.tally)?,
            ballots_root: field::bytes("ballots_root", &message.ballots_root)?,
            reports_root: field::bytes("reports_root", &message.reports_root)?,
        })
    }
}

impl From<&Subject> for PbSubject {
    fn from(subject: &Subject) -> Self {
        match subject {
            Subject::Upgrade(upgrade) => Self::Upgrade(upgrade.into()),
            Subject::Cancel { target } => Self::Cancel(pb::ProposeCancel {
                target: target.0.to_vec(),
            }),
            Subject::Validators(change) => Self::Validators(change.into()),
            Subject::Parameters(change) => Self::Parameters(change.into()),
        }
    }
}

impl TryFrom<PbSubject> for Subject {
    type Error = InvalidMessage;

    fn try_from(message: PbSubject) -> Result<Self, InvalidMessage> {
        match message {
            PbSubject::Upgrade(upgrade) => upgrade
                .try_into()
                .map(Self::Upgrade)
                .map_err(|error: InvalidMessage| error.within("upgrade")),
            PbSubject::Cancel(cancel) => Ok(Self::Cancel {
                target: field::bytes("cancel.target", &cancel.target)?,
            }),
            PbSubject::Validators(change) => change
                .try_into()
                .map(Self::Validators)
                .map_err(|error: InvalidMessage| error.within("validators")),
            PbSubject::Parameters(change) => change
                .try_into()
                .map(Self::Parameters)
                .map_err(|error: InvalidMessage| error.within("parameters")),
        }
    }
}

impl From<Phase> for pb::ProposalPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Voting => Self::Voting,
            Phase::Approved => Self::Approved,
            Phase::LockedIn => Self::LockedIn,
            Phase::Executed => Self::Executed,
            Phase::Rejected => Self::Rejected,
            Phase::Expired => Self::Expired,
            Phase::Superseded => Self::Superseded,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<pb::ProposalPhase> for Phase {
    type Error = InvalidMessage;

    fn try_from(message: pb::ProposalPhase) -> Result<Self, InvalidMessage> {
        phase("phase", message.into())
    }
}

/// The phase in a field that holds it as a number.
pub(super) fn phase(field: &str, value: i32) -> Result<Phase, InvalidMessage> {
    let unspecified = pb::ProposalPhase::Unspecified;
    match field::enumeration(field, value, &unspecified, "ProposalPhase")? {
        pb::ProposalPhase::Voting => Ok(Phase::Voting),
        pb::ProposalPhase::Approved => Ok(Phase::Approved),
        pb::ProposalPhase::LockedIn => Ok(Phase::LockedIn),
        pb::ProposalPhase::Executed => Ok(Phase::Executed),
        pb::ProposalPhase::Rejected => Ok(Phase::Rejected),
        pb::ProposalPhase::Expired => Ok(Phase::Expired),
        pb::ProposalPhase::Superseded => Ok(Phase::Superseded),
        pb::ProposalPhase::Cancelled => Ok(Phase::Cancelled),
        pb::ProposalPhase::Unspecified => Err(InvalidMessage::new(field, "a phase", "none")),
    }
}

impl From<&Tally> for pb::Tally {
    fn from(tally: &Tally) -> Self {
        Self {
            approving: tally.approving.0,
            rejecting: tally.rejecting.0,
            total: tally.total.to_string(),
            threshold_numerator: tally.threshold_numerator,
            threshold_denominator: tally.threshold_denominator,
        }
    }
}

impl TryFrom<pb::Tally> for Tally {
    type Error = InvalidMessage;

    fn try_from(message: pb::Tally) -> Result<Self, InvalidMessage> {
        let total: Option<u64> = message.total.parse().ok();
        let total = total
            .filter(|total| total.to_string() == message.total)
            .ok_or_else(|| {
                InvalidMessage::new(
                    "total",
                    "a decimal number below 2^64 without sign and leading zeros",
                    field::quoted(&message.total),
                )
            })?;
        Ok(Self {
            approving: Power(message.approving),
            rejecting: Power(message.rejecting),
            total: Power(total),
            threshold_numerator: message.threshold_numerator,
            threshold_denominator: message.threshold_denominator,
        })
    }
}

/// A ballot, and the voter as it is now if it is active.
impl From<(&ValidatorId, &Ballot, Option<&Validator>)> for pb::Ballot {
    fn from((id, ballot, validator): (&ValidatorId, &Ballot, Option<&Validator>)) -> Self {
        Self {
            validator_id: id.0.to_vec(),
            choice: pb::Choice::from(ballot.choice).into(),
            height: ballot.height.0,
            by_proposing: ballot.by_proposing,
            public_key: ballot.public_key.0.to_vec(),
            sequence: ballot.sequence,
            last_valid_height: ballot.last_valid_height.0,
            signature: ballot.signature.0.to_vec(),
            validator: validator.map(Into::into),
        }
    }
}

impl TryFrom<pb::Ballot> for (ValidatorId, Ballot) {
    type Error = InvalidMessage;

    fn try_from(message: pb::Ballot) -> Result<Self, InvalidMessage> {
        let ballot = Ballot {
            choice: transaction::choice("choice", message.choice)?,
            height: Height(message.height),
            by_proposing: message.by_proposing,
            public_key: field::bytes("public_key", &message.public_key)?,
            sequence: message.sequence,
            last_valid_height: Height(message.last_valid_height),
            signature: field::bytes("signature", &message.signature)?,
        };
        Ok((field::bytes("validator_id", &message.validator_id)?, ballot))
    }
}
