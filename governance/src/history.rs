//! The proposals that have ended: the last thousand whole, all of them as one hash.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use crate::bytes::{Digest, ProposalId};
use crate::encoding;
use crate::proposal::Proposal;
use crate::state::MAX_ENDED_PROPOSALS;

/// See the module. Proposals are numbered from 0 in the order of their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// How many have ended before the oldest one kept.
    forgotten: u64,
    /// The hash over those.
    base: Digest,
    /// The hash over all.
    head: Digest,
    kept: VecDeque<Arc<Proposal>>,
    numbers: BTreeMap<ProposalId, u64>,
}

impl Default for History {
    fn default() -> Self {
        Self::after(0, Digest([0; 32]))
    }
}

impl History {
    /// A history of which the first `forgotten` proposals are known as the hash `base` only.
    pub(crate) const fn after(forgotten: u64, base: Digest) -> Self {
        Self {
            forgotten,
            base,
            head: base,
            kept: VecDeque::new(),
            numbers: BTreeMap::new(),
        }
    }

    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) const fn base(&self) -> Digest {
        self.base
    }

    /// The hash over all that have ever ended.
    pub(crate) const fn head(&self) -> Digest {
        self.head
    }

    /// How many have ever ended.
    pub(crate) fn count(&self) -> u64 {
        self.forgotten
            .saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Proposal> + ExactSizeIterator {
        self.kept.iter().map(AsRef::as_ref)
    }

    /// With their numbers, from `first` on.
    pub(crate) fn numbered_from(&self, first: u64) -> impl Iterator<Item = (u64, &Proposal)> {
        let skipped = usize::try_from(first.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        (self.forgotten.max(first)..).zip(self.iter().skip(skipped))
    }

    pub(crate) fn get(&self, id: &ProposalId) -> Option<&Proposal> {
        let place = self.numbers.get(id)?.checked_sub(self.forgotten)?;
        self.kept.get(usize::try_from(place).ok()?).map(AsRef::as_ref)
    }

    /// One more has ended. GOV-14: the oldest one is forgotten when there are too many.
    pub(crate) fn push(&mut self, proposal: Proposal) {
        self.head = link(self.head, &proposal);
        self.numbers.insert(proposal.id, self.count());
        self.kept.push_back(Arc::new(proposal));
        if self.kept.len() > MAX_ENDED_PROPOSALS
            && let Some(oldest) = self.kept.pop_front()
        {
            self.base = link(self.base, &oldest);
            self.numbers.remove(&oldest.id);
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }
}

fn link(before: Digest, proposal: &Proposal) -> Digest {
    encoding::tagged_blake3(encoding::ENDED_TAG, &(before, proposal.record()))
}
