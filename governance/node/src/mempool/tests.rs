//! Admission, bounds and what becomes of what waits.

use governance::{Action, Choice, Height, Subject};

use super::*;
use crate::fixture::{OLD, chain_id, propose, sign, state, upgrade};

fn limits() -> MempoolLimits {
    MempoolLimits::default()
}

fn mempool(limits: MempoolLimits) -> Mempool {
    Mempool::new(limits, OLD, &state())
}

fn verified(transaction: &SignedTransaction) -> VerifiedTransaction {
    transaction.verify(&chain_id()).unwrap()
}

fn admit(mempool: &mut Mempool, transaction: &SignedTransaction) -> Result<(), NotAdmitted> {
    mempool.admit(verified(transaction))
}

/// The state after a block with these transactions.
fn after(state: &State, transactions: &[SignedTransaction]) -> State {
    let mut next = state.clone();
    next.begin_block(state.height().next().unwrap(), &OLD).unwrap();
    for transaction in transactions {
        next.apply(&verified(transaction)).unwrap();
    }
    let _ = next.end_block();
    next
}

fn invariant_books_agree(mempool: &Mempool) {
    let bytes: usize = mempool.waiting.values().map(|waiting| waiting.bytes).sum();
    assert_eq!(mempool.bytes, bytes);
    assert_eq!(mempool.arrivals.len(), mempool.waiting.len());
    assert_eq!(mempool.senders.values().sum::<usize>(), mempool.waiting.len());
    assert_eq!(mempool.dropped.order.len(), mempool.dropped.reasons.len());
}

#[test]
fn a_sender_may_have_consecutive_sequence_numbers_waiting() {
    let mut mempool = mempool(limits());
    for sequence in 0..3 {
        assert_eq!(admit(&mut mempool, &propose(0, sequence, sequence)), Ok(()));
    }
    let gap = admit(&mut mempool, &propose(1, 1, 9));
    assert_eq!(
        gap,
        Err(NotAdmitted::Rejected(Rejection::SequenceGap {
            expected: 0,
            found: 1
        }))
    );
    let replay = admit(&mut mempool, &propose(0, 2, 9));
    assert_eq!(
        replay,
        Err(NotAdmitted::Rejected(Rejection::Replayed {
            expected: 3,
            found: 2
        }))
    );
    let selected: Vec<u64> = mempool
        .select(10, usize::MAX)
        .iter()
        .map(|transaction| transaction.transaction.sequence)
        .collect();
    assert_eq!(selected, [0, 1, 2]);
    invariant_books_agree(&mempool);
}

#[test]
fn a_vote_on_a_proposal_that_waits_is_admitted_after_it() {
    let mut mempool = mempool(limits());
    let proposal = Subject::Upgrade(upgrade(1)).id(&chain_id());
    let vote = sign(
        1,
        0,
        Height(100),
        Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
    );
    assert_eq!(
        admit(&mut mempool, &vote),
        Err(NotAdmitted::Rejected(Rejection::UnknownProposal { proposal }))
    );
    assert_eq!(admit(&mut mempool, &propose(0, 0, 1)), Ok(()));
    assert_eq!(admit(&mut mempool, &vote), Ok(()));
}

#[test]
fn duplicates_are_told() {
    let mut mempool = mempool(limits());
    assert_eq!(admit(&mut mempool, &propose(0, 0, 1)), Ok(()));
    assert_eq!(
        admit(&mut mempool, &propose(0, 0, 1)),
        Err(NotAdmitted::AlreadyKnown(propose(0, 0, 1).id()))
    );
    assert_eq!(mempool.len(), 1);
}

