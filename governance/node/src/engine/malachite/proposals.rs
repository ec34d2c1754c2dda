//! Blocks that have been proposed and not yet decided.
//!
//! Bounded, also against peers who send what they like: for the height under way two blocks per round, in a window of
//! rounds that moves with consensus; for the heights after it a few parts that wait until their parent is committed.
//!
//! Who proposes at a later height is known only when the height before it is committed: the validator set may change in
//! between. So a part that waits is judged when its height begins. Until then one place per round is kept for a part
//! that today's set would accept, and a few more for parts of proposers whom today's set does not know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use governance::Digest;

use super::context::{ChainHeight, ProposedBlock};
use crate::engine::Block;

/// Blocks taken per round: one, and a second that proves to consensus that the proposer says two things.
const MAX_BLOCKS_PER_ROUND: usize = 2;
/// Rounds whose blocks are kept. A block from further back that is still wanted is proposed, and sent, again.
const MAX_ROUNDS: usize = 32;
/// Rounds ahead of consensus whose blocks are taken: the others may be that much faster, not more.
const MAX_ROUNDS_AHEAD: u32 = 8;
/// Heights ahead of ours whose parts are kept. One who is further behind catches up by sync.
const MAX_HEIGHTS_AHEAD: u64 = 4;
/// Parts of later heights that today's validator set does not accept: about 4 MiB. They matter around a change of the set
/// alone; who floods these places costs the rounds after a change some time, and nothing else.
const MAX_UNKNOWN_AHEAD: usize = 16;

/// See the module.
#[derive(Default)]
pub(crate) struct Proposals {
    height: ChainHeight,
    /// The round that consensus is in.
    round: u32,
    blocks: BTreeMap<Digest, Arc<Block>>,
    /// The blocks of each round.
    taken: BTreeMap<u32, Vec<Digest>>,
    /// What this node has proposed, by round.
    own: BTreeMap<u32, Digest>,
    /// By height and round: accepted under the set of the height under way.
    ahead: BTreeMap<(ChainHeight, u32), ProposedBlock>,
    /// Not accepted under that set, oldest first.
    unknown: VecDeque<ProposedBlock>,
}

/// What the validator set of the height under way says about a part of a later height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It would be its proposer's turn, and the signature is right.
    Accepted,
    /// It would not be accepted; under a changed set it may.
    Unknown,
}

impl Proposals {
    /// Makes `height` the one under way.
    pub(crate) fn enter(&mut self, height: ChainHeight) {
        if height != self.height {
            let ahead = std::mem::take(&mut self.ahead);
            let unknown = std::mem::take(&mut self.unknown);
            *self = Self {
                height,
                ahead,
                unknown,
                ..Self::default()
            };
        }
    }

    /// Follows consensus into a round of the height under way.
    pub(crate) fn enter_round(&mut self, round: u32) {
        self.round = round;
    }

    /// The parts that have been waiting for `height`, to be judged now. Those of lower heights are forgotten.
    pub(crate) fn waiting_for(&mut self, height: ChainHeight) -> Vec<ProposedBlock> {
        let later = self
            .ahead
            .split_off(&(ChainHeight(height.0.saturating_add(1)), 0));
        let current = std::mem::replace(&mut self.ahead, later);
        let accepted = current.into_values();
        let (unknown, later): (VecDeque<_>, _) = std::mem::take(&mut self.unknown)
            .into_iter()
            .partition(|part| ChainHeight::from(part.block.height) <= height);
        self.unknown = later;
        accepted
            .chain(unknown)
            .filter(|part| ChainHeight::from(part.block.height) == height)
            .collect()
    }

    /// Takes the block of a round, if it is new and within bounds. A second copy would only fill the write-ahead log.
    pub(crate) fn take(&mut self, round: u32, id: Digest, block: Arc<Block>) -> bool {
        let known = self.taken.get(&round).map_or(&[][..], Vec::as_slice);
        let is_wanted = round <= self.round.saturating_add(MAX_ROUNDS_AHEAD)
            && known.len() < MAX_BLOCKS_PER_ROUND
            && !known.contains(&id);
        if is_wanted {
            self.keep(round, id, block);
        }
        is_wanted
    }

    /// Keeps a block of a round whatever the bounds say: consensus is about to decide it, or this node has proposed it.
    pub(crate) fn keep(&mut self, round: u32, id: Digest, block: Arc<Block>) {
        let of_round = self.taken.entry(round).or_default();
        if !of_round.contains(&id) {
            of_round.push(id);
        }
        self.blocks.insert(id, block);
        while self.taken.len() > MAX_ROUNDS {
            // The oldest round, unless that is the one just added.
            let Some(oldest) = self.taken.keys().find(|other| **other != round).copied() else {
                break;
            };
            self.taken.remove(&oldest);
            self.own.remove(&oldest);
            self.blocks
                .retain(|id, _| self.taken.values().any(|of_round| of_round.contains(id)));
        }
    }

    /// A block of the height under way.
    pub(crate) fn get(&self, id: &Digest) -> Option<Arc<Block>> {
        self.blocks.get(id).map(Arc::clone)
    }

    /// Remembers what this node has proposed: asked again, it must say the same.
    pub(crate) fn keep_own(&mut self, round: u32, id: Digest, block: Arc<Block>) {
        self.keep(round, id, block);
        self.own.insert(round, id);
    }

    /// What this node has proposed in `round`.
    pub(crate) fn own(&self, round: u32) -> Option<Arc<Block>> {
        self.own.get(&round).and_then(|id| self.get(id))
    }

