//! GOV-12: what a change of the validator set does at the end of its height.

use governance::{
    Action, Choice, Event, GenesisValidator, Height, Phase, Power, PublicKey, Rejection, ValidatorChange,
    ValidatorId,
};

use crate::fixture::{
    Chain, add, code, key, newcomer, parameter_change, parameters, phase_change, remove, rotate, set_change,
    set_power, upgrade, validator_id, version,
};

fn with(index: usize, change: impl Fn(&mut GenesisValidator)) -> ValidatorChange {
    let mut validator = newcomer(index, 1);
    change(&mut validator);
    ValidatorChange::Add(validator)
}

fn public(seed: u8) -> PublicKey {
    PublicKey::from(&key(seed))
}

#[test]
fn gov_12_h_is_the_last_block_of_the_old_set() {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.lock_in(&set_change(20, &[add(6, 1)]));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.open(20);
    assert_eq!(code(chain.vote(6, open, Choice::Approve)), "GOV-01");
    assert_eq!(
        (chain.state.validators().len(), chain.state.executed_changes()),
        (6, 0)
    );
    assert_eq!(
        chain.end(),
        [
            phase_change(change, Phase::LockedIn, Phase::Executed),
            Event::ValidatorsChanged {
                proposal_id: change,
                validators: 7,
                total_power: Power(7)
            },
        ]
    );
    assert_eq!(
        chain.state.proposal(&change).unwrap().ended_height,
        Some(Height(20))
    );
    assert_eq!(
        (chain.state.validators().len(), chain.state.executed_changes()),
        (7, 1)
    );
    assert_eq!(chain.tally(open).total, Power(7));
    chain.begin().unwrap();
    chain.vote(6, open, Choice::Approve).unwrap();
    assert_eq!(chain.tally(open).approving, Power(2));
}

#[test]
fn gov_12_every_kind_of_change_does_what_it_says() {
    let mut chain = Chain::new(&[10; 8]);
    let changes = [add(20, 3), remove(4), set_power(5, 12), rotate(6, Some(90), None)];
    chain.lock_in(&set_change(20, &changes));
    chain.open(21);
    chain.lock_in(&set_change(40, &[rotate(7, None, Some(91)), set_power(5, 5)]));
    chain.open(41);
    let set = chain.state.validators();
    let found = |index: usize| set.get(&validator_id(index)).cloned();
    let added = found(20).unwrap();
    assert_eq!(added.id, ValidatorId::at_entry(&added.governance_key));
    assert_eq!((&*added.name, added.power), ("validator-20", Power(3)));
    assert_eq!(found(4), None);
    assert_eq!(found(5).unwrap().power, Power(5));
    let rotated = found(6).unwrap();
    assert_eq!(
        (rotated.governance_key, rotated.consensus_key),
        (public(90), public(107))
    );
    let rotated = found(7).unwrap();
    assert_eq!(
        (rotated.governance_key, rotated.consensus_key),
        (public(8), public(91))
    );
    assert_eq!((set.len(), set.total_power()), (8, Power(68)));
    assert_eq!(set.by_governance_key(&public(90)).unwrap().id, validator_id(6));
    assert_eq!(set.by_governance_key(&public(7)), None, "the old key");
    assert_eq!(chain.state.executed_changes(), 2);
}

#[test]
fn gov_12_of_two_changes_at_one_height_the_earliest_submitted_takes_effect() {
    let mut chain = Chain::new(&[1; 8]);
    let voters = [1, 2, 3, 4, 5];
    let first = chain.submit(0, &set_change(20, &[add(20, 1)]));
    chain.open(2);
    let second = chain.submit(0, &set_change(20, &[add(21, 1)]));
    let third = chain.submit(
        0,
        &parameter_change(
            20,
            governance::Parameters {
                min_lead_blocks: 12,
                ..parameters()
            },
        ),
    );
    for id in [third, second, first] {
        chain.approve(&voters, id);
    }
    let events = chain.close(20);
    assert_eq!(chain.phase(first), Phase::Executed);
    for id in [second, third] {
        assert!(
            events.contains(&phase_change(id, Phase::LockedIn, Phase::Superseded)),
            "{events:?}"
        );
    }
    assert_eq!(chain.state.validators().len(), 9);
    assert_eq!(*chain.state.parameters(), parameters());
    assert_eq!(chain.state.executed_changes(), 1);
}

