//! `config.toml`: what an operator decides, with its defaults.
//!
//! The file that `init` writes is `config.toml` beside this one; a test keeps the two equal.

mod error;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use error::ConfigError;

use crate::{ConsensusOptions, MempoolLimits, PeerAddress};

/// The file that `init` writes.
pub(crate) const TEMPLATE: &str = include_str!("config.toml");
/// Bytes of a UNIX socket's path that the kernel can hold, the closing zero not counted (`sun_path` of unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// Shorter, and a node would do nothing but look at the clock.
const MIN_DURATION: Duration = Duration::from_millis(1);
/// Longer than any network needs, and short enough to be added to any time.
const MAX_DURATION: Duration = Duration::from_secs(3_600);
/// What may name a node.
pub(crate) const MONIKER: &str = "1 to 64 letters, digits, blanks or any of -_.@";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Names this node to its peers and in its status.
    pub moniker: String,
    /// Other nodes.
    pub p2p: P2p,
    /// gRPC.
    pub rpc: Listen,
    /// HTTP.
    pub http: Listen,
    /// This host's visor.
    pub visor: VisorLink,
    /// Timing.
    pub consensus: Consensus,
    /// Bounds.
    pub mempool: MempoolBounds,
    /// Logging.
    pub log: Log,
}

/// Other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct P2p {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// Nodes to stay connected to, `PEERID@IP:PORT`.
    pub peers: Vec<String>,
}

/// Where something is served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub listen: SocketAddr,
}

/// This host's visor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisorLink {
    /// UNIX socket, absolute or relative to the home.
    pub socket: PathBuf,
}

/// Timing of consensus.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consensus {
    /// From the start of one height to the start of the next, when nobody is late.
    #[serde(with = "humantime_serde")]
    pub block_interval: Duration,
    /// How long a round waits for its proposer.
    #[serde(with = "humantime_serde")]
    pub propose_timeout: Duration,
    /// How long a round waits for more votes after 2/3 have voted, but not for the same.
    #[serde(with = "humantime_serde")]
    pub vote_timeout: Duration,
    /// By how much both grow with every round of a height.
    #[serde(with = "humantime_serde")]
    pub timeout_delta: Duration,
    /// How long a node that starts waits for more than 2/3 of the power to be connected.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How often a node tells the others its height.
    #[serde(with = "humantime_serde")]
    pub status_interval: Duration,
}

/// Bounds of the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolBounds {
    /// Most transactions.
    pub transactions: usize,
    /// Most canonical bytes of all of them.
    pub bytes: usize,
    /// Most transactions of one governance key.
    pub per_sender: usize,
    /// Most reports of one reporter key.
    pub per_reporter: usize,
    /// Most dropped transactions whose reason is remembered.
    pub remembered: usize,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            moniker: "node".to_owned(),
            p2p: P2p::default(),
            rpc: Listen {
                listen: loopback(26657),
            },
            http: Listen {
                listen: loopback(26658),
            },
            visor: VisorLink::default(),
            consensus: Consensus::default(),
            mempool: MempoolBounds::default(),
            log: Log::default(),
        }
    }
}

impl Default for P2p {
    fn default() -> Self {
        Self {
            listen: loopback(26656),
            peers: Vec::new(),
        }
    }
}

impl Default for VisorLink {
    fn default() -> Self {
        Self {
            socket: "visor-link.sock".into(),
        }
    }
}

impl Default for Consensus {
    fn default() -> Self {
        let options = ConsensusOptions::default();
        Self {
            block_interval: options.block_interval,
            propose_timeout: options.propose_timeout,
            vote_timeout: options.vote_timeout,
            timeout_delta: options.timeout_delta,
            connect_timeout: options.connect_timeout,
            status_interval: options.status_interval,
        }
    }
}

