//! Whole-system stories over real binaries: the cluster builder, what is observed of a cluster, and the demo.
//!
//! Owns: laying out hosts and nodes, starting, killing and stopping them, watching blocks and phases from outside, a validator's
//! load.
//! Never: reaches into a room's internals; everything goes through binaries, sockets and files, as a user's hand would.

mod address;
mod binaries;
mod client;
mod cluster;
pub mod demo;
mod desk;
mod host;
mod layout;
mod load;
mod network;
mod node;
mod observe;
mod process;
mod random;
pub mod raw;
mod wallet;

pub use address::Loopback;
pub use binaries::{Binaries, NEW_VERSION, OLD_VERSION, crashing_node};
pub use client::{Client, already_there, rejection_code};
pub use cluster::{Cluster, ClusterOptions};
pub use desk::{Acknowledged, Desk, carry_through, wavering};
pub use host::{Host, Usage};
pub use load::{Ledger, Load};
pub use network::{Member, Network, NetworkOptions, equal_members, random_key};
pub use node::{Memory, Node};
pub use observe::{HostView, Observer};
pub use process::CommandOutput;
pub use random::Random;
pub use wallet::Wallet;
