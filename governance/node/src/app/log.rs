//! What the operator is told of a block.

use governance::Event;

use crate::store::BlockRecord;

/// Tells the operator what a block changed.
pub(super) fn block(record: &BlockRecord) {
    tracing::debug!(
        block.height = record.height.0,
        block.state_root = %record.state_root,
        block.transactions = record.transactions.len(),
        "block committed"
    );
    for event in &record.events {
        match event {
            Event::ProposalSubmitted {
                proposal_id,
                proposer,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %proposer, "proposal submitted");
            }
            Event::VoteCast {
                proposal_id,
                validator_id,
                choice,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, vote.choice = %choice, "vote cast");
            }
            Event::VoteWithdrawn {
                proposal_id,
                validator_id,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, "vote withdrawn");
            }
            Event::ApprovalMoved {
                validator_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, validator.id = %validator_id, proposal.from = %from, proposal.to = %to, "approval moved");
            }
            Event::ProposalPhaseChanged {
                proposal_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, phase.from = %from, phase.to = %to, "proposal changed phase");
            }
            Event::BallotLapsed {
                proposal_id,
                validator_id,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, "ballot lapsed");
            }
            Event::ValidatorsChanged {
                proposal_id,
                validators,
                total_power,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validators.count = validators, validators.power = total_power.0, "validators changed: the next block is decided by the new set");
            }
            Event::ParametersChanged {
                proposal_id,
                parameters,
            } => {
                tracing::info!(
                    block.height = record.height.0, proposal.id = %proposal_id,
                    parameters.min_lead_blocks, parameters.lock_in_blocks,
                    parameters.threshold_numerator, parameters.threshold_denominator,
                    "parameters changed"
                );
            }
            Event::ChangeDropped {
                proposal_id,
                code,
                message,
            } => {
                tracing::warn!(block.height = record.height.0, proposal.id = %proposal_id, rejection.code = %code, rejection.message = %message, "change dropped: it does not fit any more");
            }
            Event::ReporterAuthorized { validator_id, key } => {
                tracing::info!(block.height = record.height.0, validator.id = %validator_id, reporter.authorized = key.is_some(), "reporter key set");
            }
            Event::ReadinessReported {
                proposal_id,
                validator_id,
                readiness,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, report.readiness = %readiness, "readiness reported");
            }
            Event::UpgradeHalted {
                proposal_id,
                height,
                version,
            } => {
                tracing::info!(upgrade.height = height.0, upgrade.version = %version, proposal.id = %proposal_id, "halted: this was the last block of this version");
            }
            Event::UpgradeActivated {
                proposal_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, upgrade.from = %from, upgrade.to = %to, "upgrade activated");
            }
            Event::TransactionRejected {
                transaction_id,
                code,
                message,
            } => {
                tracing::info!(block.height = record.height.0, transaction.id = %transaction_id, rejection.code = %code, rejection.message = %message, "transaction rejected");
            }
        }
    }
}