impl Default for MempoolBounds {
    fn default() -> Self {
        let MempoolLimits {
            transactions,
            bytes,
            per_sender,
            per_reporter,
            remembered,
        } = MempoolLimits::default();
        Self {
            transactions,
            bytes,
            per_sender,
            per_reporter,
            remembered,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "warn,governance_node=info,arc_malachitebft_network=off,arc_malachitebft_discovery=off"
                .to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Reads and checks a file; relative paths are resolved against `home`.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn read(path: &Path, home: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        config.peers(path)?;
        config.check_moniker(path)?;
        config.check_addresses(path)?;
        config.consensus.check(path)?;
        config.mempool.check(path)?;
        let socket = home.join(&config.visor.socket);
        let found = socket.as_os_str().len();
        if found > MAX_SOCKET_PATH {
            return Err(ConfigError::SocketPath {
                path: path.to_path_buf(),
                socket,
                found,
            });
        }
        config.visor.socket = socket;
        Ok(config)
    }

    /// The peers, parsed.
    ///
    /// # Errors
    /// The first malformed one.
    pub fn peers(&self, path: &Path) -> Result<Vec<PeerAddress>, ConfigError> {
        self.p2p
            .peers
            .iter()
            .map(|peer| {
                peer.parse().map_err(|source| ConfigError::Peer {
                    path: path.to_path_buf(),
                    source,
                })
            })
            .collect()
    }

    fn check_moniker(&self, path: &Path) -> Result<(), ConfigError> {
        if is_moniker(&self.moniker) {
            return Ok(());
        }
        Err(ConfigError::Moniker {
            path: path.to_path_buf(),
            found: self.moniker.clone(),
        })
    }

    fn check_addresses(&self, path: &Path) -> Result<(), ConfigError> {
        let addresses = [
            ("[p2p] listen", self.p2p.listen),
            ("[rpc] listen", self.rpc.listen),
            ("[http] listen", self.http.listen),
        ];
        for (number, (key, found)) in addresses.into_iter().enumerate() {
            if found.port() == 0 {
                return Err(ConfigError::Port {
                    path: path.to_path_buf(),
                    key,
                    found,
                });
            }
            let before = addresses.iter().take(number);
            if let Some((first, _)) = before.copied().find(|(_, other)| overlap(*other, found)) {
                return Err(ConfigError::SameAddress {
                    path: path.to_path_buf(),
                    first,
                    second: key,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// Whether both cannot be bound: an unspecified address stands for all.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Whether a text may name a node: it stands in a TOML string, in log lines and in what peers are told.
pub(crate) fn is_moniker(text: &str) -> bool {
    let plain = |character: char| character.is_alphanumeric() || " -_.@".contains(character);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

impl Consensus {
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        for (key, least, found) in [
            ("block_interval", MIN_DURATION, self.block_interval),
            ("propose_timeout", MIN_DURATION, self.propose_timeout),
            ("vote_timeout", MIN_DURATION, self.vote_timeout),
            ("timeout_delta", Duration::ZERO, self.timeout_delta),
            ("connect_timeout", Duration::ZERO, self.connect_timeout),
            ("status_interval", MIN_DURATION, self.status_interval),
        ] {
            if !(least..=MAX_DURATION).contains(&found) {
                return Err(ConfigError::Duration {
                    path: path.to_path_buf(),
                    key,
                    found,
                    least,
                });
            }
        }
        Ok(())
    }

    /// In the engine's words.
    #[must_use]
    pub const fn options(&self) -> ConsensusOptions {
        ConsensusOptions {
            block_interval: self.block_interval,
            propose_timeout: self.propose_timeout,
            vote_timeout: self.vote_timeout,
            timeout_delta: self.timeout_delta,
            connect_timeout: self.connect_timeout,
            status_interval: self.status_interval,
        }
    }
}

impl MempoolBounds {
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let bounds = [
            ("transactions", self.transactions),
            ("bytes", self.bytes),
            ("per_sender", self.per_sender),
            ("per_reporter", self.per_reporter),
        ];
        match bounds.into_iter().find(|(_, bound)| *bound == 0) {
            Some((key, _)) => Err(ConfigError::Empty {
                path: path.to_path_buf(),
                key,
            }),
            None => Ok(()),
        }
    }

    /// In the mempool's words.
    #[must_use]
    pub const fn limits(&self) -> MempoolLimits {
        MempoolLimits {
            transactions: self.transactions,
            bytes: self.bytes,
            per_sender: self.per_sender,
            per_reporter: self.per_reporter,
            remembered: self.remembered,
        }
    }
}
