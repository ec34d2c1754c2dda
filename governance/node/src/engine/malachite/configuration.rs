//! What the operator chooses, and what the engine is told.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use arc_malachitebft_app_channel::app::config::{
    ConsensusConfig, DiscoveryConfig, GossipSubConfig, NodeConfig, P2pConfig, PubSubProtocol, ValuePayload,
    ValueSyncConfig,
};
use arc_malachitebft_app_channel::app::net::{Multiaddr, PeerId};
use arc_malachitebft_app_channel::app::types::core::LinearTimeouts;

use super::Malachite;
use super::codec::{MAX_CERTIFICATE_BYTES, MAX_SYNC_BYTES};

/// Timing of consensus. All nodes of a chain should have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusOptions {
    /// From the start of one height to the start of the next, when nobody is late.
    pub block_interval: Duration,
    /// How long a round waits for its proposer.
    pub propose_timeout: Duration,
    /// How long a round waits for more votes after two thirds have voted, but not for the same.
    pub vote_timeout: Duration,
    /// By how much both grow with every round of a height.
    pub timeout_delta: Duration,
    /// How long a node that starts waits for more than two thirds of the power to be connected.
    pub connect_timeout: Duration,
    /// How often a node tells the others its height, so that those behind can catch up.
    pub status_interval: Duration,
}

impl Default for ConsensusOptions {
    /// A round on a LAN takes some ten milliseconds, on a WAN half a second; the timeouts leave room for a busy machine,
    /// and are short enough that a silent proposer costs about two block intervals: propose and vote timeout together.
    fn default() -> Self {
        Self {
            block_interval: Duration::from_millis(500),
            propose_timeout: Duration::from_millis(700),
            vote_timeout: Duration::from_millis(200),
            timeout_delta: Duration::from_millis(200),
            connect_timeout: Duration::from_millis(1_000),
            status_interval: Duration::from_millis(1_000),
        }
    }
}

impl ConsensusOptions {
    pub(crate) fn timeouts(&self) -> LinearTimeouts {
        LinearTimeouts {
            propose: self.propose_timeout,
            propose_delta: self.timeout_delta,
            prevote: self.vote_timeout,
            prevote_delta: self.timeout_delta,
            precommit: self.vote_timeout,
            precommit_delta: self.timeout_delta,
            rebroadcast: REBROADCAST,
            max_timeout: MAX_TIMEOUT,
        }
    }
}

/// Votes that a node sent before its peers were connected are sent again after this time.
const REBROADCAST: Duration = Duration::from_millis(500);
/// Later rounds wait no longer than this: a network that comes back must not sleep through it.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections accepted from one address: room for a whole network on one machine, each node connected twice.
const MAX_CONNECTIONS_PER_IP: usize = 256;
/// Blocks asked for in one sync request.
const SYNC_BATCH: usize = 20;
/// A peer that does not answer a sync request is passed over after this.
const SYNC_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A node to stay connected to: `PEERID@IP:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The libp2p id of its network key.
    pub peer_id: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A text that names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddressError {
    /// No `@`.
    #[error("peer {text:?}: expected PEERID@IP:PORT")]
    Syntax {
        /// The text.
        text: String,
    },
    /// No libp2p id before it.
    #[error("peer {text:?}: {peer_id:?} is no peer id; `governance init` prints a node's own")]
    PeerId {
        /// The text.
        text: String,
        /// What stands before the `@`.
        peer_id: String,
    },
    /// No address after it.
    #[error("peer {text:?}: {address:?} is no IP:PORT")]
    Address {
        /// The text.
        text: String,
        /// What stands after the `@`.
        address: String,
    },
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let Some((peer_id, address)) = text.split_once('@') else {
            return Err(PeerAddressError::Syntax {
                text: text.to_owned(),
            });
        };
        if peer_id.parse::<PeerId>().is_err() {
            return Err(PeerAddressError::PeerId {
                text: text.to_owned(),
                peer_id: peer_id.to_owned(),
            });
        }
        let Ok(address) = address.parse() else {
            return Err(PeerAddressError::Address {
                text: text.to_owned(),
                address: address.to_owned(),
            });
        };
        Ok(Self {
            peer_id: peer_id.to_owned(),
            address,
        })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.peer_id, self.address)
    }
}

/// A libp2p address: `/ip4/…/tcp/…`, with `/p2p/…` where the peer is known.
fn multiaddr(address: SocketAddr, peer_id: Option<&str>) -> Multiaddr {
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    let transport = format!("/{family}/{}/tcp/{}", address.ip(), address.port());
    let text = match peer_id {
        Some(peer_id) => format!("{transport}/p2p/{peer_id}"),
        None => transport,
    };
    text.parse()
        .expect("an ip address, a port and a parsed peer id make a multiaddr")
}

/// The engine's configuration.
pub(crate) struct EngineConfig {
    moniker: String,
    consensus: ConsensusConfig,
    value_sync: ValueSyncConfig,
}

impl EngineConfig {
    pub(crate) fn new(engine: &Malachite) -> Self {
        let persistent_peers = engine
            .peers
            .iter()
            .map(|peer| multiaddr(peer.address, Some(&peer.peer_id)))
            .collect();
        let p2p = P2pConfig {
            listen_addr: multiaddr(engine.listen, None),
            persistent_peers,
            discovery: DiscoveryConfig {
                enabled: false,
                // A failed dial is tried again by the network's own tick, every second. The retries meant here back
                // off and block that tick meanwhile: a peer that restarts would be found after up to 13 seconds.
                dial_max_retries: 0,
                max_connections_per_ip: MAX_CONNECTIONS_PER_IP,
                // A node that restarts for an upgrade must be let in again at once.
                ip_throttle_duration: Duration::ZERO,
                ..DiscoveryConfig::default()
            },
            // Flood publishing sends a node's own messages to all its peers, also before a mesh has formed: the first
            // proposal after a restart arrives.
            protocol: PubSubProtocol::GossipSub(GossipSubConfig::new(6, 12, 4, 2, false, false, true)),
            // A certificate is the largest message; the envelope around it has source, signature and topic.
            pubsub_max_size: bytes_of(MAX_CERTIFICATE_BYTES.saturating_mul(2)),
            rpc_max_size: bytes_of(MAX_SYNC_BYTES.saturating_mul(2)),
            ..P2pConfig::default()
        };
        Self {
            moniker: engine.moniker.clone(),
            consensus: ConsensusConfig {
                enabled: true,
                p2p,
                value_payload: ValuePayload::ProposalAndParts,
                ..ConsensusConfig::default()
            },
            value_sync: ValueSyncConfig {
                enabled: true,
                status_update_interval: engine.options.status_interval,
                request_timeout: SYNC_REQUEST_TIMEOUT,
                max_response_size: bytes_of(MAX_SYNC_BYTES),
                batch_size: SYNC_BATCH,
                ..ValueSyncConfig::default()
            },
        }
    }
}

/// The engine's type for sizes, which it does not export by name.
fn bytes_of<T: FromStr>(bytes: usize) -> T
where
    T::Err: fmt::Debug,
{
    format!("{bytes} B").parse().expect("a number of bytes is a size")
}

impl NodeConfig for EngineConfig {
    fn moniker(&self) -> &str {
        &self.moniker
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.value_sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.value_sync
    }
}
