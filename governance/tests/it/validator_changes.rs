//! GOV-12: which changes of the validator set may be proposed.

use governance::{
    Choice, GenesisValidator, Height, MAX_LIVE_PROPOSALS_PER_PROPOSER, MAX_VALIDATOR_CHANGES, Phase, Power,
    PublicKey, Subject, ValidatorChange, ValidatorsChange,
};

use crate::fixture::{
    Chain, add, key, newcomer, phase_change, remove, rotate, set_change, set_power, upgrade, validator_id,
};

const MAX: u64 = u64::MAX;

/// The code with which a chain of these powers answers a change, or "ok".
#[track_caller]
fn proposing(powers: &[u64], changes: &[ValidatorChange]) -> &'static str {
    let mut chain = Chain::new(powers);
    let proposed = chain.send(0, set_change(20, changes).to_action());
    proposed.err().map_or("ok", |rejection| rejection.code())
}

fn with(index: usize, change: impl Fn(&mut GenesisValidator)) -> ValidatorChange {
    let mut validator = newcomer(index, 1);
    change(&mut validator);
    ValidatorChange::Add(validator)
}

fn public(seed: u8) -> PublicKey {
    PublicKey::from(&key(seed))
}

#[test]
fn gov_12_count_one_to_sixty_four_changes() {
    let many = |count: usize| -> Vec<_> { (50..50 + count).map(|index| set_power(index, 1)).collect() };
    assert_eq!(proposing(&[1; 4], &[]), "GOV-12.count");
    assert_eq!(
        proposing(&[1; 4], &many(MAX_VALIDATOR_CHANGES + 1)),
        "GOV-12.count"
    );
    assert_eq!(proposing(&[1; 4], &many(MAX_VALIDATOR_CHANGES)), "GOV-12.unknown");
    // As many newcomers as fit; the largest of them fit a transaction.
    let newcomers: Vec<_> = (150..150 + MAX_VALIDATOR_CHANGES)
        .map(|index| with_key(u8::try_from(index).unwrap(), "n".repeat(60)))
        .collect();
    assert_eq!(proposing(&[1000; 4], &newcomers), "ok");
}

/// A newcomer with a long name and the keys of seeds above 150, so that none is used twice.
fn with_key(seed: u8, name: String) -> ValidatorChange {
    let mut consensus = [seed; 32];
    consensus[0] = 0;
    ValidatorChange::Add(GenesisValidator {
        name: format!("{name}{seed}"),
        governance_key: PublicKey::from(&governance::SigningKey::from_bytes(&[seed; 32])),
        consensus_key: PublicKey::from(&governance::SigningKey::from_bytes(&consensus)),
        power: Power(1),
    })
}

#[test]
fn gov_12_twice_a_validator_is_named_once() {
    for changes in [
        [set_power(1, 11), remove(1)],
        [remove(1), remove(1)],
        [rotate(1, Some(90), None), set_power(1, 11)],
        [add(20, 1), add(20, 1)],
        // Removed and added again under the same key: the same validator.
        [remove(1), add(1, 1)],
    ] {
        assert_eq!(proposing(&[10; 10], &changes), "GOV-12.twice", "{changes:?}");
    }
}

#[test]
fn gov_12_unknown_only_active_validators_change() {
    for change in [remove(50), set_power(50, 1), rotate(50, Some(90), None)] {
        assert_eq!(proposing(&[10; 10], &[change]), "GOV-12.unknown");
    }
}

#[test]
fn gov_12_nothing_a_change_changes_something() {
    for change in [
        set_power(1, 10),
        rotate(1, None, None),
        rotate(1, Some(2), None),
        rotate(1, None, Some(102)),
        rotate(1, Some(2), Some(102)),
    ] {
        assert_eq!(
            proposing(&[10; 10], std::slice::from_ref(&change)),
            "GOV-12.nothing",
            "{change:?}"
        );
    }
}

#[test]
fn gov_12_set_the_result_is_a_legal_set() {
    let illegal_key = PublicKey([2; 32]);
    let small_order_key = PublicKey([0; 32]);
    for change in [
        // Id, name and keys are free.
        add(1, 1),
        with(20, |new| new.name = "validator-1".to_owned()),
        with(20, |new| new.consensus_key = public(2)),
        with(20, |new| new.consensus_key = public(102)),
        with(20, |new| new.governance_key = public(102)),
        with(20, |new| new.consensus_key = new.governance_key),
        rotate(1, Some(3), None),
        rotate(1, Some(103), None),
        rotate(1, Some(102), None),
        rotate(1, None, Some(3)),
        rotate(1, None, Some(103)),
        rotate(1, None, Some(2)),
        rotate(1, Some(90), Some(90)),
        // Names can be shown, keys are keys, powers are above 0.
        with(20, |new| new.name.clear()),
        with(20, |new| new.name = "x".repeat(65)),
        with(20, |new| new.name = "a\u{1b}[2J".to_owned()),
        with(20, |new| new.governance_key = illegal_key),
        with(20, |new| new.consensus_key = illegal_key),
        with(20, |new| new.governance_key = small_order_key),
        with(20, |new| new.consensus_key = small_order_key),
        ValidatorChange::RotateKeys {
            validator: validator_id(1),
            governance_key: Some(small_order_key),
            consensus_key: None,
        },
        add(20, 0),
        set_power(1, 0),
    ] {
        assert_eq!(
            proposing(&[10; 10], std::slice::from_ref(&change)),
            "GOV-12.set",
            "{change:?}"
        );
    }
    // The powers together fit their type.
    assert_eq!(proposing(&[MAX - 9, 10 - 1], &[add(20, 1)]), "GOV-12.set");
    assert_eq!(proposing(&[MAX - 10, 10 - 1], &[add(20, 1)]), "ok");
    assert_eq!(proposing(&[MAX - 9, 9], &[set_power(1, 10)]), "GOV-12.set");
    assert_eq!(proposing(&[MAX - 9, 9], &[set_power(1, 8)]), "ok");
    assert_eq!(
        proposing(&[MAX - 9, 8, 1], &[remove(2), add(20, 1)]),
        "ok",
        "what leaves makes room"
    );
}