#[test]
fn gov_12_of_two_changes_of_one_block_the_smaller_id_takes_effect() {
    let mut chain = Chain::new(&[1; 8]);
    let mut ids: Vec<_> = (20..23)
        .map(|index| {
            let id = chain.submit(0, &set_change(20, &[add(index, 1)]));
            chain.approve(&[1, 2, 3, 4, 5], id);
            id
        })
        .collect();
    ids.sort();
    let _ = chain.close(20);
    let phases: Vec<_> = ids.into_iter().map(|id| chain.phase(id)).collect();
    assert_eq!(phases, [Phase::Executed, Phase::Superseded, Phase::Superseded]);
}

/// Two changes are locked in before the first takes effect; afterwards the second is judged again.
#[test]
fn gov_12_a_change_that_does_not_fit_any_more_is_dropped() {
    for (first, second, expected) in [
        (remove(5), set_power(5, 2), "GOV-12.unknown"),
        (remove(5), rotate(5, Some(90), None), "GOV-12.unknown"),
        (set_power(5, 2), set_power(5, 2), "GOV-12.nothing"),
        (
            add(20, 1),
            with(21, |new| new.name = "validator-20".to_owned()),
            "GOV-12.set",
        ),
        (add(20, 1), rotate(5, Some(21), None), "GOV-12.set"),
        (add(20, 1), add(20, 2), "GOV-12.set"),
        // Three of ten are less than a third, three of nine are not.
        (remove(5), add(20, 3), "GOV-12"),
    ] {
        let mut chain = Chain::new(&[1; 10]);
        let ids = [(20, &first), (21, &second)].map(|(height, change)| {
            let id = chain.submit(0, &set_change(height, std::slice::from_ref(change)));
            chain.approve(&[1, 2, 3, 4, 6, 7], id);
            id
        });
        let _ = chain.close(20);
        assert_eq!(ids.map(|id| chain.phase(id)), [Phase::Executed, Phase::LockedIn]);
        let set = chain.state.validators().clone();
        let events = chain.close(21);
        match events.as_slice() {
            [
                Event::ChangeDropped {
                    proposal_id,
                    code,
                    message,
                },
                superseded,
            ] => {
                assert_eq!((*proposal_id, code.as_str()), (ids[1], expected), "{message}");
                assert_eq!(
                    *superseded,
                    phase_change(ids[1], Phase::LockedIn, Phase::Superseded)
                );
            }
            events => panic!("{events:#?}"),
        }
        assert_eq!(*chain.state.validators(), set);
        assert_eq!(chain.state.executed_changes(), 1);
    }
}

#[test]
fn gov_12_a_dropped_change_leaves_its_height_to_the_next_one() {
    let mut chain = Chain::new(&[1; 10]);
    let mut carried = |block: u64, height: u64, change: ValidatorChange| {
        chain.open(block);
        let id = chain.submit(0, &set_change(height, &[change]));
        chain.approve(&[1, 2, 3, 4, 6, 7], id);
        id
    };
    let ids = [
        carried(1, 20, remove(5)),
        carried(2, 21, set_power(5, 2)),
        carried(3, 21, set_power(6, 2)),
        carried(4, 21, set_power(7, 2)),
    ];
    let _ = chain.close(21);
    assert_eq!(
        ids.map(|id| chain.phase(id)),
        [
            Phase::Executed,
            Phase::Superseded,
            Phase::Executed,
            Phase::Superseded
        ]
    );
}

