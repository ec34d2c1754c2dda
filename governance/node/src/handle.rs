//! The running node as its interfaces see it: read the newest snapshot, submit a transaction, look up a block.
//!
//! Everything here answers from snapshots, the store or the mempool; nothing waits for consensus. A [`Snapshot`] is
//! published after the block is durable, so what a reader sees is never taken back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governance::{
    Action, Ballot, CertificateChain, Digest, Halt, Height, ProposalId, ReadinessReport, Rejection,
    ReleaseVersion, SignedTransaction, State, TransactionId, ValidatorId,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::chronicle::Chronicle;
use crate::mempool::{Mempool, NotAdmitted};
use crate::store::{BlockRecord, Store, StoreError};

/// The chain after one committed block.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The governance state.
    pub state: State,
    /// The chain's own state beside it.
    pub chronicle: Chronicle,
    /// The last committed height; 0 before the first block.
    pub height: Height,
    /// The chain's state root: governance and chronicle together.
    pub state_root: Digest,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Neither in a block nor in this node's mempool.
    Unknown,
    /// In this node's mempool.
    Pending,
    /// In a block.
    Committed {
        /// The block.
        height: Height,
        /// Set when the block's execution refused it and it changed nothing: the stable code and the text.
        rejection: Option<(String, String)>,
    },
    /// It left the mempool without a block, because it had become invalid.
    Dropped {
        /// The rejecting rule's stable code.
        code: String,
        /// What was expected, what was found and what to do.
        message: String,
    },
}

impl TransactionStatus {
    /// Whether nothing can change it any more.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Committed { .. } | Self::Dropped { .. } => true,
            Self::Unknown | Self::Pending => false,
        }
    }
}

/// Why a transaction was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It is in the mempool already, or in a block.
    #[error("transaction {0} is already known: ask for its status instead of sending it again")]
    AlreadyKnown(TransactionId),
    /// A rule refuses it.
    #[error(transparent)]
    Rejected(Rejection),
    /// The mempool is full.
    #[error("the mempool holds {limit} {unit}, which is the most allowed: try again after the next block")]
    PoolFull {
        /// The limit reached.
        limit: usize,
        /// What is counted: transactions or bytes.
        unit: &'static str,
    },
    /// The sender has too many transactions waiting.
    #[error(
        "this sender has {limit} transactions waiting, which is the most allowed: wait until one is in a block"
    )]
    SenderLimit {
        /// The limit reached.
        limit: usize,
    },
    /// The running version has executed its last block.
    #[error("block {} was the last of the old version: send the transaction again when the network runs {}", .0.height, .0.version)]
    Halted(Halt),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[source] StoreError),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A handle on the running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// What the handle and the engine's side of the node have in common.
pub(crate) struct Shared {
    pub(crate) release: ReleaseVersion,
    pub(crate) store: Arc<Store>,
    pub(crate) mempool: Mutex<Mempool>,
    pub(crate) peers: Arc<AtomicU32>,
    pub(crate) equivocations: Arc<AtomicU64>,
    /// Transactions admitted here, to be told to the other nodes.
    pub(crate) gossip: mpsc::Sender<SignedTransaction>,
}

