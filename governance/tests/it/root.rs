//! The state root once more, written byte by byte from the layout in the README, out of what a state answers.

use governance::{
    Account, Ballot, Choice, Digest, Phase, Proposal, Readiness, ReadinessReport, State, Validator,
    ValidatorId,
};

/// The root over values by validator id: nothing is zeros, one entry is the hash of a byte 0, id and value, several are the
/// hash of a byte 1, two bytes that say which half bytes follow, and their hashes.
pub(crate) fn root_of_values(entries: &[(ValidatorId, Vec<u8>)], depth: usize) -> Digest {
    match entries {
        [] => Digest([0; 32]),
        [(id, value)] => blake3(&[&[0], id.0.as_slice(), value].concat()),
        several => {
            let (mut present, mut hashes) = (0_u16, Vec::new());
            for half in 0..16_u8 {
                let here = |id: &ValidatorId| (id.0[depth / 2] >> (4 - depth % 2 * 4)) & 15 == half;
                let entries: Vec<_> = several.iter().filter(|(id, _)| here(id)).cloned().collect();
                if !entries.is_empty() {
                    present |= 1 << half;
                    hashes.extend_from_slice(&root_of_values(&entries, depth + 1).0);
                }
            }
            blake3(&[&[1], present.to_be_bytes().as_slice(), &hashes].concat())
        }
    }
}

/// What is hashed to the state root.
pub(crate) fn state_bytes(state: &State) -> Vec<u8> {
    let mut bytes = b"visor/governance/v1/state\0".to_vec();
    text(&mut bytes, state.chain_id().as_str());
    number(&mut bytes, state.height().0);
    text(&mut bytes, &state.version().to_string());
    let parameters = state.parameters();
    number(&mut bytes, parameters.min_lead_blocks);
    number(&mut bytes, parameters.lock_in_blocks);
    number(&mut bytes, parameters.threshold_numerator);
    number(&mut bytes, parameters.threshold_denominator);
    number(&mut bytes, state.executed_changes());
    bytes.extend_from_slice(&validators_digest(state).0);
    bytes.extend_from_slice(&accounts_root(state).0);
    let mut live: Vec<&Proposal> = state.live_proposals().collect();
    live.sort_by_key(|proposal| proposal.id);
    count(&mut bytes, live.len());
    for proposal in live {
        record(&mut bytes, proposal);
    }
    count(&mut bytes, state.ended_proposals().len());
    let mut head = Digest([0; 32]);
    for proposal in state.ended_proposals() {
        let mut link = b"visor/governance/v1/ended\0".to_vec();
        link.extend_from_slice(&head.0);
        record(&mut link, proposal);
        head = blake3(&link);
    }
    bytes.extend_from_slice(&head.0);
    bytes
}

/// The root of a state that has not forgotten an ended proposal yet.
pub(crate) fn state_root(state: &State) -> Digest {
    blake3(&state_bytes(state))
}

fn validators_digest(state: &State) -> Digest {
    let mut bytes = b"visor/governance/v1/validators\0".to_vec();
    count(&mut bytes, state.validators().len());
    for validator in state.validators().iter() {
        let Validator {
            id,
            name,
            governance_key,
            consensus_key,
            power,
        } = validator;
        bytes.extend_from_slice(&id.0);
        text(&mut bytes, name);
        bytes.extend_from_slice(&governance_key.0);
        bytes.extend_from_slice(&consensus_key.0);
        number(&mut bytes, power.0);
    }
    blake3(&bytes)
}

/// Accounts cannot be listed; their rows can.
fn accounts_root(state: &State) -> Digest {
    let mut entries = Vec::new();
    for row in state.rows() {
        if let governance::RowKey::Account(id) = row.key {
            let Account {
                next_sequence,
                reporter,
                next_report_sequence,
                approves,
            } = state.account(&id).unwrap();
            let mut bytes = Vec::new();
            number(&mut bytes, *next_sequence);
            option(&mut bytes, reporter.as_ref().map(|key| key.0.as_slice()));
            number(&mut bytes, *next_report_sequence);
            option(&mut bytes, approves.as_ref().map(|id| id.0.as_slice()));
            assert_eq!(bytes, row.value);
            entries.push((id, bytes));
        }
    }
    root_of_values(&entries, 0)
}

/// Everything about a proposal but its content, for which the id stands.
fn record(bytes: &mut Vec<u8>, proposal: &Proposal) {
    bytes.extend_from_slice(&proposal.id.0);
    bytes.extend_from_slice(&proposal.proposer.0);
    number(bytes, proposal.submitted_height.0);
    number(bytes, proposal.votes_close_height.0);
    variant(
        bytes,
        match proposal.phase {
            Phase::Voting => 0,
            Phase::Approved => 1,
            Phase::LockedIn => 2,
            Phase::Executed => 3,
            Phase::Rejected => 4,
            Phase::Expired => 5,
            Phase::Superseded => 6,
            Phase::Cancelled => 7,
        },
    );
    let ended = proposal.ended_height.map(|height| height.0.to_be_bytes());
    option(bytes, ended.as_ref().map(<[u8; 8]>::as_slice));
    let tally = proposal.tally;
    number(bytes, tally.approving.0);
    number(bytes, tally.rejecting.0);
    number(bytes, tally.total.0);
    number(bytes, tally.threshold_numerator);
    number(bytes, tally.threshold_denominator);
    bytes.extend_from_slice(&proposal.ballots_root.0);
    bytes.extend_from_slice(&proposal.reports_root.0);
}

pub(crate) fn ballot_bytes(ballot: &Ballot) -> Vec<u8> {
    let mut bytes = Vec::new();
    variant(&mut bytes, if ballot.choice == Choice::Approve { 0 } else { 1 });
    number(&mut bytes, ballot.height.0);
    bytes.push(u8::from(ballot.by_proposing));
    bytes.extend_from_slice(&ballot.public_key.0);
    number(&mut bytes, ballot.sequence);
    number(&mut bytes, ballot.last_valid_height.0);
    bytes.extend_from_slice(&ballot.signature.0);
    bytes
}

pub(crate) fn report_bytes(report: &ReadinessReport) -> Vec<u8> {
    let mut bytes = Vec::new();
    variant(
        &mut bytes,
        if report.readiness == Readiness::Staged {
            0
        } else {
            1
        },
    );
    number(&mut bytes, report.height.0);
    bytes
}

fn blake3(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

fn number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_be_bytes());
}

fn count(bytes: &mut Vec<u8>, count: usize) {
    number(bytes, u64::try_from(count).unwrap());
}

fn variant(bytes: &mut Vec<u8>, index: u32) {
    bytes.extend_from_slice(&index.to_be_bytes());
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    count(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn option(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    bytes.push(u8::from(value.is_some()));
    bytes.extend_from_slice(value.unwrap_or_default());
}
