//! The chain behind the engine: engine calls become [`State`] calls. It decides nothing.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use governance::{Digest, Event, Height, ReleaseVersion, SignedTransaction, State};
use tokio::sync::watch;

use crate::chronicle::{Chronicle, Entry};
use crate::engine::{
    Application, ApplicationError, Block, BlockFault, DecidedBlock, Info, MAX_BLOCK_BYTES,
    MAX_BLOCK_TRANSACTIONS,
};
use crate::handle::{Shared, Snapshot};
use crate::mempool::Admission;
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
    executed: Option<Executed>,
}

/// A block that has been executed and is not yet durable.
struct Executed {
    block: Vec<u8>,
    state: State,
    chronicle: Chronicle,
    record: BlockRecord,
    outcomes: Vec<(governance::TransactionId, TransactionOutcome)>,
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
            executed: None,
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

    fn check_transaction(&mut self, transaction: SignedTransaction) -> bool {
        let id = transaction.id();
        if self.shared.mempool().contains(id) {
            return false;
        }
        let Ok(verified) = transaction.verify(self.state.chain_id()) else {
            return false;
        };
        // A transaction in a block needs no look at the store: its sequence number has been used.
        self.shared.mempool().admit(verified) == Admission::Admitted
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

    fn validate_block(&self, block: &Block) -> Result<(), BlockFault> {
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
        for transaction in &block.transactions {
            if let Err(rejection) = transaction.verify(self.state.chain_id()) {
                return Err(BlockFault::Transaction {
                    id: transaction.id(),
                    rejection,
                });
            }
        }
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
        for transaction in &block.transactions {
            let id = transaction.id();
            let applied = transaction
                .verify(state.chain_id())
                .and_then(|verified| state.apply(&verified));
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
        log(&record);
        Ok(self.info())
    }

    fn earliest_block(&self) -> Result<Height, ApplicationError> {
        let earliest = self.shared.store.earliest().map_err(ApplicationError::Store)?;
        Ok(earliest.unwrap_or(Height(1)))
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

/// Tells the operator what a block changed.
fn log(record: &BlockRecord) {
    tracing::debug!(
        block.height = record.height.0,
        block.state_root = %record.state_root,
        block.transactions = record.transactions.len(),
        "block committed"
    );
    for event in &record.events {
        match event {
            Event::ProposalSubmitted {
                proposal_id,
                proposer,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %proposer, "proposal submitted");
            }
            Event::VoteCast {
                proposal_id,
                validator_id,
                choice,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, vote.choice = %choice, "vote cast");
            }
            Event::VoteWithdrawn {
                proposal_id,
                validator_id,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, validator.id = %validator_id, "vote withdrawn");
            }
            Event::ApprovalMoved {
                validator_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, validator.id = %validator_id, proposal.from = %from, proposal.to = %to, "approval moved");
            }
            Event::ProposalPhaseChanged {
                proposal_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, phase.from = %from, phase.to = %to, "proposal changed phase");
            }
            Event::UpgradeHalted {
                proposal_id,
                height,
                version,
            } => {
                tracing::info!(upgrade.height = height.0, upgrade.version = %version, proposal.id = %proposal_id, "halted: this was the last block of this version");
            }
            Event::UpgradeActivated {
                proposal_id,
                from,
                to,
            } => {
                tracing::info!(block.height = record.height.0, proposal.id = %proposal_id, upgrade.from = %from, upgrade.to = %to, "upgrade activated");
            }
            Event::TransactionRejected {
                transaction_id,
                code,
                message,
            } => {
                tracing::info!(block.height = record.height.0, transaction.id = %transaction_id, rejection.code = %code, rejection.message = %message, "transaction rejected");
            }
        }
    }
}

/// The wall clock, for people only.
fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
