//! Transactions that wait for a block: bounded in count, in bytes and per sender.
//!
//! The mempool holds the next block as it would be now: a state with every waiting transaction applied in the order of
//! arrival. A transaction is admitted exactly when it applies there, so consecutive sequence numbers of one sender may
//! wait together, and everything that a proposer takes out in order applies. After every commit the rest is applied
//! anew; what no longer applies is dropped, and the reason is remembered for a while.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use governance::{
    Action, PublicKey, Rejection, ReleaseVersion, SignedTransaction, State, TransactionId,
    VerifiedTransaction,
};

/// The mempool's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Most transactions.
    pub transactions: usize,
    /// Most canonical bytes of all transactions.
    pub bytes: usize,
    /// Most transactions of one governance key.
    pub per_sender: usize,
    /// Most reports of one reporter key.
    pub per_reporter: usize,
    /// Most dropped transactions whose reason is remembered.
    pub remembered: usize,
}

impl Default for MempoolLimits {
    /// A governance chain sees a handful of transactions per upgrade and validator: four thousand are what fills four
    /// blocks, and re-applying them after each takes some ten milliseconds. A validator that sends 64 at once is a
    /// program; a host has two reports per upgrade to make.
    fn default() -> Self {
        Self {
            transactions: 4_096,
            bytes: 4 * 1024 * 1024,
            per_sender: 64,
            per_reporter: 8,
            remembered: 1_000,
        }
    }
}

/// Why a transaction may not wait here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// It has been waiting already.
    AlreadyKnown(TransactionId),
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
    pub(crate) fn admit(&mut self, transaction: VerifiedTransaction) -> Result<(), NotAdmitted> {
        let bytes = self.room_for(transaction.signed())?;
        let Some(next) = &mut self.next else {
            return Err(NotAdmitted::Rejected(Rejection::NoOpenBlock));
        };
        next.apply(&transaction).map_err(NotAdmitted::Rejected)?;
        self.dropped.forget(transaction.id());
        self.insert(transaction, bytes);
        Ok(())
    }

    /// Whether the transaction is new and there is room for it, whatever its signature is worth: its canonical bytes.
    pub(crate) fn room_for(&self, transaction: &SignedTransaction) -> Result<usize, NotAdmitted> {
        let id = transaction.id();
        if self.contains(id) {
            return Err(NotAdmitted::AlreadyKnown(id));
        }
        if self.waiting.len() >= self.limits.transactions {
            return Err(NotAdmitted::PoolFull {
                limit: self.limits.transactions,
                unit: "transactions",
            });
        }
        let bytes = transaction.to_canonical().len();
        if self.bytes.saturating_add(bytes) > self.limits.bytes {
            return Err(NotAdmitted::PoolFull {
                limit: self.limits.bytes,
                unit: "bytes",
            });
        }
        let limit = match &transaction.transaction.action {
            Action::ReportReadiness { .. } => self.limits.per_reporter,
            Action::ProposeUpgrade(_)
            | Action::ProposeCancel { .. }
            | Action::Vote { .. }
            | Action::Withdraw { .. }
            | Action::ProposeValidators(_)
            | Action::ProposeParameters(_)
            | Action::AuthorizeReporter { .. } => self.limits.per_sender,
        };
        let of_sender = self
            .senders
            .get(&transaction.public_key)
            .copied()
            .unwrap_or_default();
        if of_sender >= limit {
            return Err(NotAdmitted::SenderLimit { limit });
        }
        Ok(bytes)
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
