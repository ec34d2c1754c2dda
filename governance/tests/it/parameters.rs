//! GOV-12: changes of the parameters.

use governance::{
    Choice, Event, Height, MAX_LEAD_BLOCKS, Parameters, ParametersChange, Phase, Power, Rejection, Subject,
};

use crate::fixture::{Chain, add, genesis, parameter_change, parameters, phase_change, set_change, upgrade};

fn with_threshold(numerator: u64, denominator: u64) -> Parameters {
    Parameters {
        threshold_numerator: numerator,
        threshold_denominator: denominator,
        ..parameters()
    }
}

#[test]
fn gov_12_h_is_the_last_block_under_the_old_parameters() {
    let mut chain = Chain::new(&[1; 6]);
    let wanted = Parameters {
        min_lead_blocks: 15,
        lock_in_blocks: 6,
        ..parameters()
    };
    let change = chain.lock_in(&parameter_change(20, wanted));
    assert_eq!(chain.state.proposal(&change).unwrap().name(), "parameters@20");
    chain.open(20);
    let before = chain.propose(0, &upgrade("1.1.0", 30));
    assert_eq!(*chain.state.parameters(), parameters());
    assert_eq!(
        chain.end(),
        [
            phase_change(change, Phase::LockedIn, Phase::Executed),
            Event::ParametersChanged {
                proposal_id: change,
                parameters: wanted
            },
        ]
    );
    assert_eq!(
        (*chain.state.parameters(), chain.state.executed_changes()),
        (wanted, 1)
    );
    chain.begin().unwrap();
    assert_eq!(
        chain.refusal(1, &Subject::Upgrade(upgrade("1.2.0", 35))),
        "GOV-02"
    );
    let after = chain.propose(1, &upgrade("1.2.0", 36));
    // What was proposed before keeps its latch.
    let closes = |id| chain.state.proposal(&id).unwrap().votes_close_height;
    assert_eq!((closes(before), closes(after)), (Height(26), Height(30)));
}

#[test]
fn gov_12_parameters_only_legal_ones_are_proposed() {
    let with = |min_lead_blocks: u64, lock_in_blocks: u64| Parameters {
        min_lead_blocks,
        lock_in_blocks,
        ..parameters()
    };
    for (wanted, expected) in [
        (parameters(), "GOV-12.nothing"),
        (with(10, 1), "GOV-12.parameters"),
        (with(10, 0), "GOV-12.parameters"),
        (with(10, 10), "GOV-12.parameters"),
        (with(3, 4), "GOV-12.parameters"),
        (with(MAX_LEAD_BLOCKS + 1, 4), "GOV-12.parameters"),
        (with(u64::MAX, u64::MAX - 1), "GOV-12.parameters"),
        (with_threshold(1, 2), "GOV-12.parameters"),
        (with_threshold(1, 1), "GOV-12.parameters"),
        (with_threshold(0, 0), "GOV-12.parameters"),
        (with_threshold(6_666_666, 10_000_000), "GOV-12.parameters"),
        (with(3, 2), "ok"),
        (with(MAX_LEAD_BLOCKS, 4), "ok"),
        (with_threshold(4, 6), "ok"),
        (with_threshold(u64::MAX - 1, u64::MAX), "ok"),
    ] {
        let mut chain = Chain::new(&[1; 4]);
        let proposed = chain.send(0, parameter_change(20, wanted).to_action());
        assert_eq!(
            proposed.err().map_or("ok", |rejection| rejection.code()),
            expected,
            "{wanted:?}"
        );
    }
    let mut chain = Chain::new(&[1; 4]);
    let rejection = chain
        .send(0, parameter_change(20, with(10, 1)).to_action())
        .unwrap_err();
    assert!(
        rejection
            .to_string()
            .contains("lock_in_blocks is 1: expected at least 2"),
        "{rejection}"
    );
}

#[test]
fn gov_12_the_height_and_the_content_obey_the_rules_of_upgrades() {
    let wanted = with_threshold(3, 4);
    for (height, expected) in [(10, "GOV-02"), (11, "ok"), (u64::MAX - 1, "GOV-02.far")] {
        let mut chain = Chain::new(&[1; 4]);
        let proposed = chain.send(0, parameter_change(height, wanted).to_action());
        assert_eq!(
            proposed.err().map_or("ok", |rejection| rejection.code()),
            expected
        );
    }
    let mut chain = Chain::new(&[1; 4]);
    chain.submit(0, &parameter_change(20, wanted));
    assert_eq!(chain.refusal(1, &parameter_change(20, wanted)), "GOV-04");
    let long = Subject::Parameters(ParametersChange {
        height: Height(20),
        parameters: wanted,
        description: "d".repeat(2049),
    });
    assert_eq!(chain.refusal(1, &long), "GOV-14.description-size");
}

