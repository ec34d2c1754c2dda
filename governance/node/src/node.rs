//! A whole node, assembled from its parts: store, mempool, application, engine.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};

use governance::{BlockRefusal, Genesis, Height, ReleaseVersion, SigningKey};
use tokio::sync::{mpsc, watch};

use crate::app::{Chain, first_snapshot};
use crate::engine::malachite::{ConsensusOptions, Malachite, PeerAddress};
use crate::engine::{Engine as _, EngineError, Ports};
use crate::handle::{NodeHandle, Shared};
use crate::mempool::{Mempool, MempoolLimits};
use crate::signed_height::{SignedHeight, SignedHeightError};
use crate::store::{Store, StoreError};

/// The chain's blocks and state, in the data folder.
pub(crate) const STORE_FILE: &str = "chain.redb";
/// What this node has signed at the height under way, in the data folder.
pub(crate) const WAL_FILE: &str = "consensus.wal";
/// The highest height that this node has signed for, in the data folder.
pub(crate) const SIGNED_HEIGHT_FILE: &str = "signed-height";
/// Admitted transactions that wait to be told to other nodes; more are told with the next repetition.
const GOSSIP_QUEUE: usize = 256;

/// Everything a node needs to know.
pub struct NodeOptions {
    /// Names this node to its peers and in its status.
    pub moniker: String,
    /// An existing folder for the chain's data. Nobody else may use it.
    pub data: PathBuf,
    /// Where the chain starts.
    pub genesis: Genesis,
    /// The release version stamped into this binary.
    pub release: ReleaseVersion,
    /// Signs votes and proposals.
    pub consensus_key: SigningKey,
    /// Authenticates connections.
    pub network_key: SigningKey,
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// Nodes to stay connected to.
    pub peers: Vec<PeerAddress>,
    /// Timing.
    pub consensus: ConsensusOptions,
    /// Bounds.
    pub mempool: MempoolLimits,
}

/// Why a node does not start. Nothing has been executed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state names another version for the next block: `NewerVersionRequired` or `OlderVersionRequired`.
    #[error(transparent)]
    Version(BlockRefusal),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What this node has signed for cannot be kept.
    #[error(transparent)]
    SignedHeight(#[from] SignedHeightError),
    /// The address for other nodes cannot be used.
    #[error("cannot listen on {address} for other nodes: choose another address in [p2p] listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A node that is ready to run.
pub struct Node {
    handle: NodeHandle,
    engine: Malachite,
    application: Chain,
    ports: Ports,
}

impl Node {
    /// Opens the store and checks that this version may execute the next block. Starts nothing yet.
    pub fn open(options: NodeOptions) -> Result<Self, StartError> {
        let (store, loaded) = Store::open(&options.data.join(STORE_FILE), &options.genesis)?;
        loaded
            .state
            .check_version(&options.release)
            .map_err(StartError::Version)?;
        // The engine's network would only log that it cannot listen.
        std::net::TcpListener::bind(options.listen).map_err(|source| StartError::Listen {
            address: options.listen,
            source,
        })?;

        let wal = options.data.join(WAL_FILE);
        let height = loaded.state.height();
        // A node signs for the block after its last one, and for no later one.
        let signed_height = SignedHeight::open(
            &options.data.join(SIGNED_HEIGHT_FILE),
            height == Height(0) && !wal.exists(),
            height.next().unwrap_or(height),
        )?;

        let (gossip, gossip_queue) = mpsc::channel(GOSSIP_QUEUE);
        let shared = Arc::new(Shared {
            mempool: Mutex::new(Mempool::new(
                options.mempool,
                options.release.clone(),
                &loaded.state,
            )),
            release: options.release,
            store: Arc::new(store),
            peers: Arc::new(AtomicU32::new(0)),
            equivocations: Arc::new(AtomicU64::new(0)),
            gossip,
        });
        let (snapshots, receiver) = watch::channel(Arc::new(first_snapshot(&loaded)));
        Ok(Self {
            handle: NodeHandle::new(Arc::clone(&shared), receiver),
            engine: Malachite {
                moniker: options.moniker,
                chain_id: options.genesis.chain_id,
                release: shared.release.clone(),
                consensus_key: options.consensus_key,
                network_key: options.network_key,
                listen: options.listen,
                peers: options.peers,
                wal,
                signed_height,
                options: options.consensus,
            },
            ports: Ports {
                gossip: gossip_queue,
                peers: Arc::clone(&shared.peers),
                equivocations: Arc::clone(&shared.equivocations),
            },
            application: Chain::new(shared, loaded, snapshots),
        })
    }

    /// The node as its interfaces see it.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Runs consensus until `stop` is ready. Needs a runtime with several threads: commits block one of them.
    ///
    /// A node that has executed the last block of its version goes on running: it answers queries and serves blocks.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), EngineError> {
        let Self {
            handle: _,
            engine,
            application,
            ports,
        } = self;
        engine.run(application, ports, stop).await
    }
}
