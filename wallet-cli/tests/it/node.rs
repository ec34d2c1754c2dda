//! The gRPC service of the chain under test.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use governance::{ChainId, Event, LookupError, Proposal, Rejection, SignedTransaction, TransactionId};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
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
        self.answer(|inner| {
            let mut proposals: Vec<_> = inner.state.live_proposals().map(Into::into).collect();
            if request.into_inner().include_ended {
                proposals.extend(inner.state.ended_proposals().map(pb::Proposal::from));
            }
            Ok(pb::ListProposalsResponse {
                height: inner.state.height().0,
                proposals,
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
                Lie::None | Lie::TerminalTricks => {}
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
        _: Request<pb::ListValidatorsRequest>,
    ) -> Result<Response<pb::ListValidatorsResponse>, Status> {
        self.answer(|inner| {
            let sequence = |validator: &governance::Validator| inner.state.next_sequence(&validator.id);
            let validators = inner.state.validators().iter();
            Ok(pb::ListValidatorsResponse {
                height: inner.state.height().0,
                validators: validators
                    .map(|validator| (validator, sequence(validator)).into())
                    .collect(),
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
                Lie::None | Lie::OtherBinaries | Lie::OtherProposal => "host-0".to_owned(),
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
