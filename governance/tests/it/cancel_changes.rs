//! GOV-11: stopping a locked-in change.

use governance::{Action, Height, Parameters, Phase, ProposalId, Rejection};

use crate::fixture::{
    Chain, add, cancel_id, code, parameter_change, parameters, phase_change, set_change, set_power, upgrade,
};

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
