//! `config.toml`: what an operator decides, with its defaults.
//!
//! The file that `init` writes is `config.toml` beside this one; a test keeps the two equal.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::{ConsensusOptions, MempoolLimits, PeerAddress, PeerAddressError};

/// The file that `init` writes.
pub(crate) const TEMPLATE: &str = include_str!("config.toml");
/// Bytes of a UNIX socket's path that the kernel can hold, the closing zero not counted (`sun_path` of unix(7)).
const MAX_SOCKET_PATH: usize = 107;

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
    /// Most transactions of one sender.
    pub per_sender: usize,
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
            remembered,
        } = MempoolLimits::default();
        Self {
            transactions,
            bytes,
            per_sender,
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

/// Why the configuration cannot be used. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is no configuration.
    #[error("{} is no configuration of this node; `governance init` in an empty folder writes one with every key explained", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, what was found and what was expected.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A peer is malformed.
    #[error("[p2p] peers in {}", path.display())]
    Peer {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        #[source]
        source: PeerAddressError,
    },
    /// The socket's path is longer than the kernel can hold.
    #[error(
        "the socket path {} has {found} bytes, expected at most {MAX_SOCKET_PATH}; set [visor] socket in {} to a shorter absolute path",
        socket.display(),
        path.display()
    )]
    SocketPath {
        /// The file.
        path: PathBuf,
        /// The socket.
        socket: PathBuf,
        /// Its length.
        found: usize,
    },
    /// A duration of zero, where a node would spin or never wait.
    #[error("[consensus] {key} in {}: expected more than 0, found 0", path.display())]
    Zero {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
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
        let durations = [
            ("block_interval", config.consensus.block_interval),
            ("propose_timeout", config.consensus.propose_timeout),
            ("vote_timeout", config.consensus.vote_timeout),
            ("status_interval", config.consensus.status_interval),
        ];
        if let Some((key, _)) = durations.iter().find(|(_, duration)| duration.is_zero()) {
            return Err(ConfigError::Zero {
                path: path.to_path_buf(),
                key,
            });
        }
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
}

impl Consensus {
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
    /// In the mempool's words.
    #[must_use]
    pub const fn limits(&self) -> MempoolLimits {
        MempoolLimits {
            transactions: self.transactions,
            bytes: self.bytes,
            per_sender: self.per_sender,
            remembered: self.remembered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path, Path::new("/home")).map_err(|error| crate::cli::chain(&error))
    }

    #[test]
    fn the_written_file_says_what_the_defaults_are() {
        let written: Config = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(written, Config::default());
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
        let error = read("moniker = \"a\"\n[p2p]\nlisen = \"127.0.0.1:1\"\n").unwrap_err();
        for word in ["config.toml", "line 3", "lisen", "listen", "peers"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn bad_values_say_what_was_expected() {
        for (text, words) in [
            ("[p2p]\npeers = [\"nobody\"]", ["nobody", "PEERID@IP:PORT"]),
            ("[p2p]\nlisten = \"here\"", ["line 2", "socket address"]),
            (
                "[consensus]\nblock_interval = \"0s\"",
                ["block_interval", "more than 0"],
            ),
            ("[consensus]\nblock_interval = \"soon\"", ["line 2", "duration"]),
        ] {
            let error = read(text).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
    }

    #[test]
    fn a_socket_path_that_the_kernel_cannot_hold_is_refused() {
        let long = "s".repeat(200);
        let error = read(&format!("[visor]\nsocket = \"{long}\"")).unwrap_err();
        assert!(error.contains("107") && error.contains(&long), "{error}");
    }
}
