//! GOV-09, GOV-10 and the heights: latch, halt, activation, and which version may execute which block.

use governance::{Action, BlockRefusal, Choice, Event, Halt, Height, Phase, State};

use crate::fixture::{
    Chain, LOCK_IN, assert_sound, cancel_id, code, genesis, phase_change, upgrade, version,
};

#[test]
fn gov_10_votes_count_up_to_the_block_of_the_latch() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    assert_eq!(
        chain.state.proposal(&proposal).unwrap().votes_close_height,
        Height(20 - LOCK_IN)
    );
    chain.open(20 - LOCK_IN);
    chain.approve(&[1, 2], proposal);
    assert_eq!(chain.phase(proposal), Phase::Approved);
    assert_eq!(
        chain.end(),
        [phase_change(proposal, Phase::Approved, Phase::LockedIn)]
    );

    chain.open(20 - LOCK_IN + 1);
    for action in [
        Action::Vote {
            proposal,
            choice: Choice::Reject,
        },
        Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
        Action::Withdraw { proposal },
    ] {
        assert_eq!(code(chain.send(0, action)), "GOV-10");
    }
}

#[test]
fn gov_10_what_is_not_approved_at_the_latch_expires() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1], proposal);
    assert_eq!(chain.close(15), []);
    assert_eq!(
        chain.close(16),
        [phase_change(proposal, Phase::Voting, Phase::Expired)]
    );
    assert_eq!(
        chain.state.proposal(&proposal).unwrap().ended_height,
        Some(Height(16))
    );
    // The chain goes on past the height with the old version.
    let _ = chain.close(30);
    assert_eq!(chain.state.halt(), None);
    assert_eq!(*chain.state.version(), version("1.0.0"));
}

#[test]
fn gov_10_an_approval_withdrawn_in_the_last_block_counts() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2], proposal);
    chain.open(16);
    chain.send(2, Action::Withdraw { proposal }).unwrap();
    assert_eq!(
        chain.end(),
        [phase_change(proposal, Phase::Voting, Phase::Expired)]
    );
}

#[test]
fn gov_09_h_is_the_last_block_of_the_old_version() {
    let (mut chain, proposal) = Chain::locked_in();
    let _ = chain.close(19);
    assert_eq!(chain.state.halt(), None);
    assert_eq!(*chain.state.next_block_version(), version("1.0.0"));
    chain.open(20);
    assert_eq!(chain.state.halt(), None, "H itself is still being executed");
    let halted = Event::UpgradeHalted {
        proposal_id: proposal,
        height: Height(20),
        version: version("1.1.0"),
    };
    assert_eq!(chain.end(), [halted]);
    let halt = Halt {
        height: Height(20),
        proposal,
        version: version("1.1.0"),
    };
    assert_eq!(chain.state.halt(), Some(halt));
    assert_eq!(*chain.state.next_block_version(), version("1.1.0"));
    assert_eq!(*chain.state.version(), version("1.0.0"));
}

#[test]
fn gov_09_the_old_version_executes_nothing_after_h() {
    let (mut chain, _) = Chain::locked_in();
    let _ = chain.close(20);
    let before = chain.state.clone();
    let refusal = chain
        .state
        .begin_block(Height(21), &version("1.0.0"))
        .unwrap_err();
    assert_eq!(
        refusal,
        BlockRefusal::NewerVersionRequired {
            height: Height(21),
            required: version("1.1.0"),
            running: version("1.0.0")
        }
    );
    assert_eq!(
        refusal.to_string(),
        "block 21 must be executed by the newer version 1.1.0, this is 1.0.0: start 1.1.0"
    );
    assert_eq!(chain.state, before);
    // A later version than the plan's is not the plan's.
    let refusal = chain
        .state
        .begin_block(Height(21), &version("1.2.0"))
        .unwrap_err();
    assert!(
        matches!(refusal, BlockRefusal::OlderVersionRequired { .. }),
        "{refusal}"
    );
    // A mempool of the halted node takes nothing any more, and says where to go.
    let verified = chain
        .sign(0, Action::ProposeUpgrade(upgrade("1.2.0", 60)))
        .verify(before.chain_id())
        .unwrap();
    assert_eq!(code(chain.state.check(&verified)), "GOV-09.halted");
}

#[test]
fn gov_09_the_new_version_executes_nothing_before_h_plus_1() {
    let mut chain = Chain::new(&[1]);
    chain.propose(0, &upgrade("1.1.0", 20));
    for height in 1..20 {
        let _ = chain.close(height);
        let before = chain.state.clone();
        let next = Height(height + 1);
        let refusal = chain.state.begin_block(next, &version("1.1.0")).unwrap_err();
        let (required, running) = (version("1.0.0"), version("1.1.0"));
        assert_eq!(
            refusal,
            BlockRefusal::OlderVersionRequired {
                height: next,
                required,
                running
            }
        );
        assert_eq!(chain.state.check_version(&version("1.1.0")), Err(refusal));
        assert_eq!(chain.state, before);
    }
    let _ = chain.close(20);
    assert_eq!(chain.state.check_version(&version("1.1.0")), Ok(()));
}

