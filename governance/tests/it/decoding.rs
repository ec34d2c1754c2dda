//! Canonical bytes: one encoding per value, and nothing that is read from outside panics or allocates without bound.

use governance::encoding::{EncodingError, from_canonical, to_canonical};
use governance::{
    Action, Choice, Digest, Event, Genesis, Height, MAX_TRANSACTION_BYTES, ProposalId, PublicKey, Readiness,
    ReleaseVersion, RowKey, SignedTransaction, State, TransactionId, ValidatorId,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{
    Chain, add, genesis, key, parameter_change, parameters, remove, rotate, set_change, set_power, upgrade,
    validator_id,
};

/// One of every kind.
pub(crate) fn actions() -> Vec<Action> {
    let changes = [add(5, 3), remove(1), set_power(2, 7), rotate(3, Some(90), None)];
    vec![
        Action::ProposeUpgrade(upgrade("1.1.0-rc.1", 20)),
        Action::ProposeCancel {
            target: ProposalId([1; 32]),
        },
        Action::Vote {
            proposal: ProposalId([2; 32]),
            choice: Choice::Reject,
        },
        Action::Withdraw {
            proposal: ProposalId([3; 32]),
        },
        set_change(20, &changes).to_action(),
        parameter_change(20, parameters()).to_action(),
        Action::AuthorizeReporter {
            key: Some(PublicKey::from(&key(80))),
        },
        Action::AuthorizeReporter { key: None },
        Action::ReportReadiness {
            validator: validator_id(0),
            proposal: ProposalId([4; 32]),
            readiness: Readiness::Verified,
        },
    ]
}

fn transactions() -> Vec<SignedTransaction> {
    let chain = Chain::new(&[1]);
    actions()
        .into_iter()
        .map(|action| chain.sign(0, action))
        .collect()
}

#[test]
fn gov_14_a_transaction_survives_the_round_trip_and_keeps_its_id() {
    for signed in transactions() {
        let decoded = SignedTransaction::from_canonical(&signed.to_canonical()).unwrap();
        assert_eq!(decoded, signed);
        assert_eq!(decoded.id(), signed.id());
    }
}

#[test]
fn gov_14_every_truncation_and_every_extension_is_refused() {
    for signed in transactions() {
        let mut bytes = signed.to_canonical();
        for length in 0..bytes.len() {
            let error = SignedTransaction::from_canonical(&bytes[..length]).unwrap_err();
            assert!(matches!(error, EncodingError::Malformed { .. }), "{error}");
        }
        bytes.push(0);
        let (used, found) = (bytes.len() - 1, bytes.len());
        assert_eq!(
            SignedTransaction::from_canonical(&bytes),
            Err(EncodingError::Trailing { used, found })
        );
    }
}

#[test]
fn gov_14_too_many_bytes_are_refused_unread() {
    let (limit, found) = (MAX_TRANSACTION_BYTES, MAX_TRANSACTION_BYTES + 1);
    let error = SignedTransaction::from_canonical(&vec![0; found]).unwrap_err();
    assert_eq!(error, EncodingError::TooLong { limit, found });
    assert_eq!(governance::Rejection::from(error).code(), "GOV-14.encoding");
}

#[test]
fn gov_14_a_claimed_length_allocates_nothing() {
    for length in [17_u64, 1 << 20, 1 << 32, 1 << 62, u64::MAX] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(b"short");
        assert!(from_canonical::<String>(&bytes, 1000).is_err(), "{length}");
        assert!(from_canonical::<Vec<u8>>(&bytes, 1000).is_err(), "{length}");
        assert!(from_canonical::<Vec<Event>>(&bytes, 1000).is_err(), "{length}");
        assert!(SignedTransaction::from_canonical(&bytes).is_err(), "{length}");
    }
}

