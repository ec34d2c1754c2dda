//! The gRPC service of the chain under test.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use governance::{
    Account, ChainId, Event, LookupError, Proposal, ProposalId, Rejection, SignedTransaction, TransactionId,
    Validator,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::get_validator_request::Key;
use proto::pb::governance::v1::governance_service_server::GovernanceService;
use tokio_stream::Stream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

use crate::chain::{Inner, Lie, Shared};

pub(crate) struct Service(pub(crate) Arc<Shared>);

fn refuse(rejection: &Rejection) -> Status {
    let mut status = Status::new(Code::FailedPrecondition, rejection.to_string());
    let code = MetadataValue::try_from(rejection.code()).expect("a code is ASCII");
    status.metadata_mut().insert("rejection-code", code);
    status
}

/// The page after `token`, and the token of the next one.
fn page<T>(inner: &mut Inner, all: Vec<T>, token: &[u8], key: impl Fn(&T) -> Vec<u8>) -> (Vec<T>, Vec<u8>) {
    inner.pages += 1;
    let token = if inner.lie == Lie::EndlessPages {
        &[]
    } else {
        token
    };
    let mut rest = all.into_iter().filter(|item| key(item).as_slice() > token);
    let page: Vec<T> = rest.by_ref().take(inner.page_size).collect();
    let more = rest.next().is_some();
    let next = page.last().filter(|_| more).map(key).unwrap_or_default();
    (page, next)
}