#[test]
fn gov_12_votes_of_one_who_leaves_lapse_on_open_proposals_and_stay_on_locked_in_ones() {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.submit(0, &set_change(20, &[remove(5)]));
    let latched = chain.submit(
        5,
        &parameter_change(
            22,
            governance::Parameters {
                min_lead_blocks: 11,
                ..parameters()
            },
        ),
    );
    for id in [change, latched] {
        chain.approve(&[0, 1, 2, 3, 4], id);
    }
    let open = chain.propose(5, &upgrade("1.1.0", 40));
    let other = chain.submit(1, &set_change(40, &[add(20, 1)]));
    chain.vote(5, other, Choice::Reject).unwrap();
    chain.vote(1, open, Choice::Approve).unwrap();
    let _ = chain.close(18);
    assert_eq!(chain.phase(latched), Phase::LockedIn);
    let events = chain.close(20);
    let lapsed: Vec<_> = events
        .iter()
        .filter_map(|event| {
            if let Event::BallotLapsed {
                proposal_id,
                validator_id,
            } = event
            {
                Some((*proposal_id, *validator_id))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        lapsed,
        [open, other]
            .map(|id| (id, validator_id(5)))
            .sorted_by_submission(&chain)
    );
    assert_eq!((chain.ballot(open, 5), chain.ballot(other, 5)), (None, None));
    assert_eq!(
        (chain.tally(open).approving, chain.tally(open).total),
        (Power(1), Power(5))
    );
    assert!(chain.ballot(latched, 5).is_some());
    assert_eq!(chain.tally(latched).approving, Power(6));
    // What it proposed stays, and so does what was locked in with its vote.
    assert_eq!(chain.phase(open), Phase::Voting);
    chain.begin().unwrap();
    assert_eq!(code(chain.vote(5, open, Choice::Approve)), "GOV-01");
    let _ = chain.close(22);
    assert_eq!(chain.phase(latched), Phase::Executed);
}

trait SortedBySubmission {
    fn sorted_by_submission(self, chain: &Chain) -> Self;
}

impl<const N: usize> SortedBySubmission for [(governance::ProposalId, ValidatorId); N] {
    fn sorted_by_submission(mut self, chain: &Chain) -> Self {
        self.sort_by_key(|(id, _)| (chain.state.proposal(id).unwrap().submitted_height, *id));
        self
    }
}

#[test]
fn gov_12_a_rotated_governance_key_votes_anew() {
    let mut chain = Chain::new(&[1; 6]);
    chain.lock_in(&set_change(20, &[rotate(5, Some(90), None)]));
    let open = chain.propose(5, &upgrade("1.1.0", 40));
    let events = chain.close(20);
    assert!(events.contains(&Event::BallotLapsed {
        proposal_id: open,
        validator_id: validator_id(5)
    }));
    chain.begin().unwrap();
    assert_eq!(chain.ballot(open, 5), None);
    assert_eq!(
        code(chain.vote(5, open, Choice::Approve)),
        "GOV-01",
        "the old key"
    );
    let vote = Action::Vote {
        proposal: open,
        choice: Choice::Approve,
    };
    // The sequence numbers go on: they are the validator's, not the key's.
    let transaction = chain.transaction(5, vote);
    assert_eq!(transaction.sequence, 2);
    chain.deliver(&transaction.sign(&key(90))).unwrap();
    let ballot = chain.ballot(open, 5).unwrap();
    assert_eq!(
        (ballot.public_key, ballot.sequence, ballot.by_proposing),
        (public(90), 2, false)
    );
}

#[test]
fn gov_12_a_rotated_consensus_key_or_another_power_leaves_the_votes() {
    for change in [rotate(5, None, Some(90)), set_power(5, 2)] {
        let mut chain = Chain::new(&[1; 6]);
        chain.lock_in(&set_change(20, std::slice::from_ref(&change)));
        let open = chain.propose(5, &upgrade("1.1.0", 40));
        let ballot = chain.ballot(open, 5);
        let events = chain.close(20);
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::BallotLapsed { .. })),
            "{events:?}"
        );
        assert_eq!(chain.ballot(open, 5), ballot);
        let power = if matches!(change, ValidatorChange::SetPower { .. }) {
            2
        } else {
            1
        };
        assert_eq!(chain.tally(open).approving, Power(power));
    }
}

#[test]
fn gov_12_new_powers_approve_a_live_proposal_at_once() {
    let mut chain = Chain::new(&[4, 4, 4]);
    chain.lock_in(&set_change(20, &[set_power(0, 6), set_power(2, 3)]));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.approve(&[1], open);
    assert_eq!(chain.phase(open), Phase::Voting, "eight of twelve");
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Voting, Phase::Approved)),
        "ten of thirteen"
    );
    assert_eq!(chain.state.plan().unwrap().id, open);
    assert_eq!(
        (chain.tally(open).approving, chain.tally(open).total),
        (Power(10), Power(13))
    );
}

#[test]
fn gov_12_new_powers_reject_a_live_proposal_at_once() {
    let mut chain = Chain::new(&[5, 5, 4]);
    chain.lock_in(&set_change(20, &[set_power(2, 5)]));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.vote(2, open, Choice::Reject).unwrap();
    assert_eq!(chain.phase(open), Phase::Voting, "four of fourteen");
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Voting, Phase::Rejected)),
        "five of fifteen"
    );
    assert_eq!(
        chain.state.proposal(&open).unwrap().ended_height,
        Some(Height(20))
    );
}

