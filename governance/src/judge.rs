//! Every check that needs the state, before anything is written (GOV-15).

use crate::bytes::{ProposalId, PublicKey, ValidatorId};
use crate::change::{ParametersChange, ValidatorsChange};
use crate::error::Rejection;
use crate::numbers::{Height, Power};
use crate::proposal::{Phase, Proposal, Subject};
use crate::readiness::{Account, Readiness};
use crate::signature::VerificationKey;
use crate::state::{MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, State};
use crate::tx::{Action, VerifiedTransaction};
use crate::upgrade::{MAX_LEAD_BLOCKS, Upgrade};
use crate::validators::Validator;
use crate::vote::{Ballot, Choice};

/// A transaction that has passed every check, with all that writing it needs.
pub(crate) struct Accepted {
    pub(crate) sender: ValidatorId,
    pub(crate) power: Power,
    /// The sender's account with the sequence number used up.
    pub(crate) account: Account,
    /// The ballot that the transaction is, if it is one: the choice is filled in when it is cast.
    pub(crate) signed: Ballot,
    pub(crate) change: Change,
}

/// What a transaction does.
pub(crate) enum Change {
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
    Authorize {
        key: Option<PublicKey>,
    },
    Report {
        proposal: ProposalId,
        readiness: Readiness,
    },
}

impl State {
    /// Every stateful check, for inclusion in `block`. The order is part of the contract: the first failure is the answer.
    pub(crate) fn judge(&self, block: Height, verified: &VerifiedTransaction) -> Result<Accepted, Rejection> {
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
        let (sender, account) = self.judge_sender(verified)?;
        let (sender, power) = (sender.id, sender.power);
        let change = match &transaction.action {
            Action::ProposeUpgrade(upgrade) => self.judge_upgrade(block, sender, upgrade)?,
            Action::ProposeCancel { target } => self.judge_cancel(block, *target)?,
            Action::ProposeValidators(change) => self.judge_validators(block, sender, change)?,
            Action::ProposeParameters(change) => self.judge_parameters(block, sender, change)?,
            Action::Vote { proposal, choice } => {
                self.open_proposal(proposal)?;
                Change::Cast {
                    proposal: *proposal,
                    choice: *choice,
                }
            }
            Action::Withdraw { proposal } => {
                self.open_proposal(proposal)?;
                if self.ballot(proposal, &sender).is_none() {
                    return Err(Rejection::NoBallot { proposal: *proposal });
                }
                Change::Withdraw { proposal: *proposal }
            }
            Action::AuthorizeReporter { key } => {
                if let Some(key) = *key
                    && (self.validators.uses_key(&key) || VerificationKey::new(&key).is_none())
                {
                    return Err(Rejection::ReporterKey { key });
                }
                Change::Authorize { key: *key }
            }
            Action::ReportReadiness {
                proposal, readiness, ..
            } => {
                let live = self.live.get(proposal);
                if live.is_none_or(|live| live.proposal.upgrade().is_none()) {
                    return Err(Rejection::NothingToReport { proposal: *proposal });
                }
                Change::Report {
                    proposal: *proposal,
                    readiness: *readiness,
                }
            }
        };
        Ok(Accepted {
            sender,
            power,
            account,
            signed: Ballot {
                choice: Choice::Approve,
                height: self.height,
                by_proposing: matches!(change, Change::Submit { .. }),
                public_key: *verified.sender(),
                sequence: transaction.sequence,
                last_valid_height: transaction.last_valid_height,
                signature: verified.signed().signature,
            },
            change,
        })
    }

