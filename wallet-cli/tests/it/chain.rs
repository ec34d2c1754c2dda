//! A chain of one process: the real `State` with the real rules behind the real gRPC service. Blocks come when a test says
//! so, or every few milliseconds. It can be told to lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governance::{
    Action, ChainId, Choice, Event, Genesis, GenesisValidator, Height, LookupError, Parameters, Power,
    Proposal, ProposalId, PublicKey, Rejection, ReleaseVersion, SignedTransaction, SigningKey, State,
    Transaction, TransactionId, VerifiedTransaction,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_server::{GovernanceService, GovernanceServiceServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

pub(crate) const CHAIN: &str = "wallet-test-1";
/// Far above what any test takes when all is well.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Chain {
    pub(crate) url: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the node says instead of the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    #[default]
    None,
    /// The proposal asked for, with other binaries.
    OtherBinaries,
    /// Another proposal than the one asked for.
    OtherProposal,
    /// A name that moves the cursor.
    TerminalTricks,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Rises with everything that happens.
    changes: watch::Sender<u64>,
}

struct Inner {
    state: State,
    pending: Vec<VerifiedTransaction>,
    outcomes: BTreeMap<TransactionId, Outcome>,
    lie: Lie,
    /// Answers to `SubmitTransaction` that are a full pool.
    full: bool,
}

impl Chain {
    /// Four validators of power 1 with the seeds 1 to 4, at version 1.0.0. No block comes by itself.
    pub(crate) async fn paused() -> Self {
        let validators = (1..=4).map(|seed| GenesisValidator {
            name: format!("validator-{seed}"),
            governance_key: public_key(seed),
            consensus_key: public_key(seed + 100),
            power: Power(1),
        });
        let genesis = Genesis {
            chain_id: CHAIN.parse().expect("a chain id"),
            initial_version: ReleaseVersion::new(1, 0, 0),
            parameters: Parameters {
                min_lead_blocks: 6,
                lock_in_blocks: 3,
                threshold_numerator: 2,
                threshold_denominator: 3,
            },
            validators: validators.collect(),
        };
        let inner = Inner {
            state: State::from_genesis(&genesis).expect("a genesis"),
            pending: Vec::new(),
            outcomes: BTreeMap::new(),
            lie: Lie::None,
            full: false,
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changes: watch::Sender::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let service = GovernanceServiceServer::new(Service(shared.clone()));
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.expect("the server serves") });
        let chain = Self {
            url: format!("http://{address}"),
            shared,
            tasks: vec![server],
        };
        chain.advance(2);
        chain
    }

    /// As `paused`, with a block every few milliseconds.
    pub(crate) async fn running() -> Self {
        let mut chain = Self::paused().await;
        let shared = chain.shared.clone();
        chain.tasks.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                shared.advance();
            }
        }));
        chain
    }

    pub(crate) fn advance(&self, blocks: u64) {
        for _ in 0..blocks {
            self.shared.advance();
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.shared.lock().state.height().0
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.shared.lock().lie = lie;
    }

    pub(crate) fn fill_the_pool(&self) {
        self.shared.lock().full = true;
    }

    pub(crate) fn pending(&self) -> usize {
        self.shared.lock().pending.len()
    }

    /// Everything that waits for a block is dropped, as if it had become invalid.
    pub(crate) fn drop_pending(&self, rejection: &Rejection) {
        let mut inner = self.shared.lock();
        for transaction in std::mem::take(&mut inner.pending) {
            let dropped = pb::TransactionDropped {
                rejection: Some(rejection.into()),
            };
            inner.outcomes.insert(transaction.id(), Outcome::Dropped(dropped));
        }
        drop(inner);
        self.shared.changed();
    }

    pub(crate) fn proposals(&self) -> Vec<Proposal> {
        let inner = self.shared.lock();
        inner.state.live_proposals().cloned().collect()
    }

    pub(crate) fn choice_of(&self, seed: u8, proposal: ProposalId) -> Option<Choice> {
        let inner = self.shared.lock();
        let id = inner.state.validators().by_governance_key(&public_key(seed))?.id;
        Some(inner.state.proposal(&proposal)?.ballots.get(&id)?.choice)
    }

    /// Puts a transaction of a validator into the pool before all others, without any wallet.
    pub(crate) fn act(&self, seed: u8, action: Action) -> TransactionId {
        let mut inner = self.shared.lock();
        let sender = inner
            .state
            .validators()
            .by_governance_key(&public_key(seed))
            .expect("a validator")
            .id;
        let transaction = Transaction {
            chain_id: inner.state.chain_id().clone(),
            sequence: inner.state.next_sequence(&sender),
            last_valid_height: Height(u64::MAX),
            action,
        };
        let signed = transaction.sign(&SigningKey::from_bytes(&[seed; 32]));
        let verified = signed.verify(inner.state.chain_id()).expect("it is well signed");
        let id = verified.id();
        inner.pending.insert(0, verified);
        id
    }

    /// Waits for a condition that the wallet brings about.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let met = async {
            while !condition(self) {
                changes.changed().await.expect("the chain is there");
            }
        };
        assert!(
            tokio::time::timeout(LIMIT, met).await.is_ok(),
            "waited too long for {what}"
        );
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the lock")
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn advance(&self) {
        let mut inner = self.lock();
        let height = inner.state.height().next().expect("a next height");
        let version = inner.state.next_block_version().clone();
        inner
            .state
            .begin_block(height, &version)
            .expect("the block begins");
        for transaction in std::mem::take(&mut inner.pending) {
            let rejection = inner.state.apply(&transaction).err();
            let committed = pb::TransactionCommitted {
                height: height.0,
                rejection: rejection.as_ref().map(Into::into),
            };
            inner
                .outcomes
                .insert(transaction.id(), Outcome::Committed(committed));
        }
        drop(inner.state.end_block());
        drop(inner);
        self.changed();
    }
}

pub(crate) fn public_key(seed: u8) -> PublicKey {
    (&SigningKey::from_bytes(&[seed; 32])).into()
}

struct Service(Arc<Shared>);

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
