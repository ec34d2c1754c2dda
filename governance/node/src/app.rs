//! The chain behind the engine: engine calls become [`State`] calls. It decides nothing.

mod log;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use governance::{
    Digest, Event, Height, Rejection, ReleaseVersion, SignedTransaction, State, TransactionId,
    VerifiedTransaction, verify_all,
};
use tokio::sync::watch;

use crate::chronicle::{Chronicle, Entry};
use crate::engine::{
    Application, ApplicationError, Block, BlockFault, DecidedBlock, Hearing, Info, MAX_BLOCK_BYTES,
    MAX_BLOCK_TRANSACTIONS,
};
use crate::handle::{Shared, Snapshot};
use crate::store::{BlockRecord, Commit, Loaded, TransactionOutcome};

/// A block's own fields beside its transactions: height, root and count, rounded up.
const BLOCK_OVERHEAD_BYTES: usize = 64;

/// The governance chain.
pub(crate) struct Chain {
    shared: Arc<Shared>,
    release: ReleaseVersion,
    state: State,
    chronicle: Chronicle,
    state_root: Digest,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// The signatures of the block that was validated last: it is executed next.
    verified: Option<(Digest, Verified)>,
    executed: Option<Executed>,
}

/// What the signatures of a block are worth, one by one.
type Verified = Vec<Result<VerifiedTransaction, Rejection>>;

/// A block that has been executed and is not yet durable.
struct Executed {
    block: Vec<u8>,
    state: State,
    chronicle: Chronicle,
    record: BlockRecord,
    outcomes: Vec<(TransactionId, TransactionOutcome)>,
}

impl Chain {
    pub(crate) fn new(shared: Arc<Shared>, loaded: Loaded, snapshots: watch::Sender<Arc<Snapshot>>) -> Self {
        let Loaded { state, chronicle } = loaded;
        let state_root = chronicle.chain_root(&state.state_root());
        Self {
            release: shared.release.clone(),
            shared,
            state,
            chronicle,
            state_root,
            snapshots,
            verified: None,
            executed: None,
        }
    }

    /// Checks the signatures of a block, all at once. What was found at its validation is used at its execution.
    fn verify(&mut self, block: &Block) -> Verified {
        let id = block.id();
        match self.verified.take() {
            Some((known, verified)) if known == id => verified,
            Some(_) | None => verify_all(
                block.transactions.clone(),
                self.state.chain_id(),
                self.state.validators(),
            ),
        }
    }
}

/// The first snapshot, before the engine has done anything.
pub(crate) fn first_snapshot(loaded: &Loaded) -> Snapshot {
    Snapshot {
        state: loaded.state.clone(),
        chronicle: loaded.chronicle.clone(),
        height: loaded.state.height(),
        state_root: loaded.chronicle.chain_root(&loaded.state.state_root()),
    }
}

impl Application for Chain {
    fn info(&self) -> Info {
        Info {
            height: self.state.height(),
            state_root: self.state_root,
            validators: self.state.validators().clone(),
            halted: self.state.check_version(&self.release).is_err(),
        }
    }

    fn check_transaction(&mut self, transaction: SignedTransaction) -> Hearing {
        // Cheap questions before the signature: a peer may send what it likes.
        if transaction.transaction.chain_id != *self.state.chain_id()
            || !self.state.knows_sender(&transaction)
            || self.shared.mempool().room_for(&transaction).is_err()
        {
            return Hearing::Useless;
        }
        let Ok(verified) = transaction.verify(self.state.chain_id()) else {
            return Hearing::Forged;
        };
        // A transaction in a block needs no look at the store: its sequence number has been used.
        match self.shared.mempool().admit(verified) {
            Ok(()) => Hearing::Admitted,
            Err(_) => Hearing::Useless,
        }
    }

    fn pending_transactions(&self, bytes: usize) -> Vec<SignedTransaction> {
        self.shared.mempool().select(MAX_BLOCK_TRANSACTIONS, bytes)
    }

    fn propose_block(&mut self) -> Block {
        let bytes = MAX_BLOCK_BYTES.saturating_sub(BLOCK_OVERHEAD_BYTES);
        Block {
            height: Height(self.state.height().0.saturating_add(1)),
            parent_state_root: self.state_root,
            transactions: self.shared.mempool().select(MAX_BLOCK_TRANSACTIONS, bytes),
        }
    }

