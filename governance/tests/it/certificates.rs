//! GOV-17: what a certificate proves to somebody who has the genesis and nothing else, and what it does not.

use governance::{
    Action, Approval, Certificate, CertificateChain, CertificateError, CertificateFault, Choice, Digest,
    Genesis, Height, MAX_CERTIFICATE_BYTES, Parameters, Phase, Power, ProposalId, PublicKey,
    SignedTransaction, Subject, Transaction, verify_changes,
};

use crate::fixture::{
    Chain, add, cancel_id, chain_id, governance_key, key, parameter_change, parameters, remove, rotate,
    set_change, upgrade, validator_id,
};

/// What is wrong with a chain of certificates, without where.
#[track_caller]
fn fault(proof: &CertificateChain, genesis: &Genesis) -> CertificateFault {
    match proof.verify(genesis).unwrap_err() {
        CertificateError::In { fault, .. } => *fault,
        error @ (CertificateError::NoCertificate
        | CertificateError::Checksum { .. }
        | CertificateError::Encoding(_)
        | CertificateError::Genesis(_)) => panic!("{error}"),
    }
}

/// The approval in a signed transaction.
fn approval(signed: &SignedTransaction, by_proposing: bool) -> Approval {
    Approval {
        public_key: signed.public_key,
        by_proposing,
        sequence: signed.transaction.sequence,
        last_valid_height: signed.transaction.last_valid_height,
        signature: signed.signature,
    }
}

fn sign(seed: u8, action: Action) -> SignedTransaction {
    Transaction {
        chain_id: chain_id("test-1"),
        sequence: 0,
        last_valid_height: Height(100),
        action,
    }
    .sign(&key(seed))
}

/// Ordered as certificates order them.
fn ordered(chain: &Chain, mut approvals: Vec<Approval>) -> Vec<Approval> {
    approvals.sort_by_key(|approval| {
        let validator = chain.state.validators().by_governance_key(&approval.public_key);
        validator.map(|validator| validator.id)
    });
    approvals
}

#[test]
fn gov_17_a_certificate_proves_from_genesis() {
    let (chain, id) = Chain::locked_in();
    let certificate = chain.certificate(id);
    assert_eq!(certificate.proposal(), id);
    assert_eq!(certificate.subject, Subject::Upgrade(upgrade("1.1.0", 20)));
    assert_eq!(
        (certificate.votes_close_height, certificate.approvals.len()),
        (Height(16), 3)
    );
    let by_proposing: Vec<_> = certificate
        .approvals
        .iter()
        .filter(|approval| approval.by_proposing)
        .collect();
    assert_eq!(by_proposing.len(), 1);
    assert_eq!(by_proposing[0].public_key, PublicKey::from(&governance_key(0)));
    let proof = chain.proof(id);
    assert_eq!(proof.changes, []);
    let proven = proof.verify(&chain.genesis).unwrap();
    assert_eq!(
        (proven.proposal, proven.approvals, proven.votes_close_height),
        (id, 3, Height(16))
    );
    assert_eq!((proven.tally.approving, proven.tally.total), (Power(3), Power(4)));
    assert_eq!(CertificateChain::from_bytes(&proof.to_bytes()).unwrap(), proof);
}

#[test]
fn gov_17_a_live_proposal_has_one_as_soon_as_it_is_approved() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1], id);
    assert_eq!(chain.state.certificate(&id), None);
    chain.approve(&[2], id);
    let early = chain.state.certificate(&id).unwrap();
    CertificateChain::new([], early.clone())
        .verify(&chain.genesis)
        .unwrap();
    chain.approve(&[3], id);
    let _ = chain.close(16);
    assert_eq!(
        chain.state.new_certificates(),
        [chain.state.certificate(&id).unwrap()]
    );
    assert_eq!(chain.certificate(id).approvals.len(), early.approvals.len() + 1);
    let _ = chain.close(17);
    assert_eq!(chain.state.new_certificates(), []);
    assert_eq!(chain.state.certificate(&ProposalId([9; 32])), None);
    // Rejections are no part of it, neither are withdrawn approvals.
    let mut chain = Chain::new(&[1; 7]);
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2, 3, 4, 5], id);
    chain.vote(6, id, Choice::Reject).unwrap();
    chain.send(5, Action::Withdraw { proposal: id }).unwrap();
    let _ = chain.close(16);
    assert_eq!(chain.certificate(id).approvals.len(), 5);
}

