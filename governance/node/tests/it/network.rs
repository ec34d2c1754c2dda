//! A network of whole nodes in this process: real consensus over loopback TCP, real stores in temporary folders.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governance::{
    Action, Artifact, ChainId, Choice, Digest, Genesis, GenesisValidator, Height, Parameters, Power,
    ProposalId, PublicKey, ReleaseVersion, SigningKey, Subject, Transaction, Upgrade, ValidatorId,
};
use governance_node::engine::EngineError;
use governance_node::{
    BlockRecord, ConsensusOptions, MempoolLimits, Node, NodeHandle, NodeOptions, PeerAddress, StartError,
    TransactionStatus, peer_id,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for a busy machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const OLD: ReleaseVersion = ReleaseVersion::new(1, 0, 0);
pub(crate) const NEW: ReleaseVersion = ReleaseVersion::new(1, 1, 0);

/// Validators with power 1 each. Stopped nodes keep their folder and address.
pub(crate) struct Network {
    pub(crate) genesis: Genesis,
    pub(crate) options: ConsensusOptions,
    pub(crate) hosts: Vec<Host>,
}

pub(crate) struct Host {
    number: u8,
    folder: TempDir,
    listen: SocketAddr,
    peers: Vec<PeerAddress>,
    running: Option<Running>,
}

struct Running {
    handle: NodeHandle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), EngineError>>,
}

impl Network {
    pub(crate) fn new(validators: u8) -> Self {
        Self::with_observers(validators, 0)
    }

