//! The borders of a block: which version may execute it, and what its end decides.

use alloc::borrow::ToOwned as _;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::bytes::ProposalId;
use crate::certificate::Certificate;
use crate::change::{ParametersChange, ValidatorsChange};
use crate::error::Rejection;
use crate::event::Event;
use crate::numbers::Height;
use crate::proposal::{Phase, Proposal, Subject};
use crate::state::State;
use crate::tally::Tally;
use crate::validators::ValidatorSet;
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
        self.new_certificates = Arc::default();
        self.just_ended = Arc::default();
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

    /// Ends the open block: carries out cancels, latches outcomes, changes validators and parameters, halts. Without an
    /// open block nothing happens.
    #[must_use]
    pub fn end_block(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.block_is_open {
            return events;
        }
        let mut certificates = Vec::new();
        self.carry_out_cancels(&mut certificates, &mut events);
        self.latch(&mut certificates, &mut events);
        self.carry_out_changes(&mut events);
        self.new_certificates = Arc::new(certificates);
        self.block_is_open = false;
        self.seal();
        if let Some(halt) = self.halt() {
            events.push(Event::UpgradeHalted {
                proposal_id: halt.proposal,
                height: halt.height,
                version: halt.version,
            });
        }
        events
    }

    /// GOV-10.
    fn latch(&mut self, certificates: &mut Vec<Certificate>, events: &mut Vec<Event>) {
        let height = self.height;
        for id in self.live_ids(|proposal| proposal.phase.is_open() && proposal.votes_close_height <= height)
        {
            let certificate = self.certificate(&id);
            let latched = if certificate.is_some() {
                Phase::LockedIn
            } else {
                Phase::Expired
            };
            certificates.extend(certificate);
            self.enter(id, latched, events);
        }
    }

    /// GOV-11: an approved cancel proposal takes effect at the end of the block.
    fn carry_out_cancels(&mut self, certificates: &mut Vec<Certificate>, events: &mut Vec<Event>) {
        for id in self.live_ids(|proposal| proposal.phase == Phase::Approved) {
            let Some(live) = self.live.get(&id) else { continue };
            let Subject::Cancel { target } = live.proposal.subject else {
                continue;
            };
            certificates.push(Certificate::of(&self.chain_id, live, self.height));
            self.enter(id, Phase::Executed, events);
            self.enter(target, Phase::Cancelled, events);
        }
    }

    /// GOV-12: of the locked-in changes of this height the earliest submitted one that still fits takes effect, and the
    /// others are superseded.
    fn carry_out_changes(&mut self, events: &mut Vec<Event>) {
        let height = Some(self.height);
        let due = |proposal: &Proposal| {
            proposal.phase == Phase::LockedIn
                && proposal.upgrade().is_none()
                && proposal.subject.height() == height
        };
        let mut changed = false;
        for id in self.live_ids(due) {
            let Some(live) = self.live.get(&id).cloned() else {
                continue;
            };
            let outcome = match &live.proposal.subject {
                Subject::Validators(change) if !changed => self.carry_out_validators(id, change, events),
                Subject::Parameters(change) if !changed => self.carry_out_parameters(id, change, events),
                Subject::Validators(_)
                | Subject::Parameters(_)
                | Subject::Upgrade(_)
                | Subject::Cancel { .. } => {
                    self.enter(id, Phase::Superseded, events);
                    continue;
                }
            };
            match outcome {
                Ok(()) => changed = true,
                Err(rejection) => {
                    events.push(Event::ChangeDropped {
                        proposal_id: id,
                        code: rejection.code().to_owned(),
                        message: rejection.to_string(),
                    });
                    self.enter(id, Phase::Superseded, events);
                }
            }
        }
    }

    fn carry_out_validators(
        &mut self,
        id: ProposalId,
        change: &ValidatorsChange,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejection> {
        let after = self.validators.changed(&change.changes)?;
        let before = core::mem::replace(&mut self.validators, after);
        self.changed(id, events);
        events.push(Event::ValidatorsChanged {
            proposal_id: id,
            validators: u64::try_from(self.validators.len()).unwrap_or(u64::MAX),
            total_power: self.validators.total_power(),
        });
        for change in &change.changes {
            let validator = change.validator();
            let key = |set: &ValidatorSet| set.get(&validator).map(|validator| validator.governance_key);
            let now = key(&self.validators);
            let Some(mut account) = self.accounts.get(&validator).copied() else {
                continue;
            };
            if now.is_none() {
                account.reporter = None;
            }
            if now != key(&before) {
                for id in self.live_ids(|proposal| proposal.phase.is_open()) {
                    if self.ballot(&id, &validator).is_some() {
                        self.drop_ballot(&validator, &mut account, id);
                        events.push(Event::BallotLapsed {
                            proposal_id: id,
                            validator_id: validator,
                        });
                    }
                }
            }
            if self.accounts.get(&validator) != Some(&account) {
                self.accounts.insert(validator, account);
            }
        }
        self.recount(events);
        Ok(())
    }

    fn carry_out_parameters(
        &mut self,
        id: ProposalId,
        change: &ParametersChange,
        events: &mut Vec<Event>,
    ) -> Result<(), Rejection> {
        self.parameters = self.parameters.changed(&change.parameters)?;
        self.changed(id, events);
        events.push(Event::ParametersChanged {
            proposal_id: id,
            parameters: self.parameters,
        });
        self.recount(events);
        Ok(())
    }

    fn changed(&mut self, id: ProposalId, events: &mut Vec<Event>) {
        self.executed_changes = self.executed_changes.saturating_add(1);
        self.enter(id, Phase::Executed, events);
    }

    /// GOV-07: counts every ballot that still counts with the powers and the threshold now in force.
    fn recount(&mut self, events: &mut Vec<Event>) {
        for id in self.live_ids(|proposal| proposal.phase.is_open()) {
            if let Some(live) = self.live.get_mut(&id) {
                let live = Arc::make_mut(live);
                let choices = live.ballots.iter().map(|(id, ballot)| (id, ballot.choice));
                live.proposal.tally = Tally::count(choices, &self.validators, &self.parameters);
            }
            self.settle(id, events);
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
            let Some(Subject::Cancel { target }) = self.live.get(&id).map(|live| &live.proposal.subject)
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
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let from = live.proposal.phase;
        if !from.may_become(to) {
            return;
        }
        let live = Arc::make_mut(live);
        live.proposal.phase = to;
        events.push(Event::ProposalPhaseChanged {
            proposal_id: id,
            from,
            to,
        });
        if to.is_live() {
            return;
        }
        live.proposal.ended_height = Some(self.height);
        live.seal();
        Arc::make_mut(&mut self.history).push(live.proposal.clone());
        if let Some(live) = self.live.remove(&id) {
            Arc::make_mut(&mut self.just_ended).push(live);
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
