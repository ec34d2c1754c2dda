//! Finding a proposal as people name it.

use governance::{Choice, LookupError, Phase};

use crate::fixture::{Chain, cancel_id, upgrade};

#[test]
fn a_proposal_is_found_by_id_digits_and_name() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    let digits = id.to_string();
    for name in [
        &*digits,
        &digits[..8],
        &digits[..9],
        &digits.to_uppercase(),
        "v1.1.0@20",
        "1.1.0@20",
    ] {
        assert_eq!(chain.state.find_proposal(name).unwrap().id, id, "{name}");
    }
    for name in ["v1.1.0@21", "1.1@20", "@", "00000000"] {
        assert!(
            matches!(chain.state.find_proposal(name), Err(LookupError::NotFound { .. })),
            "{name}"
        );
    }
    for name in ["", &digits[..7], "v1.1.0", "xxxxxxxxxx", &format!("{digits}0")] {
        assert!(
            matches!(
                chain.state.find_proposal(name),
                Err(LookupError::Malformed { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn equal_names_are_ambiguous_and_live_ones_go_first() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let first = chain.propose(0, &upgrade("1.1.0", 20));
    let mut other = upgrade("1.1.0", 20);
    other.description.push('x');
    let second = chain.propose(1, &other);
    let mut candidates = vec![first, second];
    candidates.sort();
    match chain.state.find_proposal("v1.1.0@20").unwrap_err() {
        LookupError::Ambiguous {
            candidates: found, ..
        } => assert_eq!(found, candidates),
        error @ (LookupError::NotFound { .. } | LookupError::Malformed { .. }) => panic!("{error}"),
    }
    for sender in [2, 3] {
        chain.vote(sender, first, Choice::Reject).unwrap();
    }
    assert_eq!(chain.phase(first), Phase::Rejected);
    assert_eq!(chain.state.find_proposal("v1.1.0@20").unwrap().id, second);
}

#[test]
fn a_cancel_is_named_after_its_target() {
    let (mut chain, target) = Chain::locked_in();
    chain.open(17);
    chain
        .send(0, governance::Action::ProposeCancel { target })
        .unwrap();
    let name = format!("cancel@{}", &target.to_string()[..16]);
    assert_eq!(chain.state.find_proposal(&name).unwrap().id, cancel_id(target));
}

#[test]
fn lists_are_in_order_of_submission() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let mut ids = Vec::new();
    for (block, height) in [(1, 50), (2, 40), (3, 30)] {
        chain.open(block);
        ids.push(chain.propose(0, &upgrade("1.1.0", height)));
    }
    let live: Vec<_> = chain.state.live_proposals().map(|proposal| proposal.id).collect();
    assert_eq!(live, ids);
    let _ = chain.close(60);
    let ended: Vec<_> = chain
        .state
        .ended_proposals()
        .map(|proposal| proposal.id)
        .collect();
    assert_eq!(ended, ids.into_iter().rev().collect::<Vec<_>>(), "by their end");
}
