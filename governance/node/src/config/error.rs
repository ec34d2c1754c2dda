//! What can be wrong with the configuration.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use super::{MAX_DURATION, MAX_SOCKET_PATH, MONIKER};
use crate::PeerAddressError;

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
    /// A name that cannot stand in a log line.
    #[error("moniker in {}: expected {MONIKER}, found {found:?}", path.display())]
    Moniker {
        /// The file.
        path: PathBuf,
        /// The name.
        found: String,
    },
    /// A duration with which a node would spin, or never get on.
    #[error(
        "[consensus] {key} in {}: expected {} to {}, found {}",
        path.display(),
        format_duration(*least),
        format_duration(MAX_DURATION),
        format_duration(*found)
    )]
    Duration {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: Duration,
        /// The least that works.
        least: Duration,
    },
    /// A mempool that would admit nothing.
    #[error("[mempool] {key} in {}: expected at least 1, found 0", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// A port that nobody could know.
    #[error("{key} in {}: expected a port from 1 to 65535, found {found}", path.display())]
    Port {
        /// The file.
        path: PathBuf,
        /// The section and key.
        key: &'static str,
        /// The address.
        found: SocketAddr,
    },
    /// Two services at one address.
    #[error("{first} and {second} in {} overlap at {found}: expected another port for one of them", path.display())]
    SameAddress {
        /// The file.
        path: PathBuf,
        /// One key.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The second's address.
        found: SocketAddr,
    },
}
