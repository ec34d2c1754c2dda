//! GOV-11: stopping a locked-in upgrade or change.

use governance::{Action, Choice, Height, Phase, ProposalId, Rejection};

use crate::fixture::{Chain, cancel_id, code, phase_change, upgrade, version};

#[test]
fn gov_11_a_cancel_takes_effect_at_the_end_of_the_block_that_approves_it() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(18);
    chain.send(3, Action::ProposeCancel { target }).unwrap();
    let cancel = cancel_id(target);
    let proposal = chain.state.proposal(&cancel).unwrap();
    assert_eq!(
        (proposal.phase, proposal.votes_close_height),
        (Phase::Voting, Height(19))
    );
    chain.approve(&[0, 1], cancel);
    assert_eq!(
        (chain.phase(cancel), chain.phase(target)),
        (Phase::Approved, Phase::LockedIn)
    );
    let events = chain.end();
    assert_eq!(
        events,
        [
            phase_change(cancel, Phase::Approved, Phase::Executed),
            phase_change(target, Phase::LockedIn, Phase::Cancelled)
        ]
    );
    assert_eq!(chain.state.plan(), None);
    let _ = chain.close(25);
    assert_eq!(chain.state.halt(), None);
    assert_eq!(*chain.state.version(), version("1.0.0"));
}

#[test]
fn gov_11_the_last_block_before_h_is_the_last_chance() {
    for (block, expected) in [(19, Ok(())), (20, Err("GOV-11.late"))] {
        let (mut chain, target) = Chain::locked_in();
        chain.open(block);
        let proposed = chain.send(0, Action::ProposeCancel { target });
        assert_eq!(
            proposed.map(|_| ()).map_err(|rejection| rejection.code()),
            expected
        );
        if block == 19 {
            chain.approve(&[1, 2], cancel_id(target));
        }
        let _ = chain.close(20);
        assert_eq!(
            chain.phase(target),
            if block == 19 {
                Phase::Cancelled
            } else {
                Phase::LockedIn
            }
        );
        assert_eq!(chain.state.halt().is_some(), block == 20);
    }
}

#[test]
fn gov_11_a_cancel_needs_the_same_threshold() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target }).unwrap();
    let cancel = cancel_id(target);
    chain.approve(&[1], cancel);
    assert_eq!(chain.close(18), []);
    assert_eq!(
        chain.close(19),
        [phase_change(cancel, Phase::Voting, Phase::Expired)]
    );
    let _ = chain.close(20);
    assert!(chain.state.halt().is_some());
}

#[test]
fn gov_11_a_rejected_cancel_is_over() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(3, Action::ProposeCancel { target }).unwrap();
    let cancel = cancel_id(target);
    chain.vote(0, cancel, Choice::Reject).unwrap();
    chain.vote(1, cancel, Choice::Reject).unwrap();
    assert_eq!(chain.phase(cancel), Phase::Rejected);
    let rejection = chain.send(2, Action::ProposeCancel { target }).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::AlreadyEnded {
            proposal: cancel,
            phase: Phase::Rejected
        }
    );
}

#[test]
fn gov_11_a_cancel_is_proposed_once() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(3, Action::ProposeCancel { target }).unwrap();
    assert_eq!(code(chain.send(2, Action::ProposeCancel { target })), "GOV-04");
}

#[test]
fn gov_11_only_a_locked_in_upgrade_is_cancelled() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let nothing = ProposalId([3; 32]);
    assert_eq!(
        code(chain.send(0, Action::ProposeCancel { target: nothing })),
        "GOV-11.unknown"
    );
    let target = chain.propose(0, &upgrade("1.1.0", 20));
    for (voter, phase) in [(1, Phase::Voting), (2, Phase::Approved)] {
        chain.approve(&[voter], target);
        assert_eq!(
            chain.send(0, Action::ProposeCancel { target }).unwrap_err(),
            Rejection::CancelTargetNotLockedIn { target, phase }
        );
    }
    let _ = chain.close(16);
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target }).unwrap();
    let cancel = cancel_id(target);
    assert_eq!(
        code(chain.send(0, Action::ProposeCancel { target: cancel })),
        "GOV-11.not-upgrade"
    );
    let _ = chain.close(20);
    chain.open(21);
    assert_eq!(
        code(chain.send(0, Action::ProposeCancel { target })),
        "GOV-11.ended"
    );
}

#[test]
fn gov_11_votes_on_a_cancel_change_until_the_end_of_the_block() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target }).unwrap();
    let cancel = cancel_id(target);
    chain.approve(&[1, 2], cancel);
    chain.send(2, Action::Withdraw { proposal: cancel }).unwrap();
    assert_eq!(chain.end(), []);
    assert_eq!(
        (chain.phase(cancel), chain.phase(target)),
        (Phase::Voting, Phase::LockedIn)
    );
}

#[test]
fn gov_11_a_full_list_does_not_keep_a_cancel_out() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    for index in 0..governance::MAX_LIVE_PROPOSALS_PER_PROPOSER - 1 {
        let mut content = upgrade("1.2.0", 40);
        content.description = index.to_string();
        chain.propose(0, &content);
    }
    assert_eq!(
        code(chain.send(0, Action::ProposeUpgrade(upgrade("1.3.0", 40)))),
        "GOV-14.live-of-proposer"
    );
    chain.send(0, Action::ProposeCancel { target }).unwrap();
}
