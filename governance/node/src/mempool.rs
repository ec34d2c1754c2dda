//! Transactions that wait for a block: bounded in count, in bytes and per sender.
//!
//! The mempool holds the next block as it would be now: a state with every waiting transaction applied in the order of
//! arrival. A transaction is admitted exactly when it applies there, so consecutive sequence numbers of one sender may
//! wait together, and everything that a proposer takes out in order applies. After every commit the rest is applied
//! anew; what no longer applies is dropped, and the reason is remembered for a while.

use std::collections::{BTreeMap, VecDeque};

use governance::{
    PublicKey, Rejection, ReleaseVersion, SignedTransaction, State, TransactionId, VerifiedTransaction,
};

/// The mempool's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Most transactions.
    pub transactions: usize,
    /// Most canonical bytes of all transactions.
    pub bytes: usize,
    /// Most transactions of one sender.
    pub per_sender: usize,
    /// Most dropped transactions whose reason is remembered.
    pub remembered: usize,
}

impl Default for MempoolLimits {
    /// A governance chain sees a handful of transactions per upgrade: a thousand is a crowd, and re-applying them after
    /// a block takes a few milliseconds.
    fn default() -> Self {
        Self {
            transactions: 1_000,
            bytes: 4 * 1024 * 1024,
            per_sender: 64,
            remembered: 1_000,
        }
    }
}

/// The answer to a transaction that wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It waits for a block now.
    Admitted,
    /// It has been waiting already.
    AlreadyKnown,
    /// It does not apply.
    Rejected(Rejection),
    /// There is no room.
    PoolFull { limit: usize, unit: &'static str },
    /// There is no room for this sender.
    SenderLimit { limit: usize },
}

struct Waiting {
    transaction: VerifiedTransaction,
    bytes: usize,
}

/// See the module.
pub(crate) struct Mempool {
    limits: MempoolLimits,
    release: ReleaseVersion,
    /// The next block so far; `None` when this version may execute none.
    next: Option<State>,
    /// By order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    arrivals: BTreeMap<TransactionId, u64>,
    senders: BTreeMap<PublicKey, usize>,
    bytes: usize,
    next_arrival: u64,
    dropped: Dropped,
}

