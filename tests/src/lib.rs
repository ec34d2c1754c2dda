//! Whole-system stories over real binaries: the cluster builder, what is observed of a cluster, and the demo.
//!
//! Owns: laying out hosts, starting and stopping their visors, watching blocks and phases from outside.
//! Never: reaches into a room's internals; everything goes through binaries, sockets and files, as a user's hand would.

mod address;
mod binaries;
mod cluster;
pub mod demo;
mod host;
mod observe;
mod process;
mod wallet;

pub use address::Loopback;
pub use binaries::{Binaries, NEW_VERSION, OLD_VERSION, crashing_node};
pub use cluster::{Cluster, ClusterOptions};
pub use host::{Host, Usage};
pub use observe::{HostView, Observer};
pub use process::CommandOutput;
pub use wallet::Wallet;