#[test]
fn gov_17_a_carried_out_cancel_has_a_certificate() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target }).unwrap();
    chain.approve(&[1, 2], cancel_id(target));
    let _ = chain.close(17);
    let proof = chain.proof(cancel_id(target));
    assert_eq!(proof.certificate.votes_close_height, Height(17));
    assert_eq!(proof.verify(&chain.genesis).unwrap().proposal, cancel_id(target));
}

/// Changes of set and parameters whose latches overlap: the second is latched before the first takes effect, and the
/// upgrade between the two.
fn long_chain() -> (Chain, Vec<ProposalId>) {
    let mut chain = Chain::new(&[10; 8]);
    let stricter = Parameters {
        lock_in_blocks: 3,
        threshold_numerator: 3,
        threshold_denominator: 4,
        ..parameters()
    };
    let mut ids = Vec::new();
    for subject in [
        set_change(20, &[add(20, 5), rotate(7, Some(90), None)]),
        parameter_change(22, stricter),
        Subject::Upgrade(upgrade("1.1.0", 25)),
        set_change(26, &[remove(6)]),
    ] {
        let id = chain.submit(0, &subject);
        chain.approve(&[1, 2, 3, 4, 5, 6], id);
        ids.push(id);
    }
    chain.open(21);
    // Latched at the end of 21, 26 - 4 = 22: votes on it lapse with the rotated key, the newcomer joins.
    chain.approve(&[20], ids[2]);
    chain.approve(&[20], ids[3]);
    chain.open(26);
    let mut later = upgrade("1.2.0", 40);
    later.description.push('2');
    let id = chain.propose(0, &later);
    chain.approve(&[1, 2, 3, 4, 5], id);
    chain.open(27);
    chain.approve(&[20], id);
    ids.push(id);
    let vote = Action::Vote {
        proposal: id,
        choice: Choice::Approve,
    };
    let rotated = chain.transaction(7, vote);
    chain.deliver(&rotated.sign(&key(90))).unwrap();
    let _ = chain.close(37);
    (chain, ids)
}

#[test]
fn gov_17_a_certificate_proves_across_changes() {
    let (chain, ids) = long_chain();
    assert_eq!(chain.executed.len(), 3);
    let expected = [
        (0, 0, 70, 80),
        (1, 0, 70, 80),
        (2, 1, 75, 85),
        (3, 1, 75, 85),
        (4, 3, 75, 75),
    ];
    for (index, changes, approving, total) in expected {
        let proof = chain.proof(ids[index]);
        assert_eq!(proof.changes.len(), changes, "{index}");
        let proven = proof.verify(&chain.genesis).unwrap();
        let tally = proven.tally;
        assert_eq!(
            (tally.approving, tally.total),
            (Power(approving), Power(total)),
            "{index}"
        );
        let counted = chain.state.proposal(&ids[index]).unwrap().tally;
        assert_eq!(tally, counted, "{index}");
    }
    let (set, parameters) = verify_changes(&chain.genesis, &chain.executed).unwrap();
    assert_eq!(
        (&set, &parameters),
        (chain.state.validators(), chain.state.parameters())
    );
}

#[test]
fn gov_17_one_flipped_byte_anywhere_fails() {
    let (chain, ids) = long_chain();
    for id in [ids[0], ids[4]] {
        let bytes = chain.proof(id).to_bytes();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            let error = CertificateChain::from_bytes(&damaged).unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        for length in 0..bytes.len() {
            CertificateChain::from_bytes(&bytes[..length]).unwrap_err();
        }
        let mut longer = bytes.clone();
        longer.push(0);
        CertificateChain::from_bytes(&longer).unwrap_err();
    }
}