#[test]
fn gov_14_only_the_one_encoding_is_accepted() {
    // A version with its `v` is the same version, and other bytes.
    let mut bytes = to_canonical("v1.1.0");
    assert_eq!(
        from_canonical::<ReleaseVersion>(&bytes, 100),
        Err(EncodingError::NotCanonical)
    );
    bytes = to_canonical("1.1.0");
    assert_eq!(
        from_canonical::<ReleaseVersion>(&bytes, 100).unwrap().to_string(),
        "1.1.0"
    );
    // A map out of order, and with a key twice.
    type Sequences = std::collections::BTreeMap<u8, u8>;
    for entries in [vec![(2_u8, 0_u8), (1, 0)], vec![(1, 0), (1, 1)]] {
        assert_eq!(
            from_canonical::<Sequences>(&to_canonical(&entries), 100),
            Err(EncodingError::NotCanonical)
        );
    }
    // Validators out of order.
    let mut validators: Vec<governance::Validator> = State::from_genesis(&genesis(&[1, 2]))
        .unwrap()
        .validators()
        .clone()
        .into();
    from_canonical::<governance::ValidatorSet>(&to_canonical(&validators), 1000).unwrap();
    validators.reverse();
    assert_eq!(
        from_canonical::<governance::ValidatorSet>(&to_canonical(&validators), 1000),
        Err(EncodingError::NotCanonical)
    );
}

#[test]
fn gov_14_values_that_their_type_refuses_are_refused() {
    for version in ["", "1", "1.1.0+build"] {
        assert!(
            from_canonical::<ReleaseVersion>(&to_canonical(version), 100).is_err(),
            "{version}"
        );
    }
    for chain_id in ["", "a b", "ä", &*"a".repeat(51)] {
        assert!(
            from_canonical::<governance::ChainId>(&to_canonical(chain_id), 100).is_err(),
            "{chain_id}"
        );
    }
    for platform in [
        "",
        "linux",
        "linux/",
        "/amd64",
        "linux/amd64/v2",
        "Linux/amd64",
        "linux/../x",
        &*"a/".repeat(20),
    ] {
        assert!(
            from_canonical::<governance::Platform>(&to_canonical(platform), 100).is_err(),
            "{platform}"
        );
    }
    // Variants that do not exist.
    assert!(from_canonical::<Choice>(&2_u32.to_be_bytes(), 4).is_err());
    assert!(from_canonical::<Action>(&8_u32.to_be_bytes(), 4).is_err());
}

#[test]
fn fixed_bytes_have_text_and_canonical_forms() {
    let text = "00ff".repeat(16);
    let digest: Digest = text.parse().unwrap();
    assert_eq!(digest.to_string(), text);
    assert_eq!(format!("{digest:?}"), text);
    assert_eq!(text.to_uppercase().parse(), Ok(digest));
    assert_eq!(to_canonical(&digest), digest.as_bytes());
    assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
    assert_eq!(Digest::try_from(&digest.0[..]), Ok(digest));
    for wrong in ["", "00", &text[1..], &format!("{text}00"), &"zz".repeat(32)] {
        let error = wrong.parse::<TransactionId>().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("transaction id: expected 64 hexadecimal digits"),
            "{error}"
        );
    }
    assert!(ValidatorId::try_from(&[0; 32][..]).is_err());
    assert_eq!(to_canonical(&Height(258)), [0, 0, 0, 0, 0, 0, 1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Random bytes are an error or a value with exactly these bytes.
    #[test]
    fn gov_14_arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        decode_everything(&bytes);
    }

    /// The same close to valid values, where decoding gets further.
    #[test]
    fn gov_14_damaged_transactions_never_panic(
        which in 0..9_usize,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = transactions()[which].to_canonical();
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        decode_everything(&bytes);
        if let Ok(signed) = SignedTransaction::from_canonical(&bytes) {
            let mut chain = Chain::new(&[1]);
            let _ = chain.deliver(&signed);
        }
    }
}

fn decode_everything(bytes: &[u8]) {
    fn decode<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
        if let Ok(value) = from_canonical::<T>(bytes, bytes.len()) {
            assert_eq!(to_canonical(&value), bytes);
        }
    }
    decode::<SignedTransaction>(bytes);
    decode::<RowKey>(bytes);
    decode::<Event>(bytes);
    decode::<Vec<Event>>(bytes);
    decode::<Genesis>(bytes);
    decode::<governance::Proposal>(bytes);
    decode::<governance::Ballot>(bytes);
    decode::<governance::Certificate>(bytes);
    decode::<governance::ValidatorsChange>(bytes);
    decode::<governance::ValidatorSet>(bytes);
}