    /// Keeps a part of a later height until its parent is committed, if it is not too far ahead.
    pub(crate) fn wait(&mut self, round: u32, part: ProposedBlock, standing: Standing) {
        let height = ChainHeight::from(part.block.height);
        let is_near = height > self.height && height.0 <= self.height.0.saturating_add(MAX_HEIGHTS_AHEAD);
        if !is_near || round > MAX_ROUNDS_AHEAD {
            return;
        }
        match standing {
            Standing::Accepted => {
                self.ahead.entry((height, round)).or_insert(part);
            }
            Standing::Unknown => {
                if self.unknown.contains(&part) {
                    return;
                }
                // The newest are kept: what was sent long before its height is the more likely to be junk.
                while self.unknown.len() >= MAX_UNKNOWN_AHEAD {
                    self.unknown.pop_front();
                }
                self.unknown.push_back(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::core::Round;
    use governance::{Height, Signature};

    use super::super::context::Address;
    use super::*;

    fn block(height: u64, number: u8) -> (Digest, Arc<Block>) {
        let block = Block {
            height: Height(height),
            parent_state_root: Digest([number; 32]),
            transactions: Vec::new(),
        };
        (block.id(), Arc::new(block))
    }

    fn take(proposals: &mut Proposals, round: u32, number: u8) -> bool {
        let (id, block) = block(5, number);
        proposals.take(round, id, block)
    }

    fn part(height: u64, round: u32) -> ProposedBlock {
        ProposedBlock {
            round: Round::new(round),
            valid_round: Round::Nil,
            proposer: Address([0; 20]),
            block: block(height, 0).1,
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn a_round_takes_two_blocks_once_each() {
        let mut proposals = Proposals::default();
        proposals.enter(ChainHeight(5));
        assert!(take(&mut proposals, 0, 1));
        assert!(!take(&mut proposals, 0, 1), "known");
        assert!(take(&mut proposals, 0, 2));
        assert!(!take(&mut proposals, 0, 3), "a third");
        assert!(take(&mut proposals, 1, 1), "proposed again in another round");
        assert!(!take(&mut proposals, MAX_ROUNDS_AHEAD + 1, 4), "too far ahead");
        proposals.enter_round(1);
        assert!(take(&mut proposals, MAX_ROUNDS_AHEAD + 1, 4));
    }

    #[test]
    fn however_many_rounds_fail_the_newest_blocks_are_there() {
        let mut proposals = Proposals::default();
        proposals.enter(ChainHeight(5));
        for round in 0..200 {
            proposals.enter_round(round);
            assert!(take(&mut proposals, round, u8::try_from(round).unwrap()));
            assert!(proposals.get(&block(5, u8::try_from(round).unwrap()).0).is_some());
        }
        assert_eq!(proposals.blocks.len(), MAX_ROUNDS);
        let (id, first) = block(5, 0);
        assert!(proposals.get(&id).is_none());
        proposals.keep(0, id, first);
        assert!(
            proposals.get(&id).is_some(),
            "decided by sync in a round long past"
        );
    }

    #[test]
    fn a_new_height_forgets_the_old_one_and_remembers_what_waits() {
        let mut proposals = Proposals::default();
        proposals.enter(ChainHeight(5));
        let (id, of_five) = block(5, 1);
        proposals.keep_own(0, id, of_five);
        assert!(proposals.own(0).is_some());
        for height in 5..=11 {
            proposals.wait(0, part(height, 0), Standing::Accepted);
        }
        let far = part(6, MAX_ROUNDS_AHEAD + 1);
        proposals.wait(MAX_ROUNDS_AHEAD + 1, far, Standing::Accepted);
        assert_eq!(proposals.ahead.len(), 4, "heights 6 to 9");
        proposals.enter(ChainHeight(7));
        assert!(proposals.own(0).is_none() && proposals.get(&id).is_none());
        let waiting = proposals.waiting_for(ChainHeight(7));
        assert_eq!(
            waiting.iter().map(|part| part.block.height.0).collect::<Vec<_>>(),
            [7]
        );
        assert!(proposals.waiting_for(ChainHeight(6)).is_empty(), "forgotten");
        assert_eq!(proposals.ahead.len(), 2);
    }

    #[test]
    fn parts_of_unknown_proposers_wait_in_places_of_their_own() {
        let mut proposals = Proposals::default();
        proposals.enter(ChainHeight(5));
        proposals.wait(0, part(6, 0), Standing::Accepted);
        for number in 0..=u8::try_from(MAX_UNKNOWN_AHEAD).unwrap() {
            let mut stranger = part(6 + u64::from(number % 2), 0);
            stranger.proposer = Address([number + 1; 20]);
            proposals.wait(0, stranger.clone(), Standing::Unknown);
            proposals.wait(0, stranger, Standing::Unknown);
        }
        assert_eq!(proposals.unknown.len(), MAX_UNKNOWN_AHEAD);
        proposals.enter(ChainHeight(6));
        let waiting = proposals.waiting_for(ChainHeight(6));
        assert_eq!(waiting.len(), 1 + MAX_UNKNOWN_AHEAD / 2);
        assert_eq!(
            waiting[0],
            part(6, 0),
            "what today's set accepted is judged first"
        );
        assert_eq!(proposals.unknown.len(), MAX_UNKNOWN_AHEAD / 2);
        assert!(proposals.waiting_for(ChainHeight(8)).is_empty());
        assert!(proposals.unknown.is_empty());
    }
}
