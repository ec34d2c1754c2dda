//! GOV-06 to GOV-08: casting, changing, moving and withdrawing votes.

use governance::{Action, Choice, Event, Height, Phase, Power, ProposalId, Rejection};

use crate::fixture::{Chain, cancel_id, code, phase_change, upgrade, validator_id};

#[test]
fn gov_06_a_vote_is_cast_changed_and_withdrawn() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal_id = chain.propose(0, &upgrade("1.1.0", 20));
    let validator_id = validator_id(1);
    for choice in [Choice::Approve, Choice::Reject, Choice::Reject] {
        let events = chain.vote(1, proposal_id, choice).unwrap();
        assert_eq!(
            events,
            [Event::VoteCast {
                proposal_id,
                validator_id,
                choice
            }]
        );
    }
    assert_eq!(
        (
            chain.tally(proposal_id).approving,
            chain.tally(proposal_id).rejecting
        ),
        (Power(1), Power(1))
    );
    let events = chain
        .send(
            1,
            Action::Withdraw {
                proposal: proposal_id,
            },
        )
        .unwrap();
    assert_eq!(
        events,
        [Event::VoteWithdrawn {
            proposal_id,
            validator_id
        }]
    );
    assert_eq!(
        (
            chain.tally(proposal_id).approving,
            chain.tally(proposal_id).rejecting
        ),
        (Power(1), Power(0))
    );
}

#[test]
fn gov_06_a_repeated_vote_counts_once() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.open(2);
    chain.approve(&[0, 1, 1], proposal);
    assert_eq!(chain.tally(proposal).approving, Power(2));
    assert_eq!(chain.ballot(proposal, 0).unwrap().height, Height(2));
}

#[test]
fn gov_06_withdrawing_without_a_vote_is_refused() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    let rejection = chain.send(1, Action::Withdraw { proposal }).unwrap_err();
    assert_eq!(rejection, Rejection::NoBallot { proposal });
    assert_eq!(rejection.code(), "GOV-06.no-ballot");
    chain.send(0, Action::Withdraw { proposal }).unwrap();
    assert_eq!(
        code(chain.send(0, Action::Withdraw { proposal })),
        "GOV-06.no-ballot"
    );
}

#[test]
fn gov_06_votes_on_nothing_and_on_the_ended_are_refused() {
    let mut chain = Chain::new(&[1, 1]);
    let nothing = ProposalId([9; 32]);
    assert_eq!(code(chain.vote(0, nothing, Choice::Approve)), "GOV-06.unknown");
    assert_eq!(
        code(chain.send(0, Action::Withdraw { proposal: nothing })),
        "GOV-06.unknown"
    );
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(1, proposal, Choice::Reject).unwrap();
    assert_eq!(
        chain.vote(1, proposal, Choice::Approve).unwrap_err(),
        Rejection::ProposalEnded {
            proposal,
            phase: Phase::Rejected
        }
    );
    assert_eq!(code(chain.send(1, Action::Withdraw { proposal })), "GOV-06.ended");
}

#[test]
fn gov_06_approving_another_upgrade_moves_the_approval() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let first = chain.propose(0, &upgrade("1.1.0", 20));
    let second = chain.propose(1, &upgrade("1.2.0", 30));
    chain.approve(&[2, 3], first);
    assert_eq!(chain.phase(first), Phase::Approved);
    let events = chain.vote(2, second, Choice::Approve).unwrap();
    let voter = validator_id(2);
    assert_eq!(
        events,
        [
            Event::VoteCast {
                proposal_id: second,
                validator_id: voter,
                choice: Choice::Approve
            },
            Event::ApprovalMoved {
                validator_id: voter,
                from: first,
                to: second
            },
            phase_change(first, Phase::Approved, Phase::Voting),
        ]
    );
    assert_eq!(chain.ballot(first, 2), None);
    assert_eq!(chain.tally(first).approving, Power(2));
    assert_eq!(chain.tally(second).approving, Power(2));
}

