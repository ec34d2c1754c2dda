//! Round trips, damage, and forgeries that somebody made with care.

use governance::{
    Action, Choice, Event, GenesisValidator, Power, ProposalId, PublicKey, SignedTransaction, Subject,
    ValidatorChange, ValidatorId, ValidatorsChange, encoding,
};

use super::*;
use crate::chronicle::Entry as ChronicleEntry;
use crate::fixture::{OLD, chain_id, genesis, key, propose, sign};

/// A chain with a changed validator set, ended proposals with ballots, a live one, and its archive.
struct Chain {
    state: State,
    chronicle: Chronicle,
    archive: Vec<(Vec<u8>, Vec<u8>)>,
    changes: Vec<Certificate>,
}

impl Chain {
    fn new() -> Self {
        Self {
            state: State::from_genesis(&genesis()).unwrap(),
            chronicle: Chronicle::genesis(&chain_id()),
            archive: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn block(&mut self, transactions: &[SignedTransaction]) -> Vec<Event> {
        let before = self.state.clone();
        let height = before.height().next().unwrap();
        let mut events = self.state.begin_block(height, &OLD).unwrap();
        for transaction in transactions {
            let verified = transaction.verify(&chain_id()).unwrap();
            events.extend(self.state.apply(&verified).unwrap());
        }
        events.extend(self.state.end_block());
        self.chronicle = self.chronicle.record(&ChronicleEntry {
            height,
            block: Digest([7; 32]),
            version: &OLD,
            transactions: 0,
        });
        for change in self.state.changes_since(&before) {
            if let (RowKey::Ballot(..) | RowKey::Report(..), Some(value)) = (&change.key, &change.value) {
                let key = change.key.to_bytes();
                self.archive.retain(|(known, _)| *known != key);
                self.archive.push((key, value.clone()));
            }
        }
        self.changes.extend(
            self.state
                .new_certificates()
                .iter()
                .filter(|certificate| matches!(certificate.subject, Subject::Validators(_)))
                .cloned(),
        );
        events
    }

    fn live(&self) -> Vec<ProposalId> {
        self.state.live_proposals().map(|proposal| proposal.id).collect()
    }

    /// Of ended proposals only, in order.
    fn archive(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let live = self.live();
        let mut archive = self.archive.clone();
        archive.retain(|(key, _)| match RowKey::from_bytes(key).unwrap() {
            RowKey::Ballot(id, _) | RowKey::Report(id, _) => !live.contains(&id),
            RowKey::Header
            | RowKey::Validator(_)
            | RowKey::Account(_)
            | RowKey::Live(_)
            | RowKey::Ended(_) => false,
        });
        archive.sort();
        archive
    }

    fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&self.state, &self.chronicle, &self.archive(), &self.changes)
    }
}

fn vote(sender: u8, sequence: u64, proposal: ProposalId, choice: Choice) -> SignedTransaction {
    sign(sender, sequence, Height(100), Action::Vote { proposal, choice })
}

/// A fifth validator enters at 6; one upgrade is rejected, one is live.
fn chain() -> Chain {
    let mut chain = Chain::new();
    let change = ValidatorsChange {
        height: Height(6),
        changes: vec![ValidatorChange::Add(GenesisValidator {
            name: "validator-4".to_owned(),
            governance_key: PublicKey::from(&key(4)),
            consensus_key: PublicKey::from(&key(104)),
            power: Power(1),
        })],
        description: String::new(),
    };
    let id = Subject::Validators(change.clone()).id(&chain_id());
    chain.block(&[sign(0, 0, Height(100), Action::ProposeValidators(change))]);
    chain.block(&[vote(1, 0, id, Choice::Approve), vote(2, 0, id, Choice::Approve)]);
    let refused = Subject::Upgrade(crate::fixture::upgrade(1)).id(&chain_id());
    chain.block(&[propose(3, 0, 1)]);
    chain.block(&[
        vote(0, 1, refused, Choice::Reject),
        vote(1, 1, refused, Choice::Reject),
    ]);
    for _ in 5..=7 {
        chain.block(&[]);
    }
    assert_eq!(chain.state.executed_changes(), 1);
    chain.block(&[propose(4, 0, 2)]);
    assert_eq!((chain.live().len(), chain.state.ended_proposals().len()), (1, 2));
    chain
}

fn refused(bytes: &[u8]) -> SnapshotError {
    let file = match SnapshotFile::from_bytes(bytes) {
        Ok(file) => file,
        Err(error) => return error,
    };
    file.verify(&genesis()).unwrap_err()
}

/// The content with a right checksum.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = Digest::of(&content);
    content.extend_from_slice(&checksum.0);
    content
}

#[test]
fn a_state_is_the_same_after_export_and_import() {
    let chain = chain();
    let bytes = chain.to_bytes();
    let file = SnapshotFile::from_bytes(&bytes).unwrap();
    let state = file.verify(&genesis()).unwrap();
    assert_eq!(state, chain.state);
    assert_eq!(file.header().chronicle, chain.chronicle);
    assert_eq!(
        file.header().state_root,
        chain.chronicle.chain_root(&chain.state.state_root())
    );
    assert_eq!((file.changes(), file.archive().len()), (&chain.changes[..], 6));
}

#[test]
fn the_state_before_the_first_block_is_a_snapshot_too() {
    let chain = Chain::new();
    let bytes = chain.to_bytes();
    let file = SnapshotFile::from_bytes(&bytes).unwrap();
    assert_eq!(file.verify(&genesis()).unwrap(), chain.state);
}

