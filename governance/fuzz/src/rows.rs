//! Bytes as rows of a state, of two forms: the rows themselves, and edits of good rows. What is accepted violates nothing,
//! gives the same rows and the same root again, and breaks on nothing that follows.

use governance::encoding::{from_canonical, to_canonical};
use governance::{
    Choice, Digest, Height, MAX_ROW_BYTES, Proposal, ProposalId, Row, RowKey, State, ValidatorId, check,
};

use super::prepared::PREPARED;

pub(crate) fn run(data: &[u8]) {
    let Some((form, data)) = data.split_first() else {
        return;
    };
    let mut rows = if form & 1 == 0 { parse(data) } else { edit(data) };
    if form & 2 == 2 {
        seal(&mut rows);
    }
    let mut state = match State::from_rows(rows.clone()) {
        Ok(state) => state,
        Err(error) => return drop(error.to_string()),
    };
    assert_eq!(check::violations(&state), []);
    rows.sort_by_key(|row| row.key);
    assert_eq!(state.rows(), rows);
    let again = State::from_rows(rows).expect("its own rows");
    assert_eq!((&again, again.state_root()), (&state, state.state_root()));
    assert_eq!(state.changes_since(&again), []);
    live_on(&mut state);
}

/// Blocks and transactions on a state that no history may have led to.
fn live_on(state: &mut State) {
    for _ in 0..3 {
        let running = state.next_block_version().clone();
        let Some(height) = state.height().next() else {
            return;
        };
        state.begin_block(height, &running).expect("the next block");
        for signed in &PREPARED.transactions {
            let mut transaction = signed.transaction.clone();
            let validator = state.validators().by_governance_key(&signed.public_key);
            transaction.sequence = validator.map_or(0, |validator| state.next_sequence(&validator.id));
            transaction.last_valid_height = Height(u64::MAX);
            transaction.chain_id = state.chain_id().clone();
            // An honest sender's, so that it need not be signed: only its form is of interest here.
            if transaction == signed.transaction
                && let Ok(verified) = signed.verify(state.chain_id())
            {
                let _ = state.apply(&verified);
            }
        }
        let before = state.clone();
        let _ = state.end_block();
        let _ = state.changes_since(&before);
        let _ = state.rows();
        for proposal in state
            .live_proposals()
            .map(|proposal| proposal.id)
            .collect::<Vec<_>>()
        {
            let ballots = state.ballots(&proposal, None).into_iter().flatten();
            let approving = ballots
                .filter(|(_, ballot)| ballot.choice == Choice::Approve)
                .count();
            if let Some(certificate) = state.certificate(&proposal) {
                assert_eq!(certificate.approvals.len(), approving);
            }
        }
        let _ = state.halt();
        let _ = state.find_proposal("v1.3.0@30");
    }
}

/// A key behind its length (one byte) and a value behind its length (two bytes), again and again.
fn parse(mut data: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (key, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        if let Ok(key) = RowKey::from_bytes(key) {
            let value = value.to_vec();
            rows.push(Row { key, value });
        }
        data = rest;
    }
    rows
}

/// Four bytes per edit: what, which row, where in its value, and a byte.
fn edit(data: &[u8]) -> Vec<Row> {
    let mut rows = PREPARED.state.rows();
    for step in data.chunks_exact(4) {
        let [what, row, place, byte] = [step[0], step[1], step[2], step[3]];
        if rows.is_empty() {
            break;
        }
        let row = usize::from(row) % rows.len();
        let other = usize::from(byte) % rows.len();
        let place = (usize::from(place) + usize::from(what >> 4) * 256) % rows[row].value.len().max(1);
        match what & 15 {
            0..=5 => {
                if let Some(held) = rows[row].value.get_mut(place) {
                    *held = byte;
                }
            }
            6 | 7 => {
                if let Some(held) = rows[row].value.get_mut(place) {
                    *held = held.wrapping_add(byte);
                }
            }
            8 => drop(rows.remove(row)),
            9 => rows[row].value = rows[other].value.clone(),
            10 => rows[row].key = rows[other].key,
            11 => rows.push(Row {
                key: another(rows[row].key, byte),
                value: rows[row].value.clone(),
            }),
            12 => rows[row].value.truncate(place),
            13 => rows[row].value.insert(place, byte),
            14 => rows[row].key = another(rows[row].key, byte),
            _rest => rows.swap(row, other),
        }
    }
    rows
}

