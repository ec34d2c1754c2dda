//! Protobuf bytes as every message that has a domain type: converted, and what was accepted comes back the same.

use std::fmt::{Debug, Display};

use governance::{
    Account, Ballot, Event, Halt, Parameters, ParametersChange, Phase, Proposal, ProposalId, ReadinessReport,
    SignedTransaction, Upgrade, Validator, ValidatorChange, ValidatorId, ValidatorsChange,
};
use prost::Message;
use proto::pb::governance::v1 as pb;
use proto::pb::node::v1 as node;

/// Decodes, converts, converts back and again.
fn both_ways<M, T, E>(data: &[u8], back: impl Fn(&T) -> M)
where
    M: Message + Default + PartialEq,
    T: TryFrom<M, Error = E> + PartialEq + Debug,
    E: Display,
{
    let Ok(message) = M::decode(data) else {
        return;
    };
    let value = match T::try_from(message) {
        Ok(value) => value,
        Err(error) => return drop(error.to_string()),
    };
    let message = back(&value);
    let bytes = message.encode_to_vec();
    let decoded = M::decode(bytes.as_slice()).expect("its own bytes");
    assert!(decoded == message, "{value:?} is not the same on the wire");
    match T::try_from(decoded) {
        Ok(again) => assert_eq!(again, value),
        Err(error) => panic!("{value:?} does not come back: {error}"),
    }
}

pub(crate) fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 13 {
        0 => both_ways(data, |value: &SignedTransaction| {
            pb::SignedTransaction::from(value)
        }),
        1 => both_ways(data, |value: &Proposal| pb::Proposal::from(value)),
        2 => both_ways(data, |value: &Event| pb::Event::from(value)),
        3 => both_ways(data, |value: &Upgrade| pb::Upgrade::from(value)),
        4 => both_ways(data, |value: &ValidatorsChange| pb::ValidatorsChange::from(value)),
        5 => both_ways(data, |value: &ValidatorChange| pb::ValidatorChange::from(value)),
        6 => both_ways(data, |value: &ParametersChange| pb::ParametersChange::from(value)),
        7 => both_ways(data, |value: &Halt| pb::Halt::from(value)),
        8 => both_ways(data, |value: &(ValidatorId, Ballot)| {
            pb::Ballot::from((&value.0, &value.1, None))
        }),
        9 => both_ways(data, |value: &(ValidatorId, ReadinessReport)| {
            pb::ReadinessReport::from((&value.0, &value.1, None))
        }),
        10 => both_ways(data, |value: &(Validator, Account)| {
            pb::Validator::from((&value.0, &value.1))
        }),
        11 => both_ways(data, |value: &Parameters| pb::GovernanceParameters::from(value)),
        _last => both_ways(data, |value: &(ProposalId, Upgrade, Phase)| {
            node::AnnouncedUpgrade::from((&value.0, &value.1, value.2))
        }),
    }
}

pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let prepared = &*super::prepared::PREPARED;
    let mut found = Vec::new();
    let mut add =
        |name: String, kind: u8, message: Vec<u8>| found.push((name, [&[kind], message.as_slice()].concat()));
    for (number, signed) in prepared.transactions.iter().enumerate().step_by(3) {
        add(
            format!("sent-{number}"),
            0,
            pb::SignedTransaction::from(signed).encode_to_vec(),
        );
    }
    let state = &prepared.state;
    for (number, proposal) in state.live_proposals().chain(state.ended_proposals()).enumerate() {
        add(
            format!("proposal-{number}"),
            1,
            pb::Proposal::from(proposal).encode_to_vec(),
        );
        if let Some(upgrade) = proposal.upgrade() {
            add(
                format!("upgrade-{number}"),
                3,
                pb::Upgrade::from(upgrade).encode_to_vec(),
            );
            let announced = node::AnnouncedUpgrade::from((&proposal.id, upgrade, proposal.phase));
            add(format!("announced-{number}"), 12, announced.encode_to_vec());
        }
        if let governance::Subject::Validators(change) = &proposal.subject {
            add(
                format!("set-{number}"),
                4,
                pb::ValidatorsChange::from(change).encode_to_vec(),
            );
            let one = pb::ValidatorChange::from(&change.changes[0]);
            add(format!("change-{number}"), 5, one.encode_to_vec());
        }
        if let governance::Subject::Parameters(change) = &proposal.subject {
            add(
                format!("parameters-{number}"),
                6,
                pb::ParametersChange::from(change).encode_to_vec(),
            );
        }
        if let Some((voter, ballot)) = state
            .ballots(&proposal.id, None)
            .and_then(|mut ballots| ballots.next())
        {
            add(
                format!("ballot-{number}"),
                8,
                pb::Ballot::from((voter, ballot, None)).encode_to_vec(),
            );
        }
        if let Some((host, report)) = state
            .reports(&proposal.id, None)
            .and_then(|mut reports| reports.next())
        {
            add(
                format!("report-{number}"),
                9,
                pb::ReadinessReport::from((host, report, None)).encode_to_vec(),
            );
        }
    }
    for (number, event) in events().iter().enumerate() {
        add(
            format!("event-{number}"),
            2,
            pb::Event::from(event).encode_to_vec(),
        );
    }
    if let Some(validator) = state.validators().iter().next() {
        let account = state.account(&validator.id).copied().unwrap_or_default();
        add(
            "validator".to_owned(),
            10,
            pb::Validator::from((validator, &account)).encode_to_vec(),
        );
    }
    add(
        "chosen".to_owned(),
        11,
        pb::GovernanceParameters::from(state.parameters()).encode_to_vec(),
    );
    let mut halting = state.clone();
    while halting.halt().is_none() {
        let running = halting.next_block_version().clone();
        let height = halting.height().next().expect("a next height");
        halting.begin_block(height, &running).expect("the next block");
        let _ = halting.end_block();
    }
    if let Some(halt) = halting.halt() {
        add("halt".to_owned(), 7, pb::Halt::from(&halt).encode_to_vec());
    }
    found
}

/// What the next blocks of the prepared chain report.
fn events() -> Vec<Event> {
    let mut state = super::prepared::PREPARED.state.clone();
    let mut events = Vec::new();
    for _ in 0..3 {
        let running = state.next_block_version().clone();
        let height = state.height().next().expect("a next height");
        events.extend(state.begin_block(height, &running).expect("the next block"));
        events.extend(state.end_block());
    }
    events
}
