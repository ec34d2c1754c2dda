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
