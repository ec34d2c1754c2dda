//! The chain's rules as the next block would judge them: what is refused here is neither measured, signed nor sent.

use governance::{Height, MAX_LEAD_BLOCKS, Rejection};

use crate::node_status::NodeStatus;

/// GOV-09: between the last block of an old version and the first of the new one nothing is accepted.
pub(super) fn running(status: &NodeStatus) -> Result<(), Rejection> {
    match &status.halt {
        Some(halt) => Err(Rejection::Halted {
            height: halt.height,
            version: halt.version.clone(),
        }),
        None => Ok(()),
    }
}

/// GOV-02, for upgrades and changes alike.
pub(super) fn height(height: Height, status: &NodeStatus) -> Result<(), Rejection> {
    let block = Height(status.height.0.saturating_add(1));
    let too_far = Rejection::HeightTooFar { found: height, block };
    match block.checked_add(status.parameters.min_lead_blocks) {
        Some(earliest) if height < earliest => Err(Rejection::HeightTooSoon {
            found: height,
            block,
            earliest,
        }),
        Some(_) if height.0.saturating_sub(block.0) > MAX_LEAD_BLOCKS => Err(too_far),
        Some(_) => Ok(()),
        None => Err(too_far),
    }
}
