//! GOV-07, GOV-08 at the edge.

use governance::{
    Action, CertificateChain, Choice, Height, Outcome, Parameters, Phase, Power, State, Tally, Transaction,
    verify_all,
};

use crate::fixture::{
    Chain, add, code, genesis, large_genesis, numbered_key, set_change, subject_id, upgrade, version,
};

const MAX: u64 = u64::MAX;

fn tally(approving: u64, rejecting: u64, total: u64) -> Tally {
    Tally {
        approving: Power(approving),
        rejecting: Power(rejecting),
        total: Power(total),
        threshold_numerator: 2,
        threshold_denominator: 3,
    }
}

#[test]
fn gov_07_exactly_two_thirds_fails_and_one_above_passes() {
    for (approving, total, expected) in [
        (0, 1, Outcome::Open),
        (1, 1, Outcome::Approved),
        (1, 2, Outcome::Open),
        (2, 2, Outcome::Approved),
        (2, 3, Outcome::Open),
        (3, 3, Outcome::Approved),
        (2, 4, Outcome::Open),
        (3, 4, Outcome::Approved),
        (4, 6, Outcome::Open),
        (5, 6, Outcome::Approved),
        (4, 7, Outcome::Open),
        (5, 7, Outcome::Approved),
        (66, 99, Outcome::Open),
        (67, 99, Outcome::Approved),
        (66, 100, Outcome::Open),
        (67, 100, Outcome::Approved),
        (6666, 10_000, Outcome::Open),
        (6667, 10_000, Outcome::Approved),
        // u64::MAX is divisible by three.
        (MAX / 3 * 2, MAX, Outcome::Open),
        (MAX / 3 * 2 + 1, MAX, Outcome::Approved),
        (MAX, MAX, Outcome::Approved),
        ((MAX - 1) / 3 * 2, MAX - 1, Outcome::Open),
        ((MAX - 1) / 3 * 2 + 2, MAX - 1, Outcome::Approved),
    ] {
        assert_eq!(
            tally(approving, 0, total).outcome(),
            expected,
            "{approving} of {total}"
        );
    }
}

#[test]
fn gov_08_a_third_against_makes_approval_impossible_and_one_less_does_not() {
    for (rejecting, total, expected) in [
        (1, 1, Outcome::Impossible),
        (1, 2, Outcome::Impossible),
        (1, 3, Outcome::Impossible),
        (1, 4, Outcome::Open),
        (2, 4, Outcome::Impossible),
        (1, 6, Outcome::Open),
        (2, 6, Outcome::Impossible),
        (33, 99, Outcome::Impossible),
        (32, 99, Outcome::Open),
        (33, 100, Outcome::Open),
        (34, 100, Outcome::Impossible),
        (MAX / 3, MAX, Outcome::Impossible),
        (MAX / 3 - 1, MAX, Outcome::Open),
        (MAX, MAX, Outcome::Impossible),
    ] {
        assert_eq!(
            tally(0, rejecting, total).outcome(),
            expected,
            "{rejecting} of {total}"
        );
    }
}

#[test]
fn gov_07_the_needed_power_is_the_smallest_that_passes() {
    for total in [1, 2, 3, 4, 5, 6, 7, 99, 100, 101, MAX - 1, MAX] {
        for (numerator, denominator) in [(2, 3), (3, 4), (MAX - 1, MAX)] {
            let with = |approving| Tally {
                threshold_numerator: numerator,
                threshold_denominator: denominator,
                ..tally(approving, 0, total)
            };
            let needed = with(0).needed().unwrap().0;
            assert_eq!(with(needed).outcome(), Outcome::Approved, "{needed} of {total}");
            assert_ne!(
                with(needed - 1).outcome(),
                Outcome::Approved,
                "{needed} of {total}"
            );
        }
    }
}

#[test]
fn gov_07_exactly_two_thirds_of_a_chain_fails() {
    for (powers, approving, expected) in [
        (vec![1], vec![], Phase::LockedIn),
        (vec![1, 1], vec![], Phase::Expired),
        (vec![1, 1], vec![1], Phase::LockedIn),
        (vec![1, 1, 1], vec![1], Phase::Expired),
        (vec![1, 1, 1, 1], vec![1], Phase::Expired),
        (vec![1, 1, 1, 1], vec![1, 2], Phase::LockedIn),
        (vec![1; 6], vec![1, 2, 3], Phase::Expired),
        (vec![1; 6], vec![1, 2, 3, 4], Phase::LockedIn),
        (vec![2, 1], vec![], Phase::Expired),
        (vec![3, 1], vec![], Phase::LockedIn),
        (vec![MAX], vec![], Phase::LockedIn),
        (vec![MAX / 3 * 2, MAX / 3], vec![], Phase::Expired),
        (vec![MAX / 3 * 2 + 1, MAX / 3 - 1], vec![], Phase::LockedIn),
    ] {
        let mut chain = Chain::new(&powers);
        let proposal = chain.propose(0, &upgrade("1.1.0", 20));
        chain.approve(&approving, proposal);
        let _ = chain.close(16);
        assert_eq!(chain.phase(proposal), expected, "{powers:?} {approving:?}");
    }
}