/// The checksum keeps accidents out. Somebody who makes a new one fails on what is signed.
#[test]
fn gov_17_one_flipped_byte_with_a_new_checksum_fails_too() {
    let (chain, id) = Chain::locked_in();
    let bytes = chain.proof(id).to_bytes();
    let body = bytes.len() - 32;
    let mut faults = std::collections::BTreeSet::new();
    for position in 0..body {
        for mask in [1_u8 << (position % 8), 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= mask;
            let checksum = Digest::of(&damaged[..body]);
            damaged[body..].copy_from_slice(&checksum.0);
            let outcome =
                CertificateChain::from_bytes(&damaged).and_then(|proof| proof.verify(&chain.genesis));
            let error = outcome.expect_err(&format!("byte {position} is not protected"));
            faults.insert(
                format!("{error:?}")
                    .split(['{', '('])
                    .next()
                    .unwrap()
                    .trim()
                    .to_owned(),
            );
        }
    }
    assert!(
        faults.contains("In") && faults.contains("NoCertificate"),
        "{faults:?}"
    );
}

#[test]
fn gov_17_what_is_no_certificate_says_so() {
    let (chain, id) = Chain::locked_in();
    let bytes = chain.proof(id).to_bytes();
    for wrong in [&b""[..], b"{}", &[0; 31], &[0; 100], &bytes[1..]] {
        assert_eq!(
            CertificateChain::from_bytes(wrong),
            Err(CertificateError::NoCertificate)
        );
    }
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = CertificateChain::from_bytes(&damaged).unwrap_err();
    assert!(
        error.to_string().contains("the certificate is damaged"),
        "{error}"
    );
    let error = CertificateChain::from_bytes(&vec![0; MAX_CERTIFICATE_BYTES + 1]).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
}

#[test]
fn gov_17_another_chain_or_other_validators_prove_nothing() {
    let (chain, id) = Chain::locked_in();
    let proof = chain.proof(id);
    let mut other = chain.genesis.clone();
    other.chain_id = chain_id("test-2");
    assert!(matches!(
        fault(&proof, &other),
        CertificateFault::ForeignChain { .. }
    ));
    let mut other = chain.genesis.clone();
    for (validator, seed) in other.validators.iter_mut().zip(50..) {
        validator.governance_key = PublicKey::from(&key(seed));
    }
    assert!(matches!(
        fault(&proof, &other),
        CertificateFault::UnknownSigner { .. }
    ));
    let mut heavier = chain.genesis.clone();
    heavier.validators[3].power = Power(2);
    assert!(matches!(
        fault(&proof, &heavier),
        CertificateFault::TooLittlePower(_)
    ));
    let mut other = chain.genesis.clone();
    other.parameters.lock_in_blocks = 5;
    assert!(matches!(
        fault(&proof, &other),
        CertificateFault::VotesClose { .. }
    ));
    let mut illegal = chain.genesis.clone();
    illegal.validators.clear();
    assert!(matches!(
        proof.verify(&illegal),
        Err(CertificateError::Genesis(_))
    ));
    // The first version is no matter: a certificate is about what was approved.
    let mut later = chain.genesis.clone();
    later.initial_version = "9.0.0".parse().unwrap();
    proof.verify(&later).unwrap();
}

#[test]
fn gov_17_too_little_power_proves_nothing() {
    let mut chain = Chain::new(&[1; 6]);
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2, 3, 4], id);
    let _ = chain.close(16);
    let proof = chain.proof(id);
    proof.verify(&chain.genesis).unwrap();
    for left_out in 0..5 {
        let mut less = proof.clone();
        less.certificate.approvals.remove(left_out);
        let found = fault(&less, &chain.genesis);
        let CertificateFault::TooLittlePower(tally) = found else {
            panic!("{found}")
        };
        assert_eq!(tally.approving, Power(4), "exactly two thirds");
    }
    let mut nothing = proof;
    nothing.certificate.approvals.clear();
    assert!(matches!(
        fault(&nothing, &chain.genesis),
        CertificateFault::TooLittlePower(_)
    ));
}