#[test]
fn gov_09_the_first_block_of_the_new_version_activates_it() {
    let (mut chain, proposal) = Chain::locked_in();
    let _ = chain.close(20);
    let events = chain.begin().unwrap();
    assert_eq!(
        events,
        [
            Event::UpgradeActivated {
                proposal_id: proposal,
                from: version("1.0.0"),
                to: version("1.1.0")
            },
            phase_change(proposal, Phase::LockedIn, Phase::Executed),
        ]
    );
    assert_eq!(*chain.state.version(), version("1.1.0"));
    assert_eq!(
        chain.state.proposal(&proposal).unwrap().ended_height,
        Some(Height(21))
    );
    assert_eq!(chain.state.plan(), None);
    // And the next upgrade must rise above the new version.
    assert_eq!(
        code(chain.send(0, Action::ProposeUpgrade(upgrade("1.1.0", 40)))),
        "GOV-03"
    );
    chain.propose(0, &upgrade("1.1.1", 40));
}

#[test]
fn gov_09_the_halt_survives_storage() {
    let (mut chain, _) = Chain::locked_in();
    let _ = chain.close(20);
    let mut loaded = State::from_rows(chain.state.rows()).unwrap();
    assert_eq!(loaded, chain.state);
    assert_sound(&loaded);
    assert!(loaded.halt().is_some());
    assert!(loaded.begin_block(Height(21), &version("1.0.0")).is_err());
    assert!(loaded.begin_block(Height(21), &version("1.1.0")).is_ok());
}

#[test]
fn gov_09_the_earliest_height_wins_and_the_others_are_superseded() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let first = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2], first);
    chain.open(17);
    // Approved while the first is locked in; later and earlier in version, later in height.
    let second = chain.propose(0, &upgrade("1.3.0", 27));
    chain.approve(&[1, 2], second);
    let voting = chain.propose(3, &upgrade("1.2.0", 50));
    let lower = chain.propose(3, &upgrade("1.0.5", 51));
    assert_eq!(chain.state.plan().unwrap().id, first);
    let _ = chain.close(20);
    let events = chain.begin().unwrap();
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(events.contains(&phase_change(second, Phase::Approved, Phase::Superseded)));
    assert!(
        events.contains(&phase_change(lower, Phase::Voting, Phase::Superseded)),
        "no longer above the version"
    );
    assert_eq!(chain.phase(voting), Phase::Voting);
    let _ = chain.close(60);
    assert_eq!(chain.phase(voting), Phase::Expired);
    assert_eq!(*chain.state.version(), version("1.1.0"));
}

#[test]
fn gov_09_of_two_locked_in_upgrades_the_earlier_executes() {
    let mut genesis = genesis(&[1, 1, 1, 1]);
    genesis.parameters.min_lead_blocks = 5;
    let mut chain = Chain::from_genesis(&genesis);
    let first = chain.propose(0, &upgrade("1.2.0", 20));
    chain.approve(&[1, 2], first);
    chain.open(17);
    let second = chain.propose(0, &upgrade("1.3.0", 22));
    chain.approve(&[1, 2], second);
    let _ = chain.close(18);
    chain.open(19);
    chain.send(0, Action::ProposeCancel { target: second }).unwrap();
    let _ = chain.end();
    assert_eq!(
        (chain.phase(first), chain.phase(second)),
        (Phase::LockedIn, Phase::LockedIn)
    );
    assert_eq!(chain.state.plan().unwrap().id, first);
    let _ = chain.close(20);
    assert_eq!(chain.state.halt().unwrap().proposal, first);
    let events = chain.begin().unwrap();
    assert!(
        events.contains(&phase_change(second, Phase::LockedIn, Phase::Superseded)),
        "{events:?}"
    );
    assert_eq!(
        chain.phase(cancel_id(second)),
        Phase::Superseded,
        "there is nothing left to cancel"
    );
    let _ = chain.close(22);
    assert_eq!(chain.state.halt(), None);
    assert_eq!(*chain.state.version(), version("1.2.0"));
}

#[test]
fn gov_09_a_cancel_lets_the_next_upgrade_win() {
    let (mut chain, first) = Chain::locked_in();
    chain.open(17);
    let second = chain.propose(0, &upgrade("1.2.0", 27));
    chain.approve(&[1, 2], second);
    chain.send(0, Action::ProposeCancel { target: first }).unwrap();
    chain.approve(&[1, 2], cancel_id(first));
    let _ = chain.close(17);
    assert_eq!(chain.phase(first), Phase::Cancelled);
    assert_eq!(chain.state.plan().unwrap().id, second);
    let _ = chain.close(27);
    assert_eq!(chain.state.halt().unwrap().proposal, second);
}

#[test]
fn gov_09_blocks_have_no_gaps_and_do_not_overlap() {
    let mut state = State::from_genesis(&genesis(&[1])).unwrap();
    let running = version("1.0.0");
    for height in [0, 2, u64::MAX] {
        assert_eq!(
            state.begin_block(Height(height), &running),
            Err(BlockRefusal::UnexpectedHeight {
                expected: Height(1),
                found: Height(height)
            })
        );
    }
    state.begin_block(Height(1), &running).unwrap();
    assert_eq!(
        state.begin_block(Height(2), &running),
        Err(BlockRefusal::BlockOpen { height: Height(1) })
    );
    let _ = state.end_block();
    assert_eq!(
        state.begin_block(Height(1), &running),
        Err(BlockRefusal::UnexpectedHeight {
            expected: Height(2),
            found: Height(1)
        })
    );
    assert_eq!(state.begin_block(Height(2), &running), Ok(vec![]));
}

#[test]
fn gov_09_an_upgrade_follows_an_upgrade() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    for (to, height) in [("1.1.0", 20), ("1.2.0", 40), ("2.0.0", 60)] {
        let proposal = chain.propose(0, &upgrade(to, height));
        chain.approve(&[1, 2, 3], proposal);
        chain.open(height + 1);
        assert_eq!(*chain.state.version(), version(to));
        assert_eq!(chain.phase(proposal), Phase::Executed);
    }
}