    /// The last `observers` hosts follow the chain and vote on nothing.
    pub(crate) fn with_observers(validators: u8, observers: u8) -> Self {
        // `RUST_LOG=debug cargo test …` shows what the nodes do.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let genesis = Genesis {
            chain_id: "node-test".parse().unwrap(),
            initial_version: OLD,
            parameters: Parameters {
                min_lead_blocks: 4,
                lock_in_blocks: 2,
                threshold_numerator: 2,
                threshold_denominator: 3,
            },
            validators: (0..validators)
                .map(|number| GenesisValidator {
                    name: format!("validator-{number}"),
                    governance_key: PublicKey::from(&governance_key(number)),
                    consensus_key: PublicKey::from(&consensus_key(number)),
                    power: Power(1),
                })
                .collect(),
        };
        let hosts = validators + observers;
        let address = unique_loopback();
        let listens: Vec<SocketAddr> = (0..hosts).map(|_| free_port(address)).collect();
        let peer = |number: u8, listen: SocketAddr| PeerAddress {
            peer_id: peer_id(&network_key(number)),
            address: listen,
        };
        let everybody: Vec<PeerAddress> = (0..hosts)
            .zip(&listens)
            .map(|(number, listen)| peer(number, *listen))
            .collect();
        let hosts = (0..hosts)
            .zip(listens)
            .map(|(number, listen)| Host {
                number,
                folder: TempDir::new().unwrap(),
                listen,
                peers: everybody
                    .iter()
                    .filter(|peer| peer.address != listen)
                    .cloned()
                    .collect(),
                running: None,
            })
            .collect();
        Self {
            genesis,
            options: ConsensusOptions::default(),
            hosts,
        }
    }

    pub(crate) fn start(&mut self, number: usize, release: ReleaseVersion) -> Result<NodeHandle, StartError> {
        let host = &mut self.hosts[number];
        assert!(host.running.is_none(), "host {number} is running");
        let node = Node::open(NodeOptions {
            moniker: format!("host-{number}"),
            data: host.folder.path().to_owned(),
            genesis: self.genesis.clone(),
            release,
            consensus_key: consensus_key(host.number),
            network_key: network_key(host.number),
            listen: host.listen,
            peers: host.peers.clone(),
            consensus: self.options,
            mempool: MempoolLimits::default(),
        })?;
        let handle = node.handle();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(node.run(async {
            let _ = stopped.await;
        }));
        host.running = Some(Running {
            handle: handle.clone(),
            stop,
            task,
        });
        Ok(handle)
    }

    pub(crate) fn start_all(&mut self, release: &ReleaseVersion) {
        for number in 0..self.hosts.len() {
            self.start(number, release.clone()).unwrap();
        }
    }

    /// The folder with the chain's data.
    pub(crate) fn folder(&self, number: usize) -> &Path {
        self.hosts[number].folder.path()
    }

    pub(crate) async fn stop(&mut self, number: usize) {
        let running = self.hosts[number].running.take().unwrap();
        let _ = running.stop.send(());
        running.task.await.unwrap().unwrap();
    }

    /// Waits until a node stops by itself.
    pub(crate) async fn ended(&mut self, number: usize) -> Result<(), EngineError> {
        let running = self.hosts[number].running.take().unwrap();
        tokio::time::timeout(PATIENCE, running.task)
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn stop_all(&mut self) {
        for number in 0..self.hosts.len() {
            if self.hosts[number].running.is_some() {
                self.stop(number).await;
            }
        }
    }

    pub(crate) fn handle(&self, number: usize) -> &NodeHandle {
        &self.hosts[number].running.as_ref().unwrap().handle
    }

    pub(crate) async fn wait_for_height(&self, number: usize, height: u64) {
        let mut snapshots = self.handle(number).subscribe();
        let reached = snapshots.wait_for(|snapshot| snapshot.height >= Height(height));
        let outcome = tokio::time::timeout(PATIENCE, reached).await;
        assert!(
            outcome.is_ok(),
            "host {number} is at {} and not at {height}",
            self.handle(number).snapshot().height
        );
    }

    /// Waits until every running node has the block, and checks that all have the same.
    pub(crate) async fn wait_for_block(&self, height: u64) -> BlockRecord {
        let mut records = Vec::new();
        for number in 0..self.hosts.len() {
            if self.hosts[number].running.is_some() {
                self.wait_for_height(number, height).await;
                records.push(self.handle(number).block(Height(height)).unwrap().unwrap());
            }
        }
        for record in &records {
            assert_eq!(
                (record.block, record.state_root),
                (records[0].block, records[0].state_root)
            );
        }
        records.remove(0)
    }

    /// Waits for some more blocks on one node.
    pub(crate) async fn advance(&self, number: usize, blocks: u64) {
        let height = self.handle(number).snapshot().height.0 + blocks;
        self.wait_for_height(number, height).await;
    }

    /// Submits a validator's action at a node and waits until it is in a block.
    pub(crate) async fn commit(&self, validator: u8, observer: usize, action: Action) {
        let handle = self.handle(observer);
        let transaction = handle
            .submit(self.sign(validator, observer, action))
            .await
            .unwrap();
        let status = handle.transaction(transaction, PATIENCE).await.unwrap();
        assert!(
            matches!(status, TransactionStatus::Committed { rejection: None, .. }),
            "{status:?}"
        );
    }

    /// Proposes an upgrade a few blocks ahead and has validators 0, 1 and 2 approve it. Returns its id and H.
    pub(crate) async fn approve_upgrade(&self) -> (ProposalId, u64) {
        self.wait_for_height(0, 1).await;
        let height = self.handle(0).snapshot().height.0 + 8;
        let plan = upgrade(height);
        let id = Subject::Upgrade(plan.clone()).id(&chain_id());
        let vote = Action::Vote {
            proposal: id,
            choice: Choice::Approve,
        };
        for (validator, action) in [(0, Action::ProposeUpgrade(plan)), (1, vote.clone()), (2, vote)] {
            let transaction = self
                .handle(0)
                .submit(self.sign(validator, 0, action))
                .await
                .unwrap();
            let status = self.handle(0).transaction(transaction, PATIENCE).await.unwrap();
            assert!(
                matches!(status, TransactionStatus::Committed { rejection: None, .. }),
                "{status:?}"
            );
        }
        (id, height)
    }

    /// A signed transaction of a validator with its next sequence number, as `observer` knows it.
    pub(crate) fn sign(
        &self,
        validator: u8,
        observer: usize,
        action: Action,
    ) -> governance::SignedTransaction {
        let snapshot = self.handle(observer).snapshot();
        let key = governance_key(validator);
        let transaction = Transaction {
            chain_id: chain_id(),
            sequence: snapshot
                .state
                .next_sequence(&ValidatorId::at_entry(&PublicKey::from(&key))),
            last_valid_height: Height(snapshot.height.0 + 100),
            action,
        };
        transaction.sign(&key)
    }
}

pub(crate) fn chain_id() -> ChainId {
    "node-test".parse().unwrap()
}

pub(crate) fn upgrade(height: u64) -> Upgrade {
    Upgrade {
        version: NEW,
        height: Height(height),
        artifacts: vec![Artifact {
            platform: "linux/amd64".parse().unwrap(),
            url: "https://example.org/governance".to_owned(),
            size: 1,
            sha256: Digest([1; 32]),
        }],
        description: String::new(),
    }
}

pub(crate) fn governance_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 1; 32])
}

pub(crate) fn consensus_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 101; 32])
}

fn network_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 201; 32])
}

/// Another loopback address for every network of this machine, so that no other test takes its ports.
fn unique_loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seed = std::process::id()
        .wrapping_mul(64)
        .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let [_, one, two, three] = seed.to_be_bytes();
    Ipv4Addr::new(127, one, two, three.clamp(2, 250))
}

fn free_port(address: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}
