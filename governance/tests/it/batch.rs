//! GOV-13: signatures are judged by the rules of ZIP 215, alone and in batches with one answer.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use governance::{
    Action, ChainId, Choice, Height, Power, ProposalId, PublicKey, Rejection, Signature, SignedTransaction,
    State, Transaction, TransactionId, Validator, ValidatorId, ValidatorSet, verify_all,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use crate::fixture::{chain_id, genesis, governance_key, key, numbered_key};

fn transaction(sequence: u64) -> Transaction {
    let proposal = ProposalId([7; 32]);
    Transaction {
        chain_id: chain_id("test-1"),
        sequence,
        last_valid_height: Height(100),
        action: Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
    }
}

fn honest(signer: usize, sequence: u64) -> SignedTransaction {
    transaction(sequence).sign(&governance_key(signer))
}

fn validators() -> ValidatorSet {
    State::from_genesis(&genesis(&[1; 8]))
        .unwrap()
        .validators()
        .clone()
}

/// What is answered, by id or by rejection.
fn answers(
    found: Vec<Result<governance::VerifiedTransaction, Rejection>>,
) -> Vec<Result<TransactionId, Rejection>> {
    found
        .into_iter()
        .map(|answer| answer.map(|verified| verified.id()))
        .collect()
}

fn one_by_one(
    transactions: &[SignedTransaction],
    chain_id: &ChainId,
) -> Vec<Result<TransactionId, Rejection>> {
    answers(
        transactions
            .iter()
            .map(|signed| signed.verify(chain_id))
            .collect(),
    )
}

/// The usual validators, and one for every other key under which a transaction is signed: only keys of the set are
/// judged together.
fn with_all_signers(transactions: &[SignedTransaction]) -> ValidatorSet {
    let mut validators: Vec<Validator> = validators().into();
    for (number, signed) in (0..).zip(transactions) {
        let known = validators
            .iter()
            .any(|validator| validator.governance_key == signed.public_key);
        let validator = Validator {
            id: ValidatorId::at_entry(&signed.public_key),
            name: format!("signer-{number}"),
            governance_key: signed.public_key,
            consensus_key: PublicKey::from(&numbered_key(number, 9)),
            power: Power(1),
        };
        // A key of small order, or no key at all, is in no set.
        if !known && ValidatorSet::new(vec![validator.clone()]).is_ok() {
            validators.push(validator);
        }
    }
    ValidatorSet::new(validators).unwrap()
}

/// The batch says what each one says, whoever is a validator, also when parts of it are batches of their own.
fn assert_agrees(transactions: &[SignedTransaction]) -> Vec<Result<TransactionId, Rejection>> {
    let chain_id = chain_id("test-1");
    let expected = one_by_one(transactions, &chain_id);
    for set in [validators(), with_all_signers(transactions)] {
        let whole = verify_all(transactions.to_vec(), &chain_id, &set);
        assert_eq!(answers(whole), expected);
        for size in [1, 2, 3] {
            for (part, expected) in transactions.chunks(size).zip(expected.chunks(size)) {
                assert_eq!(answers(verify_all(part.to_vec(), &chain_id, &set)), expected);
            }
        }
    }
    expected
}

/// A signature by `secret` whose public key and nonce point are moved by points of small order.
fn signature_with(
    signed: Transaction,
    secret: Scalar,
    key_torsion: EdwardsPoint,
    nonce: u64,
    nonce_torsion: EdwardsPoint,
) -> SignedTransaction {
    let public_key = (EdwardsPoint::mul_base(&secret) + key_torsion).compress().0;
    let r = (EdwardsPoint::mul_base(&Scalar::from(nonce)) + nonce_torsion)
        .compress()
        .0;
    seal(signed, secret, nonce, public_key, r)
}

/// Solves the equation for s with these encodings of R and A.
fn seal(
    signed: Transaction,
    secret: Scalar,
    nonce: u64,
    public_key: [u8; 32],
    r: [u8; 32],
) -> SignedTransaction {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(public_key)
        .chain_update(signed.sign_bytes());
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let s = Scalar::from(nonce) + k * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(s.as_bytes());
    SignedTransaction {
        transaction: signed,
        public_key: PublicKey(public_key),
        signature: Signature(signature),
    }
}

fn by_zebra(signed: &SignedTransaction) -> bool {
    let Ok(key) = ed25519_zebra::VerificationKey::try_from(signed.public_key.0) else {
        return false;
    };
    let signature = ed25519_zebra::Signature::from_bytes(&signed.signature.0);
    key.verify(&signature, &signed.transaction.sign_bytes()).is_ok()
}

