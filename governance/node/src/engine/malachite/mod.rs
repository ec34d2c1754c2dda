//! Malachite, in this process: Tendermint BFT over libp2p.
//!
//! Owns everything that is about rounds, votes, peers and the write-ahead log. Decides nothing about what stands in a
//! block: that is the [`Application`]'s.
//!
//! - Blocks travel as proposal parts, one part per block, signed by the round's proposer; proposals and votes carry
//!   only the id (`context.rs`).
//! - Transactions travel over the same channel, when they are admitted and again while they wait (`driver.rs`).
//! - After the last block of a version the engine is never told to start another height. It keeps its connections, tells
//!   its height and serves blocks to those who lag behind.

mod codec;
mod configuration;
mod context;
mod driver;
mod evidence;
mod forgers;
mod peers;
mod proposals;
mod proposer;
mod signing;
mod validators;
mod wire;

use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arc_malachitebft_app_channel::app::engine::consensus::ConsensusMsg;
use arc_malachitebft_app_channel::app::metrics;
use arc_malachitebft_app_channel::app::types::Keypair;
use arc_malachitebft_app_channel::app::types::codec::Codec as _;
use arc_malachitebft_app_channel::{
    ConsensusContext, EngineBuilder, EngineHandle, NetworkContext, NetworkIdentity, RequestContext,
    Signer as _, SyncContext, WalContext,
};
use governance::{ChainId, PublicKey, ReleaseVersion, SigningKey};

pub use configuration::{ConsensusOptions, PeerAddress, PeerAddressError};

use crate::engine::{Application, Engine, EngineError, Ports};
use crate::signed_height::SignedHeight;
use codec::WireCodec;
use context::{Address, GovernanceContext};
use driver::{Driver, Setup};
use signing::{ConsensusSigner, ConsensusVerifier};

/// How long the engine's parts may take to close their connections and files. What is not closed by then, the end of
/// the process closes.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);
/// The metric by which the engine tells that its write-ahead log has failed.
const SAFETY_FAILURE: &str = "node_safety_failure";
/// About what the log of a height takes, without its block.
const PROBE_BYTES: usize = 16 * 1024;
/// Requests to the engine's actors that may wait; this node asks for the state of the network about once a second.
const REQUEST_QUEUE: usize = 16;

/// The engine, ready to run.
pub struct Malachite {
    /// Names this node to its peers.
    pub moniker: String,
    /// The chain.
    pub chain_id: ChainId,
    /// The version of this binary. Told to the peers, so that those who start a new version wait for each other.
    pub release: ReleaseVersion,
    /// Signs votes and proposals.
    pub consensus_key: SigningKey,
    /// Authenticates connections.
    pub network_key: SigningKey,
    /// Where other nodes connect.
    pub listen: std::net::SocketAddr,
    /// Nodes to stay connected to.
    pub peers: Vec<PeerAddress>,
    /// The write-ahead log.
    pub wal: PathBuf,
    /// Knows every height before anything is signed for it.
    pub signed_height: SignedHeight,
    /// Timing.
    pub options: ConsensusOptions,
}

/// The libp2p peer id that belongs to a network key: what other nodes write before the `@`.
pub fn peer_id(network_key: &SigningKey) -> String {
    keypair(network_key).public().to_peer_id().to_base58()
}

fn keypair(network_key: &SigningKey) -> Keypair {
    Keypair::ed25519_from_bytes(network_key.to_bytes()).expect("32 bytes are an ed25519 secret key")
}

