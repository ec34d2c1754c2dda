//! GOV-17: certificates of which a part is not genuine.

use governance::{
    Action, Approval, Certificate, CertificateChain, CertificateFault, Choice, Height, Parameters, Phase,
    Power, PublicKey, SignedTransaction, Subject, Transaction,
};

use crate::certificates::fault;
use crate::fixture::{
    Chain, add, cancel_id, chain_id, key, parameter_change, parameters, remove, rotate, set_change, upgrade,
    validator_id,
};

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

/// A limit, not a promise: the block of the submission is not part of what is signed. After a change of `lock_in_blocks`
/// one content has two possible latches, and when the set changes between the two, approvals may have been enough at the
/// earlier one and not at the later, true one. Those signers did approve, and had the power; the chain did not accept.
#[test]
fn gov_17_a_changed_lock_in_leaves_two_latches_to_choose_from() {
    let mut chain = Chain::new(&[10; 8]);
    let shorter = Parameters {
        lock_in_blocks: 3,
        ..parameters()
    };
    let change = chain.submit(0, &parameter_change(12, shorter));
    chain.approve(&[1, 2, 3, 4, 5], change);
    chain.open(13);
    let release = chain.propose(0, &upgrade("1.1.0", 40));
    let larger = chain.submit(0, &set_change(36, &[add(20, 13), add(21, 13)]));
    for id in [release, larger] {
        chain.approve(&[1, 2, 3, 4, 5], id);
    }
    let _ = chain.close(35);
    let approved = chain.state.certificate(&release).unwrap();
    assert_eq!(approved.votes_close_height, Height(37));
    let _ = chain.close(37);
    assert_eq!(
        (chain.phase(larger), chain.phase(release)),
        (Phase::Executed, Phase::Expired)
    );

    let honest = CertificateChain::new(chain.executed.iter().cloned(), approved.clone());
    assert!(matches!(
        fault(&honest, &chain.genesis),
        CertificateFault::TooLittlePower(_)
    ));
    let earlier = Certificate {
        votes_close_height: Height(36),
        ..approved
    };
    let forged = CertificateChain::new(chain.executed.iter().cloned(), earlier);
    assert_eq!(forged.changes.len(), 1, "without the change of the set");
    forged.verify(&chain.genesis).unwrap();
}
