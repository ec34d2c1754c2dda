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
        // Cheap questions before the signature: a peer may send what it likes.
        let is_validator = self
            .state
            .validators()
            .by_governance_key(&transaction.public_key)
            .is_some();
        if !is_validator || self.shared.mempool().contains(transaction.id()) {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU32;

    use governance::{Action, BlockRefusal, Rejection};
    use tempfile::TempDir;
    use tokio::sync::mpsc;

    use super::*;
    use crate::fixture::{NEW, OLD, chain_id, genesis, propose, sign, upgrade};
    use crate::handle::{NodeHandle, SubmitError, TransactionStatus};
    use crate::mempool::{Mempool, MempoolLimits};
    use crate::store::Store;

    struct Fixture {
        _folder: TempDir,
        chain: Chain,
        handle: NodeHandle,
        _gossip: mpsc::Receiver<SignedTransaction>,
    }

    fn fixture(release: ReleaseVersion) -> Fixture {
        let folder = TempDir::new().unwrap();
        let (store, loaded) = Store::open(&folder.path().join("chain.redb"), &genesis()).unwrap();
        let (gossip, receiver) = mpsc::channel(8);
        let mempool = Mempool::new(MempoolLimits::default(), release.clone(), &loaded.state);
        let shared = Arc::new(Shared {
            release,
            store: Arc::new(store),
            mempool: Mutex::new(mempool),
            peers: Arc::new(AtomicU32::new(0)),
            gossip,
        });
        let (snapshots, newest) = watch::channel(Arc::new(first_snapshot(&loaded)));
        let handle = NodeHandle::new(Arc::clone(&shared), newest);
        Fixture {
            _folder: folder,
            chain: Chain::new(shared, loaded, snapshots),
            handle,
            _gossip: receiver,
        }
    }

    fn next(chain: &Chain, transactions: Vec<SignedTransaction>) -> Block {
        let info = chain.info();
        Block {
            height: info.height.next().unwrap(),
            parent_state_root: info.state_root,
            transactions,
        }
    }

    fn decide(chain: &mut Chain, block: &Block) -> Digest {
        let root = chain.execute_block(block).unwrap();
        let info = chain.commit(b"certificate".to_vec()).unwrap();
        assert_eq!((info.height, info.state_root), (block.height, root));
        root
    }

    #[tokio::test]
    async fn what_is_submitted_is_proposed_and_what_is_decided_is_seen() {
        let mut fixture = fixture(OLD);
        let Fixture { chain, handle, .. } = &mut fixture;
        let id = handle.submit(propose(0, 0, 1)).await.unwrap();
        assert_eq!(
            handle.transaction(id, std::time::Duration::ZERO).await.unwrap(),
            TransactionStatus::Pending
        );
        let block = chain.propose_block();
        assert_eq!(block.transactions, [propose(0, 0, 1)]);
        chain.validate_block(&block).unwrap();
        let root = decide(chain, &block);
        assert_eq!(handle.snapshot().state_root, root);
        let committed = TransactionStatus::Committed {
            height: Height(1),
            rejection: None,
        };
        assert_eq!(
            handle.transaction(id, std::time::Duration::ZERO).await.unwrap(),
            committed
        );
        assert!(matches!(
            handle.submit(propose(0, 0, 1)).await,
            Err(SubmitError::AlreadyKnown(_))
        ));
        assert!(chain.propose_block().transactions.is_empty());
        let record = handle.block(Height(1)).unwrap().unwrap();
        assert_eq!(
            (record.state_root, record.block, record.version),
            (root, block.id(), OLD)
        );
        assert!(
            matches!(
                record.events[..],
                [Event::ProposalSubmitted { .. }, Event::VoteCast { .. }]
            ),
            "{:?}",
            record.events
        );
    }

    #[test]
    fn a_transaction_that_fails_in_a_block_changes_nothing_and_is_told() {
        let mut fixture = fixture(OLD);
        let Fixture { chain, handle, .. } = &mut fixture;
        let (first, second) = (propose(0, 0, 1), propose(0, 0, 2));
        let block = next(chain, vec![first.clone(), second.clone(), first.clone()]);
        chain.validate_block(&block).unwrap();
        decide(chain, &block);
        let record = handle.block(Height(1)).unwrap().unwrap();
        let rejected: Vec<_> = record
            .events
            .iter()
            .filter_map(|event| {
                let Event::TransactionRejected {
                    transaction_id, code, ..
                } = event
                else {
                    return None;
                };
                Some((*transaction_id, code.as_str()))
            })
            .collect();
        assert_eq!(
            rejected,
            [(second.id(), "GOV-13.replay"), (first.id(), "GOV-13.replay")]
        );
        assert_eq!(handle.snapshot().state.live_proposals().len(), 1);
        // The first place of a transaction counts.
        let outcome = |id| {
            chain
                .shared
                .store
                .transaction(id)
                .unwrap()
                .unwrap()
                .rejection
                .map(|(code, _)| code)
        };
        assert_eq!(outcome(first.id()), None);
        assert_eq!(outcome(second.id()).as_deref(), Some("GOV-13.replay"));
    }

    #[test]
    fn a_block_with_a_fault_gets_no_vote() {
        let fixture = fixture(OLD);
        let chain = &fixture.chain;
        let good = next(chain, vec![propose(0, 0, 1)]);
        chain.validate_block(&good).unwrap();

        let late = Block {
            height: Height(2),
            ..good.clone()
        };
        assert_eq!(
            chain.validate_block(&late),
            Err(BlockFault::Height {
                expected: Height(1),
                found: Height(2)
            })
        );
        let diverged = Block {
            parent_state_root: Digest([9; 32]),
            ..good.clone()
        };
        assert!(matches!(
            chain.validate_block(&diverged),
            Err(BlockFault::ParentStateRoot { .. })
        ));
        let mut forged = good.clone();
        forged.transactions[0].signature.0[0] ^= 1;
        let fault = chain.validate_block(&forged);
        assert!(
            matches!(
                &fault,
                Err(BlockFault::Transaction {
                    rejection: Rejection::BadSignature { .. },
                    ..
                })
            ),
            "{fault:?}"
        );
        let many = Block {
            transactions: vec![propose(0, 0, 1); MAX_BLOCK_TRANSACTIONS + 1],
            ..good.clone()
        };
        assert!(matches!(
            chain.validate_block(&many),
            Err(BlockFault::TooManyTransactions { .. })
        ));
        let mut long = upgrade(1);
        long.description = "x".repeat(MAX_BLOCK_BYTES / MAX_BLOCK_TRANSACTIONS + 1_000);
        let long = sign(0, 0, Height(100), Action::ProposeUpgrade(long));
        let large = Block {
            transactions: vec![long; MAX_BLOCK_TRANSACTIONS],
            ..good
        };
        assert!(matches!(
            chain.validate_block(&large),
            Err(BlockFault::TooLarge { .. })
        ));
    }

    #[test]
    fn the_wrong_version_neither_votes_nor_executes() {
        let mut fixture = fixture(NEW);
        let chain = &mut fixture.chain;
        assert!(chain.info().halted);
        let block = next(chain, Vec::new());
        let refusal = BlockRefusal::OlderVersionRequired {
            height: Height(1),
            required: OLD,
            running: NEW,
        };
        assert_eq!(
            chain.validate_block(&block),
            Err(BlockFault::Version(refusal.clone()))
        );
        let refused = chain.execute_block(&block);
        assert!(matches!(refused, Err(ApplicationError::Refused(found)) if found == refusal));
        assert!(matches!(
            chain.commit(Vec::new()),
            Err(ApplicationError::NothingExecuted)
        ));
        assert_eq!(chain.info().height, Height::ZERO);
    }

    #[test]
    fn a_decided_block_on_another_state_stops_the_node() {
        let mut fixture = fixture(OLD);
        let chain = &mut fixture.chain;
        let block = Block {
            parent_state_root: Digest([9; 32]),
            ..next(chain, Vec::new())
        };
        assert!(matches!(
            chain.execute_block(&block),
            Err(ApplicationError::Diverged { .. })
        ));
    }

    #[test]
    fn gossip_admits_each_transaction_once_and_no_foreign_one() {
        let mut fixture = fixture(OLD);
        let chain = &mut fixture.chain;
        assert!(chain.check_transaction(propose(0, 0, 1)));
        assert!(!chain.check_transaction(propose(0, 0, 1)));
        let mut foreign = propose(1, 0, 2).transaction;
        foreign.chain_id = "other-chain".parse().unwrap();
        assert_ne!(foreign.chain_id, chain_id());
        assert!(!chain.check_transaction(foreign.sign(&crate::fixture::key(1))));
        assert_eq!(chain.pending_transactions(usize::MAX), [propose(0, 0, 1)]);
    }
}
