//! A transaction in a block: check everything, then write (GOV-15).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::bytes::{ProposalId, ValidatorId};
use crate::error::Rejection;
use crate::event::Event;
use crate::numbers::Height;
use crate::proposal::{Phase, Proposal, Subject};
use crate::state::{MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, State};
use crate::tally::{Outcome, Tally};
use crate::tx::{Action, VerifiedTransaction};
use crate::upgrade::{MAX_LEAD_BLOCKS, Upgrade};
use crate::vote::{Ballot, Choice};

/// A transaction that has passed every check, with all that writing it needs.
struct Accepted {
    sender: ValidatorId,
    next_sequence: u64,
    change: Change,
}

/// What a transaction does to the proposals.
enum Change {
    Submit {
        subject: Subject,
        id: ProposalId,
        votes_close_height: Height,
    },
    Cast {
        proposal: ProposalId,
        choice: Choice,
    },
    Withdraw {
        proposal: ProposalId,
    },
}

impl State {
    /// Whether the transaction would be accepted: in the open block, or else as the first one of the next block.
    pub fn check(&self, transaction: &VerifiedTransaction) -> Result<(), Rejection> {
        if self.block_is_open {
            return self.judge(self.height, transaction).map(|_| ());
        }
        if let Some(halt) = self.halt() {
            return Err(Rejection::Halted {
                height: halt.height,
                version: halt.version,
            });
        }
        let next = self.height.next().ok_or(Rejection::NoOpenBlock)?;
        self.judge(next, transaction).map(|_| ())
    }

    /// Applies the transaction to the open block. A rejected one changes nothing.
    pub fn apply(&mut self, transaction: &VerifiedTransaction) -> Result<Vec<Event>, Rejection> {
        if !self.block_is_open {
            return Err(Rejection::NoOpenBlock);
        }
        let accepted = self.judge(self.height, transaction)?;
        Ok(self.write(accepted))
    }

    /// Every stateful check, for inclusion in `block`. The order is part of the contract: the first failure is the answer.
    fn judge(&self, block: Height, verified: &VerifiedTransaction) -> Result<Accepted, Rejection> {
        let transaction = verified.transaction();
        if transaction.chain_id != self.chain_id {
            return Err(Rejection::ForeignChain {
                expected: self.chain_id.clone(),
                found: transaction.chain_id.clone(),
            });
        }
        if transaction.last_valid_height < block {
            return Err(Rejection::Expired {
                last_valid_height: transaction.last_valid_height,
                block,
            });
        }
        // GOV-01.
        let Some(validator) = self.validators.by_governance_key(verified.sender()) else {
            return Err(Rejection::NotAValidator {
                public_key: *verified.sender(),
            });
        };
        // GOV-13.
        let expected = self.next_sequence(&validator.id);
        let found = transaction.sequence;
        if found < expected {
            return Err(Rejection::Replayed { expected, found });
        }
        if found > expected {
            return Err(Rejection::SequenceGap { expected, found });
        }
        let next_sequence = expected.checked_add(1).ok_or(Rejection::SequenceExhausted)?;
        let change = match &transaction.action {
            Action::ProposeUpgrade(upgrade) => self.judge_upgrade(block, validator.id, upgrade)?,
            Action::ProposeCancel { target } => self.judge_cancel(block, *target)?,
            Action::Vote { proposal, choice } => {
                self.open_proposal(proposal)?;
                Change::Cast {
                    proposal: *proposal,
                    choice: *choice,
                }
            }
            Action::Withdraw { proposal } => {
                if !self.open_proposal(proposal)?.ballots.contains_key(&validator.id) {
                    return Err(Rejection::NoBallot { proposal: *proposal });
                }
                Change::Withdraw { proposal: *proposal }
            }
        };
        Ok(Accepted {
            sender: validator.id,
            next_sequence,
            change,
        })
    }

    fn judge_upgrade(
        &self,
        block: Height,
        proposer: ValidatorId,
        upgrade: &Upgrade,
    ) -> Result<Change, Rejection> {
        upgrade.validate()?;
        let subject = Subject::Upgrade(upgrade.clone());
        let id = self.unused_id(&subject)?;
        // GOV-03.
        if upgrade.version <= self.version {
            return Err(Rejection::VersionNotNewer {
                found: upgrade.version.clone(),
                running: self.version.clone(),
            });
        }
        // GOV-02. H + 1 must exist too: it is the new version's first block.
        let found = upgrade.height;
        let too_far = Rejection::HeightTooFar { found, block };
        let Some(earliest) = block.checked_add(self.parameters.min_lead_blocks) else {
            return Err(too_far);
        };
        if found < earliest {
            return Err(Rejection::HeightTooSoon {
                found,
                block,
                earliest,
            });
        }
        if found.0.saturating_sub(block.0) > MAX_LEAD_BLOCKS || found.next().is_none() {
            return Err(too_far);
        }
        let Some(votes_close_height) = found.checked_sub(self.parameters.lock_in_blocks) else {
            return Err(Rejection::HeightTooSoon {
                found,
                block,
                earliest,
            });
        };
        // GOV-14.
        let upgrades = || self.live.values().filter(|proposal| proposal.upgrade().is_some());
        if upgrades().count() >= MAX_LIVE_PROPOSALS {
            return Err(Rejection::TooManyLive);
        }
        if upgrades()
            .filter(|proposal| proposal.proposer == proposer)
            .count()
            >= MAX_LIVE_PROPOSALS_PER_PROPOSER
        {
            return Err(Rejection::TooManyLiveOfProposer);
        }
        Ok(Change::Submit {
            subject,
            id,
            votes_close_height,
        })
    }

