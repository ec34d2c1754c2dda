//! Who voted how, and whose host is how far: of live proposals from the state, of ended ones from the archive.

use governance::{ProposalId, ValidatorId};
use proto::pb::governance::v1 as pb;
use tonic::Status;

use super::{internal, pages, queries};
use crate::handle::NodeHandle;

pub(super) fn ballots(
    node: &NodeHandle,
    request: &pb::ListBallotsRequest,
) -> Result<pb::ListBallotsResponse, Status> {
    let snapshot = node.snapshot();
    let asked = Asked::new(
        &request.proposal_id,
        request.page_size,
        &request.page_token,
        request.validator_id.as_deref(),
    )?;
    queries::by_id(&snapshot.state, &request.proposal_id)?;
    let mut found = node
        .ballots(&snapshot, &asked.proposal, asked.after.as_ref(), asked.fetched())
        .map_err(|error| internal(&error))?;
    asked.filter(&mut found);
    let next_page_token = pages::cut(&mut found, asked.size, |(id, _)| id.0.to_vec());
    let validators = snapshot.state.validators();
    Ok(pb::ListBallotsResponse {
        height: snapshot.height.0,
        ballots: found
            .iter()
            .map(|(id, ballot)| pb::Ballot::from((id, ballot, validators.get(id))))
            .collect(),
        next_page_token,
    })
}

pub(super) fn reports(
    node: &NodeHandle,
    request: &pb::ListReportsRequest,
) -> Result<pb::ListReportsResponse, Status> {
    let snapshot = node.snapshot();
    let asked = Asked::new(
        &request.proposal_id,
        request.page_size,
        &request.page_token,
        request.validator_id.as_deref(),
    )?;
    queries::by_id(&snapshot.state, &request.proposal_id)?;
    let mut found = node
        .reports(&snapshot, &asked.proposal, asked.after.as_ref(), asked.fetched())
        .map_err(|error| internal(&error))?;
    asked.filter(&mut found);
    let next_page_token = pages::cut(&mut found, asked.size, |(id, _)| id.0.to_vec());
    let validators = snapshot.state.validators();
    Ok(pb::ListReportsResponse {
        height: snapshot.height.0,
        reports: found
            .iter()
            .map(|(id, report)| pb::ReadinessReport::from((id, report, validators.get(id))))
            .collect(),
        next_page_token,
    })
}

/// What a client wants of a list by validator.
struct Asked {
    proposal: ProposalId,
    size: usize,
    after: Option<ValidatorId>,
    only: Option<ValidatorId>,
}

impl Asked {
    fn new(proposal: &[u8], page_size: u32, token: &[u8], only: Option<&[u8]>) -> Result<Self, Status> {
        let proposal = queries::proposal_id(proposal)?;
        let only = only.map(queries::validator_id).transpose()?;
        let after = pages::after(token)?.map(ValidatorId);
        Ok(match only {
            // A list of one or none: it begins right before that validator.
            Some(id) => Self {
                proposal,
                size: 1,
                after: before(&id),
                only,
            },
            None => Self {
                proposal,
                size: pages::size(page_size, pages::BY_VALIDATOR),
                after,
                only,
            },
        })
    }

    /// One more than fits the page: whether there is a next one.
    const fn fetched(&self) -> usize {
        match self.only {
            Some(_) => 1,
            None => self.size.saturating_add(1),
        }
    }

    fn filter<T>(&self, found: &mut Vec<(ValidatorId, T)>) {
        if let Some(only) = self.only {
            found.retain(|(id, _)| *id == only);
        }
    }
}

/// The largest id below this one.
fn before(id: &ValidatorId) -> Option<ValidatorId> {
    let mut bytes = id.0;
    for byte in bytes.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(ValidatorId(bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_before_an_id_is_found() {
        let id = |last: [u8; 2]| {
            let mut bytes = [7; 20];
            bytes[18..].copy_from_slice(&last);
            ValidatorId(bytes)
        };
        assert_eq!(before(&id([1, 1])), Some(id([1, 0])));
        assert_eq!(before(&id([1, 0])), Some(id([0, 255])));
        assert_eq!(before(&ValidatorId([0; 20])), None);
    }
}