#[test]
fn gov_13_components_of_small_order_are_judged_the_same_alone_and_together() {
    let mut crafted = Vec::new();
    for (index, key_torsion) in EIGHT_TORSION.iter().enumerate() {
        for (other, nonce_torsion) in EIGHT_TORSION.iter().enumerate() {
            let number = u64::try_from(index * 8 + other).unwrap();
            let secret = Scalar::from(1_000 + number);
            crafted.push(signature_with(
                transaction(number),
                secret,
                *key_torsion,
                5_000 + number,
                *nonce_torsion,
            ));
        }
    }
    // The cofactor removes what is of small order: all of them are valid, whoever they stand beside.
    let found = assert_agrees(&crafted);
    assert!(found.iter().all(Result::is_ok));
    let mixed: Vec<_> = crafted
        .iter()
        .cloned()
        .enumerate()
        .flat_map(|(index, signed)| [signed, honest(index % 8, u64::try_from(index).unwrap())])
        .collect();
    assert!(assert_agrees(&mixed).iter().all(Result::is_ok));
    assert!(crafted.iter().all(by_zebra));
    // For another message none of them is.
    let moved: Vec<_> = crafted
        .into_iter()
        .map(|mut signed| {
            signed.transaction.sequence += 1;
            signed
        })
        .collect();
    assert!(assert_agrees(&moved).iter().all(Result::is_err));
    assert!(!moved.iter().any(by_zebra));
}

/// The only departure from ZIP 215: under a key of small order a signature may fit any message.
#[test]
fn gov_13_keys_of_small_order_sign_nothing() {
    let mut crafted = Vec::new();
    for torsion in EIGHT_TORSION {
        for r in EIGHT_TORSION {
            let signed = seal(
                transaction(0),
                Scalar::ZERO,
                0,
                torsion.compress().0,
                r.compress().0,
            );
            assert!(by_zebra(&signed));
            crafted.push(signed);
        }
    }
    for answer in assert_agrees(&crafted) {
        assert_eq!(answer.unwrap_err().code(), "GOV-13.signature");
    }
}

/// The encodings of field elements at and above 2²⁵⁵ − 19, with both signs: 38 candidates, of which some are points.
fn encodings_beyond_the_field() -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    for low in 0xed..=0xff_u8 {
        for top in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, top);
            found.push(bytes);
        }
    }
    found
}

#[test]
fn gov_13_second_encodings_of_points_are_judged_the_same_alone_and_together() {
    let mut crafted = Vec::new();
    let secret = Scalar::from(77_u64);
    let public_key = EdwardsPoint::mul_base(&secret).compress().0;
    for (number, r) in encodings_beyond_the_field().into_iter().enumerate() {
        let transaction = transaction(u64::try_from(number).unwrap());
        // Nobody knows the nonce of such a point unless it is of small order; then 0 is one.
        let is_small = CompressedEdwardsY(r)
            .decompress()
            .is_some_and(|point| point.mul_by_cofactor().is_identity());
        let signed = seal(transaction, secret, 0, public_key, r);
        assert_eq!(by_zebra(&signed), is_small, "{r:?}");
        crafted.push((signed, is_small));
    }
    assert!(crafted.iter().any(|(_, valid)| *valid) && crafted.iter().any(|(_, valid)| !*valid));
    let transactions: Vec<_> = crafted.iter().map(|(signed, _)| signed.clone()).collect();
    for (answer, (_, valid)) in assert_agrees(&transactions).iter().zip(&crafted) {
        assert_eq!(answer.is_ok(), *valid);
    }
}

#[test]
fn gov_13_a_scalar_beyond_the_order_is_refused_alone_and_together() {
    // The order of the group, little-endian, and multiples of it that fit.
    let order = {
        let mut bytes = (-Scalar::ONE).to_bytes();
        bytes[0] += 1;
        bytes
    };
    let mut crafted = vec![honest(0, 0)];
    for times in 1..=15 {
        let mut signed = honest(1, times);
        for _ in 0..times {
            let mut carry = 0_u16;
            for (byte, added) in signed.signature.0[32..].iter_mut().zip(order) {
                let sum = u16::from(*byte) + u16::from(added) + carry;
                *byte = sum.to_le_bytes()[0];
                carry = sum >> 8;
            }
        }
        assert!(!by_zebra(&signed), "{times}");
        crafted.push(signed);
    }
    let found = assert_agrees(&crafted);
    assert!(found[0].is_ok() && found[1..].iter().all(Result::is_err));
}