#[test]
fn every_bound_holds() {
    let mut few = mempool(MempoolLimits {
        transactions: 1,
        ..limits()
    });
    assert_eq!(admit(&mut few, &propose(0, 0, 1)), Ok(()));
    assert_eq!(
        admit(&mut few, &propose(1, 0, 2)),
        Err(NotAdmitted::PoolFull {
            limit: 1,
            unit: "transactions"
        })
    );

    let size = propose(0, 0, 1).to_canonical().len();
    let mut small = mempool(MempoolLimits {
        bytes: 2 * size - 1,
        ..limits()
    });
    assert_eq!(admit(&mut small, &propose(0, 0, 1)), Ok(()));
    assert_eq!(
        admit(&mut small, &propose(1, 0, 2)),
        Err(NotAdmitted::PoolFull {
            limit: 2 * size - 1,
            unit: "bytes"
        })
    );

    let mut fair = mempool(MempoolLimits {
        per_sender: 2,
        ..limits()
    });
    assert_eq!(admit(&mut fair, &propose(0, 0, 1)), Ok(()));
    assert_eq!(admit(&mut fair, &propose(0, 1, 2)), Ok(()));
    assert_eq!(
        admit(&mut fair, &propose(0, 2, 3)),
        Err(NotAdmitted::SenderLimit { limit: 2 })
    );
    assert_eq!(admit(&mut fair, &propose(1, 0, 4)), Ok(()));
}

#[test]
fn a_selection_is_a_prefix_that_fits() {
    let mut mempool = mempool(limits());
    let all: Vec<_> = (0..4)
        .map(|sender| propose(sender, 0, u64::from(sender)))
        .collect();
    for transaction in &all {
        assert_eq!(admit(&mut mempool, transaction), Ok(()));
    }
    let size = all[0].to_canonical().len() + all[1].to_canonical().len();
    assert_eq!(mempool.select(10, usize::MAX), all);
    assert_eq!(mempool.select(3, usize::MAX), all[..3]);
    assert_eq!(mempool.select(10, size), all[..2]);
    assert_eq!(mempool.select(10, size - 1), all[..1]);
    assert!(mempool.select(10, 0).is_empty());
}

#[test]
fn after_a_block_what_no_longer_applies_is_dropped_and_the_reason_remembered() {
    let mut mempool = mempool(limits());
    let included = propose(0, 0, 1);
    let late = sign(1, 0, Height(1), Action::ProposeUpgrade(upgrade(2)));
    let stays = propose(2, 0, 3);
    for transaction in [&included, &late, &stays] {
        assert_eq!(admit(&mut mempool, transaction), Ok(()));
    }
    let next = after(&state(), std::slice::from_ref(&included));
    mempool.committed(&next, &[included.id()]);
    assert_eq!(mempool.select(10, usize::MAX), std::slice::from_ref(&stays));
    let (code, message) = mempool.dropped(late.id()).unwrap();
    assert_eq!(code, "GOV-13.expired");
    assert!(message.contains("block 2"), "{message}");
    assert!(mempool.dropped(included.id()).is_none());
    // The same transaction in a block without having waited here: its place is taken.
    mempool.committed(&after(&next, &[propose(2, 0, 7)]), &[propose(2, 0, 7).id()]);
    assert_eq!(mempool.dropped(stays.id()).unwrap().0, "GOV-13.replay");
    invariant_books_agree(&mempool);
}

#[test]
fn reasons_are_remembered_for_a_bounded_number() {
    let mut mempool = mempool(MempoolLimits {
        remembered: 2,
        ..limits()
    });
    let late: Vec<_> = (0..4)
        .map(|sender| {
            sign(
                sender,
                0,
                Height(1),
                Action::ProposeUpgrade(upgrade(u64::from(sender))),
            )
        })
        .collect();
    for transaction in &late {
        assert_eq!(admit(&mut mempool, transaction), Ok(()));
    }
    mempool.committed(&after(&state(), &[]), &[]);
    let remembered: Vec<bool> = late
        .iter()
        .map(|one| mempool.dropped(one.id()).is_some())
        .collect();
    assert_eq!(remembered, [false, false, true, true]);
    invariant_books_agree(&mempool);
}
