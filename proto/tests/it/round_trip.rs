//! domain -> message -> bytes -> message -> domain gives the same value, for every type.

use governance::{
    Action, Artifact, Ballot, Choice, Event, Halt, Parameters, Phase, Proposal, ProposalId, Rejection,
    SignedTransaction, Tally, Transaction, Upgrade, Validator, ValidatorId,
};
use proptest::prelude::*;
use prost::Message;
use proto::pb::governance::v1 as pb;
use proto::pb::node::v1 as node;

use crate::arbitrary;

/// Through real bytes, not only through the message.
fn over_the_wire<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("encoded bytes decode")
}

proptest! {
    #[test]
    fn signed_transaction(value in arbitrary::signed_transaction()) {
        let back = SignedTransaction::try_from(over_the_wire(pb::SignedTransaction::from(&value)));
        prop_assert_eq!(back, Ok(value));
    }

    #[test]
    fn transaction(value in arbitrary::transaction()) {
        prop_assert_eq!(Transaction::try_from(over_the_wire(pb::Transaction::from(&value))), Ok(value));
    }

    #[test]
    fn action(value in arbitrary::action()) {
        prop_assert_eq!(Action::try_from(pb::transaction::Action::from(&value)), Ok(value));
    }

    #[test]
    fn upgrade(value in arbitrary::upgrade()) {
        prop_assert_eq!(Upgrade::try_from(over_the_wire(pb::Upgrade::from(&value))), Ok(value));
    }

    #[test]
    fn artifact(value in arbitrary::artifact()) {
        prop_assert_eq!(Artifact::try_from(over_the_wire(pb::Artifact::from(&value))), Ok(value));
    }

    #[test]
    fn choice(value in arbitrary::choice()) {
        prop_assert_eq!(Choice::try_from(pb::Choice::from(value)), Ok(value));
    }

    #[test]
    fn phase(value in arbitrary::phase()) {
        prop_assert_eq!(Phase::try_from(pb::ProposalPhase::from(value)), Ok(value));
    }

    #[test]
    fn proposal(value in arbitrary::proposal()) {
        prop_assert_eq!(Proposal::try_from(over_the_wire(pb::Proposal::from(&value))), Ok(value));
    }

    #[test]
    fn tally(value in arbitrary::tally()) {
        prop_assert_eq!(Tally::try_from(over_the_wire(pb::Tally::from(&value))), Ok(value));
    }

    #[test]
    fn ballot(validator in arbitrary::validator_id(), ballot in arbitrary::ballot()) {
        let message = over_the_wire(pb::Ballot::from((&validator, &ballot)));
        prop_assert_eq!(<(ValidatorId, Ballot)>::try_from(message), Ok((validator, ballot)));
    }

    #[test]
    fn validator(value in arbitrary::validator(), next_sequence: u64) {
        let message = over_the_wire(pb::Validator::from((&value, next_sequence)));
        prop_assert_eq!(<(Validator, u64)>::try_from(message), Ok((value, next_sequence)));
    }

    #[test]
    fn parameters(value in arbitrary::parameters()) {
        prop_assert_eq!(Parameters::from(over_the_wire(pb::GovernanceParameters::from(&value))), value);
    }

    #[test]
    fn halt(value in arbitrary::halt()) {
        prop_assert_eq!(Halt::try_from(over_the_wire(pb::Halt::from(&value))), Ok(value));
    }

    #[test]
    fn event(value in arbitrary::event()) {
        prop_assert_eq!(Event::try_from(over_the_wire(pb::Event::from(&value))), Ok(value));
    }

    #[test]
    fn announced_upgrade(
        id in arbitrary::proposal_id(),
        upgrade in arbitrary::upgrade(),
        phase in arbitrary::phase(),
    ) {
        let message = over_the_wire(node::AnnouncedUpgrade::from((&id, &upgrade, phase)));
        prop_assert_eq!(<(ProposalId, Upgrade, Phase)>::try_from(message), Ok((id, upgrade, phase)));
    }
}

#[test]
fn a_rejection_travels_as_code_and_text() {
    let rejection = Rejection::TooManyLive;
    let message = pb::Rejection::from(&rejection);
    assert_eq!(message.code, rejection.code());
    assert_eq!(message.message, rejection.to_string());
}
