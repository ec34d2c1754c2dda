//! The seam between consensus and the chain, shaped like ABCI.
//!
//! An engine orders blocks and knows nothing of what is in them; the [`Application`] checks, proposes, executes and
//! commits them and knows nothing of rounds and votes. Behind the seam today: [`malachite`]. A CometBFT process that
//! calls the same methods over ABCI would be another module here.

mod block;
pub mod malachite;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use governance::{Digest, Height, SignedTransaction, ValidatorSet};
use tokio::sync::mpsc;

pub use block::{Block, BlockFault, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS};

/// Where the chain stands, for an engine that starts or continues.
#[derive(Clone, Debug)]
pub struct Info {
    /// The last committed height; 0 before the first block.
    pub height: Height,
    /// The chain's state root after it.
    pub state_root: Digest,
    /// Who decides the next block.
    pub validators: ValidatorSet,
    /// Whether the running version may execute no further block.
    pub halted: bool,
}

/// What a transaction from another node was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// New, and waiting for a block now.
    Admitted,
    /// Known, refused by a rule, or without room: it happens between honest nodes.
    Useless,
    /// Its signature is wrong: no honest node passes that on.
    Forged,
}

/// A committed block with the engine's proof that it was decided, as the engine handed it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedBlock {
    /// The block.
    pub height: Height,
    /// Its canonical bytes.
    pub block: Vec<u8>,
    /// The engine's own bytes.
    pub certificate: Vec<u8>,
}

/// Why a block could not be executed or committed. The engine must stop: the node can say nothing more about the chain.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The state refuses to begin the block.
    #[error("the decided block cannot be executed")]
    Refused(#[source] governance::BlockRefusal),
    /// The decided block builds on another state than ours.
    #[error(
        "this node has diverged: block {height} builds on state root {decided}, ours is {ours}; the state here is not the \
         chain's, by damage, by a wrong snapshot or by another program: remove the data folder and sync again, and tell \
         the chain's developers if it happens twice"
    )]
    Diverged {
        /// The decided block.
        height: Height,
        /// The state root it builds on.
        decided: Digest,
        /// The state root here.
        ours: Digest,
    },
    /// Commit without a block executed before it.
    #[error("no executed block waits to be committed")]
    NothingExecuted,
    /// The store failed.
    #[error("the block cannot be stored")]
    Store(#[source] crate::store::StoreError),
}

/// The chain, as an engine sees it. Calls come one after the other.
pub trait Application: Send + 'static {
    /// Where the chain stands.
    fn info(&self) -> Info;

    /// A transaction that another node has told us about.
    fn check_transaction(&mut self, transaction: SignedTransaction) -> Hearing;

    /// Transactions that wait for a block, oldest first, up to `bytes` canonical bytes: to be told to the other nodes.
    fn pending_transactions(&self, bytes: usize) -> Vec<SignedTransaction>;

    /// The next block as this node would have it. Every transaction in it applies.
    fn propose_block(&mut self) -> Block;

    /// Whether this node may vote for `block` as the next one.
    fn validate_block(&mut self, block: &Block) -> Result<(), BlockFault>;

    /// Executes a decided block and returns the state root after it. Nothing is durable or visible yet.
    fn execute_block(&mut self, block: &Block) -> Result<Digest, ApplicationError>;

    /// Makes the executed block durable, with the engine's proof, and shows it to everybody.
    fn commit(&mut self, certificate: Vec<u8>) -> Result<Info, ApplicationError>;

    /// The lowest height of which the block is kept.
    fn earliest_block(&self) -> Result<Height, ApplicationError>;

    /// Committed blocks from `first` to `last`, in order, without gap, as many as fit `bytes`, at least one if there is one.
    fn decided_blocks(
        &self,
        first: Height,
        last: Height,
        bytes: usize,
    ) -> Result<Vec<DecidedBlock>, ApplicationError>;
}

/// What an engine is given besides the application.
pub struct Ports {
    /// Transactions that this node has admitted, to be told to the others.
    pub gossip: mpsc::Receiver<SignedTransaction>,
    /// Where the engine writes how many nodes are connected.
    pub peers: Arc<AtomicU32>,
    /// Where the engine counts the contradicting messages of validators that it has seen.
    pub equivocations: Arc<AtomicU64>,
}

/// Why an engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It could not start.
    #[error("the consensus engine cannot start: {reason}")]
    Start {
        /// The engine's words.
        reason: String,
    },
    /// It stopped by itself: a part of it failed or panicked.
    #[error("the consensus engine has stopped: {reason}")]
    Stopped {
        /// What is known.
        reason: String,
    },
    /// What this node has signed cannot be made durable, so it signs nothing more.
    #[error(
        "the write-ahead log of consensus cannot be written or read: the engine's own log lines say why; make room on the \
         disk or repair it, then start the node again, and it goes on where it was"
    )]
    Log,
    /// It decided a block that this node has never seen whole.
    #[error("block {height} with id {block} was decided, but this node does not have it")]
    UnknownBlock {
        /// The height decided.
        height: Height,
        /// The id decided.
        block: Digest,
    },
    /// The application failed.
    #[error(transparent)]
    Application(#[from] ApplicationError),
}

/// Something that orders blocks.
pub trait Engine: Send + Sized {
    /// Runs until `stop` is ready, then leaves the network in good order. Ends early only with an error.
    fn run<A: Application, S: Future<Output = ()> + Send>(
        self,
        application: A,
        ports: Ports,
        stop: S,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}