#[test]
fn gov_17_a_signer_counts_once_and_in_order() {
    let mut chain = Chain::new(&[1; 6]);
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2, 3, 4], id);
    let _ = chain.close(16);
    let proof = chain.proof(id);
    for place in 0..5 {
        let mut twice = proof.clone();
        let copy = twice.certificate.approvals[place];
        twice.certificate.approvals.insert(place, copy);
        assert_eq!(
            fault(&twice, &chain.genesis),
            CertificateFault::Order {
                public_key: copy.public_key
            }
        );
        twice.certificate.approvals.remove(place);
        twice.certificate.approvals.push(copy);
        assert!(matches!(
            fault(&twice, &chain.genesis),
            CertificateFault::Order { .. }
        ));
    }
    let mut reordered = proof.clone();
    reordered.certificate.approvals.reverse();
    assert!(matches!(
        fault(&reordered, &chain.genesis),
        CertificateFault::Order { .. }
    ));
    // A second, genuine approval of the same validator in the place of somebody else's.
    let second = sign(
        2,
        Action::Vote {
            proposal: id,
            choice: Choice::Approve,
        },
    );
    let mut doubled = proof;
    doubled
        .certificate
        .approvals
        .retain(|approval| approval.public_key != PublicKey::from(&key(1)));
    doubled.certificate.approvals.push(approval(&second, false));
    doubled.certificate.approvals = ordered(&chain, doubled.certificate.approvals);
    assert!(matches!(
        fault(&doubled, &chain.genesis),
        CertificateFault::Order { .. }
    ));
}

/// Everything that could stand in the place of the third approval.
#[test]
fn gov_17_only_genuine_approvals_count() {
    let (chain, id) = Chain::locked_in();
    let proof = chain.proof(id);
    let approve = Action::Vote {
        proposal: id,
        choice: Choice::Approve,
    };
    let other = crate::fixture::id_of(&upgrade("1.1.0", 21));
    let with = |forged: Approval| {
        let mut proof = proof.clone();
        proof
            .certificate
            .approvals
            .retain(|approval| approval.public_key != PublicKey::from(&key(3)));
        proof.certificate.approvals.push(forged);
        proof.certificate.approvals = ordered(&chain, proof.certificate.approvals);
        proof
    };
    // The same way with a genuine one proves it, so each of the following fails for its own reason.
    let genuine = sign(3, approve.clone());
    with(approval(&genuine, false)).verify(&chain.genesis).unwrap();
    with(approval(
        &sign(3, Action::ProposeUpgrade(upgrade("1.1.0", 20))),
        true,
    ))
    .verify(&chain.genesis)
    .unwrap();

    let false_signature = CertificateFault::Signature {
        public_key: PublicKey::from(&key(3)),
    };
    let reject = sign(
        3,
        Action::Vote {
            proposal: id,
            choice: Choice::Reject,
        },
    );
    let withdraw = sign(3, Action::Withdraw { proposal: id });
    let elsewhere = sign(
        3,
        Action::Vote {
            proposal: other,
            choice: Choice::Approve,
        },
    );
    let mut foreign = genuine.transaction.clone();
    foreign.chain_id = chain_id("test-2");
    let foreign = foreign.sign(&key(3));
    for signed in [reject, withdraw, elsewhere, foreign] {
        assert_eq!(
            fault(&with(approval(&signed, false)), &chain.genesis),
            false_signature
        );
        assert_eq!(
            fault(&with(approval(&signed, true)), &chain.genesis),
            false_signature
        );
    }
    assert_eq!(
        fault(&with(approval(&genuine, true)), &chain.genesis),
        false_signature
    );
    for change in [
        &(|approval: &mut Approval| approval.sequence += 1) as &dyn Fn(&mut Approval),
        &|approval| approval.last_valid_height = Height(101),
        &|approval| approval.signature.0[0] ^= 1,
        &|approval| approval.signature.0[63] ^= 0x80,
        &|approval| approval.signature = sign(4, approve.clone()).signature,
    ] {
        let mut changed = approval(&genuine, false);
        change(&mut changed);
        assert_eq!(fault(&with(changed), &chain.genesis), false_signature);
    }
    // Somebody else's genuine signature: a stranger's, and one by a consensus key.
    for seed in [99, 103] {
        let unknown = CertificateFault::UnknownSigner {
            public_key: PublicKey::from(&key(seed)),
            height: Height(16),
        };
        assert_eq!(
            fault(
                &with(approval(&sign(seed, approve.clone()), false)),
                &chain.genesis
            ),
            unknown
        );
    }
}

