//! GOV-01, GOV-13, GOV-15: who may send what, when, and how often.

use governance::{Action, Choice, Height, ProposalId, PublicKey, Rejection, Signature, State};

use crate::fixture::{Chain, chain_id, code, genesis, governance_key, id_of, key, upgrade, validator_id};

fn vote_for_nothing() -> Action {
    Action::Vote {
        proposal: ProposalId([7; 32]),
        choice: Choice::Approve,
    }
}

#[test]
fn gov_01_a_stranger_neither_proposes_nor_votes() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    let vote = Action::Vote {
        proposal,
        choice: Choice::Approve,
    };
    for action in [
        Action::ProposeUpgrade(upgrade("1.2.0", 20)),
        vote,
        Action::Withdraw { proposal },
    ] {
        let mut transaction = chain.transaction(0, action);
        transaction.sequence = 0;
        let rejection = chain.deliver(&transaction.sign(&key(99))).unwrap_err();
        assert_eq!(
            rejection,
            Rejection::NotAValidator {
                public_key: PublicKey::from(&key(99))
            }
        );
        assert_eq!(rejection.code(), "GOV-01");
    }
}

#[test]
fn gov_01_a_consensus_key_neither_proposes_nor_votes() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let consensus_key = key(101);
    let transaction = chain.transaction(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    assert_eq!(code(chain.deliver(&transaction.sign(&consensus_key))), "GOV-01");
}

#[test]
fn gov_13_a_foreign_chain_is_refused_when_verifying_and_when_applying() {
    let mut chain = Chain::new(&[1]);
    let mut transaction = chain.transaction(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    transaction.chain_id = chain_id("test-2");
    let signed = transaction.sign(&governance_key(0));
    let rejection = signed.verify(chain.state.chain_id()).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::ForeignChain {
            expected: chain_id("test-1"),
            found: chain_id("test-2")
        }
    );
    assert_eq!(rejection.code(), "GOV-13.chain");

    // Verified for the other chain, then handed to this one.
    let verified = signed.verify(&chain_id("test-2")).unwrap();
    assert_eq!(code(chain.state.apply(&verified)), "GOV-13.chain");
}

#[test]
fn gov_13_every_flipped_bit_of_a_signature_is_refused() {
    let chain = Chain::new(&[1]);
    let signed = chain.sign(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    for bit in 0..512 {
        let mut flipped = signed.clone();
        flipped.signature.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            code(flipped.verify(chain.state.chain_id())),
            "GOV-13.signature",
            "bit {bit}"
        );
    }
}

#[test]
fn gov_13_a_signature_covers_every_field() {
    let chain = Chain::new(&[1, 1]);
    let signed = chain.sign(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    let refused = |change: &dyn Fn(&mut governance::SignedTransaction)| {
        let mut changed = signed.clone();
        change(&mut changed);
        assert_eq!(code(changed.verify(chain.state.chain_id())), "GOV-13.signature");
    };
    refused(&|signed| signed.transaction.sequence += 1);
    refused(&|signed| signed.transaction.last_valid_height = Height(5));
    refused(&|signed| signed.transaction.action = vote_for_nothing());
    refused(&|signed| signed.public_key = PublicKey::from(&governance_key(1)));
    // The identity, with which every message would verify under a lenient check.
    refused(&|signed| {
        signed.public_key = PublicKey([0; 32]);
        signed.public_key.0[0] = 1;
        signed.signature = Signature([0; 64]);
        signed.signature.0[0] = 1;
    });
}

#[test]
fn gov_13_a_replay_a_gap_and_a_late_one_have_their_own_codes() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let signed = chain.sign(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    chain.deliver(&signed).unwrap();
    let rejection = chain.deliver(&signed).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::Replayed {
            expected: 1,
            found: 0
        }
    );
    assert_eq!(rejection.code(), "GOV-13.replay");

    let vote = Action::Vote {
        proposal: id_of(&upgrade("1.1.0", 20)),
        choice: Choice::Reject,
    };
    let mut transaction = chain.transaction(0, vote.clone());
    transaction.sequence = 2;
    let rejection = chain.deliver(&transaction.sign(&governance_key(0))).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::SequenceGap {
            expected: 1,
            found: 2
        }
    );
    assert_eq!(rejection.code(), "GOV-13.gap");

    chain.open(5);
    let mut transaction = chain.transaction(0, vote);
    transaction.last_valid_height = Height(4);
    let rejection = chain
        .deliver(&transaction.clone().sign(&governance_key(0)))
        .unwrap_err();
    assert_eq!(
        rejection,
        Rejection::Expired {
            last_valid_height: Height(4),
            block: Height(5)
        }
    );
    assert_eq!(rejection.code(), "GOV-13.expired");
    transaction.last_valid_height = Height(5);
    chain.deliver(&transaction.sign(&governance_key(0))).unwrap();
}

#[test]
fn gov_13_each_validator_counts_for_itself() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(0, proposal, Choice::Reject).unwrap();
    chain.vote(1, proposal, Choice::Reject).unwrap();
    assert_eq!(
        [0, 1, 2].map(|index| chain.state.next_sequence(&validator_id(index))),
        [2, 1, 0]
    );
}

#[test]
fn gov_15_a_rejected_transaction_keeps_its_sequence_number() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    assert_eq!(code(chain.send(0, vote_for_nothing())), "GOV-06.unknown");
    assert_eq!(chain.state.next_sequence(&validator_id(0)), 0);
    chain.propose(0, &upgrade("1.1.0", 20));
}

#[test]
fn gov_15_nothing_is_applied_outside_a_block() {
    let mut state = State::from_genesis(&genesis(&[1])).unwrap();
    let chain = Chain::new(&[1]);
    let verified = chain
        .sign(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)))
        .verify(state.chain_id())
        .unwrap();
    assert_eq!(code(state.apply(&verified)), "GOV-15.no-block");
    assert!(state.end_block().is_empty());
    assert_eq!(state, State::from_genesis(&genesis(&[1])).unwrap());
    // `check` needs no block: it judges for the next one.
    assert_eq!(state.check(&verified), Ok(()));
}

#[test]
fn gov_13_check_judges_for_the_next_block() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let _ = chain.end();
    let mut transaction = chain.transaction(0, Action::ProposeUpgrade(upgrade("1.1.0", 20)));
    for (last_valid_height, expected) in [(1, Err("GOV-13.expired")), (2, Ok(()))] {
        transaction.last_valid_height = Height(last_valid_height);
        let verified = transaction
            .clone()
            .sign(&governance_key(0))
            .verify(chain.state.chain_id())
            .unwrap();
        assert_eq!(
            chain.state.check(&verified).map_err(|rejection| rejection.code()),
            expected
        );
    }
}
