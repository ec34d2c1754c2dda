#![doc = include_str!("../README.md")]

mod app;
pub mod chronicle;
pub mod cli;
pub mod config;
pub mod engine;
pub mod exit_code;
#[cfg(test)]
mod fixture;
pub mod handle;
pub mod home;
mod http;
mod keys;
mod listener;
mod logging;
mod mempool;
pub mod node;
mod rpc;
pub mod signed_height;
pub mod snapshot_file;
pub mod store;
mod visor_link;

pub use engine::malachite::{ConsensusOptions, PeerAddress, PeerAddressError, peer_id};
pub use handle::{NodeHandle, Snapshot, SubmitError, TransactionStatus};
pub use mempool::MempoolLimits;
pub use node::{Node, NodeOptions, StartError};
pub use store::{BlockRecord, StoreError, TransactionOutcome};