#[test]
fn gov_07_a_chain_may_be_stricter() {
    let mut genesis = genesis(&[1; 10]);
    genesis.parameters = Parameters {
        threshold_numerator: 9,
        threshold_denominator: 10,
        ..genesis.parameters
    };
    let mut chain = Chain::from_genesis(&genesis);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.approve(&[1, 2, 3, 4, 5, 6, 7, 8], proposal);
    assert_eq!(chain.phase(proposal), Phase::Voting);
    chain.approve(&[9], proposal);
    assert_eq!(chain.phase(proposal), Phase::Approved);
    // Unanimity is needed, so one against is the end.
    chain.vote(9, proposal, Choice::Reject).unwrap();
    assert_eq!(chain.phase(proposal), Phase::Rejected);
}

#[test]
fn gov_07_a_chain_may_not_be_looser_or_out_of_reach() {
    for (numerator, denominator, legal) in [
        (2, 3, true),
        (4, 6, true),
        (3, 4, true),
        (99, 100, true),
        (6_666_667, 10_000_000, true),
        (6_666_666, 10_000_000, false),
        (MAX - 1, MAX, true),
        (MAX / 3 * 2, MAX, true),
        (MAX / 3 * 2 - 1, MAX, false),
        (1, 2, false),
        (0, 1, false),
        (1, 1, false),
        (3, 2, false),
        (0, 0, false),
        (1, 0, false),
    ] {
        let mut genesis = genesis(&[1]);
        genesis.parameters.threshold_numerator = numerator;
        genesis.parameters.threshold_denominator = denominator;
        assert_eq!(
            State::from_genesis(&genesis).is_ok(),
            legal,
            "{numerator}/{denominator}"
        );
    }
}

#[test]
fn gov_07_a_single_validator_decides() {
    let mut chain = Chain::new(&[MAX]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    assert_eq!(chain.phase(proposal), Phase::Approved);
    chain.send(0, Action::Withdraw { proposal }).unwrap();
    assert_eq!(chain.phase(proposal), Phase::Voting);
    chain.vote(0, proposal, Choice::Reject).unwrap();
    assert_eq!(chain.phase(proposal), Phase::Rejected);
}

/// Everything at once in a set of the largest size that runs BFT consensus anywhere: latch, change and certificate.
#[test]
fn gov_07_ten_thousand_validators_decide_by_one() {
    const VALIDATORS: u32 = 10_000;
    let genesis = large_genesis(VALIDATORS);
    let mut state = State::from_genesis(&genesis).unwrap();
    let running = version("1.0.0");
    state.begin_block(Height(1), &running).unwrap();
    let sign = |index: u32, action: Action| {
        Transaction {
            chain_id: genesis.chain_id.clone(),
            sequence: 0,
            last_valid_height: Height(100),
            action,
        }
        .sign(&numbered_key(index, 0))
    };
    let subject = set_change(20, &[add(0, 3_333), add(1, 3_333)]);
    let proposed = sign(0, subject.to_action()).verify(state.chain_id()).unwrap();
    assert_eq!(code(state.apply(&proposed)), "GOV-12");
    let subject = set_change(20, &[add(0, 3_332), add(1, 1)]);
    let proposed = sign(0, subject.to_action()).verify(state.chain_id()).unwrap();
    state.apply(&proposed).unwrap();
    let proposal = subject_id(&subject);
    let approve = Action::Vote {
        proposal,
        choice: Choice::Approve,
    };
    let votes: Vec<_> = (1..6_667).map(|index| sign(index, approve.clone())).collect();
    let verified = verify_all(votes, state.chain_id(), state.validators());
    assert_eq!(verified.len(), 6_666);
    for (number, vote) in (2..).zip(verified) {
        state.apply(&vote.unwrap()).unwrap();
        let found = state.proposal(&proposal).unwrap();
        let expected = if number < 6_667 {
            Phase::Voting
        } else {
            Phase::Approved
        };
        assert_eq!((found.tally.approving, found.phase), (Power(number), expected));
    }
    for height in 2..=21 {
        let before = state.clone();
        let _ = state.end_block();
        assert_eq!(
            State::from_rows(state.rows()).unwrap().state_root(),
            state.state_root()
        );
        if height == 17 {
            let proof = CertificateChain::new([], state.new_certificates()[0].clone());
            let proof = CertificateChain::from_bytes(&proof.to_bytes()).unwrap();
            assert_eq!(proof.verify(&genesis).unwrap().tally.approving, Power(6_667));
        }
        // What a block without transactions writes does not depend on the number of validators.
        let written = state.changes_since(&before).len();
        let most = match height {
            2 => 3 * 6_667,
            21 => 5,
            _other => 2,
        };
        assert!(
            written <= most,
            "{written} rows at the end of block {}",
            height - 1
        );
        state.begin_block(Height(height), &running).unwrap();
    }
    assert_eq!(state.validators().len(), 10_002);
    assert_eq!(state.validators().total_power(), Power(13_333));
}
