//! Rows: what a store keeps and a snapshot carries. Equal rows are equal states, and every other row is noticed.

use governance::encoding::to_canonical;
use governance::{
    Action, Choice, MAX_ENDED_PROPOSALS, MAX_ROW_BYTES, Phase, PublicKey, Readiness, RestoreError, Row,
    RowKey, State,
};
use proptest::prelude::*;

use crate::fixture::{Chain, cancel_id, genesis, key, remove, rotate, set_change, upgrade, validator_id};
use crate::root::root_of_values;

/// Between blocks, with everything that a state can hold.
fn full() -> State {
    let mut chain = Chain::new(&[1; 6]);
    let change = chain.submit(0, &set_change(20, &[remove(5)]));
    chain.approve(&[1, 2, 3, 4, 5], change);
    chain.open(20);
    let rotating = chain.submit(0, &set_change(40, &[rotate(4, Some(90), None)]));
    chain.approve(&[1, 2, 3, 4], rotating);
    let release = chain.propose(0, &upgrade("1.1.0", 45));
    chain.approve(&[1, 2], release);
    chain.vote(3, release, Choice::Reject).unwrap();
    let reporter = Some(PublicKey::from(&key(200)));
    chain
        .send(0, Action::AuthorizeReporter { key: reporter })
        .unwrap();
    chain.report(200, 0, release, Readiness::Staged).unwrap();
    let rejected = chain.propose(1, &upgrade("1.2.0", 46));
    chain.vote(2, rejected, Choice::Reject).unwrap();
    chain.open(37);
    chain.vote(3, rejected, Choice::Reject).unwrap();
    chain.send(2, Action::ProposeCancel { target: rotating }).unwrap();
    chain.vote(0, cancel_id(rotating), Choice::Approve).unwrap();
    chain.report(200, 0, release, Readiness::Verified).unwrap();
    let _ = chain.end();
    let state = chain.state;
    assert_eq!(
        (state.live_proposals().len(), state.ended_proposals().len()),
        (3, 2)
    );
    state
}

#[test]
fn rows_are_the_state() {
    for state in [full(), State::from_genesis(&genesis(&[1])).unwrap()] {
        let rows = state.rows();
        let mut unordered = rows.clone();
        unordered.reverse();
        for rows in [rows, unordered] {
            let loaded = State::from_rows(rows).unwrap();
            assert_eq!(loaded, state);
            assert_eq!(loaded.state_root(), state.state_root());
            assert_eq!(loaded.rows(), state.rows());
        }
    }
    let kinds: std::collections::BTreeSet<u8> =
        full().rows().iter().map(|row| row.key.to_bytes()[3]).collect();
    assert_eq!(kinds, (0..7).collect(), "every kind of row");
}

/// A state from rows goes on like the one it was taken of.
#[test]
fn rows_lose_nothing_that_matters_later() {
    let mut first = full();
    let mut second = State::from_rows(first.rows()).unwrap();
    for height in 38..60 {
        let running = first.next_block_version().clone();
        let begun = first.begin_block(governance::Height(height), &running);
        assert_eq!(begun, second.begin_block(governance::Height(height), &running));
        assert_eq!(first.end_block(), second.end_block());
        assert_eq!(first, second);
        assert_eq!(first.new_certificates(), second.new_certificates());
        assert_eq!(first.rows(), second.rows());
    }
}

