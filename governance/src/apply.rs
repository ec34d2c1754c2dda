//! A transaction in a block: judge it, then write (GOV-15).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::bytes::{Digest, ProposalId, ValidatorId};
use crate::error::Rejection;
use crate::event::Event;
use crate::judge::{Accepted, Change};
use crate::map::ValidatorMap;
use crate::numbers::Power;
use crate::proposal::{Phase, Proposal};
use crate::readiness::{Account, ReadinessReport};
use crate::state::{Live, State};
use crate::tally::{Outcome, Tally};
use crate::tx::VerifiedTransaction;
use crate::vote::{Ballot, Choice};

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

    /// Writes what was judged. Cannot fail.
    fn write(&mut self, accepted: Accepted) -> Vec<Event> {
        let Accepted {
            sender,
            power,
            mut account,
            signed,
            change,
        } = accepted;
        let mut events = Vec::new();
        match change {
            Change::Submit {
                subject,
                id,
                votes_close_height,
            } => {
                let proposal = Proposal {
                    id,
                    subject,
                    proposer: sender,
                    submitted_height: self.height,
                    votes_close_height,
                    phase: Phase::Voting,
                    ended_height: None,
                    tally: Tally::empty(&self.validators, &self.parameters),
                    ballots_root: Digest::default(),
                    reports_root: Digest::default(),
                };
                let live = Live {
                    proposal,
                    ballots: ValidatorMap::default(),
                    reports: ValidatorMap::default(),
                };
                self.live.insert(id, Arc::new(live));
                events.push(Event::ProposalSubmitted {
                    proposal_id: id,
                    proposer: sender,
                });
                // GOV-05.
                self.cast((sender, power), &mut account, id, signed, &mut events);
            }
            Change::Cast { proposal, choice } => {
                self.cast(
                    (sender, power),
                    &mut account,
                    proposal,
                    Ballot { choice, ..signed },
                    &mut events,
                );
            }
            Change::Withdraw { proposal } => {
                self.drop_ballot(&sender, &mut account, proposal);
                events.push(Event::VoteWithdrawn {
                    proposal_id: proposal,
                    validator_id: sender,
                });
                self.settle(proposal, &mut events);
            }
            Change::Authorize { key } => {
                account.reporter = key;
                events.push(Event::ReporterAuthorized {
                    validator_id: sender,
                    key,
                });
            }
            Change::Report { proposal, readiness } => {
                let height = self.height;
                if let Some(live) = self.live.get_mut(&proposal) {
                    let report = ReadinessReport { readiness, height };
                    Arc::make_mut(live).reports.insert(sender, report);
                }
                events.push(Event::ReadinessReported {
                    proposal_id: proposal,
                    validator_id: sender,
                    readiness,
                });
            }
        }
        self.accounts.insert(sender, account);
        events
    }

    /// GOV-06: replaces the voter's ballot, and moves its approval when another open upgrade has it.
    fn cast(
        &mut self,
        (voter, power): (ValidatorId, Power),
        account: &mut Account,
        id: ProposalId,
        ballot: Ballot,
        events: &mut Vec<Event>,
    ) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let choice = ballot.choice;
        let live = Arc::make_mut(live);
        let before = live.ballots.insert(voter, ballot).map(|before| before.choice);
        live.proposal.tally.replace(power, before, Some(choice));
        events.push(Event::VoteCast {
            proposal_id: id,
            validator_id: voter,
            choice,
        });
        if live.proposal.upgrade().is_some() {
            let other = account.approves.filter(|other| *other != id);
            match choice {
                Choice::Approve => {
                    account.approves = Some(id);
                    if let Some(from) = other.filter(|other| self.approves(other, &voter)) {
                        self.drop_ballot(&voter, account, from);
                        events.push(Event::ApprovalMoved {
                            validator_id: voter,
                            from,
                            to: id,
                        });
                        self.settle(from, events);
                    }
                }
                Choice::Reject => account.approves = other,
            }
        }
        self.settle(id, events);
    }

    /// Whether the validator approves a proposal whose votes still count.
    fn approves(&self, id: &ProposalId, voter: &ValidatorId) -> bool {
        self.live.get(id).is_some_and(|live| {
            let ballot = live.ballots.get(voter);
            live.proposal.phase.is_open() && ballot.is_some_and(|ballot| ballot.choice == Choice::Approve)
        })
    }

    /// Takes a ballot back.
    pub(crate) fn drop_ballot(&mut self, voter: &ValidatorId, account: &mut Account, id: ProposalId) {
        let power = self.power(voter);
        if let Some(live) = self.live.get_mut(&id) {
            let live = Arc::make_mut(live);
            let before = live.ballots.remove(voter).map(|before| before.choice);
            live.proposal.tally.replace(power, before, None);
        }
        if account.approves == Some(id) {
            account.approves = None;
        }
    }

    fn power(&self, validator: &ValidatorId) -> Power {
        self.validators
            .get(validator)
            .map_or(Power::ZERO, |validator| validator.power)
    }

    /// GOV-07, GOV-08: moves a proposal whose votes still count to the phase that its tally means.
    pub(crate) fn settle(&mut self, id: ProposalId, events: &mut Vec<Event>) {
        let Some(proposal) = self.live.get(&id).map(|live| &live.proposal) else {
            return;
        };
        if !proposal.phase.is_open() {
            return;
        }
        let phase = match proposal.tally.outcome() {
            Outcome::Approved => Phase::Approved,
            Outcome::Open => Phase::Voting,
            Outcome::Impossible => Phase::Rejected,
        };
        self.enter(id, phase, events);
    }
}