impl Shared {
    /// The mempool. A thread that panicked while holding it left it consistent: every change is one statement.
    pub(crate) fn mempool(&self) -> MutexGuard<'_, Mempool> {
        self.mempool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeHandle {
    pub(crate) const fn new(shared: Arc<Shared>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { shared, snapshots }
    }

    /// The chain after the last committed block.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The snapshots as they come. A slow reader gets the newest one, not every one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Admits a transaction to the mempool and tells the other nodes about it.
    pub async fn submit(&self, transaction: SignedTransaction) -> Result<TransactionId, SubmitError> {
        let snapshot = self.snapshot();
        if let Some(halt) = self.halt() {
            return Err(SubmitError::Halted(halt));
        }
        // Cheap questions before the signature: a client may send what it likes.
        if transaction.transaction.chain_id == *snapshot.state.chain_id() {
            if !snapshot.state.knows_sender(&transaction) {
                return Err(SubmitError::Rejected(unknown_sender(&transaction)));
            }
            self.shared.mempool().room_for(&transaction)?;
        }
        let verified = transaction
            .verify(snapshot.state.chain_id())
            .map_err(SubmitError::Rejected)?;
        let id = verified.id();
        if self.committed(id)?.is_some() {
            return Err(SubmitError::AlreadyKnown(id));
        }
        self.shared.mempool().admit(verified)?;
        // A queue that is full now is no loss: everything pending is told again after every few blocks.
        match self.shared.gossip.try_send(transaction) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(id),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SubmitError::Stopping),
        }
    }

    /// What became of a transaction: at once when that is final, else when it becomes final or `wait` is over.
    pub async fn transaction(
        &self,
        id: TransactionId,
        wait: Duration,
    ) -> Result<TransactionStatus, StoreError> {
        let deadline = Instant::now() + wait;
        let mut snapshots = self.subscribe();
        loop {
            snapshots.mark_unchanged();
            let status = self.transaction_now(id)?;
            if status.is_final() {
                return Ok(status);
            }
            match tokio::time::timeout_at(deadline, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.transaction_now(id),
            }
        }
    }

    /// The record of a committed block; `None` when there is none at that height yet.
    pub fn block(&self, height: Height) -> Result<Option<BlockRecord>, StoreError> {
        self.shared.store.record(height)
    }

    /// The ballots on a proposal, live at `snapshot` or ended, by validator id, from the first one above `after`.
    pub fn ballots(
        &self,
        snapshot: &Snapshot,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
        limit: usize,
    ) -> Result<Vec<(ValidatorId, Ballot)>, StoreError> {
        match snapshot.state.ballots(proposal, after) {
            Some(live) => Ok(live.take(limit).map(|(id, ballot)| (*id, *ballot)).collect()),
            None => self.shared.store.ballots(proposal, after, limit),
        }
    }

    /// The readiness reports on an upgrade, in the same way.
    pub fn reports(
        &self,
        snapshot: &Snapshot,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
        limit: usize,
    ) -> Result<Vec<(ValidatorId, ReadinessReport)>, StoreError> {
        match snapshot.state.reports(proposal, after) {
            Some(live) => Ok(live.take(limit).map(|(id, report)| (*id, *report)).collect()),
            None => self.shared.store.reports(proposal, after, limit),
        }
    }

    /// GOV-17: the certificate of a proposal that is approved or locked in, or was, with those of the changes before it.
    pub fn certificate(
        &self,
        snapshot: &Snapshot,
        proposal: &ProposalId,
    ) -> Result<Option<CertificateChain>, StoreError> {
        let certificate = match snapshot.state.proposal(proposal) {
            Some(found) if found.phase.is_live() => snapshot.state.certificate(proposal),
            Some(_) | None => self.shared.store.certificate(proposal)?,
        };
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        // The store may be a block ahead of the snapshot.
        let after = snapshot.height.next().unwrap_or(snapshot.height);
        let changes = self.shared.store.changes_below(after)?;
        Ok(Some(CertificateChain::new(changes, certificate)))
    }

    /// The release version stamped into this binary.
    pub fn release(&self) -> &ReleaseVersion {
        &self.shared.release
    }

    /// The halt of this binary: H is committed, and this version executes nothing more. Absent in the binary of the new
    /// version, whose turn it is.
    pub fn halt(&self) -> Option<Halt> {
        self.halt_at(&self.snapshot())
    }

    /// The same at an earlier snapshot.
    pub fn halt_at(&self, snapshot: &Snapshot) -> Option<Halt> {
        snapshot
            .state
            .halt()
            .filter(|halt| halt.version != self.shared.release)
    }

    /// Nodes connected to this one.
    pub fn peers(&self) -> u32 {
        self.shared.peers.load(Ordering::Relaxed)
    }

    /// Pairs of contradicting votes or proposals that this node has seen since its start, each signed by one validator.
    pub fn equivocations(&self) -> u64 {
        self.shared.equivocations.load(Ordering::Relaxed)
    }

    /// Transactions waiting for a block.
    pub fn mempool_len(&self) -> usize {
        self.shared.mempool().len()
    }

    fn transaction_now(&self, id: TransactionId) -> Result<TransactionStatus, StoreError> {
        // The mempool first: a transaction leaves it only after its block is in the store, and before the block is shown.
        // While one waits, its many askers need not look into the store at every block.
        let dropped = {
            let mempool = self.shared.mempool();
            if mempool.contains(id) {
                return Ok(TransactionStatus::Pending);
            }
            mempool.dropped(id).cloned()
        };
        if let Some(outcome) = self.shared.store.transaction(id)? {
            return Ok(TransactionStatus::Committed {
                height: outcome.height,
                rejection: outcome.rejection,
            });
        }
        Ok(dropped.map_or(TransactionStatus::Unknown, |(code, message)| {
            TransactionStatus::Dropped { code, message }
        }))
    }

    fn committed(&self, id: TransactionId) -> Result<Option<Height>, SubmitError> {
        let outcome = self.shared.store.transaction(id).map_err(SubmitError::Store)?;
        Ok(outcome.map(|outcome| outcome.height))
    }
}

/// What the rules say about a key that may not send such a transaction.
fn unknown_sender(transaction: &SignedTransaction) -> Rejection {
    let public_key = transaction.public_key;
    match transaction.transaction.action {
        Action::ReportReadiness { validator, .. } => Rejection::NotTheReporter {
            public_key,
            validator,
        },
        Action::ProposeUpgrade(_)
        | Action::ProposeCancel { .. }
        | Action::Vote { .. }
        | Action::Withdraw { .. }
        | Action::ProposeValidators(_)
        | Action::ProposeParameters(_)
        | Action::AuthorizeReporter { .. } => Rejection::NotAValidator { public_key },
    }
}

impl From<NotAdmitted> for SubmitError {
    fn from(refusal: NotAdmitted) -> Self {
        match refusal {
            NotAdmitted::AlreadyKnown(id) => Self::AlreadyKnown(id),
            NotAdmitted::Rejected(rejection) => Self::Rejected(rejection),
            NotAdmitted::PoolFull { limit, unit } => Self::PoolFull { limit, unit },
            NotAdmitted::SenderLimit { limit } => Self::SenderLimit { limit },
        }
    }
}
