//! GOV-11: stopping a locked-in upgrade or change.

use governance::{Action, Choice, Height, Parameters, Phase, ProposalId, Rejection};

use crate::fixture::{
    Chain, add, cancel_id, code, parameter_change, parameters, phase_change, set_change, set_power, upgrade,
    version,
};

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

/// A change of every kind, locked in for block 20.
fn locked_in_changes() -> Vec<(Chain, ProposalId)> {
    let stricter = Parameters {
        threshold_numerator: 3,
        threshold_denominator: 4,
        ..parameters()
    };
    [set_change(20, &[add(20, 1)]), parameter_change(20, stricter)]
        .iter()
        .map(|subject| {
            let mut chain = Chain::new(&[1; 6]);
            let target = chain.lock_in(subject);
            (chain, target)
        })
        .collect()
}

#[test]
fn gov_11_a_locked_in_change_is_cancelled() {
    for (mut chain, target) in locked_in_changes() {
        let before = chain.state.clone();
        chain.send(5, Action::ProposeCancel { target }).unwrap();
        let cancel = cancel_id(target);
        let closes = chain.state.proposal(&cancel).unwrap().votes_close_height;
        assert_eq!(closes, Height(19));
        chain.approve(&[0, 1, 2, 3], cancel);
        assert_eq!(
            chain.end(),
            [
                phase_change(cancel, Phase::Approved, Phase::Executed),
                phase_change(target, Phase::LockedIn, Phase::Cancelled)
            ]
        );
        assert_eq!(chain.close(20), []);
        assert_eq!(chain.state.validators(), before.validators());
        assert_eq!(chain.state.parameters(), before.parameters());
        assert_eq!(chain.state.executed_changes(), 0);
    }
}

#[test]
fn gov_11_the_last_block_before_a_change_is_the_last_chance() {
    for (mut chain, target) in locked_in_changes() {
        chain.open(19);
        chain.send(5, Action::ProposeCancel { target }).unwrap();
        let cancel = cancel_id(target);
        chain.approve(&[0, 1, 2], cancel);
        assert_eq!(
            chain.end(),
            [phase_change(cancel, Phase::Voting, Phase::Expired)],
            "four of six"
        );
        let _ = chain.close(20);
        assert_eq!(chain.phase(target), Phase::Executed);
    }
    for (mut chain, target) in locked_in_changes() {
        chain.open(20);
        assert_eq!(
            code(chain.send(5, Action::ProposeCancel { target })),
            "GOV-11.late"
        );
        let _ = chain.end();
        chain.begin().unwrap();
        assert_eq!(
            code(chain.send(5, Action::ProposeCancel { target })),
            "GOV-11.ended"
        );
    }
}

#[test]
fn gov_11_only_a_locked_in_change_is_cancelled() {
    let mut chain = Chain::new(&[1; 6]);
    let target = chain.submit(0, &set_change(20, &[add(20, 1)]));
    assert_eq!(
        chain.send(1, Action::ProposeCancel { target }).unwrap_err(),
        Rejection::CancelTargetNotLockedIn {
            target,
            phase: Phase::Voting
        }
    );
}

/// The earlier one of two changes at one height is cancelled: the later one takes effect.
#[test]
fn gov_11_a_cancel_lets_the_next_change_take_effect() {
    let mut chain = Chain::new(&[1; 6]);
    let first = chain.submit(0, &set_change(20, &[add(20, 1)]));
    chain.open(2);
    let second = chain.submit(0, &set_change(20, &[add(21, 1)]));
    for id in [first, second] {
        chain.approve(&[1, 2, 3, 4], id);
    }
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target: first }).unwrap();
    chain.approve(&[1, 2, 3, 4], cancel_id(first));
    let _ = chain.close(20);
    assert_eq!(
        (chain.phase(first), chain.phase(second)),
        (Phase::Cancelled, Phase::Executed)
    );
}

/// A cancel that is approved by the new powers, at the end of the block before its last, is carried out in its last.
#[test]
fn gov_11_new_powers_approve_a_cancel() {
    let mut chain = Chain::new(&[4, 4, 4]);
    let change = chain.submit(0, &set_change(20, &[set_power(0, 6), set_power(2, 3)]));
    let release = chain.propose(0, &upgrade("1.1.0", 22));
    for id in [change, release] {
        chain.approve(&[1, 2], id);
    }
    chain.open(19);
    chain.send(0, Action::ProposeCancel { target: release }).unwrap();
    let cancel = cancel_id(release);
    chain.approve(&[1], cancel);
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(cancel, Phase::Voting, Phase::Approved))
    );
    assert_eq!(chain.phase(release), Phase::LockedIn);
    let _ = chain.close(21);
    assert_eq!(
        (chain.phase(cancel), chain.phase(release)),
        (Phase::Executed, Phase::Cancelled)
    );
}
