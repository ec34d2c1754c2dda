//! What a node tells the visor beside it.

use governance::{Phase, ProposalId, Upgrade};

use super::field::{self, InvalidMessage};
use super::proposal;
use crate::pb::governance::v1::ProposalPhase;
use crate::pb::node::v1 as pb;

impl From<(&ProposalId, &Upgrade, Phase)> for pb::AnnouncedUpgrade {
    fn from((id, upgrade, phase): (&ProposalId, &Upgrade, Phase)) -> Self {
        Self {
            proposal_id: id.0.to_vec(),
            upgrade: Some(upgrade.into()),
            phase: ProposalPhase::from(phase).into(),
        }
    }
}

impl TryFrom<pb::AnnouncedUpgrade> for (ProposalId, Upgrade, Phase) {
    type Error = InvalidMessage;

    fn try_from(message: pb::AnnouncedUpgrade) -> Result<Self, InvalidMessage> {
        Ok((
            field::bytes("proposal_id", &message.proposal_id)?,
            field::nested("upgrade", message.upgrade)?,
            proposal::phase("phase", message.phase)?,
        ))
    }
}
