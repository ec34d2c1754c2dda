//! A chain of one process: the real `State` with the real rules behind the real gRPC service. Blocks come when a test says
//! so, or every few milliseconds. It can be told to lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governance::{
    Action, Ballot, Certificate, CertificateChain, Choice, Event, Genesis, GenesisValidator, Height,
    MAX_ROW_BYTES, Parameters, Power, Proposal, ProposalId, PublicKey, ReadinessReport, Rejection,
    ReleaseVersion, RowChange, RowKey, SigningKey, State, Transaction, TransactionId, ValidatorId,
    VerifiedTransaction, encoding,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_server::GovernanceServiceServer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::node::Service;

pub(crate) const CHAIN: &str = "wallet-test-1";
/// Far above what any test takes when all is well.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Chain {
    pub(crate) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends with all its connections when it is shut down.
    server: Option<Runtime>,
    blocks: Option<JoinHandle<()>>,
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
    /// Another validator than the one asked for.
    OtherValidator,
    /// The certificate of another proposal.
    OtherCertificate,
    /// The first page again and again.
    EndlessPages,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Rises with everything that happens.
    pub(crate) changes: watch::Sender<u64>,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) pending: Vec<VerifiedTransaction>,
    pub(crate) outcomes: BTreeMap<TransactionId, Outcome>,
    pub(crate) lie: Lie,
    /// Answers to `SubmitTransaction` that are a full pool.
    pub(crate) full: bool,
    /// The most items on a page, so that few items fill several.
    pub(crate) page_size: usize,
    /// Pages of lists that were asked for.
    pub(crate) pages: usize,
    /// What has been locked in so far.
    pub(crate) certificates: BTreeMap<ProposalId, Certificate>,
    /// The changes that took effect, in order.
    pub(crate) executed: Vec<ProposalId>,
    /// Of ended proposals too.
    pub(crate) ballots: BTreeMap<ProposalId, BTreeMap<ValidatorId, Ballot>>,
    pub(crate) reports: BTreeMap<ProposalId, BTreeMap<ValidatorId, ReadinessReport>>,
}

impl Inner {
    /// What a node's store keeps of a block.
    fn store(&mut self, before: &State) {
        for RowChange { key, value } in self.state.changes_since(before) {
            match key {
                RowKey::Ballot(proposal, validator) => {
                    let ballots = self.ballots.entry(proposal).or_default();
                    keep(ballots, validator, value.as_deref());
                }
                RowKey::Report(proposal, validator) => {
                    let reports = self.reports.entry(proposal).or_default();
                    keep(reports, validator, value.as_deref());
                }
                RowKey::Header
                | RowKey::Validator(_)
                | RowKey::Account(_)
                | RowKey::Live(_)
                | RowKey::Ended(_) => {}
            }
        }
        for certificate in self.state.new_certificates() {
            self.certificates
                .insert(certificate.proposal(), certificate.clone());
        }
    }

    /// As a node puts it together from its store.
    pub(crate) fn certificate(&self, proposal: ProposalId) -> Option<CertificateChain> {
        let stored = self.certificates.get(&proposal).cloned();
        let certificate = stored.or_else(|| self.state.certificate(&proposal))?;
        let executed = self.executed.iter().map(|id| self.certificates[id].clone());
        Some(CertificateChain::new(executed, certificate))
    }
}

impl Chain {
    /// Four validators of power 1 with the seeds 1 to 4, at version 1.0.0. No block comes by itself.
    pub(crate) async fn paused() -> Self {
        Self::with_validators(4).await
    }