#[test]
fn gov_12_a_stricter_threshold_takes_an_approval_back() {
    let mut chain = Chain::new(&[1; 10]);
    chain.lock_in(&parameter_change(20, with_threshold(9, 10)));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.approve(&[1, 2, 3, 4, 5, 6, 7], open);
    assert_eq!(chain.phase(open), Phase::Approved);
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Approved, Phase::Voting))
    );
    assert_eq!(chain.tally(open).needed(), Some(Power(10)));
}

#[test]
fn gov_12_a_stricter_threshold_rejects_at_once() {
    let mut chain = Chain::new(&[1; 10]);
    chain.lock_in(&parameter_change(20, with_threshold(9, 10)));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.vote(1, open, Choice::Reject).unwrap();
    assert_eq!(chain.phase(open), Phase::Voting);
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Voting, Phase::Rejected))
    );
}

#[test]
fn gov_12_a_looser_threshold_approves_at_once() {
    let mut genesis = genesis(&[1; 10]);
    genesis.parameters = with_threshold(9, 10);
    let mut chain = Chain::from_genesis(&genesis);
    chain.lock_in(&parameter_change(20, parameters()));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.approve(&[1, 2, 3, 4, 5, 6], open);
    assert_eq!(
        chain.phase(open),
        Phase::Voting,
        "seven of ten are not more than nine tenths"
    );
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Voting, Phase::Approved))
    );
}

#[test]
fn gov_12_what_is_locked_in_stays_locked_in() {
    let mut chain = Chain::new(&[1; 10]);
    let change = chain.submit(0, &parameter_change(20, with_threshold(9, 10)));
    let release = chain.propose(0, &upgrade("1.1.0", 22));
    for id in [change, release] {
        chain.approve(&[1, 2, 3, 4, 5, 6], id);
    }
    let _ = chain.close(20);
    assert_eq!(
        (chain.phase(change), chain.phase(release)),
        (Phase::Executed, Phase::LockedIn)
    );
    assert_eq!(
        chain.tally(release).threshold_denominator,
        3,
        "counted when it was latched"
    );
    let _ = chain.close(22);
    assert_eq!(chain.state.halt().unwrap().proposal, release);
}

#[test]
fn gov_12_a_cancel_passes_the_threshold_in_force() {
    let mut chain = Chain::new(&[1; 10]);
    let change = chain.submit(0, &parameter_change(20, with_threshold(9, 10)));
    let target = chain.submit(0, &set_change(23, &[add(20, 1)]));
    for id in [change, target] {
        chain.approve(&[1, 2, 3, 4, 5, 6], id);
    }
    let _ = chain.close(20);
    chain.begin().unwrap();
    chain
        .send(0, governance::Action::ProposeCancel { target })
        .unwrap();
    let cancel = crate::fixture::cancel_id(target);
    chain.approve(&[1, 2, 3, 4, 5, 6, 7, 8], cancel);
    assert_eq!(chain.phase(cancel), Phase::Voting, "nine of ten");
    chain.approve(&[9], cancel);
    assert_eq!(chain.phase(cancel), Phase::Approved);
}

#[test]
fn gov_12_a_change_to_what_is_in_force_by_then_is_dropped() {
    let mut chain = Chain::new(&[1; 6]);
    let ids = [20, 21].map(|height| {
        let id = chain.submit(0, &parameter_change(height, with_threshold(3, 4)));
        chain.approve(&[1, 2, 3, 4, 5], id);
        id
    });
    let events = chain.close(21);
    match events.as_slice() {
        [
            Event::ChangeDropped {
                proposal_id, code, ..
            },
            superseded,
        ] => {
            assert_eq!((*proposal_id, code.as_str()), (ids[1], "GOV-12.nothing"));
            assert_eq!(
                *superseded,
                phase_change(ids[1], Phase::LockedIn, Phase::Superseded)
            );
        }
        events => panic!("{events:#?}"),
    }
    assert_eq!(chain.state.executed_changes(), 1);
}

#[test]
fn gov_12_parameters_need_the_same_threshold() {
    let mut chain = Chain::new(&[1; 6]);
    let id = chain.submit(0, &parameter_change(20, with_threshold(3, 4)));
    chain.approve(&[1, 2, 3], id);
    assert_eq!(chain.close(16), [phase_change(id, Phase::Voting, Phase::Expired)]);
    chain.begin().unwrap();
    let ended = Rejection::ProposalEnded {
        proposal: id,
        phase: Phase::Expired,
    };
    assert_eq!(chain.vote(4, id, Choice::Approve).unwrap_err(), ended);
}