#[test]
fn gov_06_proposing_another_upgrade_moves_the_approval() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let first = chain.propose(0, &upgrade("1.1.0", 20));
    let second = chain.propose(0, &upgrade("1.2.0", 30));
    assert_eq!(
        (chain.tally(first).approving, chain.tally(second).approving),
        (Power(0), Power(1))
    );
    assert_eq!(chain.phase(first), Phase::Voting);
}

#[test]
fn gov_06_rejections_do_not_move() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let first = chain.propose(0, &upgrade("1.1.0", 20));
    let second = chain.propose(1, &upgrade("1.2.0", 30));
    chain.vote(2, first, Choice::Reject).unwrap();
    chain.vote(2, second, Choice::Reject).unwrap();
    chain.vote(3, first, Choice::Reject).unwrap();
    assert_eq!(chain.phase(first), Phase::Rejected);
    chain.vote(3, second, Choice::Approve).unwrap();
    assert_eq!(chain.tally(second).rejecting, Power(1));
    assert_eq!(chain.tally(second).approving, Power(2));
}

#[test]
fn gov_06_an_approval_of_a_locked_in_upgrade_stays() {
    let (mut chain, locked) = Chain::locked_in();
    chain.open(17);
    let next = chain.propose(3, &upgrade("1.2.0", 40));
    let events = chain.vote(0, next, Choice::Approve).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(chain.tally(locked).approving, Power(3));
    assert_eq!(chain.tally(next).approving, Power(2));
}

#[test]
fn gov_06_a_cancel_does_not_move_the_approval_of_an_upgrade() {
    let (mut chain, locked) = Chain::locked_in();
    chain.open(17);
    let next = chain.propose(0, &upgrade("1.2.0", 40));
    chain.send(0, Action::ProposeCancel { target: locked }).unwrap();
    assert_eq!(chain.tally(next).approving, Power(1));
    assert_eq!(chain.tally(cancel_id(locked)).approving, Power(1));
}

#[test]
fn gov_07_approval_comes_and_goes_with_the_votes() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(1, proposal, Choice::Approve).unwrap();
    assert_eq!(chain.phase(proposal), Phase::Voting);
    assert!(chain.state.plan().is_none());
    let events = chain.vote(2, proposal, Choice::Approve).unwrap();
    assert_eq!(
        events.last(),
        Some(&phase_change(proposal, Phase::Voting, Phase::Approved))
    );
    assert_eq!(chain.state.plan().unwrap().id, proposal);
    let events = chain.vote(2, proposal, Choice::Reject).unwrap();
    assert_eq!(
        events.last(),
        Some(&phase_change(proposal, Phase::Approved, Phase::Voting))
    );
    chain.vote(2, proposal, Choice::Approve).unwrap();
    let events = chain.send(1, Action::Withdraw { proposal }).unwrap();
    assert_eq!(
        events.last(),
        Some(&phase_change(proposal, Phase::Approved, Phase::Voting))
    );
}

#[test]
fn gov_08_rejected_as_soon_as_approval_is_impossible() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(1, proposal, Choice::Reject).unwrap();
    assert_eq!(chain.phase(proposal), Phase::Voting);
    chain.open(2);
    let events = chain.vote(2, proposal, Choice::Reject).unwrap();
    assert_eq!(
        events.last(),
        Some(&phase_change(proposal, Phase::Voting, Phase::Rejected))
    );
    let ended = chain.state.proposal(&proposal).unwrap();
    assert_eq!(ended.ended_height, Some(Height(2)));
    assert_eq!(
        (ended.tally.approving, ended.tally.rejecting),
        (Power(1), Power(2))
    );
    assert_eq!(chain.state.live_proposals().count(), 0);
}

#[test]
fn gov_08_one_heavy_change_rejects_what_was_approved() {
    let mut chain = Chain::new(&[5, 2]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1], proposal);
    assert_eq!(chain.phase(proposal), Phase::Approved);
    let events = chain.vote(0, proposal, Choice::Reject).unwrap();
    assert_eq!(
        events.last(),
        Some(&phase_change(proposal, Phase::Approved, Phase::Rejected))
    );
}