/// What one leaves, another may take in the same change.
#[test]
fn gov_12_names_and_keys_become_free_with_the_change() {
    for changes in [
        vec![remove(1), with(20, |new| new.name = "validator-1".to_owned())],
        vec![with(20, |new| new.name = "validator-1".to_owned()), remove(1)],
        vec![remove(1), with(20, |new| new.consensus_key = public(102))],
        vec![remove(1), rotate(2, Some(2), None)],
        // Two swap their keys.
        vec![rotate(1, Some(3), None), rotate(2, Some(2), None)],
        vec![rotate(1, None, Some(103)), rotate(2, None, Some(102))],
    ] {
        assert_eq!(proposing(&[10; 10], &changes), "ok", "{changes:?}");
    }
}

#[test]
fn gov_12_one_change_moves_less_than_a_third() {
    let third = MAX / 3;
    for (powers, changes, expected) in [
        (vec![33, 33, 33], vec![add(20, 33)], "GOV-12"),
        (vec![33, 33, 33], vec![add(20, 32)], "ok"),
        (vec![33, 66], vec![remove(0)], "GOV-12"),
        (vec![32, 67], vec![remove(0)], "ok"),
        (vec![33, 66], vec![set_power(1, 99)], "GOV-12"),
        (vec![33, 66], vec![set_power(1, 98)], "ok"),
        (vec![33, 66], vec![set_power(1, 33)], "GOV-12"),
        (vec![33, 66], vec![set_power(1, 34)], "ok"),
        (vec![33, 66], vec![rotate(0, Some(90), None)], "GOV-12"),
        (vec![32, 67], vec![rotate(0, Some(90), None)], "ok"),
        (vec![33, 66], vec![rotate(0, None, Some(90))], "GOV-12"),
        (vec![32, 67], vec![rotate(0, None, Some(90))], "ok"),
        // Both keys move the power once.
        (vec![32, 67], vec![rotate(0, Some(90), Some(91))], "ok"),
        // What enters does not make up for what leaves.
        (vec![50, 16, 33], vec![remove(1), add(20, 16)], "ok"),
        (vec![49, 17, 33], vec![remove(1), add(20, 16)], "GOV-12"),
        (vec![50, 49], vec![set_power(0, 67), set_power(1, 33)], "GOV-12"),
        (vec![50, 49], vec![set_power(0, 66), set_power(1, 33)], "ok"),
        (
            vec![10, 11, 78],
            vec![remove(0), rotate(1, Some(90), None), add(20, 12)],
            "GOV-12",
        ),
        (
            vec![10, 11, 78],
            vec![remove(0), rotate(1, Some(90), None), add(20, 11)],
            "ok",
        ),
        // u64::MAX is divisible by three.
        (vec![third, third * 2], vec![remove(0)], "GOV-12"),
        (vec![third - 1, third * 2 + 1], vec![remove(0)], "ok"),
        (vec![MAX], vec![set_power(0, MAX - third)], "GOV-12"),
        (vec![MAX], vec![set_power(0, MAX - third + 1)], "ok"),
        // A total of one moves nothing, a total of four moves one.
        (vec![1], vec![add(20, 1)], "GOV-12"),
        (vec![1, 1, 1], vec![add(20, 1)], "GOV-12"),
        (vec![1, 1, 1, 1], vec![add(20, 1)], "ok"),
    ] {
        assert_eq!(proposing(&powers, &changes), expected, "{powers:?} {changes:?}");
    }
}

