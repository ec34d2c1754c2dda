//! Transactions and choices.

use governance::{Action, Choice, Height, SignedTransaction, Transaction};

use super::field::{self, InvalidMessage};
use super::readiness;
use crate::pb::governance::v1 as pb;
use crate::pb::governance::v1::transaction::Action as PbAction;

impl From<&SignedTransaction> for pb::SignedTransaction {
    fn from(signed: &SignedTransaction) -> Self {
        Self {
            transaction: Some((&signed.transaction).into()),
            public_key: signed.public_key.0.to_vec(),
            signature: signed.signature.0.to_vec(),
        }
    }
}

impl TryFrom<pb::SignedTransaction> for SignedTransaction {
    type Error = InvalidMessage;

    fn try_from(message: pb::SignedTransaction) -> Result<Self, InvalidMessage> {
        Ok(Self {
            transaction: field::nested("transaction", message.transaction)?,
            public_key: field::bytes("public_key", &message.public_key)?,
            signature: field::bytes("signature", &message.signature)?,
        })
    }
}

impl From<&Transaction> for pb::Transaction {
    fn from(transaction: &Transaction) -> Self {
        Self {
            chain_id: transaction.chain_id.to_string(),
            sequence: transaction.sequence,
            last_valid_height: transaction.last_valid_height.0,
            action: Some((&transaction.action).into()),
        }
    }
}

impl TryFrom<pb::Transaction> for Transaction {
    type Error = InvalidMessage;

    fn try_from(message: pb::Transaction) -> Result<Self, InvalidMessage> {
        Ok(Self {
            chain_id: field::text("chain_id", &message.chain_id)?,
            sequence: message.sequence,
            last_valid_height: Height(message.last_valid_height),
            action: field::required("action", message.action, "one of the actions")?.try_into()?,
        })
    }
}

impl From<&Action> for PbAction {
    fn from(action: &Action) -> Self {
        match action {
            Action::ProposeUpgrade(upgrade) => Self::ProposeUpgrade(pb::ProposeUpgrade {
                upgrade: Some(upgrade.into()),
            }),
            Action::ProposeCancel { target } => Self::ProposeCancel(pb::ProposeCancel {
                target: target.0.to_vec(),
            }),
            Action::Vote { proposal, choice } => Self::Vote(pb::Vote {
                proposal_id: proposal.0.to_vec(),
                choice: pb::Choice::from(*choice).into(),
            }),
            Action::Withdraw { proposal } => Self::Withdraw(pb::Withdraw {
                proposal_id: proposal.0.to_vec(),
            }),
            Action::ProposeValidators(change) => Self::ProposeValidators(pb::ProposeValidators {
                change: Some(change.into()),
            }),
            Action::ProposeParameters(change) => Self::ProposeParameters(pb::ProposeParameters {
                change: Some(change.into()),
            }),
            Action::AuthorizeReporter { key } => Self::AuthorizeReporter(pb::AuthorizeReporter {
                key: key.map(|key| key.0.to_vec()),
            }),
            Action::ReportReadiness {
                validator,
                proposal,
                readiness,
            } => Self::ReportReadiness(pb::ReportReadiness {
                validator_id: validator.0.to_vec(),
                proposal_id: proposal.0.to_vec(),
                readiness: pb::Readiness::from(*readiness).into(),
            }),
        }
    }
}

impl TryFrom<PbAction> for Action {
    type Error = InvalidMessage;

    fn try_from(message: PbAction) -> Result<Self, InvalidMessage> {
        match message {
            PbAction::ProposeUpgrade(propose) => field::nested("upgrade", propose.upgrade)
                .map(Self::ProposeUpgrade)
                .map_err(|error| error.within("propose_upgrade")),
            PbAction::ProposeCancel(propose) => Ok(Self::ProposeCancel {
                target: field::bytes("propose_cancel.target", &propose.target)?,
            }),
            PbAction::Vote(vote) => Ok(Self::Vote {
                proposal: field::bytes("vote.proposal_id", &vote.proposal_id)?,
                choice: choice("vote.choice", vote.choice)?,
            }),
            PbAction::Withdraw(withdraw) => Ok(Self::Withdraw {
                proposal: field::bytes("withdraw.proposal_id", &withdraw.proposal_id)?,
            }),
            PbAction::ProposeValidators(propose) => field::nested("change", propose.change)
                .map(Self::ProposeValidators)
                .map_err(|error| error.within("propose_validators")),
            PbAction::ProposeParameters(propose) => field::nested("change", propose.change)
                .map(Self::ProposeParameters)
                .map_err(|error| error.within("propose_parameters")),
            PbAction::AuthorizeReporter(authorize) => Ok(Self::AuthorizeReporter {
                key: field::optional_bytes("authorize_reporter.key", authorize.key.as_deref())?,
            }),
            PbAction::ReportReadiness(report) => Ok(Self::ReportReadiness {
                validator: field::bytes("report_readiness.validator_id", &report.validator_id)?,
                proposal: field::bytes("report_readiness.proposal_id", &report.proposal_id)?,
                readiness: readiness::readiness("report_readiness.readiness", report.readiness)?,
            }),
        }
    }
}

impl From<Choice> for pb::Choice {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Approve => Self::Approve,
            Choice::Reject => Self::Reject,
        }
    }
}

impl TryFrom<pb::Choice> for Choice {
    type Error = InvalidMessage;

    fn try_from(message: pb::Choice) -> Result<Self, InvalidMessage> {
        choice("choice", message.into())
    }
}

/// The choice in a field that holds it as a number.
pub(super) fn choice(field: &str, value: i32) -> Result<Choice, InvalidMessage> {
    match field::enumeration(field, value, &pb::Choice::Unspecified, "Choice")? {
        pb::Choice::Approve => Ok(Choice::Approve),
        pb::Choice::Reject => Ok(Choice::Reject),
        pb::Choice::Unspecified => Err(InvalidMessage::new(field, "a choice", "none")),
    }
}
