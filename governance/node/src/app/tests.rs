//! The chain, driven by hand in the place of an engine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64};

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
        equivocations: Arc::new(AtomicU64::new(0)),
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
    let mut fixture = fixture(OLD);
    let chain = &mut fixture.chain;
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
            Err(BlockFault::Transaction { rejection, .. }) if matches!(**rejection, Rejection::BadSignature { .. })
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
    assert_eq!(chain.check_transaction(propose(0, 0, 1)), Hearing::Admitted);
    assert_eq!(chain.check_transaction(propose(0, 0, 1)), Hearing::Useless);
    let mut foreign = propose(1, 0, 2).transaction;
    foreign.chain_id = "other-chain".parse().unwrap();
    assert_ne!(foreign.chain_id, chain_id());
    assert_eq!(
        chain.check_transaction(foreign.sign(&crate::fixture::key(1))),
        Hearing::Useless
    );
    let stranger = propose(1, 0, 2).transaction.sign(&crate::fixture::key(9));
    assert_eq!(chain.check_transaction(stranger), Hearing::Useless);
    let mut forged = propose(1, 0, 2);
    forged.signature.0[0] ^= 1;
    assert_eq!(chain.check_transaction(forged), Hearing::Forged);
    assert_eq!(chain.pending_transactions(usize::MAX), [propose(0, 0, 1)]);
}