/// A key of the same kind.
fn another(key: RowKey, byte: u8) -> RowKey {
    let validator = ValidatorId([byte; 20]);
    match key {
        RowKey::Header => RowKey::Header,
        RowKey::Validator(_) => RowKey::Validator(validator),
        RowKey::Account(_) => RowKey::Account(validator),
        RowKey::Live(_) => RowKey::Live(ProposalId([byte; 32])),
        RowKey::Ballot(proposal, _) => RowKey::Ballot(proposal, validator),
        RowKey::Report(proposal, _) => RowKey::Report(proposal, validator),
        RowKey::Ended(number) => RowKey::Ended(number.wrapping_add(u64::from(byte))),
    }
}

/// Gives the live proposals the roots over the ballots and reports that are there, as a forger would.
fn seal(rows: &mut [Row]) {
    let (mut ballots, mut reports) = (Vec::new(), Vec::new());
    for row in rows.iter() {
        match row.key {
            RowKey::Ballot(proposal, validator) => ballots.push((proposal, validator, row.value.clone())),
            RowKey::Report(proposal, validator) => reports.push((proposal, validator, row.value.clone())),
            RowKey::Header
            | RowKey::Validator(_)
            | RowKey::Account(_)
            | RowKey::Live(_)
            | RowKey::Ended(_) => {}
        }
    }
    let of = |all: &[(ProposalId, ValidatorId, Vec<u8>)], id: ProposalId| -> Vec<(ValidatorId, Vec<u8>)> {
        let mut found = std::collections::BTreeMap::new();
        for (proposal, validator, value) in all {
            if *proposal == id {
                found.insert(*validator, value.clone());
            }
        }
        found.into_iter().collect()
    };
    for row in rows {
        if let RowKey::Live(id) = row.key
            && let Ok(mut proposal) = from_canonical::<Proposal>(&row.value, MAX_ROW_BYTES)
        {
            proposal.ballots_root = root(&of(&ballots, id), 0);
            proposal.reports_root = root(&of(&reports, id), 0);
            row.value = to_canonical(&proposal);
        }
    }
}

/// The root over values by validator id, as the README of `governance` describes it.
fn root(entries: &[(ValidatorId, Vec<u8>)], depth: usize) -> Digest {
    let hash = |parts: Vec<u8>| Digest(*blake3::hash(&parts).as_bytes());
    match entries {
        [] => Digest([0; 32]),
        [(id, value)] => hash([&[0], id.0.as_slice(), value].concat()),
        several => {
            let (mut present, mut hashes) = (0_u16, Vec::new());
            for half in 0..16_u8 {
                let here = |id: &ValidatorId| (id.0[depth / 2] >> (4 - depth % 2 * 4)) & 15 == half;
                let entries: Vec<_> = several.iter().filter(|(id, _)| here(id)).cloned().collect();
                if !entries.is_empty() {
                    present |= 1 << half;
                    hashes.extend_from_slice(&root(&entries, depth + 1).0);
                }
            }
            hash([&[1], present.to_be_bytes().as_slice(), &hashes].concat())
        }
    }
}

pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut whole = vec![0];
    for row in PREPARED.state.rows() {
        let key = row.key.to_bytes();
        whole.push(u8::try_from(key.len()).expect("a short key"));
        whole.extend_from_slice(&key);
        whole.extend_from_slice(
            &u16::try_from(row.value.len())
                .expect("a short value")
                .to_be_bytes(),
        );
        whole.extend_from_slice(&row.value);
    }
    let mut sealed = whole.clone();
    sealed[0] = 2;
    vec![
        ("whole".to_owned(), whole),
        ("whole-sealed".to_owned(), sealed),
        ("untouched".to_owned(), vec![1]),
        ("edits".to_owned(), vec![3, 0, 1, 2, 3, 8, 20, 0, 0, 11, 5, 0, 9]),
    ]
}