#[test]
fn gov_12_the_set_never_becomes_empty() {
    assert_eq!(proposing(&[7], &[remove(0)]), "GOV-12.set");
    assert_eq!(proposing(&[MAX], &[remove(0)]), "GOV-12.set");
    assert_eq!(proposing(&[5, 6], &[remove(0), remove(1)]), "GOV-12.set");
    // Also not one after the other, all locked in before the first takes effect.
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let removals: Vec<_> = (0..4)
        .map(|index| {
            let height = 20 + u64::try_from(index).unwrap();
            let id = chain.submit(0, &set_change(height, &[remove(index)]));
            chain.approve(&[1, 2], id);
            id
        })
        .collect();
    let _ = chain.close(30);
    let phases: Vec<_> = removals.into_iter().map(|id| chain.phase(id)).collect();
    // Three are left after the first; one of three is a third.
    assert_eq!(
        phases,
        [
            Phase::Executed,
            Phase::Superseded,
            Phase::Superseded,
            Phase::Superseded
        ]
    );
    assert_eq!(chain.state.validators().len(), 3);
}

#[test]
fn gov_12_the_height_and_the_content_obey_the_rules_of_upgrades() {
    for (height, expected) in [(10, "GOV-02"), (11, "ok"), (MAX - 1, "GOV-02.far")] {
        let mut chain = Chain::new(&[1; 4]);
        let proposed = chain.send(0, set_change(height, &[add(20, 1)]).to_action());
        assert_eq!(
            proposed.err().map_or("ok", |rejection| rejection.code()),
            expected
        );
    }
    let mut chain = Chain::new(&[1; 4]);
    let content = set_change(20, &[add(20, 1)]);
    let id = chain.submit(0, &content);
    let proposal = chain.state.proposal(&id).unwrap();
    assert_eq!(
        (proposal.votes_close_height, proposal.phase),
        (Height(16), Phase::Voting)
    );
    assert_eq!(
        (proposal.name(), chain.tally(id).approving),
        ("validators@20".to_owned(), Power(1))
    );
    assert_eq!(chain.refusal(1, &content), "GOV-04");
    chain.vote(1, id, Choice::Reject).unwrap();
    chain.vote(2, id, Choice::Reject).unwrap();
    assert_eq!(chain.phase(id), Phase::Rejected);
    assert_eq!(chain.refusal(1, &content), "GOV-04.ended");
    for (description, expected) in [
        ("d".repeat(2049), "GOV-14.description-size"),
        ("\u{7}".to_owned(), "GOV-14.description-text"),
    ] {
        let subject = Subject::Validators(ValidatorsChange {
            height: Height(20),
            changes: vec![add(20, 1)],
            description,
        });
        assert_eq!(chain.refusal(1, &subject), expected);
    }
}

#[test]
fn gov_12_a_change_needs_the_same_threshold() {
    let mut chain = Chain::new(&[1; 6]);
    let id = chain.submit(0, &set_change(20, &[add(6, 1)]));
    chain.approve(&[1, 2, 3], id);
    assert_eq!(chain.phase(id), Phase::Voting, "exactly two thirds");
    assert_eq!(chain.close(16), [phase_change(id, Phase::Voting, Phase::Expired)]);
    let _ = chain.close(21);
    assert_eq!(chain.state.validators().len(), 6);
}

#[test]
fn gov_14_changes_take_places_among_the_live_proposals() {
    let mut chain = Chain::new(&[1; 8]);
    for index in 0..MAX_LIVE_PROPOSALS_PER_PROPOSER {
        chain.submit(0, &set_change(20, &[add(20 + index, 1)]));
    }
    assert_eq!(
        chain.refusal(0, &set_change(20, &[add(30, 1)])),
        "GOV-14.live-of-proposer"
    );
    assert_eq!(
        chain.refusal(0, &Subject::Upgrade(upgrade("1.1.0", 20))),
        "GOV-14.live-of-proposer"
    );
    for sender in 1..8 {
        for index in 0..MAX_LIVE_PROPOSALS_PER_PROPOSER {
            chain.submit(sender, &set_change(20, &[add(20 + sender * 8 + index, 1)]));
        }
    }
    assert_eq!(chain.refusal(0, &set_change(20, &[add(99, 1)])), "GOV-14.live");
}

/// An id belongs to the key of the entry for as long as the validator stays, also when the key has been rotated away.
#[test]
fn gov_12_a_rotated_away_key_cannot_enter_beside_its_validator() {
    let mut chain = Chain::new(&[1; 6]);
    chain.lock_in(&set_change(20, &[rotate(5, Some(90), None)]));
    chain.open(21);
    let again = with(5, |new| {
        new.name = "another".to_owned();
        new.consensus_key = public(91);
    });
    assert_eq!(
        chain.refusal(0, &set_change(40, std::slice::from_ref(&again))),
        "GOV-12.set"
    );
    chain.lock_in(&set_change(40, &[remove(5)]));
    chain.open(41);
    chain.submit(0, &set_change(60, &[again]));
}

#[test]
fn gov_06_a_validator_approves_any_number_of_changes() {
    let mut chain = Chain::new(&[1; 6]);
    let first = chain.submit(0, &set_change(20, &[add(20, 1)]));
    let second = chain.submit(0, &set_change(21, &[add(21, 1)]));
    let release = chain.propose(0, &upgrade("1.1.0", 40));
    for id in [first, second, release] {
        assert_eq!(chain.tally(id).approving, Power(1));
    }
}
