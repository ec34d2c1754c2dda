//! Genesis: what it may say, and how it stands in JSON.

use governance::{Genesis, Height, MAX_LEAD_BLOCKS, Power, PublicKey, State};

use crate::fixture::{genesis, key, large_genesis, validator_id};

#[track_caller]
fn refused(change: &dyn Fn(&mut Genesis), text: &str) {
    let mut genesis = genesis(&[1, 2, 3]);
    change(&mut genesis);
    let error = State::from_genesis(&genesis).unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}

#[test]
fn gov_02_a_chain_starts_before_block_1() {
    let state = State::from_genesis(&genesis(&[1, 2, 3])).unwrap();
    assert_eq!(state.height(), Height(0));
    assert_eq!(state.next_block_version().to_string(), "1.0.0");
    assert_eq!(state.validators().total_power(), Power(6));
    let validator = state.validators().get(&validator_id(1)).unwrap();
    assert_eq!((&*validator.name, validator.power), ("validator-1", Power(2)));
    assert_eq!(
        state.validators().by_governance_key(&validator.governance_key),
        Some(validator)
    );
    assert_eq!(
        state.validators().by_governance_key(&validator.consensus_key),
        None
    );
}

#[test]
fn gov_02_votes_must_be_possible() {
    refused(
        &|genesis| genesis.parameters.min_lead_blocks = 4,
        "more lead than lock-in",
    );
    refused(
        &|genesis| genesis.parameters.min_lead_blocks = 0,
        "more lead than lock-in",
    );
    refused(
        &|genesis| genesis.parameters.lock_in_blocks = u64::MAX,
        "more lead than lock-in",
    );
    refused(
        &|genesis| genesis.parameters.min_lead_blocks = MAX_LEAD_BLOCKS + 1,
        "no height could be proposed",
    );
}

#[test]
fn gov_11_a_cancel_must_be_possible() {
    refused(&|genesis| genesis.parameters.lock_in_blocks = 1, "at least 2");
    refused(&|genesis| genesis.parameters.lock_in_blocks = 0, "at least 2");
}

#[test]
fn gov_07_the_threshold_is_at_least_two_thirds() {
    refused(
        &|genesis| genesis.parameters.threshold_numerator = 1,
        "the threshold is 1/3: expected at least 2/3",
    );
}

#[test]
fn gov_14_validators_are_a_set() {
    refused(&|genesis| genesis.validators.clear(), "there is no validator");
    refused(
        &|genesis| genesis.validators[1].name = "validator-0".to_owned(),
        "two validators are named",
    );
    refused(
        &|genesis| genesis.validators[1].name.clear(),
        "expected 1 to 64 bytes",
    );
    refused(
        &|genesis| genesis.validators[1].name = "\u{1b}[2J".to_owned(),
        "without control characters",
    );
    refused(
        &|genesis| genesis.validators[1].name = "x".repeat(65),
        "expected 1 to 64 bytes",
    );
    refused(&|genesis| genesis.validators[1].power = Power(0), "has no power");
    refused(
        &|genesis| genesis.validators[1].power = Power(u64::MAX),
        "together exceed 18446744073709551615",
    );
    refused(
        &|genesis| genesis.validators[1].governance_key = PublicKey::from(&key(1)),
        "is used twice",
    );
    refused(
        &|genesis| genesis.validators[1].consensus_key = PublicKey::from(&key(101)),
        "is used twice",
    );
    refused(
        &|genesis| genesis.validators[1].consensus_key = PublicKey::from(&key(1)),
        "is used twice",
    );
    refused(
        &|genesis| genesis.validators[1].governance_key = PublicKey([2; 32]),
        "no valid ed25519 public key",
    );
    // A point of small order: signatures by it prove nothing.
    refused(
        &|genesis| genesis.validators[1].consensus_key = PublicKey([0; 32]),
        "no valid ed25519 public key",
    );
}

#[test]
fn gov_02_powers_up_to_the_type_are_legal() {
    let mut genesis = genesis(&[1, 2, 3]);
    genesis.validators[2].power = Power(u64::MAX - 3);
    assert_eq!(
        State::from_genesis(&genesis).unwrap().validators().total_power(),
        Power(u64::MAX)
    );
}

#[test]
fn json_has_text_for_keys_and_versions() {
    let mut genesis = genesis(&[7]);
    genesis.validators[0].consensus_key = PublicKey::from(&key(9));
    let json = serde_json::to_value(&genesis).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "chain_id": "test-1",
            "initial_version": "1.0.0",
            "parameters": {
                "min_lead_blocks": 10, "lock_in_blocks": 4, "threshold_numerator": 2, "threshold_denominator": 3
            },
            "validators": [{
                "name": "validator-0",
                "governance_key": "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
                "consensus_key": PublicKey::from(&key(9)).to_string(),
                "power": 7
            }]
        })
    );
    assert_eq!(serde_json::from_value::<Genesis>(json).unwrap(), genesis);
}

#[test]
fn json_refuses_what_it_does_not_know() {
    let json = serde_json::to_string(&genesis(&[7])).unwrap();
    for (from, to, text) in [
        ("\"chain_id\"", "\"chain\"", "unknown field `chain`"),
        ("\"power\":7", "\"power\":-7", "invalid value"),
        ("\"power\":7", "\"power\":7,\"id\":1", "unknown field `id`"),
        ("\"test-1\"", "\"test 1\"", "chain id: expected 1 to 50"),
        ("\"1.0.0\"", "\"1.0\"", "no semantic version"),
        ("\"8a88", "\"8a8", "public key: expected 64 hexadecimal digits"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json);
        let error = serde_json::from_str::<Genesis>(&changed).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn gov_14_a_large_set_is_a_set() {
    let genesis = large_genesis(10_000);
    assert_eq!(State::from_genesis(&genesis).unwrap().validators().len(), 10_000);
}