#[test]
fn gov_12_newcomers_take_an_approval_back() {
    let mut chain = Chain::new(&[1; 7]);
    chain.lock_in(&set_change(20, &[add(20, 1)]));
    let open = chain.propose(0, &upgrade("1.1.0", 40));
    chain.approve(&[1, 2, 3, 4], open);
    assert_eq!(chain.phase(open), Phase::Approved, "five of seven");
    let events = chain.close(20);
    assert_eq!(
        events.last(),
        Some(&phase_change(open, Phase::Approved, Phase::Voting)),
        "five of eight"
    );
}

#[test]
fn gov_12_the_latch_of_the_same_block_counts_with_the_old_set() {
    let mut chain = Chain::new(&[1; 7]);
    let change = chain.submit(0, &set_change(20, &[add(20, 1)]));
    let closing = chain.propose(0, &upgrade("1.1.0", 24));
    for id in [change, closing] {
        chain.approve(&[1, 2, 3, 4], id);
    }
    let events = chain.close(20);
    assert!(
        events.contains(&phase_change(closing, Phase::Approved, Phase::LockedIn)),
        "{events:?}"
    );
    assert_eq!(
        (chain.tally(closing).approving, chain.tally(closing).total),
        (Power(5), Power(7))
    );
    assert_eq!(chain.state.validators().len(), 8);
    let _ = chain.close(24);
    assert_eq!(chain.state.halt().unwrap().proposal, closing);
}

#[test]
fn gov_13_sequence_numbers_of_one_who_leaves_go_on_when_it_comes_back() {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.submit(0, &set_change(20, &[remove(5)]));
    let signed = chain.sign(
        5,
        Action::Vote {
            proposal: change,
            choice: Choice::Approve,
        },
    );
    chain.deliver(&signed).unwrap();
    chain.approve(&[1, 2, 3, 4], change);
    chain
        .send(
            5,
            Action::AuthorizeReporter {
                key: Some(public(80)),
            },
        )
        .unwrap();
    let _ = chain.close(20);
    let account = *chain.state.account(&validator_id(5)).unwrap();
    assert_eq!(
        (account.next_sequence, account.reporter),
        (2, None),
        "the reporter key goes"
    );
    chain.begin().unwrap();
    assert_eq!(code(chain.deliver(&signed)), "GOV-01");
    chain.lock_in(&set_change(40, &[add(5, 1)]));
    let _ = chain.close(40);
    chain.begin().unwrap();
    assert_eq!(chain.state.next_sequence(&validator_id(5)), 2);
    assert_eq!(
        chain.deliver(&signed).unwrap_err(),
        Rejection::Replayed {
            expected: 2,
            found: 0
        }
    );
    chain.propose(5, &upgrade("1.1.0", 60));
    assert_eq!(chain.state.next_sequence(&validator_id(5)), 3);
}

#[test]
fn gov_12_a_change_and_an_upgrade_at_one_height_both_happen() {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.submit(0, &set_change(20, &[remove(5)]));
    let release = chain.propose(0, &upgrade("1.1.0", 20));
    for id in [change, release] {
        chain.approve(&[1, 2, 3, 4], id);
    }
    let _ = chain.close(20);
    assert_eq!(chain.phase(change), Phase::Executed);
    assert_eq!(chain.state.halt().unwrap().proposal, release);
    chain.begin().unwrap();
    assert_eq!(*chain.state.version(), version("1.1.0"));
    assert_eq!(chain.state.validators().len(), 5);
}

#[test]
fn gov_09_an_upgrade_does_not_supersede_a_change() {
    let mut chain = Chain::new(&[1; 6]);
    let release = chain.propose(0, &upgrade("1.1.0", 20));
    let change = chain.submit(0, &set_change(22, &[remove(5)]));
    for id in [release, change] {
        chain.approve(&[1, 2, 3, 4], id);
    }
    chain.open(21);
    assert_eq!(
        (chain.phase(release), chain.phase(change)),
        (Phase::Executed, Phase::LockedIn)
    );
    let _ = chain.close(22);
    assert_eq!(chain.phase(change), Phase::Executed);
}

#[test]
fn gov_12_the_last_validator_standing_decides_alone() {
    let mut chain = Chain::new(&[100, 1]);
    chain.lock_in(&set_change(20, &[remove(1)]));
    chain.open(21);
    assert_eq!(chain.state.validators().len(), 1);
    let change = chain.submit(0, &set_change(40, &[set_power(0, 120)]));
    assert_eq!(chain.phase(change), Phase::Approved);
    let _ = chain.close(40);
    assert_eq!(chain.state.validators().total_power(), Power(120));
}
