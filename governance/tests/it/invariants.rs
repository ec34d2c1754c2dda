//! What holds after every step of every history.

use std::collections::BTreeMap;

use governance::{Choice, Event, Height, Phase, ProposalId, State, ValidatorId, check};

use crate::fixture::{validator_id, version};
use crate::model::{About, Model};

/// What the events alone say.
#[derive(Default)]
pub(crate) struct Story {
    phases: BTreeMap<ProposalId, Phase>,
    ballots: BTreeMap<(ProposalId, ValidatorId), Choice>,
}

pub(crate) fn invariant_nothing_is_violated(state: &State) {
    let violations = check::violations(state);
    assert!(violations.is_empty(), "{violations:#?}");
}

pub(crate) fn invariant_the_model_agrees(state: &State, model: &Model) {
    assert_eq!(state.height(), Height(model.height));
    assert_eq!(*state.version(), version(&format!("1.{}.0", model.minor)));
    assert_eq!(
        state.plan().map(|proposal| proposal.id),
        model.plan().map(|entry| entry.id)
    );
    for (who, sequence) in model.sequences.iter().enumerate() {
        assert_eq!(state.next_sequence(&validator_id(who)), *sequence);
    }
    let count = state.live_proposals().count() + state.ended_proposals().count();
    assert_eq!(count, model.proposals.len().min(count));
    for entry in &model.proposals {
        let Some(proposal) = state.proposal(&entry.id) else {
            assert_eq!(state.ended_proposals().count(), governance::MAX_ENDED_PROPOSALS);
            continue;
        };
        let name = proposal.name();
        assert_eq!(proposal.phase, entry.phase, "{name}");
        assert_eq!(proposal.ended_height, entry.ended.map(Height), "{name}");
        assert_eq!(proposal.submitted_height, Height(entry.submitted), "{name}");
        assert_eq!(proposal.proposer, validator_id(entry.proposer), "{name}");
        assert_eq!(
            proposal.upgrade().is_some(),
            matches!(entry.about, About::Upgrade { .. }),
            "{name}"
        );
        assert_eq!(
            proposal.tally.approving.0,
            model.power(entry, Choice::Approve),
            "{name}"
        );
        assert_eq!(
            proposal.tally.rejecting.0,
            model.power(entry, Choice::Reject),
            "{name}"
        );
        for (who, vote) in entry.votes.iter().enumerate() {
            let ballot = proposal
                .ballots
                .get(&validator_id(who))
                .map(|ballot| ballot.choice);
            assert_eq!(ballot, *vote, "{name}");
        }
    }
}

pub(crate) fn invariant_the_events_tell_the_story(state: &State, story: &Story) {
    for proposal in state.live_proposals().chain(state.ended_proposals()) {
        assert_eq!(story.phases.get(&proposal.id), Some(&proposal.phase));
        let told = story
            .ballots
            .range((proposal.id, ValidatorId([0; 20]))..=(proposal.id, ValidatorId([255; 20])));
        let told: Vec<_> = told.map(|((_, voter), choice)| (*voter, *choice)).collect();
        let kept: Vec<_> = proposal
            .ballots
            .iter()
            .map(|(voter, ballot)| (*voter, ballot.choice))
            .collect();
        assert_eq!(told, kept);
    }
}

impl Story {
    pub(crate) fn read(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::ProposalSubmitted { proposal_id, .. } => {
                    assert_eq!(self.phases.insert(*proposal_id, Phase::Voting), None);
                }
                Event::VoteCast {
                    proposal_id,
                    validator_id,
                    choice,
                } => {
                    self.ballots.insert((*proposal_id, *validator_id), *choice);
                }
                Event::VoteWithdrawn {
                    proposal_id,
                    validator_id,
                } => {
                    assert!(self.ballots.remove(&(*proposal_id, *validator_id)).is_some());
                }
                Event::ApprovalMoved {
                    validator_id,
                    from,
                    to,
                } => {
                    assert_eq!(
                        self.ballots.remove(&(*from, *validator_id)),
                        Some(Choice::Approve)
                    );
                    assert_eq!(self.ballots.get(&(*to, *validator_id)), Some(&Choice::Approve));
                }
                Event::ProposalPhaseChanged {
                    proposal_id,
                    from,
                    to,
                } => {
                    assert!(from.may_become(*to), "{from} never becomes {to}");
                    assert_eq!(self.phases.insert(*proposal_id, *to), Some(*from));
                }
                Event::UpgradeHalted { proposal_id, .. } => {
                    assert_eq!(self.phases.get(proposal_id), Some(&Phase::LockedIn));
                }
                Event::UpgradeActivated { from, to, .. } => assert!(from < to),
                Event::TransactionRejected { .. } => panic!("the state never reports its own rejections"),
            }
        }
    }
}