    /// GOV-11.
    fn judge_cancel(&self, block: Height, target: ProposalId) -> Result<Change, Rejection> {
        let Some(proposal) = self.proposal(&target) else {
            return Err(Rejection::CancelTargetUnknown { target });
        };
        let Some(upgrade) = proposal.upgrade() else {
            return Err(Rejection::CancelTargetNotAnUpgrade { target });
        };
        match proposal.phase {
            Phase::LockedIn => {}
            phase @ (Phase::Voting | Phase::Approved) => {
                return Err(Rejection::CancelTargetNotLockedIn { target, phase });
            }
            phase @ (Phase::Executed
            | Phase::Rejected
            | Phase::Expired
            | Phase::Superseded
            | Phase::Cancelled) => return Err(Rejection::CancelTargetEnded { target, phase }),
        }
        let subject = Subject::Cancel { target };
        let id = self.unused_id(&subject)?;
        match upgrade.height.checked_sub(1) {
            Some(votes_close_height) if block <= votes_close_height => Ok(Change::Submit {
                subject,
                id,
                votes_close_height,
            }),
            Some(_) | None => Err(Rejection::CancelTooLate {
                target,
                height: upgrade.height,
            }),
        }
    }

    /// GOV-04.
    fn unused_id(&self, subject: &Subject) -> Result<ProposalId, Rejection> {
        let id = subject.id(&self.chain_id);
        match self.proposal(&id) {
            None => Ok(id),
            Some(proposal) if proposal.phase.is_live() => Err(Rejection::AlreadyProposed { proposal: id }),
            Some(proposal) => Err(Rejection::AlreadyEnded {
                proposal: id,
                phase: proposal.phase,
            }),
        }
    }

    /// The proposal, if votes on it count.
    fn open_proposal(&self, id: &ProposalId) -> Result<&Proposal, Rejection> {
        let proposal = self
            .proposal(id)
            .ok_or(Rejection::UnknownProposal { proposal: *id })?;
        match proposal.phase {
            Phase::Voting | Phase::Approved => Ok(proposal),
            Phase::LockedIn => Err(Rejection::LockedIn {
                proposal: *id,
                since: proposal.votes_close_height,
            }),
            phase @ (Phase::Executed
            | Phase::Rejected
            | Phase::Expired
            | Phase::Superseded
            | Phase::Cancelled) => Err(Rejection::ProposalEnded { proposal: *id, phase }),
        }
    }

    /// Writes what was judged. Cannot fail.
    fn write(&mut self, accepted: Accepted) -> Vec<Event> {
        let Accepted {
            sender,
            next_sequence,
            change,
        } = accepted;
        self.sequences.insert(sender, next_sequence);
        let mut events = Vec::new();
        match change {
            Change::Submit {
                subject,
                id,
                votes_close_height,
            } => {
                let ballots = BTreeMap::new();
                let tally = Tally::count(&ballots, &self.validators, &self.parameters);
                let proposal = Proposal {
                    id,
                    subject,
                    proposer: sender,
                    submitted_height: self.height,
                    votes_close_height,
                    phase: Phase::Voting,
                    ended_height: None,
                    ballots,
                    tally,
                };
                self.live.insert(id, proposal);
                events.push(Event::ProposalSubmitted {
                    proposal_id: id,
                    proposer: sender,
                });
                // GOV-05.
                self.cast(sender, id, Choice::Approve, &mut events);
            }
            Change::Cast { proposal, choice } => self.cast(sender, proposal, choice, &mut events),
            Change::Withdraw { proposal } => {
                if let Some(proposal) = self.live.get_mut(&proposal) {
                    proposal.ballots.remove(&sender);
                }
                events.push(Event::VoteWithdrawn {
                    proposal_id: proposal,
                    validator_id: sender,
                });
                self.settle(proposal, &mut events);
            }
        }
        events
    }

    /// GOV-06: replaces the voter's ballot, and moves its approval when another open upgrade has it.
    fn cast(&mut self, voter: ValidatorId, id: ProposalId, choice: Choice, events: &mut Vec<Event>) {
        let ballot = Ballot {
            choice,
            height: self.height,
        };
        let Some(proposal) = self.live.get_mut(&id) else {
            return;
        };
        proposal.ballots.insert(voter, ballot);
        let approves_upgrade = proposal.upgrade().is_some() && choice == Choice::Approve;
        events.push(Event::VoteCast {
            proposal_id: id,
            validator_id: voter,
            choice,
        });
        if approves_upgrade {
            let left = self.live.values_mut().find(|other| {
                let approves = other
                    .ballots
                    .get(&voter)
                    .is_some_and(|ballot| ballot.choice == Choice::Approve);
                approves && other.id != id && other.phase.is_open() && other.upgrade().is_some()
            });
            if let Some(left) = left {
                left.ballots.remove(&voter);
                let from = left.id;
                events.push(Event::ApprovalMoved {
                    validator_id: voter,
                    from,
                    to: id,
                });
                self.settle(from, events);
            }
        }
        self.settle(id, events);
    }

    /// GOV-07, GOV-08: recounts one proposal whose votes still count, and moves it to the phase that its tally means.
    pub(crate) fn settle(&mut self, id: ProposalId, events: &mut Vec<Event>) {
        let Some(proposal) = self.live.get_mut(&id) else {
            return;
        };
        if !proposal.phase.is_open() {
            return;
        }
        proposal.tally = Tally::count(&proposal.ballots, &self.validators, &self.parameters);
        let phase = match proposal.tally.outcome() {
            Outcome::Approved => Phase::Approved,
            Outcome::Open => Phase::Voting,
            Outcome::Impossible => Phase::Rejected,
        };
        self.enter(id, phase, events);
    }
}