#[test]
fn gov_17_the_content_and_the_latch_are_what_was_approved() {
    let (chain, id) = Chain::locked_in();
    let proof = chain.proof(id);
    let with = |change: &dyn Fn(&mut Certificate)| {
        let mut proof = proof.clone();
        change(&mut proof.certificate);
        fault(&proof, &chain.genesis)
    };
    let another = with(&|certificate| {
        let mut content = upgrade("1.1.0", 20);
        content.artifacts[0].sha256.0[0] ^= 1;
        certificate.subject = Subject::Upgrade(content);
    });
    assert!(matches!(another, CertificateFault::Signature { .. }), "{another}");
    let later = with(&|certificate| certificate.subject = Subject::Upgrade(upgrade("1.1.0", 21)));
    assert!(matches!(later, CertificateFault::VotesClose { .. }), "{later}");
    for height in [0, 15, 17, u64::MAX] {
        let closes = with(&|certificate| certificate.votes_close_height = Height(height));
        assert!(matches!(closes, CertificateFault::VotesClose { .. }), "{closes}");
    }
    let illegal = with(&|certificate| {
        let mut content = upgrade("1.1.0", 20);
        content.artifacts.clear();
        certificate.subject = Subject::Upgrade(content);
    });
    assert!(matches!(illegal, CertificateFault::Content(_)), "{illegal}");
    let soon = with(&|certificate| certificate.subject = Subject::Upgrade(upgrade("1.1.0", 1)));
    assert!(matches!(soon, CertificateFault::VotesClose { .. }), "{soon}");
}

#[test]
fn gov_17_a_missing_change_is_noticed() {
    let (chain, ids) = long_chain();
    // The newcomer and the rotated key sign what only the changes explain.
    for (index, kept, expected) in [
        (2, vec![], "is a change of the set missing?"),
        (4, vec![], "no parameters of this chain give that"),
        (4, vec![1, 2], "is a change of the set missing?"),
    ] {
        let mut proof = chain.proof(ids[index]);
        proof.changes = kept
            .iter()
            .map(|change: &usize| chain.executed[*change].clone())
            .collect();
        let error = proof.verify(&chain.genesis).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Without the change of the parameters the latch of the last one does not fit.
    let mut proof = chain.proof(ids[4]);
    proof.changes.remove(1);
    assert!(matches!(
        fault(&proof, &chain.genesis),
        CertificateFault::VotesClose { .. }
    ));
}

#[test]
fn gov_17_changes_stand_once_in_order_and_before_the_latch() {
    let (chain, ids) = long_chain();
    let proof = chain.proof(ids[4]);
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let mut reordered = proof.clone();
        reordered.changes.swap(first, second);
        reordered.verify(&chain.genesis).unwrap_err();
    }
    let mut twice = proof.clone();
    twice.changes.push(twice.changes[2].clone());
    assert!(matches!(
        fault(&twice, &chain.genesis),
        CertificateFault::ChangeOrder { .. }
    ));
    // One that took effect only after the latch.
    let mut extra = chain.proof(ids[2]);
    extra.changes.push(chain.executed[1].clone());
    assert!(matches!(
        fault(&extra, &chain.genesis),
        CertificateFault::ChangeTooLate { .. }
    ));
    // What changes nothing.
    let mut wrong = proof.clone();
    wrong.changes.push(chain.certificate(ids[2]));
    assert!(matches!(
        fault(&wrong, &chain.genesis),
        CertificateFault::NotAChange | CertificateFault::ChangeOrder { .. }
    ));
    let mut wrong = proof.clone();
    wrong.changes.insert(0, chain.certificate(ids[2]));
    wrong.verify(&chain.genesis).unwrap_err();
    // A damaged change spoils what follows.
    for change in 0..3 {
        let mut damaged = proof.clone();
        damaged.changes[change].approvals.truncate(5);
        let error = damaged.verify(&chain.genesis).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("change {} on the way", change + 1)),
            "{error}"
        );
    }
}

