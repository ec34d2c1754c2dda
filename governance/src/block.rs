//! The borders of a block: which version may execute it, and what its end decides.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::bytes::ProposalId;
use crate::event::Event;
use crate::numbers::Height;
use crate::proposal::{Phase, Proposal, Subject};
use crate::state::{MAX_ENDED_PROPOSALS, State};
use crate::version::ReleaseVersion;

/// Why a block cannot begin. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefusal {
    /// The chain has gone on to a newer version.
    #[error(
        "block {height} must be executed by the newer version {required}, this is {running}: start {required}"
    )]
    NewerVersionRequired {
        /// The next block.
        height: Height,
        /// The version that the state names.
        required: ReleaseVersion,
        /// The version that asked.
        running: ReleaseVersion,
    },
    /// The chain has not come to this version yet.
    #[error(
        "block {height} must be executed by the older version {required}, this is {running}: start {required}"
    )]
    OlderVersionRequired {
        /// The next block.
        height: Height,
        /// The version that the state names.
        required: ReleaseVersion,
        /// The version that asked.
        running: ReleaseVersion,
    },
    /// Blocks have no gaps.
    #[error("the next block has height {expected}, found {found}")]
    UnexpectedHeight {
        /// The only height that can begin.
        expected: Height,
        /// The height that was to begin.
        found: Height,
    },
    /// The previous block has not ended.
    #[error("block {height} is still open: end it first")]
    BlockOpen {
        /// The open block.
        height: Height,
    },
    /// The last height that the type can hold has been executed.
    #[error("block {height} is the last possible one")]
    HeightExhausted {
        /// That height.
        height: Height,
    },
}

impl State {
    /// Whether `running` may execute the next block. A node asks at its start, and executes nothing otherwise.
    pub fn check_version(&self, running: &ReleaseVersion) -> Result<(), BlockRefusal> {
        let Some(height) = self.height.next() else {
            return Err(BlockRefusal::HeightExhausted { height: self.height });
        };
        let required = self.next_block_version().clone();
        let running = running.clone();
        match required.cmp(&running) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(BlockRefusal::NewerVersionRequired {
                height,
                required,
                running,
            }),
            Ordering::Less => Err(BlockRefusal::OlderVersionRequired {
                height,
                required,
                running,
            }),
        }
    }

    /// Begins the block at `height`, executed by the version `running`. At H + 1 this activates the upgrade.
    pub fn begin_block(
        &mut self,
        height: Height,
        running: &ReleaseVersion,
    ) -> Result<Vec<Event>, BlockRefusal> {
        if self.block_is_open {
            return Err(BlockRefusal::BlockOpen { height: self.height });
        }
        let Some(expected) = self.height.next() else {
            return Err(BlockRefusal::HeightExhausted { height: self.height });
        };
        if height != expected {
            return Err(BlockRefusal::UnexpectedHeight {
                expected,
                found: height,
            });
        }
        self.check_version(running)?;

        let halt = self.halt();
        self.height = height;
        self.block_is_open = true;
        let mut events = Vec::new();
        if let Some(halt) = halt {
            let from = core::mem::replace(&mut self.version, halt.version.clone());
            events.push(Event::UpgradeActivated {
                proposal_id: halt.proposal,
                from,
                to: halt.version,
            });
            self.enter(halt.proposal, Phase::Executed, &mut events);
            self.supersede(&mut events);
        }
        Ok(events)
    }

    /// Ends the open block: recounts, carries out cancels, latches outcomes, halts. Without an open block nothing happens.
    #[must_use]
    pub fn end_block(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.block_is_open {
            return events;
        }
        for id in self.live_ids(|_| true) {
            self.settle(id, &mut events);
        }
        self.carry_out_cancels(&mut events);
        // GOV-10.
        let height = self.height;
        for id in self.live_ids(|proposal| proposal.phase.is_open() && proposal.votes_close_height <= height)
        {
            let approved = self
                .live
                .get(&id)
                .is_some_and(|proposal| proposal.phase == Phase::Approved);
            self.enter(
                id,
                if approved { Phase::LockedIn } else { Phase::Expired },
                &mut events,
            );
        }
        self.block_is_open = false;
        if let Some(halt) = self.halt() {
            events.push(Event::UpgradeHalted {
                proposal_id: halt.proposal,
                height: halt.height,
                version: halt.version,
            });
        }
        events
    }

    /// GOV-11: an approved cancel proposal takes effect at the end of the block.
    fn carry_out_cancels(&mut self, events: &mut Vec<Event>) {
        for id in self.live_ids(|proposal| proposal.phase == Phase::Approved) {
            let Some(Subject::Cancel { target }) = self.live.get(&id).map(|proposal| &proposal.subject)
            else {
                continue;
            };
            let target = *target;
            self.enter(id, Phase::Executed, events);
            self.enter(target, Phase::Cancelled, events);
        }
    }

    /// GOV-09: what an executed upgrade leaves behind: the other approved upgrades, those that no longer rise above the
    /// running version, and cancels of what has ended.
    fn supersede(&mut self, events: &mut Vec<Event>) {
        let running = self.version.clone();
        let upgrades = self.live_ids(|proposal| {
            proposal.upgrade().is_some_and(|upgrade| {
                upgrade.version <= running || matches!(proposal.phase, Phase::Approved | Phase::LockedIn)
            })
        });
        for id in upgrades {
            self.enter(id, Phase::Superseded, events);
        }
        for id in self.live_ids(|proposal| proposal.upgrade().is_none()) {
            let Some(Subject::Cancel { target }) = self.live.get(&id).map(|proposal| &proposal.subject)
            else {
                continue;
            };
            if !self.live.contains_key(target) {
                self.enter(id, Phase::Superseded, events);
            }
        }
    }

    /// Moves a live proposal to another phase, and to the history when that ends it.
    pub(crate) fn enter(&mut self, id: ProposalId, to: Phase, events: &mut Vec<Event>) {
        let Some(proposal) = self.live.get_mut(&id) else {
            return;
        };
        let from = proposal.phase;
        if !from.may_become(to) {
            return;
        }
        proposal.phase = to;
        events.push(Event::ProposalPhaseChanged {
            proposal_id: id,
            from,
            to,
        });
        if to.is_live() {
            return;
        }
        proposal.ended_height = Some(self.height);
        if let Some(proposal) = self.live.remove(&id) {
            self.ended.push_back(proposal);
        }
        // GOV-14.
        while self.ended.len() > MAX_ENDED_PROPOSALS {
            self.ended.pop_front();
        }
    }

    /// The ids of the live proposals that `wanted` picks, in order of submission.
    fn live_ids(&self, wanted: impl Fn(&Proposal) -> bool) -> Vec<ProposalId> {
        self.live_proposals()
            .filter(|proposal| wanted(proposal))
            .map(|proposal| proposal.id)
            .collect()
    }
}
