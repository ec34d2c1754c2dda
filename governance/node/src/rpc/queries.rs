//! Questions about the newest committed state.

use governance::{LookupError, Proposal, ProposalId, State};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_proposal_request::Key;
use tonic::Status;

use crate::handle::NodeHandle;

pub(super) fn proposals(node: &NodeHandle, request: pb::ListProposalsRequest) -> pb::ListProposalsResponse {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    let mut found: Vec<&Proposal> = state.live_proposals().collect();
    if request.include_ended {
        found.extend(state.ended_proposals());
        found.sort_by_key(|proposal| (proposal.submitted_height, proposal.id));
    }
    pb::ListProposalsResponse {
        height: snapshot.height.0,
        proposals: found.into_iter().map(pb::Proposal::from).collect(),
    }
}

pub(super) fn proposal(
    node: &NodeHandle,
    request: pb::GetProposalRequest,
) -> Result<pb::GetProposalResponse, Status> {
    let snapshot = node.snapshot();
    let proposal = match request.key {
        Some(Key::Id(bytes)) => by_id(&snapshot.state, &bytes)?,
        Some(Key::Name(name)) => snapshot.state.find_proposal(&name).map_err(|error| {
            let text = error.to_string();
            match error {
                LookupError::NotFound { .. } => Status::not_found(text),
                LookupError::Ambiguous { .. } => Status::failed_precondition(text),
                LookupError::Malformed { .. } => Status::invalid_argument(text),
            }
        })?,
        None => {
            return Err(Status::invalid_argument(
                "key: expected an id or a name, found neither",
            ));
        }
    };
    Ok(pb::GetProposalResponse {
        height: snapshot.height.0,
        proposal: Some(proposal.into()),
    })
}

fn by_id<'a>(state: &'a State, bytes: &[u8]) -> Result<&'a Proposal, Status> {
    let id = <[u8; 32]>::try_from(bytes)
        .map(ProposalId)
        .map_err(|_| Status::invalid_argument(format!("id: expected 32 bytes, found {}", bytes.len())))?;
    state
        .proposal(&id)
        .ok_or_else(|| Status::not_found(format!("there is no proposal {id}, live or recently ended")))
}

pub(super) fn plan(node: &NodeHandle) -> pb::GetPlanResponse {
    let snapshot = node.snapshot();
    pb::GetPlanResponse {
        height: snapshot.height.0,
        plan: snapshot.state.plan().map(pb::Proposal::from),
    }
}

pub(super) fn validators(node: &NodeHandle) -> pb::ListValidatorsResponse {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    pb::ListValidatorsResponse {
        height: snapshot.height.0,
        validators: state
            .validators()
            .iter()
            .map(|validator| pb::Validator::from((validator, state.next_sequence(&validator.id))))
            .collect(),
    }
}

pub(super) fn status(node: &NodeHandle, moniker: &str) -> pb::GetStatusResponse {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    pb::GetStatusResponse {
        chain_id: state.chain_id().to_string(),
        version: node.release().to_string(),
        height: snapshot.height.0,
        state_root: snapshot.state_root.0.to_vec(),
        next_block_version: state.next_block_version().to_string(),
        halt: node.halt_at(&snapshot).as_ref().map(pb::Halt::from),
        next_upgrade: state
            .plan()
            .and_then(|proposal| proposal.upgrade())
            .map(|upgrade| pb::NextUpgrade {
                height: upgrade.height.0,
                version: upgrade.version.to_string(),
            }),
        parameters: Some(state.parameters().into()),
        peers: node.peers(),
        mempool_transactions: u32::try_from(node.mempool_len()).unwrap_or(u32::MAX),
        moniker: moniker.to_owned(),
    }
}