impl Mempool {
    pub(crate) fn new(limits: MempoolLimits, release: ReleaseVersion, state: &State) -> Self {
        let next = begin_next(state, &release);
        let dropped = Dropped {
            reasons: BTreeMap::new(),
            order: VecDeque::new(),
            limit: limits.remembered,
        };
        Self {
            limits,
            release,
            next,
            waiting: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            senders: BTreeMap::new(),
            bytes: 0,
            next_arrival: 0,
            dropped,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn contains(&self, id: TransactionId) -> bool {
        self.arrivals.contains_key(&id)
    }

    /// Why a transaction was dropped, if that is remembered: code and text.
    pub(crate) fn dropped(&self, id: TransactionId) -> Option<&(String, String)> {
        self.dropped.reasons.get(&id)
    }

    /// Lets a transaction wait, if it applies and there is room.
    pub(crate) fn admit(&mut self, transaction: VerifiedTransaction) -> Admission {
        if self.contains(transaction.id()) {
            return Admission::AlreadyKnown;
        }
        let bytes = transaction.signed().to_canonical().len();
        if self.waiting.len() >= self.limits.transactions {
            return Admission::PoolFull {
                limit: self.limits.transactions,
                unit: "transactions",
            };
        }
        if self.bytes.saturating_add(bytes) > self.limits.bytes {
            return Admission::PoolFull {
                limit: self.limits.bytes,
                unit: "bytes",
            };
        }
        let of_sender = self
            .senders
            .get(transaction.sender())
            .copied()
            .unwrap_or_default();
        if of_sender >= self.limits.per_sender {
            return Admission::SenderLimit {
                limit: self.limits.per_sender,
            };
        }
        let Some(next) = &mut self.next else {
            return Admission::Rejected(Rejection::NoOpenBlock);
        };
        if let Err(rejection) = next.apply(&transaction) {
            return Admission::Rejected(rejection);
        }
        self.dropped.forget(transaction.id());
        self.insert(transaction, bytes);
        Admission::Admitted
    }

    /// The oldest transactions that fit, in the order in which they apply.
    pub(crate) fn select(&self, transactions: usize, bytes: usize) -> Vec<SignedTransaction> {
        let mut size = 0usize;
        let fits = |waiting: &&Waiting| {
            size = size.saturating_add(waiting.bytes);
            size <= bytes
        };
        let oldest = self.waiting.values().take(transactions).take_while(fits);
        oldest
            .map(|waiting| waiting.transaction.signed().clone())
            .collect()
    }

    /// Goes on after a block: its transactions leave, the others are applied anew to the new state.
    pub(crate) fn committed(&mut self, state: &State, included: &[TransactionId]) {
        for id in included {
            self.arrivals.remove(id);
            self.dropped.forget(*id);
        }
        self.next = begin_next(state, &self.release);
        self.senders.clear();
        self.bytes = 0;
        for (arrival, waiting) in std::mem::take(&mut self.waiting) {
            let id = waiting.transaction.id();
            if self.arrivals.get(&id) != Some(&arrival) {
                continue;
            }
            let Some(next) = &mut self.next else {
                // Halted: what waits is kept and judged by nobody until the new version starts with an empty mempool.
                self.keep(arrival, waiting);
                continue;
            };
            match next.apply(&waiting.transaction) {
                Ok(_) => self.keep(arrival, waiting),
                Err(rejection) => {
                    self.arrivals.remove(&id);
                    self.dropped.remember(id, &rejection);
                }
            }
        }
    }

    fn insert(&mut self, transaction: VerifiedTransaction, bytes: usize) {
        let arrival = self.next_arrival;
        self.next_arrival = self.next_arrival.saturating_add(1);
        self.arrivals.insert(transaction.id(), arrival);
        self.keep(arrival, Waiting { transaction, bytes });
    }

    fn keep(&mut self, arrival: u64, waiting: Waiting) {
        let count = self.senders.entry(*waiting.transaction.sender()).or_default();
        *count = count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(waiting.bytes);
        self.waiting.insert(arrival, waiting);
    }
}

/// The next block, open and empty; `None` when this version may not execute it.
fn begin_next(state: &State, release: &ReleaseVersion) -> Option<State> {
    let mut next = state.clone();
    let height = state.height().next()?;
    next.begin_block(height, release).ok()?;
    Some(next)
}

/// The last transactions that were dropped, and why.
struct Dropped {
    reasons: BTreeMap<TransactionId, (String, String)>,
    order: VecDeque<TransactionId>,
    limit: usize,
}

impl Dropped {
    fn remember(&mut self, id: TransactionId, rejection: &Rejection) {
        self.forget(id);
        self.reasons
            .insert(id, (rejection.code().to_owned(), rejection.to_string()));
        self.order.push_back(id);
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.reasons.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, id: TransactionId) {
        if self.reasons.remove(&id).is_some() {
            self.order.retain(|known| *known != id);
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn admit(mempool: &mut Mempool, transaction: &SignedTransaction) -> Admission {
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
            assert_eq!(
                admit(&mut mempool, &propose(0, sequence, sequence)),
                Admission::Admitted
            );
        }
        let gap = admit(&mut mempool, &propose(1, 1, 9));
        assert_eq!(
            gap,
            Admission::Rejected(Rejection::SequenceGap {
                expected: 0,
                found: 1
            })
        );
        let replay = admit(&mut mempool, &propose(0, 2, 9));
        assert_eq!(
            replay,
            Admission::Rejected(Rejection::Replayed {
                expected: 3,
                found: 2
            })
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
            Admission::Rejected(Rejection::UnknownProposal { proposal })
        );
        assert_eq!(admit(&mut mempool, &propose(0, 0, 1)), Admission::Admitted);
        assert_eq!(admit(&mut mempool, &vote), Admission::Admitted);
    }

    #[test]
    fn duplicates_are_told() {
        let mut mempool = mempool(limits());
        assert_eq!(admit(&mut mempool, &propose(0, 0, 1)), Admission::Admitted);
        assert_eq!(admit(&mut mempool, &propose(0, 0, 1)), Admission::AlreadyKnown);
        assert_eq!(mempool.len(), 1);
    }

    #[test]
    fn every_bound_holds() {
        let mut few = mempool(MempoolLimits {
            transactions: 1,
            ..limits()
        });
        assert_eq!(admit(&mut few, &propose(0, 0, 1)), Admission::Admitted);
        assert_eq!(
            admit(&mut few, &propose(1, 0, 2)),
            Admission::PoolFull {
                limit: 1,
                unit: "transactions"
            }
        );

        let size = propose(0, 0, 1).to_canonical().len();
        let mut small = mempool(MempoolLimits {
            bytes: 2 * size - 1,
            ..limits()
        });
        assert_eq!(admit(&mut small, &propose(0, 0, 1)), Admission::Admitted);
        assert_eq!(
            admit(&mut small, &propose(1, 0, 2)),
            Admission::PoolFull {
                limit: 2 * size - 1,
                unit: "bytes"
            }
        );

        let mut fair = mempool(MempoolLimits {
            per_sender: 2,
            ..limits()
        });
        assert_eq!(admit(&mut fair, &propose(0, 0, 1)), Admission::Admitted);
        assert_eq!(admit(&mut fair, &propose(0, 1, 2)), Admission::Admitted);
        assert_eq!(
            admit(&mut fair, &propose(0, 2, 3)),
            Admission::SenderLimit { limit: 2 }
        );
        assert_eq!(admit(&mut fair, &propose(1, 0, 4)), Admission::Admitted);
    }

    #[test]
    fn a_selection_is_a_prefix_that_fits() {
        let mut mempool = mempool(limits());
        let all: Vec<_> = (0..4)
            .map(|sender| propose(sender, 0, u64::from(sender)))
            .collect();
        for transaction in &all {
            assert_eq!(admit(&mut mempool, transaction), Admission::Admitted);
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
            assert_eq!(admit(&mut mempool, transaction), Admission::Admitted);
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
            assert_eq!(admit(&mut mempool, transaction), Admission::Admitted);
        }
        mempool.committed(&after(&state(), &[]), &[]);
        let remembered: Vec<bool> = late
            .iter()
            .map(|one| mempool.dropped(one.id()).is_some())
            .collect();
        assert_eq!(remembered, [false, false, true, true]);
        invariant_books_agree(&mempool);
    }
}