    /// As `paused`, with more validators.
    pub(crate) async fn with_validators(count: u8) -> Self {
        let inner = Inner {
            state: State::from_genesis(&genesis(count)).expect("a genesis"),
            pending: Vec::new(),
            outcomes: BTreeMap::new(),
            lie: Lie::None,
            full: false,
            page_size: 1000,
            pages: 0,
            certificates: BTreeMap::new(),
            executed: Vec::new(),
            ballots: BTreeMap::new(),
            reports: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changes: watch::Sender::new(0),
        });
        let address = own_address();
        let mut chain = Self {
            url: String::new(),
            address,
            shared,
            server: None,
            blocks: None,
        };
        chain.start_node().await;
        chain.advance(2);
        chain
    }

    /// As `paused`, with a block every few milliseconds.
    pub(crate) async fn running() -> Self {
        let mut chain = Self::paused().await;
        let shared = chain.shared.clone();
        chain.blocks = Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                shared.advance();
            }
        }));
        chain
    }

    /// The node at the address, which is the same each time.
    pub(crate) async fn start_node(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let service = GovernanceServiceServer::new(Service(self.shared.clone()));
        let address = self.address;
        let (started, is_started) = oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.expect("the port is free");
            started
                .send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(service);
            server
                .serve_with_incoming(incoming)
                .await
                .expect("the server serves");
        });
        self.address = is_started.await.expect("the node starts");
        self.url = format!("http://{}", self.address);
        self.server = Some(runtime);
    }

    /// The node goes away in the middle of everything, as one that is killed. Nobody listens there afterwards.
    pub(crate) async fn kill_node(&mut self) {
        if let Some(server) = self.server.take() {
            let end = tokio::task::spawn_blocking(move || server.shutdown_timeout(LIMIT));
            end.await.expect("it ends");
        }
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
        Some(inner.state.ballot(&proposal, &id)?.choice)
    }

    /// The only live proposal with this name.
    pub(crate) fn proposal(&self, name: &str) -> Proposal {
        let inner = self.shared.lock();
        inner.state.find_proposal(name).expect("it is there").clone()
    }

    pub(crate) fn state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock().state)
    }

    /// From now on lists come in pages of this size.
    pub(crate) fn page_size(&self, size: usize) {
        let mut inner = self.shared.lock();
        inner.page_size = size;
        inner.pages = 0;
    }

    pub(crate) fn pages(&self) -> usize {
        self.shared.lock().pages
    }

    /// Everybody with one of these seeds approves, and a block is made.
    pub(crate) fn approve(&self, seeds: impl IntoIterator<Item = u8>, proposal: ProposalId) {
        for seed in seeds {
            self.act(
                seed,
                Action::Vote {
                    proposal,
                    choice: Choice::Approve,
                },
            );
        }
        self.advance(1);
    }

    /// Blocks up to and including this one.
    pub(crate) fn advance_to(&self, height: u64) {
        self.advance(height.saturating_sub(self.height()));
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
        if let Some(blocks) = &self.blocks {
            blocks.abort();
        }
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the lock")
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn advance(&self) {
        let mut inner = self.lock();
        let height = inner.state.height().next().expect("a next height");
        let version = inner.state.next_block_version().clone();
        let before = inner.state.clone();
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
        let events = inner.state.end_block();
        inner.store(&before);
        for event in events {
            if let Event::ValidatorsChanged { proposal_id, .. }
            | Event::ParametersChanged { proposal_id, .. } = event
            {
                inner.executed.push(proposal_id);
            }
        }
        drop(inner);
        self.changed();
    }
}

fn keep<T: Serialize + DeserializeOwned>(
    rows: &mut BTreeMap<ValidatorId, T>,
    validator: ValidatorId,
    value: Option<&[u8]>,
) {
    match value {
        Some(bytes) => {
            let row = encoding::from_canonical(bytes, MAX_ROW_BYTES).expect("the core wrote it");
            rows.insert(validator, row);
        }
        None => drop(rows.remove(&validator)),
    }
}

/// A loopback address that no other test of this machine uses, so that a node finds its port free again.
fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = COUNT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, high, low, own], 0))
}

/// The chain's genesis with validators of the seeds from 1 on.
pub(crate) fn genesis(count: u8) -> Genesis {
    let validators = (1..=count).map(|seed| GenesisValidator {
        name: format!("validator-{seed}"),
        governance_key: public_key(seed),
        consensus_key: public_key(seed + 100),
        power: Power(1),
    });
    Genesis {
        chain_id: CHAIN.parse().expect("a chain id"),
        initial_version: ReleaseVersion::new(1, 0, 0),
        parameters: Parameters {
            min_lead_blocks: 6,
            lock_in_blocks: 3,
            threshold_numerator: 2,
            threshold_denominator: 3,
        },
        validators: validators.collect(),
    }
}

/// The id of the validator with this seed.
pub(crate) fn validator_id(seed: u8) -> ValidatorId {
    ValidatorId::at_entry(&public_key(seed))
}

pub(crate) fn public_key(seed: u8) -> PublicKey {
    (&SigningKey::from_bytes(&[seed; 32])).into()
}