#[test]
fn gov_17_only_a_change_leads_to_another_certificate() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain.send(0, Action::ProposeCancel { target }).unwrap();
    chain.approve(&[1, 2], cancel_id(target));
    let later = chain.propose(0, &upgrade("1.2.0", 40));
    chain.approve(&[1, 2], later);
    let _ = chain.close(36);
    for wrong in [chain.certificate(target), chain.certificate(cancel_id(target))] {
        let proof = CertificateChain {
            changes: vec![wrong],
            certificate: chain.certificate(later),
        };
        assert_eq!(fault(&proof, &chain.genesis), CertificateFault::NotAChange);
    }
}

/// Genuine approvals of a change that the chain never could carry out.
#[test]
fn gov_17_a_change_that_does_not_fit_leads_nowhere() {
    let mut chain = Chain::new(&[1; 6]);
    let subject = set_change(20, &[remove(4), remove(5)]);
    let id = crate::fixture::subject_id(&subject);
    let approvals = (1..=5).map(|seed| {
        approval(
            &sign(
                seed,
                Action::Vote {
                    proposal: id,
                    choice: Choice::Approve,
                },
            ),
            false,
        )
    });
    let approvals = ordered(&chain, approvals.collect());
    let change = Certificate {
        chain_id: chain_id("test-1"),
        subject,
        votes_close_height: Height(16),
        approvals,
    };
    let later = chain.propose(0, &upgrade("1.1.0", 40));
    chain.approve(&[1, 2, 3, 4], later);
    let _ = chain.close(36);
    let proof = CertificateChain {
        changes: vec![change],
        certificate: chain.certificate(later),
    };
    let found = fault(&proof, &chain.genesis);
    let CertificateFault::DoesNotFit(rejection) = found else {
        panic!("{found}")
    };
    assert_eq!(rejection.code(), "GOV-12");
}

#[test]
fn gov_17_approvals_of_lapsed_keys_do_not_count() {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.submit(0, &set_change(20, &[rotate(5, Some(90), None)]));
    let release = chain.propose(0, &upgrade("1.1.0", 40));
    for id in [change, release] {
        chain.approve(&[1, 2, 3, 4], id);
    }
    let lapsing = chain.sign(
        5,
        Action::Vote {
            proposal: release,
            choice: Choice::Approve,
        },
    );
    chain.deliver(&lapsing).unwrap();
    let _ = chain.close(36);
    assert_eq!(chain.phase(release), Phase::LockedIn);
    let proof = chain.proof(release);
    assert_eq!(proof.certificate.approvals.len(), 5);
    proof.verify(&chain.genesis).unwrap();
    let mut with_lapsed = proof.clone();
    with_lapsed.certificate.approvals.push(approval(&lapsing, false));
    let unknown = CertificateFault::UnknownSigner {
        public_key: lapsing.public_key,
        height: Height(36),
    };
    assert_eq!(fault(&with_lapsed, &chain.genesis), unknown);
    // The set is the one at the latch: with the old set alone the old key is right, and the change is not missed.
    assert_eq!(
        chain
            .state
            .validators()
            .get(&validator_id(5))
            .unwrap()
            .governance_key,
        PublicKey::from(&key(90))
    );
}
