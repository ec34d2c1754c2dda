//! A governance chain node: consensus, store, mempool and interfaces around the `governance` state machine.
//!
//! [`node`] assembles one; [`handle`] is how interfaces see it while it runs.

mod app;
pub mod chronicle;
pub mod engine;
pub mod handle;
mod mempool;
pub mod node;
pub mod store;

pub use engine::malachite::{ConsensusOptions, PeerAddress, PeerAddressError, peer_id};
pub use handle::{NodeHandle, Snapshot, SubmitError, TransactionStatus};
pub use mempool::MempoolLimits;
pub use node::{Node, NodeOptions, StartError};
pub use store::{BlockRecord, StoreError, TransactionOutcome};
