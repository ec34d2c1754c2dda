//! Blocks that have been proposed and not yet decided.
//!
//! Bounded: for the height under way a few blocks, for the heights after it a few signed parts that wait until their
//! parent is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use governance::Digest;

use super::context::{ChainHeight, ProposedBlock};
use crate::engine::Block;

/// Blocks kept for the height under way. A round has one proposer, and its part is taken once; only a height with this
/// many failed rounds comes here.
const MAX_BLOCKS: usize = 64;
/// Heights ahead of ours whose parts are kept. One who is further behind catches up by sync.
const MAX_AHEAD: u64 = 4;
/// Parts kept for one height ahead: one per round, and more rounds than that are seldom.
const MAX_PARTS_AHEAD: usize = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Proposals {
    height: ChainHeight,
    blocks: BTreeMap<Digest, Arc<Block>>,
    /// Parts taken, by round and block.
    taken: BTreeSet<(u32, Digest)>,
    /// What this node has proposed, by round.
    own: BTreeMap<u32, Digest>,
    ahead: BTreeMap<(ChainHeight, u32), ProposedBlock>,
}

impl Proposals {
    /// Makes `height` the one under way.
    pub(crate) fn enter(&mut self, height: ChainHeight) {
        if height != self.height {
            self.height = height;
            self.blocks.clear();
            self.taken.clear();
            self.own.clear();
        }
    }

    /// The parts that have been waiting for `height`. Those of lower heights are forgotten.
    pub(crate) fn waiting_for(&mut self, height: ChainHeight) -> Vec<ProposedBlock> {
        let later = self
            .ahead
            .split_off(&(ChainHeight(height.0.saturating_add(1)), 0));
        let current = std::mem::replace(&mut self.ahead, later);
        current
            .into_iter()
            .filter(|((at, _), _)| *at == height)
            .map(|(_, part)| part)
            .collect()
    }

    /// Whether the part is new. A second copy would only fill the write-ahead log.
    pub(crate) fn take(&mut self, round: u32, block: Digest) -> bool {
        self.taken.len() < MAX_BLOCKS && self.taken.insert((round, block))
    }

    /// Keeps a block of the height under way.
    pub(crate) fn insert(&mut self, id: Digest, block: Arc<Block>) {
        if self.blocks.len() < MAX_BLOCKS || self.blocks.contains_key(&id) {
            self.blocks.insert(id, block);
        }
    }

    /// A block of the height under way.
    pub(crate) fn get(&self, id: &Digest) -> Option<Arc<Block>> {
        self.blocks.get(id).map(Arc::clone)
    }

    /// Remembers what this node has proposed: asked again, it must say the same.
    pub(crate) fn insert_own(&mut self, round: u32, id: Digest, block: Arc<Block>) {
        self.blocks.insert(id, block);
        self.own.insert(round, id);
    }

    /// What this node has proposed in `round`.
    pub(crate) fn own(&self, round: u32) -> Option<Arc<Block>> {
        self.own.get(&round).and_then(|id| self.get(id))
    }

    /// Keeps a signed part of a later height until its parent is committed, if it is not too far ahead.
    pub(crate) fn wait(&mut self, height: ChainHeight, round: u32, part: ProposedBlock) {
        let is_near = height.0 <= self.height.0.saturating_add(MAX_AHEAD);
        let of_height = self.ahead.range((height, 0)..=(height, u32::MAX)).count();
        if is_near && of_height < MAX_PARTS_AHEAD {
            self.ahead.entry((height, round)).or_insert(part);
        }
    }
}