#[test]
fn rows_changed_removed_or_added_are_refused_or_give_another_root() {
    let state = full();
    let rows = state.rows();
    let noticed = |rows: Vec<Row>, what: String| match State::from_rows(rows) {
        Ok(loaded) => assert_ne!(loaded.state_root(), state.state_root(), "{what}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    };
    for index in 0..rows.len() {
        let mut fewer = rows.clone();
        let gone = fewer.remove(index);
        noticed(fewer, format!("without {:?}", gone.key));
        let mut twice = rows.clone();
        twice.push(gone.clone());
        assert_eq!(
            State::from_rows(twice),
            Err(RestoreError::Twice { key: gone.key })
        );
        for position in 0..gone.value.len() {
            let mut damaged = rows.clone();
            damaged[index].value[position] ^= 1 << (position % 8);
            noticed(damaged, format!("byte {position} of {:?}", gone.key));
        }
        let bytes = gone.key.to_bytes();
        for position in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[position] ^= 1 << (position % 8);
            if let Ok(key) = RowKey::from_bytes(&bytes) {
                let mut misfiled = rows.clone();
                misfiled[index].key = key;
                noticed(misfiled, format!("{:?} as {key:?}", gone.key));
            }
        }
    }
}

#[test]
fn rows_that_are_damaged_say_what_is_wrong() {
    let state = full();
    let rows = state.rows();
    let with = |change: &dyn Fn(&mut Vec<Row>)| {
        let mut rows = rows.clone();
        change(&mut rows);
        State::from_rows(rows).unwrap_err().to_string()
    };
    let is = |wanted: fn(&RowKey) -> bool| move |row: &Row| wanted(&row.key);
    let first = |wanted: fn(&RowKey) -> bool| rows.iter().position(is(wanted)).unwrap();
    let ballot = first(|key| matches!(key, RowKey::Ballot(..)));
    let report = first(|key| matches!(key, RowKey::Report(..)));
    let live = first(|key| matches!(key, RowKey::Live(_)));
    let validator = first(|key| matches!(key, RowKey::Validator(_)));
    let ended = first(|key| matches!(key, RowKey::Ended(_)));
    for (text, error) in [
        ("no header", with(&|rows| drop(rows.remove(0)))),
        ("cannot be read", with(&|rows| rows[live].value.truncate(10))),
        (
            "belongs under another key",
            with(&|rows| rows[live].value = rows[live + 1].value.clone()),
        ),
        (
            "belongs under another key",
            with(&|rows| rows[validator].value = rows[validator + 1].value.clone()),
        ),
        (
            "not those that its roots cover",
            with(&|rows| drop(rows.remove(ballot))),
        ),
        (
            "not those that its roots cover",
            with(&|rows| rows[ballot].value = rows[ballot + 1].value.clone()),
        ),
        (
            "not those that its roots cover",
            with(&|rows| drop(rows.remove(report))),
        ),
        ("no live proposal", with(&|rows| drop(rows.remove(live)))),
        ("number 0 is missing", with(&|rows| drop(rows.remove(ended)))),
        (
            "there is no validator",
            with(&|rows| rows.retain(|row| !matches!(row.key, RowKey::Validator(_)))),
        ),
        (
            "cannot be read",
            with(&|rows| rows[0].value = vec![0; MAX_ROW_BYTES + 1]),
        ),
    ] {
        assert!(error.contains(text), "{error}");
    }
    assert!(State::from_rows([]).is_err());
}

#[test]
fn rows_have_keys_in_the_order_of_their_bytes() {
    let validator = |byte: u8| governance::ValidatorId([byte; 20]);
    let proposal = |byte: u8| governance::ProposalId([byte; 32]);
    let keys = [
        RowKey::Header,
        RowKey::Validator(validator(0)),
        RowKey::Validator(validator(255)),
        RowKey::Account(validator(0)),
        RowKey::Live(proposal(0)),
        RowKey::Live(proposal(1)),
        RowKey::Ballot(proposal(0), validator(255)),
        RowKey::Ballot(proposal(1), validator(0)),
        RowKey::Report(proposal(0), validator(0)),
        RowKey::Ended(0),
        RowKey::Ended(255),
        RowKey::Ended(256),
        RowKey::Ended(u64::MAX),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(RowKey::from_bytes(&key.to_bytes()), Ok(*key));
        for other in &keys[index + 1..] {
            assert!(
                key < other && key.to_bytes() < other.to_bytes(),
                "{key:?} {other:?}"
            );
        }
    }
    for wrong in [&[][..], &[0, 0, 0], &[0, 0, 0, 7], &[0, 0, 0, 0, 0], &[0; 200]] {
        assert!(RowKey::from_bytes(wrong).is_err());
    }
}

/// The ballots that the shell has collected of a proposal are those that its root covers, also the last ones.
#[test]
fn rows_the_archive_of_an_ended_proposal_fits_its_roots() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let before = chain.state.clone();
    let id = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(1, id, Choice::Reject).unwrap();
    let _ = chain.end();
    let mut archive = std::collections::BTreeMap::new();
    let mut collect = |state: &State, before: &State| {
        for change in state.changes_since(before) {
            if let RowKey::Ballot(proposal, voter) = change.key {
                assert_eq!(proposal, id);
                match change.value {
                    Some(value) => archive.insert(voter, value),
                    None => archive.remove(&voter),
                };
            }
        }
        archive.clone().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(collect(&chain.state, &before).len(), 2);
    let before = chain.state.clone();
    chain.begin().unwrap();
    chain.send(0, Action::Withdraw { proposal: id }).unwrap();
    chain.vote(2, id, Choice::Reject).unwrap();
    assert_eq!(chain.phase(id), Phase::Rejected);
    let _ = chain.end();
    let archive = collect(&chain.state, &before);
    assert_eq!(archive.len(), 2, "one withdrawn, one more cast");
    assert_eq!(
        root_of_values(&archive, 0),
        chain.state.proposal(&id).unwrap().ballots_root
    );
}

#[test]
fn rows_of_ended_proposals_fall_out_at_the_end_of_the_list() {
    let mut chain = Chain::new(&[1, 1]);
    let mut before = chain.state.clone();
    let mut removed = Vec::new();
    let per_block = 251;
    for index in 0..MAX_ENDED_PROPOSALS + per_block {
        let mut content = upgrade("1.1.0", 40);
        content.description = index.to_string();
        let id = chain.propose(0, &content);
        chain.vote(1, id, Choice::Reject).unwrap();
        if (index + 1) % per_block == 0 {
            let _ = chain.end();
            let changes = chain.state.changes_since(&before);
            removed.extend(
                changes
                    .iter()
                    .filter(|change| change.value.is_none())
                    .map(|change| change.key),
            );
            let loaded = State::from_rows(chain.state.rows()).unwrap();
            assert_eq!(loaded, chain.state);
            assert_eq!(loaded.state_root(), chain.state.state_root());
            before = chain.state.clone();
            chain.begin().unwrap();
        }
    }
    let count = (MAX_ENDED_PROPOSALS + per_block) / per_block * per_block - MAX_ENDED_PROPOSALS;
    assert_eq!(
        removed,
        (0..u64::try_from(count).unwrap())
            .map(RowKey::Ended)
            .collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Rows that somebody has tampered with are refused, or are a state that breaks on nothing.
    #[test]
    fn rows_that_are_accepted_are_sound(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut rows = full_rows();
        for (row, position, byte) in damage {
            let row = row.index(rows.len());
            let value = &mut rows[row].value;
            let position = position.index(value.len());
            value[position] = byte;
        }
        if let Ok(mut state) = State::from_rows(rows.clone()) {
            prop_assert_eq!(governance::check::violations(&state), vec![]);
            rows.sort_by_key(|row| row.key);
            prop_assert_eq!(state.rows(), rows);
            let _ = state.end_block();
            if let Some(height) = state.height().next() {
                let running = state.next_block_version().clone();
                let _ = state.begin_block(height, &running);
            }
            for action in crate::decoding::actions() {
                let transaction = governance::Transaction {
                    chain_id: state.chain_id().clone(),
                    sequence: state.next_sequence(&validator_id(0)),
                    last_valid_height: governance::Height(u64::MAX),
                    action,
                };
                let signed = transaction.sign(&crate::fixture::governance_key(0));
                if let Ok(verified) = signed.verify(state.chain_id()) {
                    let _ = state.apply(&verified);
                }
            }
            let _ = state.end_block();
        }
    }
}

fn full_rows() -> Vec<Row> {
    static ROWS: std::sync::LazyLock<Vec<Row>> = std::sync::LazyLock::new(|| full().rows());
    ROWS.clone()
}

/// Values are what their keys name, in canonical bytes.
#[test]
fn rows_hold_canonical_values() {
    let state = full();
    for row in state.rows() {
        let expected = match row.key {
            RowKey::Header | RowKey::Ended(_) => continue,
            RowKey::Validator(id) => to_canonical(state.validators().get(&id).unwrap()),
            RowKey::Account(id) => to_canonical(state.account(&id).unwrap()),
            RowKey::Live(id) => to_canonical(state.proposal(&id).unwrap()),
            RowKey::Ballot(id, voter) => to_canonical(state.ballot(&id, &voter).unwrap()),
            RowKey::Report(id, validator) => {
                let mut reports = state.reports(&id, None).unwrap();
                to_canonical(reports.find(|(other, _)| **other == validator).unwrap().1)
            }
        };
        assert_eq!(row.value, expected, "{:?}", row.key);
    }
    let ended: Vec<_> = state.ended_proposals().map(to_canonical).collect();
    let rows = state.rows();
    let found = rows
        .iter()
        .filter(|row| matches!(row.key, RowKey::Ended(_)))
        .map(|row| row.value.clone());
    assert_eq!(found.collect::<Vec<_>>(), ended);
}
