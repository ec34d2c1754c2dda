//! GOV-17: what a certificate proves to somebody who has the genesis and nothing else, and what it does not.

use governance::{
    Action, CertificateChain, CertificateError, CertificateFault, Choice, Digest, Genesis, Height,
    MAX_CERTIFICATE_BYTES, Parameters, Power, ProposalId, PublicKey, Subject, verify_changes,
};

use crate::fixture::{
    Chain, add, cancel_id, chain_id, governance_key, key, parameter_change, parameters, remove, rotate,
    set_change, upgrade,
};

/// What is wrong with a chain of certificates, without where.
#[track_caller]
pub(crate) fn fault(proof: &CertificateChain, genesis: &Genesis) -> CertificateFault {
    match proof.verify(genesis).unwrap_err() {
        CertificateError::In { fault, .. } => *fault,
        error @ (CertificateError::NoCertificate
        | CertificateError::Checksum { .. }
        | CertificateError::Encoding(_)
        | CertificateError::Genesis(_)) => panic!("{error}"),
    }
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
