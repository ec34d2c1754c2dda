//! domain -> message -> bytes -> message -> domain gives the same value, for every type.

use governance::{
    Account, Action, Artifact, Ballot, Choice, Event, Halt, Parameters, ParametersChange, Phase, Proposal,
    ProposalId, Readiness, ReadinessReport, Rejection, SignedTransaction, Subject, Tally, Transaction,
    Upgrade, Validator, ValidatorChange, ValidatorId, ValidatorsChange,
};
use proptest::option;
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
    fn subject(value in arbitrary::subject()) {
        prop_assert_eq!(Subject::try_from(pb::proposal::Subject::from(&value)), Ok(value));
    }

    #[test]
    fn validators_change(value in arbitrary::validators_change()) {
        let message = over_the_wire(pb::ValidatorsChange::from(&value));
        prop_assert_eq!(ValidatorsChange::try_from(message), Ok(value));
    }

    #[test]
    fn validator_change(value in arbitrary::validator_change()) {
        let message = over_the_wire(pb::ValidatorChange::from(&value));
        prop_assert_eq!(ValidatorChange::try_from(message), Ok(value));
    }

    #[test]
    fn parameters_change(value in arbitrary::parameters_change()) {
        let message = over_the_wire(pb::ParametersChange::from(&value));
        prop_assert_eq!(ParametersChange::try_from(message), Ok(value));
    }

    #[test]
    fn readiness(value in arbitrary::readiness()) {
        prop_assert_eq!(Readiness::try_from(pb::Readiness::from(value)), Ok(value));
    }

    #[test]
    fn ballot(
        id in arbitrary::validator_id(),
        ballot in arbitrary::ballot(),
        active in option::of(arbitrary::validator()),
    ) {
        let message = over_the_wire(pb::Ballot::from((&id, &ballot, active.as_ref())));
        prop_assert_eq!(&message.validator, &active.as_ref().map(pb::ActiveValidator::from));
        prop_assert_eq!(<(ValidatorId, Ballot)>::try_from(message), Ok((id, ballot)));
    }

    #[test]
    fn report(
        id in arbitrary::validator_id(),
        report in arbitrary::report(),
        active in option::of(arbitrary::validator()),
    ) {
        let message = over_the_wire(pb::ReadinessReport::from((&id, &report, active.as_ref())));
        prop_assert_eq!(&message.validator, &active.as_ref().map(pb::ActiveValidator::from));
        prop_assert_eq!(<(ValidatorId, ReadinessReport)>::try_from(message), Ok((id, report)));
    }

    #[test]
    fn validator(value in arbitrary::validator(), account in arbitrary::account()) {
        let active = pb::ActiveValidator::from(&value);
        prop_assert_eq!((active.name.as_str(), active.power), (value.name.as_str(), value.power.0));
        let message = over_the_wire(pb::Validator::from((&value, &account)));
        prop_assert_eq!(<(Validator, Account)>::try_from(message), Ok((value, account)));
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