impl Engine for Malachite {
    async fn run<A: Application, S: Future<Output = ()> + Send>(
        self,
        application: A,
        ports: Ports,
        stop: S,
    ) -> Result<(), EngineError> {
        let signer = ConsensusSigner::new(self.consensus_key.clone(), self.chain_id.clone())
            .remembering(self.signed_height.clone());
        let verifier = ConsensusVerifier::new(self.chain_id.clone());
        let address = Address::of(&signer.public_key());
        let codec = WireCodec::default();
        let identity = self.identity(&signer, address, &codec).await?;

        let (channels, engine) =
            EngineBuilder::new(GovernanceContext, configuration::EngineConfig::new(&self))
                .with_default_wal(WalContext::new(self.wal.clone(), codec.clone()))
                .with_default_network(NetworkContext::new(identity, codec.clone()))
                .with_default_sync(SyncContext::new(codec.clone()))
                .with_default_consensus(ConsensusContext::new_validator(
                    address,
                    Box::new(verifier.clone()),
                    Box::new(signer.clone()),
                ))
                .with_default_request(RequestContext::new(REQUEST_QUEUE))
                .build()
                .await
                .map_err(|error| EngineError::Start {
                    reason: format!("{error:#}"),
                })?;

        let setup = Setup {
            release: self.release,
            signer,
            verifier,
            codec,
            options: self.options,
        };
        let driver = Driver::new(application, ports, channels, setup);
        let outcome = driver.run(stop).await;

        stop_engine(engine).await;
        match outcome {
            Err(EngineError::Stopped { .. }) if log_has_failed(&self.moniker) || !takes_writes(&self.wal) => {
                Err(EngineError::Log)
            }
            other => other,
        }
    }
}

/// Whether the disk under the write-ahead log takes a file. A log that cannot be begun at the start of a height is told
/// by the engine in its log lines alone.
fn takes_writes(wal: &Path) -> bool {
    let probe = wal.with_extension("probe");
    let write = || -> io::Result<()> {
        let mut file = File::create(&probe)?;
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    };
    let written = write();
    // An empty file at most is left behind.
    let _ = std::fs::remove_file(&probe);
    written.is_ok()
}

/// Whether the engine has stopped because it could not keep what it has signed. It says so in its metrics alone.
fn log_has_failed(moniker: &str) -> bool {
    let mut text = String::new();
    metrics::export(&mut text);
    let label = format!("moniker=\"{moniker}\"");
    text.lines().any(|line| {
        line.contains(SAFETY_FAILURE)
            && line.contains(&label)
            && line.split_whitespace().next_back() == Some("1")
    })
}

/// Stops the engine's parts and waits until their sockets and files are closed.
async fn stop_engine(engine: EngineHandle) {
    // Each part by itself: their supervisor would kill the others when it sees the first one stop, and a part that is
    // killed closes nothing. Consensus first: it takes the loss of its write-ahead log for a disaster.
    let (mut consensus, mut others) = (Vec::new(), Vec::new());
    for part in engine.actor.get_children() {
        part.unlink(engine.actor.get_cell());
        match part.is_message_type_of::<ConsensusMsg<GovernanceContext>>() {
            Some(true) => consensus.push(part),
            Some(false) | None => others.push(part),
        }
    }
    let stopped = async {
        for group in [consensus, others] {
            for part in &group {
                part.stop(None);
            }
            for part in group {
                // Fails only when the time is up, which the timeout around it decides.
                let _ = part.wait(None).await;
            }
        }
        engine.actor.stop(None);
        engine.handle.await
    };
    if tokio::time::timeout(STOP_TIMEOUT, stopped).await.is_err() {
        tracing::warn!(
            "the consensus engine does not stop in time; leaving the rest to the end of the process"
        );
    }
}

impl Malachite {
    /// Who this node is to its peers, with the proof that its consensus key speaks through this connection.
    async fn identity(
        &self,
        signer: &ConsensusSigner,
        address: Address,
        codec: &WireCodec,
    ) -> Result<NetworkIdentity, EngineError> {
        let name = peers::announce(&self.release, address, &self.moniker);
        let keypair = keypair(&self.network_key);
        let peer_id = keypair.public().to_peer_id().to_bytes();
        let PublicKey(public_key) = signer.public_key();
        let start = |error: &dyn std::error::Error| EngineError::Start {
            reason: error.to_string(),
        };
        let proof = signer
            .sign_validator_proof(public_key.to_vec(), peer_id)
            .await
            .map_err(|error| start(&error))?;
        let proof = codec.encode(&proof).map_err(|error| start(&error))?;
        Ok(NetworkIdentity::new_validator(
            name,
            keypair,
            address.to_string(),
            proof,
        ))
    }
}