#[test]
fn one_changed_byte_anywhere_is_refused() {
    let bytes = chain().to_bytes();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        let error = SnapshotFile::from_bytes(&flipped).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Checksum { .. } | SnapshotError::NoSnapshot),
            "{place}: {error}"
        );
    }
    for length in 0..bytes.len() {
        SnapshotFile::from_bytes(&bytes[..length]).unwrap_err();
    }
}

/// The same with the checksum made good: whatever somebody writes, it is refused or makes the state, and nothing panics.
#[test]
fn one_changed_byte_under_a_right_checksum_is_refused() {
    let chain = chain();
    let bytes = chain.to_bytes();
    let content = &bytes[..bytes.len() - Digest::LENGTH];
    for place in (0..content.len()).step_by(7) {
        let mut flipped = content.to_vec();
        flipped[place] ^= 1;
        let sealed = sealed(flipped);
        if place < TAG.len() {
            assert_eq!(refused(&sealed), SnapshotError::NoSnapshot);
        } else {
            refused(&sealed);
        }
    }
    for length in TAG.len()..content.len() {
        SnapshotFile::from_content(&content[..length]).unwrap_err();
    }
    let mut longer = content.to_vec();
    longer.push(0);
    assert_eq!(
        SnapshotFile::from_content(&longer).unwrap_err(),
        SnapshotError::Trailing { found: 1 }
    );
}

#[test]
fn another_chain_is_refused() {
    let bytes = chain().to_bytes();
    let file = SnapshotFile::from_bytes(&bytes).unwrap();
    let mut other = genesis();
    other.chain_id = "other-chain".parse().unwrap();
    assert!(matches!(
        file.verify(&other),
        Err(SnapshotError::ForeignChain { .. })
    ));
    let mut stricter = genesis();
    stricter.validators.truncate(3);
    assert!(matches!(file.verify(&stricter), Err(SnapshotError::Changes(_))));
}

/// Rows, roots and checksum fit, and nobody has voted for it.
#[test]
fn validators_that_nobody_voted_for_are_refused() {
    let chain = chain();
    let forge = |change: &dyn Fn(&mut Vec<Row>)| {
        let mut rows = chain.state.rows();
        change(&mut rows);
        State::from_rows(rows).unwrap()
    };
    let richer = forge(&|rows| {
        let row = rows
            .iter_mut()
            .find(|row| matches!(row.key, RowKey::Validator(_)))
            .unwrap();
        let mut validator: governance::Validator =
            encoding::from_canonical(&row.value, MAX_ROW_BYTES).unwrap();
        validator.consensus_key = PublicKey::from(&key(77));
        row.value = encoding::to_canonical(&validator);
    });
    let bytes = to_bytes(&richer, &chain.chronicle, &chain.archive(), &chain.changes);
    assert_eq!(refused(&bytes), SnapshotError::Validators);

    let bytes = to_bytes(&chain.state, &chain.chronicle, &chain.archive(), &[]);
    let none = SnapshotError::ChangeCount {
        expected: 1,
        found: 0,
    };
    assert_eq!(refused(&bytes), none);
    let mut unsigned = chain.changes.clone();
    unsigned[0].approvals.pop();
    let bytes = to_bytes(&chain.state, &chain.chronicle, &chain.archive(), &unsigned);
    assert!(matches!(refused(&bytes), SnapshotError::Changes(_)));
}

#[test]
fn an_archive_that_is_not_the_one_that_the_roots_cover_is_refused() {
    let chain = chain();
    let archive = chain.archive();
    let with = |archive: &[(Vec<u8>, Vec<u8>)]| {
        refused(&to_bytes(&chain.state, &chain.chronicle, archive, &chain.changes))
    };
    for place in 0..archive.len() {
        let mut fewer = archive.clone();
        fewer.remove(place);
        assert!(matches!(with(&fewer), SnapshotError::Archive { .. }));
        let mut moved = archive.clone();
        let last = moved[place].1.len() - 1;
        moved[place].1[last] ^= 1;
        assert!(matches!(with(&moved), SnapshotError::Archive { .. }));
    }
    let mut more = archive.clone();
    more.push((
        RowKey::Ballot(ProposalId([0xff; 32]), ValidatorId([1; 20])).to_bytes(),
        archive[0].1.clone(),
    ));
    more.sort();
    assert_eq!(with(&more), SnapshotError::Stray);
    let mut twice = archive.clone();
    twice.insert(0, archive[0].clone());
    assert_eq!(with(&twice), SnapshotError::Order { what: "the archive" });
}

/// A file that claims more than it holds gets no room for it.
#[test]
fn claims_of_many_rows_allocate_nothing() {
    let mut content = TAG.to_vec();
    let header = Header {
        chain_id: chain_id(),
        height: Height(1),
        state_root: Digest([0; 32]),
        chronicle: Chronicle::genesis(&chain_id()),
        rows: u64::MAX,
        archive: u64::MAX,
        changes: u64::MAX,
    };
    put(&mut content, &encoding::to_canonical(&header));
    assert_eq!(
        SnapshotFile::from_content(&content).unwrap_err(),
        SnapshotError::Ends { what: "the rows" }
    );
    content.extend_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(
        SnapshotFile::from_content(&content).unwrap_err(),
        SnapshotError::TooLong { .. }
    ));
}