/// Two false signatures whose errors cancel out in an unweighted sum.
#[test]
fn gov_13_errors_do_not_cancel_out_in_a_batch() {
    for (first, second) in [(0, 1), (2, 2)] {
        let (mut plus, mut minus) = (honest(first, 0), honest(second, 1));
        let moved = |signed: &mut SignedTransaction, by: Scalar| {
            let s = <[u8; 32]>::try_from(&signed.signature.0[32..]).unwrap();
            let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).unwrap() + by;
            signed.signature.0[32..].copy_from_slice(s.as_bytes());
        };
        moved(&mut plus, Scalar::ONE);
        moved(&mut minus, -Scalar::ONE);
        assert!(assert_agrees(&[plus, minus]).iter().all(Result::is_err));
    }
}

#[test]
fn gov_13_an_empty_batch_and_a_large_one() {
    assert_eq!(verify_all(vec![], &chain_id("test-1"), &validators()).len(), 0);
    let all: Vec<_> = (0..500)
        .map(|number| honest(usize::try_from(number % 9).unwrap(), number))
        .collect();
    let found = answers(verify_all(all.clone(), &chain_id("test-1"), &validators()));
    assert_eq!(
        found,
        all.iter().map(|signed| Ok(signed.id())).collect::<Vec<_>>()
    );
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Honest,
    Stranger,
    Torsion,
    FlippedSignature(usize),
    FlippedKey(usize),
    AnotherMessage,
    AnotherChain,
    TooLarge,
    SignatureOfTheNext,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::Honest),
        2 => Just(Kind::Stranger),
        2 => Just(Kind::Torsion),
        1 => (0..512_usize).prop_map(Kind::FlippedSignature),
        1 => (0..256_usize).prop_map(Kind::FlippedKey),
        1 => Just(Kind::AnotherMessage),
        1 => Just(Kind::AnotherChain),
        1 => Just(Kind::TooLarge),
        1 => Just(Kind::SignatureOfTheNext),
    ]
}

fn make(kind: Kind, number: usize) -> SignedTransaction {
    let sequence = u64::try_from(number).unwrap();
    let mut signed = honest(number % 8, sequence);
    match kind {
        Kind::Honest => {}
        Kind::Stranger => signed = transaction(sequence).sign(&key(99)),
        Kind::Torsion => {
            let torsion = EIGHT_TORSION[number % 8];
            signed = signature_with(
                transaction(sequence),
                Scalar::from(sequence + 9),
                torsion,
                sequence + 3,
                torsion,
            );
        }
        Kind::FlippedSignature(bit) => signed.signature.0[bit / 8] ^= 1 << (bit % 8),
        Kind::FlippedKey(bit) => signed.public_key.0[bit / 8] ^= 1 << (bit % 8),
        Kind::AnotherMessage => signed.transaction.sequence += 1,
        Kind::AnotherChain => {
            let mut other = transaction(sequence);
            other.chain_id = chain_id("test-2");
            signed = other.sign(&governance_key(number % 8));
        }
        Kind::TooLarge => {
            let mut content = crate::fixture::upgrade("1.1.0", 20);
            content.description = "d".repeat(governance::MAX_TRANSACTION_BYTES);
            let mut large = transaction(sequence);
            large.action = Action::ProposeUpgrade(content);
            signed = large.sign(&governance_key(number % 8));
        }
        Kind::SignatureOfTheNext => signed.signature = honest(number % 8, sequence + 1).signature,
    }
    signed
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn gov_13_a_batch_says_what_each_one_says(kinds in vec(kind(), 0..24)) {
        let all: Vec<_> = kinds.iter().enumerate().map(|(number, kind)| make(*kind, number)).collect();
        let answers = assert_agrees(&all);
        for ((kind, answer), signed) in kinds.iter().zip(answers).zip(&all) {
            let code = answer.as_ref().err().map(Rejection::code);
            let expected = match kind {
                Kind::Honest | Kind::Stranger | Kind::Torsion => None,
                Kind::AnotherChain => Some("GOV-13.chain"),
                Kind::TooLarge => Some("GOV-14.transaction-size"),
                Kind::FlippedSignature(_) | Kind::FlippedKey(_) | Kind::AnotherMessage | Kind::SignatureOfTheNext => {
                    Some("GOV-13.signature")
                }
            };
            prop_assert_eq!(code, expected, "{:?}", kind);
            if !matches!(kind, Kind::AnotherChain | Kind::TooLarge) {
                prop_assert_eq!(by_zebra(signed), answer.is_ok());
            }
        }
    }
}
