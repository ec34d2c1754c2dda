//! What consensus has seen of validators who say two things at once. It is told to the operator; consensus is safe as
//! long as less than a third of the power does it, and nothing is decided from it here.

use arc_malachitebft_app_channel::app::types::MisbehaviorEvidence;

use super::context::{ChainHeight, GovernanceContext};

/// Logs every pair of contradicting messages, and returns how many there are. The engine keeps three per validator and
/// height.
pub(crate) fn report(height: ChainHeight, evidence: &MisbehaviorEvidence<GovernanceContext>) -> u64 {
    let mut found = 0u64;
    for (address, pairs) in evidence.votes.iter() {
        for (first, second) in pairs {
            found = found.saturating_add(1);
            tracing::warn!(
                block.height = height.0, validator.address = %address, consensus.round = first.message.round.as_i64(),
                vote.kind = ?first.message.kind, vote.first = ?first.message.value, vote.second = ?second.message.value,
                "EQUIVOCATION: a validator has signed two different votes of one round"
            );
        }
    }
    for (address, pairs) in evidence.proposals.iter() {
        for (first, second) in pairs {
            found = found.saturating_add(1);
            tracing::warn!(
                block.height = height.0, validator.address = %address, consensus.round = first.message.round.as_i64(),
                block.first = %first.message.value.id, block.second = %second.message.value.id,
                "EQUIVOCATION: a validator has signed two different proposals of one round"
            );
        }
    }
    found
}