    fn validate_block(&mut self, block: &Block) -> Result<(), BlockFault> {
        let expected = Height(self.state.height().0.saturating_add(1));
        if block.height != expected {
            return Err(BlockFault::Height {
                expected,
                found: block.height,
            });
        }
        self.state
            .check_version(&self.release)
            .map_err(BlockFault::Version)?;
        if block.parent_state_root != self.state_root {
            return Err(BlockFault::ParentStateRoot {
                expected: self.state_root,
                found: block.parent_state_root,
            });
        }
        if block.transactions.len() > MAX_BLOCK_TRANSACTIONS {
            return Err(BlockFault::TooManyTransactions {
                found: block.transactions.len(),
            });
        }
        let bytes = block.to_canonical().len();
        if bytes > MAX_BLOCK_BYTES {
            return Err(BlockFault::TooLarge { found: bytes });
        }
        let verified = self.verify(block);
        for (transaction, verdict) in block.transactions.iter().zip(&verified) {
            if let Err(rejection) = verdict {
                return Err(BlockFault::Transaction {
                    id: transaction.id(),
                    rejection: Box::new(rejection.clone()),
                });
            }
        }
        self.verified = Some((block.id(), verified));
        Ok(())
    }

    fn execute_block(&mut self, block: &Block) -> Result<Digest, ApplicationError> {
        if block.parent_state_root != self.state_root {
            return Err(ApplicationError::Diverged {
                height: block.height,
                decided: block.parent_state_root,
                ours: self.state_root,
            });
        }
        let mut state = self.state.clone();
        let mut events = state
            .begin_block(block.height, &self.release)
            .map_err(ApplicationError::Refused)?;
        let mut outcomes = Vec::with_capacity(block.transactions.len());
        let verified = self.verify(block);
        for (transaction, verdict) in block.transactions.iter().zip(verified) {
            let id = transaction.id();
            let applied = verdict.and_then(|verified| state.apply(&verified));
            let rejection = match applied {
                Ok(happened) => {
                    events.extend(happened);
                    None
                }
                Err(rejection) => {
                    events.push(Event::rejected(id, &rejection));
                    Some((rejection.code().to_owned(), rejection.to_string()))
                }
            };
            outcomes.push((
                id,
                TransactionOutcome {
                    height: block.height,
                    rejection,
                },
            ));
        }
        events.extend(state.end_block());

        let id = block.id();
        let chronicle = self.chronicle.record(&Entry {
            height: block.height,
            block: id,
            version: &self.release,
            transactions: u64::try_from(block.transactions.len()).unwrap_or(u64::MAX),
        });
        let state_root = chronicle.chain_root(&state.state_root());
        let record = BlockRecord {
            height: block.height,
            block: id,
            state_root,
            version: self.release.clone(),
            committed_at_unix_ms: unix_milliseconds(),
            events,
            transactions: outcomes.iter().map(|(id, _)| *id).collect(),
        };
        self.executed = Some(Executed {
            block: block.to_canonical(),
            state,
            chronicle,
            record,
            outcomes,
        });
        Ok(state_root)
    }

    fn commit(&mut self, certificate: Vec<u8>) -> Result<Info, ApplicationError> {
        let executed = self.executed.take().ok_or(ApplicationError::NothingExecuted)?;
        let Executed {
            block,
            state,
            chronicle,
            record,
            outcomes,
        } = executed;
        let commit = Commit {
            record: &record,
            block: &block,
            certificate: &certificate,
            previous: &self.state,
            state: &state,
            chronicle: &chronicle,
            outcomes: &outcomes,
        };
        self.shared
            .store
            .commit(&commit)
            .map_err(ApplicationError::Store)?;

        self.state_root = record.state_root;
        self.state = state;
        self.chronicle = chronicle;
        self.shared.mempool().committed(&self.state, &record.transactions);
        self.snapshots.send_replace(Arc::new(Snapshot {
            state: self.state.clone(),
            chronicle: self.chronicle.clone(),
            height: record.height,
            state_root: record.state_root,
        }));
        log::block(&record);
        Ok(self.info())
    }

    fn earliest_block(&self) -> Result<Height, ApplicationError> {
        self.shared.store.earliest().map_err(ApplicationError::Store)
    }

    fn decided_blocks(
        &self,
        first: Height,
        last: Height,
        bytes: usize,
    ) -> Result<Vec<DecidedBlock>, ApplicationError> {
        self.shared
            .store
            .decided(first, last, bytes)
            .map_err(ApplicationError::Store)
    }
}

/// The wall clock, for people only.
fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