    /// Who sends, and the sender's account once the transaction has used up its sequence number.
    fn judge_sender(&self, verified: &VerifiedTransaction) -> Result<(&Validator, Account), Rejection> {
        let transaction = verified.transaction();
        let public_key = *verified.sender();
        let reporting_for = match &transaction.action {
            Action::ReportReadiness { validator, .. } => Some(*validator),
            Action::ProposeUpgrade(_)
            | Action::ProposeCancel { .. }
            | Action::Vote { .. }
            | Action::Withdraw { .. }
            | Action::ProposeValidators(_)
            | Action::ProposeParameters(_)
            | Action::AuthorizeReporter { .. } => None,
        };
        let (sender, mut account) = if let Some(validator) = reporting_for {
            // GOV-16.
            let reporter = self.reporter_account(&validator, &public_key);
            reporter.ok_or(Rejection::NotTheReporter {
                public_key,
                validator,
            })?
        } else {
            // GOV-01.
            let validator = self.validators.by_governance_key(&public_key);
            let validator = validator.ok_or(Rejection::NotAValidator { public_key })?;
            (
                validator,
                self.accounts.get(&validator.id).copied().unwrap_or_default(),
            )
        };
        // GOV-13.
        let next = if reporting_for.is_some() {
            &mut account.next_report_sequence
        } else {
            &mut account.next_sequence
        };
        let (expected, found) = (*next, transaction.sequence);
        if found < expected {
            return Err(Rejection::Replayed { expected, found });
        }
        if found > expected {
            return Err(Rejection::SequenceGap { expected, found });
        }
        *next = expected.checked_add(1).ok_or(Rejection::SequenceExhausted)?;
        Ok((sender, account))
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
        let votes_close_height = self.judge_height(block, upgrade.height)?;
        self.judge_room(proposer)?;
        Ok(Change::Submit {
            subject,
            id,
            votes_close_height,
        })
    }

    /// GOV-12.
    fn judge_validators(
        &self,
        block: Height,
        proposer: ValidatorId,
        change: &ValidatorsChange,
    ) -> Result<Change, Rejection> {
        change.validate()?;
        let subject = Subject::Validators(change.clone());
        let id = self.unused_id(&subject)?;
        let votes_close_height = self.judge_height(block, change.height)?;
        self.judge_room(proposer)?;
        self.validators.check_changes(&change.changes)?;
        Ok(Change::Submit {
            subject,
            id,
            votes_close_height,
        })
    }

    /// GOV-12.
    fn judge_parameters(
        &self,
        block: Height,
        proposer: ValidatorId,
        change: &ParametersChange,
    ) -> Result<Change, Rejection> {
        change.validate()?;
        let subject = Subject::Parameters(change.clone());
        let id = self.unused_id(&subject)?;
        let votes_close_height = self.judge_height(block, change.height)?;
        self.judge_room(proposer)?;
        self.parameters.changed(&change.parameters)?;
        Ok(Change::Submit {
            subject,
            id,
            votes_close_height,
        })
    }

    /// GOV-02: the last block in which votes count on something that takes effect after `found`. H + 1 must exist too:
    /// it is the first block of what is new.
    fn judge_height(&self, block: Height, found: Height) -> Result<Height, Rejection> {
        let too_far = Rejection::HeightTooFar { found, block };
        let Some(earliest) = block.checked_add(self.parameters.min_lead_blocks) else {
            return Err(too_far);
        };
        let too_soon = Rejection::HeightTooSoon {
            found,
            block,
            earliest,
        };
        if found < earliest {
            return Err(too_soon);
        }
        if found.0.saturating_sub(block.0) > MAX_LEAD_BLOCKS || found.next().is_none() {
            return Err(too_far);
        }
        found.checked_sub(self.parameters.lock_in_blocks).ok_or(too_soon)
    }

    /// GOV-14: room for one more live proposal that is no cancel.
    fn judge_room(&self, proposer: ValidatorId) -> Result<(), Rejection> {
        let counted = || {
            let live = self.live.values().map(|live| &live.proposal);
            live.filter(|proposal| proposal.subject.height().is_some())
        };
        if counted().count() >= MAX_LIVE_PROPOSALS {
            return Err(Rejection::TooManyLive);
        }
        let of_proposer = counted().filter(|proposal| proposal.proposer == proposer);
        if of_proposer.count() >= MAX_LIVE_PROPOSALS_PER_PROPOSER {
            return Err(Rejection::TooManyLiveOfProposer);
        }
        Ok(())
    }

    /// GOV-11.
    fn judge_cancel(&self, block: Height, target: ProposalId) -> Result<Change, Rejection> {
        let Some(proposal) = self.proposal(&target) else {
            return Err(Rejection::CancelTargetUnknown { target });
        };
        let Some(height) = proposal.subject.height() else {
            return Err(Rejection::CancelTargetIsCancel { target });
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
        match height.checked_sub(1) {
            Some(votes_close_height) if block <= votes_close_height => Ok(Change::Submit {
                subject,
                id,
                votes_close_height,
            }),
            Some(_) | None => Err(Rejection::CancelTooLate { target, height }),
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
}