fn known(id: &[u8]) -> Result<ProposalId, Status> {
    ProposalId::try_from(id).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn described(inner: &Inner, validator: &Validator) -> pb::Validator {
    let account = inner.state.account(&validator.id).copied();
    (validator, &account.unwrap_or_else(Account::default)).into()
}

impl Service {
    fn answer<T>(&self, answer: impl FnOnce(&mut Inner) -> Result<T, Status>) -> Result<Response<T>, Status> {
        let answer = answer(&mut self.0.lock()).map(Response::new);
        self.0.changed();
        answer
    }
}

#[tonic::async_trait]
impl GovernanceService for Service {
    async fn submit_transaction(
        &self,
        request: Request<pb::SubmitTransactionRequest>,
    ) -> Result<Response<pb::SubmitTransactionResponse>, Status> {
        self.answer(|inner| {
            if inner.full {
                return Err(Status::resource_exhausted("1000 transactions wait"));
            }
            let message = request
                .into_inner()
                .transaction
                .ok_or_else(|| Status::invalid_argument("none"))?;
            let signed = SignedTransaction::try_from(message)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let verified = signed
                .verify(inner.state.chain_id())
                .map_err(|error| refuse(&error))?;
            if inner.pending.iter().any(|pending| pending.id() == verified.id()) {
                return Err(Status::already_exists("it waits already"));
            }
            if let Some(halt) = inner.state.halt() {
                return Err(refuse(&Rejection::Halted {
                    height: halt.height,
                    version: halt.version,
                }));
            }
            let mut next = inner.state.clone();
            let height = next.height().next().expect("a next height");
            let version = next.version().clone();
            next.begin_block(height, &version).expect("the block begins");
            for pending in &inner.pending {
                drop(next.apply(pending));
            }
            let _events: Vec<Event> = next.apply(&verified).map_err(|error| refuse(&error))?;
            let transaction_id = verified.id().0.to_vec();
            inner.pending.push(verified);
            Ok(pb::SubmitTransactionResponse { transaction_id })
        })
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let request = request.into_inner();
        let id = TransactionId::try_from(request.transaction_id.as_slice())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut changes = self.0.changes.subscribe();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(request.wait_milliseconds);
        loop {
            let outcome = {
                let inner = self.0.lock();
                let waits = inner.pending.iter().any(|pending| pending.id() == id);
                inner.outcomes.get(&id).cloned().unwrap_or(if waits {
                    Outcome::Pending(pb::TransactionPending {})
                } else {
                    Outcome::Unknown(pb::TransactionUnknown {})
                })
            };
            let is_final = matches!(outcome, Outcome::Committed(_) | Outcome::Dropped(_));
            if is_final
                || tokio::time::timeout_at(deadline, changes.changed())
                    .await
                    .is_err()
            {
                return Ok(Response::new(pb::GetTransactionResponse {
                    outcome: Some(outcome),
                }));
            }
        }
    }

    async fn list_proposals(
        &self,
        request: Request<pb::ListProposalsRequest>,
    ) -> Result<Response<pb::ListProposalsResponse>, Status> {
        let request = request.into_inner();
        self.answer(|inner| {
            let mut found: Vec<Proposal> = inner.state.live_proposals().cloned().collect();
            if request.include_ended {
                found.extend(inner.state.ended_proposals().cloned());
            }
            let key = |proposal: &Proposal| {
                let height = proposal.submitted_height.0.to_be_bytes();
                [height.as_slice(), &proposal.id.0].concat()
            };
            found.sort_by_key(key);
            let (page, next_page_token) = page(inner, found, &request.page_token, key);
            Ok(pb::ListProposalsResponse {
                height: inner.state.height().0,
                proposals: page.iter().map(Into::into).collect(),
                next_page_token,
            })
        })
    }

    async fn list_ballots(
        &self,
        request: Request<pb::ListBallotsRequest>,
    ) -> Result<Response<pb::ListBallotsResponse>, Status> {
        let request = request.into_inner();
        self.answer(|inner| {
            let held = inner.ballots.get(&known(&request.proposal_id)?).cloned();
            let mut found: Vec<_> = held.unwrap_or_default().into_iter().collect();
            if let Some(id) = &request.validator_id {
                found.retain(|(validator, _)| validator.0.as_slice() == id.as_slice());
            }
            let (page, next_page_token) = page(inner, found, &request.page_token, |(id, _)| id.0.to_vec());
            let set = inner.state.validators();
            Ok(pb::ListBallotsResponse {
                height: inner.state.height().0,
                ballots: page
                    .iter()
                    .map(|(id, ballot)| (id, ballot, set.get(id)).into())
                    .collect(),
                next_page_token,
            })
        })
    }

    async fn list_reports(
        &self,
        request: Request<pb::ListReportsRequest>,
    ) -> Result<Response<pb::ListReportsResponse>, Status> {
        let request = request.into_inner();
        self.answer(|inner| {
            let held = inner.reports.get(&known(&request.proposal_id)?).cloned();
            let found: Vec<_> = held.unwrap_or_default().into_iter().collect();
            let (page, next_page_token) = page(inner, found, &request.page_token, |(id, _)| id.0.to_vec());
            let set = inner.state.validators();
            Ok(pb::ListReportsResponse {
                height: inner.state.height().0,
                reports: page
                    .iter()
                    .map(|(id, report)| (id, report, set.get(id)).into())
                    .collect(),
                next_page_token,
            })
        })
    }

    async fn get_certificate(
        &self,
        request: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        let Some(pb::get_certificate_request::Key::Id(id)) = request.into_inner().key else {
            return Err(Status::invalid_argument("the wallet asks by id"));
        };
        self.answer(|inner| {
            let mut id = known(&id)?;
            if inner.lie == Lie::OtherCertificate {
                id = *inner
                    .certificates
                    .keys()
                    .find(|other| **other != id)
                    .expect("a second one");
            }
            let chain = inner
                .certificate(id)
                .ok_or_else(|| Status::failed_precondition(format!("proposal {id} is not approved")))?;
            Ok(pb::GetCertificateResponse {
                certificate: chain.to_bytes(),
            })
        })
    }

    async fn get_proposal(
        &self,
        request: Request<pb::GetProposalRequest>,
    ) -> Result<Response<pb::GetProposalResponse>, Status> {
        self.answer(|inner| {
            let Some(pb::get_proposal_request::Key::Name(name)) = request.into_inner().key else {
                return Err(Status::invalid_argument("the wallet asks by name"));
            };
            let mut proposal = match inner.state.find_proposal(&name) {
                Ok(proposal) => pb::Proposal::from(proposal),
                Err(error @ LookupError::NotFound { .. }) => {
                    return Err(Status::not_found(error.to_string()));
                }
                Err(error) => return Err(Status::invalid_argument(error.to_string())),
            };
            match inner.lie {
                Lie::None
                | Lie::TerminalTricks
                | Lie::OtherValidator
                | Lie::OtherCertificate
                | Lie::EndlessPages => {}
                Lie::OtherBinaries => {
                    if let Some(pb::proposal::Subject::Upgrade(upgrade)) = &mut proposal.subject {
                        upgrade.artifacts[0].sha256 = vec![0xee; 32];
                    }
                }
                Lie::OtherProposal => {
                    let asked = proposal.id.clone();
                    let other = inner
                        .state
                        .live_proposals()
                        .find(|other| other.id.0.to_vec() != asked);
                    proposal = other.expect("a second proposal").into();
                }
            }
            Ok(pb::GetProposalResponse {
                height: inner.state.height().0,
                proposal: Some(proposal),
            })
        })
    }

    async fn get_plan(
        &self,
        _: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::GetPlanResponse>, Status> {
        self.answer(|inner| {
            Ok(pb::GetPlanResponse {
                height: inner.state.height().0,
                plan: inner.state.plan().map(Into::into),
            })
        })
    }

    async fn list_validators(
        &self,
        request: Request<pb::ListValidatorsRequest>,
    ) -> Result<Response<pb::ListValidatorsResponse>, Status> {
        let request = request.into_inner();
        self.answer(|inner| {
            let found: Vec<Validator> = inner.state.validators().iter().cloned().collect();
            let (page, next_page_token) = page(inner, found, &request.page_token, |validator| {
                validator.id.0.to_vec()
            });
            Ok(pb::ListValidatorsResponse {
                height: inner.state.height().0,
                validators: page.iter().map(|validator| described(inner, validator)).collect(),
                next_page_token,
            })
        })
    }

    async fn get_validator(
        &self,
        request: Request<pb::GetValidatorRequest>,
    ) -> Result<Response<pb::GetValidatorResponse>, Status> {
        let key = request.into_inner().key.expect("the wallet names one");
        self.answer(|inner| {
            let state = &inner.state;
            let reporter =
                |validator: &Validator| state.account(&validator.id).and_then(|account| account.reporter);
            let fits = |validator: &&Validator| match &key {
                Key::Id(id) => validator.id.0.as_slice() == id.as_slice(),
                Key::GovernanceKey(key) => validator.governance_key.0.as_slice() == key.as_slice(),
                Key::ReporterKey(key) => {
                    reporter(validator).is_some_and(|held| held.0.as_slice() == key.as_slice())
                }
                Key::Name(name) => validator.name == *name,
            };
            let lies = inner.lie == Lie::OtherValidator;
            let found = state
                .validators()
                .iter()
                .find(|validator| fits(validator) != lies);
            let found = found.ok_or_else(|| Status::not_found("no such validator"))?;
            Ok(pb::GetValidatorResponse {
                height: state.height().0,
                validator: Some(described(inner, found)),
            })
        })
    }

    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        self.answer(|inner| {
            let state = &inner.state;
            let moniker = match inner.lie {
                Lie::TerminalTricks => "\u{1b}[2Jhost".to_owned(),
                Lie::None
                | Lie::OtherBinaries
                | Lie::OtherProposal
                | Lie::OtherValidator
                | Lie::OtherCertificate
                | Lie::EndlessPages => "host-0".to_owned(),
            };
            let chain_id: &ChainId = state.chain_id();
            Ok(pb::GetStatusResponse {
                chain_id: chain_id.to_string(),
                version: state.version().to_string(),
                height: state.height().0,
                state_root: state.state_root().0.to_vec(),
                next_block_version: state.next_block_version().to_string(),
                halt: state.halt().as_ref().map(Into::into),
                next_upgrade: state
                    .plan()
                    .and_then(Proposal::upgrade)
                    .map(|upgrade| pb::NextUpgrade {
                        height: upgrade.height.0,
                        version: upgrade.version.to_string(),
                    }),
                parameters: Some(state.parameters().into()),
                peers: 3,
                mempool_transactions: u32::try_from(inner.pending.len()).expect("a few"),
                moniker,
                executed_changes: state.executed_changes(),
                validators: state.validators().len() as u64,
                total_power: state.validators().total_power().0,
            })
        })
    }

    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<pb::BlockEvents, Status>> + Send>>;

    /// The blocks so far, half a second apart; then silence.
    async fn stream_events(
        &self,
        request: Request<pb::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let last = self.0.lock().state.height().0;
        let blocks = (request.into_inner().from_height..=last).map(|height| {
            Ok(pb::BlockEvents {
                height,
                committed_at_unix_ms: height * 500,
                ..pb::BlockEvents::default()
            })
        });
        let blocks: Vec<_> = blocks.collect();
        let blocks = tokio_stream::iter(blocks);
        Ok(Response::new(Box::pin(tokio_stream::StreamExt::chain(
            blocks,
            tokio_stream::pending(),
        ))))
    }
}
