//! Questions about the newest committed state.

use governance::{
    LookupError, MAX_VALIDATOR_NAME_BYTES, Proposal, ProposalId, PublicKey, State, Validator, ValidatorId,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_certificate_request;
use proto::pb::governance::v1::get_proposal_request::Key;
use tonic::Status;

use super::{certificates, pages};
use crate::handle::NodeHandle;

pub(super) fn proposals(
    node: &NodeHandle,
    request: &pb::ListProposalsRequest,
) -> Result<pb::ListProposalsResponse, Status> {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    let after = pages::after::<{ 8 + ProposalId::LENGTH }>(&request.page_token)?;
    // Big-endian, so the bytes are in the order of the list.
    let place = |proposal: &Proposal| {
        let mut bytes = proposal.submitted_height.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&proposal.id.0);
        bytes
    };
    let mut found: Vec<&Proposal> = state.live_proposals().collect();
    if request.include_ended {
        found.extend(state.ended_proposals());
    }
    found.sort_by_key(|proposal| (proposal.submitted_height, proposal.id));
    if let Some(after) = after {
        found.retain(|proposal| place(proposal).as_slice() > after.as_slice());
    }
    let size = pages::size(request.page_size, pages::PROPOSALS);
    let next_page_token = pages::cut(&mut found, size, |proposal| place(proposal));
    Ok(pb::ListProposalsResponse {
        height: snapshot.height.0,
        proposals: found.into_iter().map(pb::Proposal::from).collect(),
        next_page_token,
    })
}

pub(super) fn proposal(
    node: &NodeHandle,
    request: &pb::GetProposalRequest,
) -> Result<pb::GetProposalResponse, Status> {
    let snapshot = node.snapshot();
    let proposal = match &request.key {
        Some(Key::Id(bytes)) => by_id(&snapshot.state, bytes)?,
        Some(Key::Name(name)) => by_name(&snapshot.state, name)?,
        None => return Err(no_key("an id or a name")),
    };
    Ok(pb::GetProposalResponse {
        height: snapshot.height.0,
        proposal: Some(proposal.into()),
    })
}

pub(super) fn certificate(
    node: &NodeHandle,
    request: &pb::GetCertificateRequest,
) -> Result<pb::GetCertificateResponse, Status> {
    let snapshot = node.snapshot();
    let proposal = match &request.key {
        Some(get_certificate_request::Key::Id(bytes)) => by_id(&snapshot.state, bytes)?,
        Some(get_certificate_request::Key::Name(name)) => by_name(&snapshot.state, name)?,
        None => return Err(no_key("an id or a name")),
    };
    Ok(pb::GetCertificateResponse {
        certificate: certificates::certificate(node, &snapshot, proposal)?,
    })
}

fn by_name<'a>(state: &'a State, name: &str) -> Result<&'a Proposal, Status> {
    state.find_proposal(name).map_err(|error| {
        let text = error.to_string();
        match error {
            LookupError::NotFound { .. } => Status::not_found(text),
            LookupError::Ambiguous { .. } => Status::failed_precondition(text),
            LookupError::Malformed { .. } => Status::invalid_argument(text),
        }
    })
}

/// The proposal with this id, live or recently ended.
pub(crate) fn by_id<'a>(state: &'a State, bytes: &[u8]) -> Result<&'a Proposal, Status> {
    let id = proposal_id(bytes)?;
    state
        .proposal(&id)
        .ok_or_else(|| Status::not_found(format!("there is no proposal {id}, live or recently ended")))
}

pub(super) fn proposal_id(bytes: &[u8]) -> Result<ProposalId, Status> {
    array("proposal id", bytes).map(ProposalId)
}

pub(super) fn validator_id(bytes: &[u8]) -> Result<ValidatorId, Status> {
    array("validator id", bytes).map(ValidatorId)
}

fn array<const LENGTH: usize>(what: &str, bytes: &[u8]) -> Result<[u8; LENGTH], Status> {
    bytes.try_into().map_err(|_| {
        Status::invalid_argument(format!("{what}: expected {LENGTH} bytes, found {}", bytes.len()))
    })
}

fn no_key(expected: &str) -> Status {
    Status::invalid_argument(format!("key: expected {expected}, found nothing"))
}

pub(super) fn plan(node: &NodeHandle) -> pb::GetPlanResponse {
    let snapshot = node.snapshot();
    pb::GetPlanResponse {
        height: snapshot.height.0,
        plan: snapshot.state.plan().map(pb::Proposal::from),
    }
}

pub(super) fn validators(
    node: &NodeHandle,
    request: &pb::ListValidatorsRequest,
) -> Result<pb::ListValidatorsResponse, Status> {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    let after = pages::after(&request.page_token)?.map(ValidatorId);
    let size = pages::size(request.page_size, pages::BY_VALIDATOR);
    let mut found: Vec<&Validator> = state
        .validators()
        .iter()
        .filter(|validator| after.is_none_or(|after| validator.id > after))
        .take(size.saturating_add(1))
        .collect();
    let next_page_token = pages::cut(&mut found, size, |validator| validator.id.0.to_vec());
    Ok(pb::ListValidatorsResponse {
        height: snapshot.height.0,
        validators: found
            .into_iter()
            .map(|validator| with_account(state, validator))
            .collect(),
        next_page_token,
    })
}

pub(super) fn validator(
    node: &NodeHandle,
    request: &pb::GetValidatorRequest,
) -> Result<pb::GetValidatorResponse, Status> {
    use pb::get_validator_request::Key;
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    let validators = state.validators();
    let (found, asked) = match &request.key {
        Some(Key::Id(bytes)) => {
            let id = validator_id(bytes)?;
            (validators.get(&id), format!("with id {id}"))
        }
        Some(Key::GovernanceKey(bytes)) => {
            let key = array("governance key", bytes).map(PublicKey)?;
            (
                validators.by_governance_key(&key),
                format!("with governance key {key}"),
            )
        }
        Some(Key::ReporterKey(bytes)) => {
            let key = array("reporter key", bytes).map(PublicKey)?;
            let reports = |validator: &&Validator| {
                state
                    .account(&validator.id)
                    .is_some_and(|account| account.reporter == Some(key))
            };
            (
                validators.iter().find(reports),
                format!("that has authorised reporter key {key}"),
            )
        }
        Some(Key::Name(name)) => (
            validators.iter().find(|validator| validator.name == *name),
            format!("named {:?}", excerpt(name)),
        ),
        None => return Err(no_key("an id, a governance key, a reporter key or a name")),
    };
    let found = found.ok_or_else(|| Status::not_found(format!("there is no active validator {asked}")))?;
    Ok(pb::GetValidatorResponse {
        height: snapshot.height.0,
        validator: Some(with_account(state, found)),
    })
}

/// What is repeated of a name that nobody has.
fn excerpt(name: &str) -> String {
    name.chars().take(MAX_VALIDATOR_NAME_BYTES).collect()
}

fn with_account(state: &State, validator: &Validator) -> pb::Validator {
    let account = state.account(&validator.id).copied().unwrap_or_default();
    pb::Validator::from((validator, &account))
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
        executed_changes: state.executed_changes(),
        validators: u64::try_from(state.validators().iter().len()).unwrap_or(u64::MAX),
        total_power: state.validators().total_power().0,
    }
}
