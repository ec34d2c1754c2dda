//! The store at its borders: restarts, damage, limits.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::chronicle::Entry;
use crate::fixture::{OLD, chain_id, genesis, propose};

/// A store with `blocks` blocks of one transaction each, the last state, and the ids.
fn filled(folder: &TempDir, blocks: u64) -> (Loaded, Vec<TransactionId>) {
    let (store, mut loaded) = Store::open(&folder.path().join("chain.redb"), &genesis()).unwrap();
    let mut ids = Vec::new();
    for number in 1..=blocks {
        let transaction = propose(u8::try_from(number % 4).unwrap(), (number - 1) / 4, number);
        let mut state = loaded.state.clone();
        state.begin_block(Height(number), &OLD).unwrap();
        let events = state.apply(&transaction.verify(&chain_id()).unwrap()).unwrap();
        let _ = state.end_block();
        let block = Digest([7; 32]);
        let entry = Entry {
            height: Height(number),
            block,
            version: &OLD,
            transactions: 1,
        };
        let chronicle = loaded.chronicle.record(&entry);
        let record = BlockRecord {
            height: Height(number),
            block,
            state_root: chronicle.chain_root(&state.state_root()),
            version: OLD,
            committed_at_unix_ms: number,
            events,
            transactions: vec![transaction.id()],
        };
        let outcome = TransactionOutcome {
            height: Height(number),
            rejection: None,
        };
        store
            .commit(&Commit {
                record: &record,
                block: &[u8::try_from(number).unwrap(); 10],
                certificate: b"certificate",
                previous: &loaded.state,
                state: &state,
                chronicle: &chronicle,
                outcomes: &[(transaction.id(), outcome)],
            })
            .unwrap();
        loaded = Loaded { state, chronicle };
        ids.push(transaction.id());
    }
    (loaded, ids)
}

fn open(folder: &TempDir) -> Result<(Store, Loaded), StoreError> {
    Store::open(&folder.path().join("chain.redb"), &genesis())
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let (before, ids) = filled(&folder, 5);
    let (store, after) = open(&folder).unwrap();
    assert_eq!((after.state, after.chronicle), (before.state, before.chronicle));
    for (number, id) in (1..).zip(&ids) {
        assert_eq!(store.record(Height(number)).unwrap().unwrap().transactions, [*id]);
        assert_eq!(store.transaction(*id).unwrap().unwrap().height, Height(number));
    }
    assert_eq!(store.record(Height(6)).unwrap(), None);
    assert_eq!(store.transaction(TransactionId([0; 32])).unwrap(), None);
    assert_eq!(store.earliest().unwrap(), Height(1));
}

#[test]
fn decided_blocks_come_in_order_and_within_the_limit() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 5);
    let (store, _) = open(&folder).unwrap();
    let heights = |first: u64, last: u64, bytes: usize| -> Vec<u64> {
        let blocks = store.decided(Height(first), Height(last), bytes).unwrap();
        blocks.iter().map(|block| block.height.0).collect()
    };
    assert_eq!(heights(2, 4, 1_000), [2, 3, 4]);
    assert_eq!(heights(4, u64::MAX, 1_000), [4, 5]);
    assert_eq!(heights(2, 5, 50), [2, 3], "21 bytes each");
    assert_eq!(heights(2, 5, 0), [2], "at least one");
    assert!(heights(6, 9, 1_000).is_empty());
    assert!(heights(0, 3, 1_000).is_empty(), "up to the first gap");
    assert!(heights(4, 3, 1_000).is_empty());
}

/// A block is a single write transaction: the file as it was at any earlier commit opens at exactly that height.
#[test]
fn a_copy_from_between_two_blocks_is_whole() {
    let folder = TempDir::new().unwrap();
    let (before, _) = filled(&folder, 3);
    let copy = TempDir::new().unwrap();
    fs::copy(folder.path().join("chain.redb"), copy.path().join("chain.redb")).unwrap();
    fs::remove_file(folder.path().join("chain.redb")).unwrap();
    let (store, loaded) = open(&copy).unwrap();
    assert_eq!(loaded.state, before.state);
    assert!(store.record(Height(3)).unwrap().is_some());
}

#[test]
fn another_chain_and_another_genesis_are_refused() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 0);
    let path = folder.path().join("chain.redb");
    let mut foreign = genesis();
    foreign.chain_id = "other-chain".parse().unwrap();
    let error = Store::open(&path, &foreign).err().unwrap();
    assert!(matches!(&error, StoreError::ForeignChain { .. }), "{error}");
    let mut other = genesis();
    other.parameters.min_lead_blocks += 1;
    let error = Store::open(&path, &other).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_state_that_does_not_fit_its_block_is_damage() {
    let folder = TempDir::new().unwrap();
    let (loaded, _) = filled(&folder, 2);
    let database = Database::open(folder.path().join("chain.redb")).unwrap();
    let write = database.begin_write().unwrap();
    let older = Chronicle::genesis(loaded.state.chain_id());
    write
        .open_table(META)
        .unwrap()
        .insert(CHRONICLE, encoding::to_canonical(&older).as_slice())
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let error = open(&folder).err().unwrap();
    assert!(error.to_string().contains("height 2"), "{error}");
}

/// Whatever the file holds, opening it ends with an error or with a whole state, never with a panic.
#[test]
fn damaged_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let (before, _) = filled(&folder, 3);
    let path = folder.path().join("chain.redb");
    let whole = fs::read(&path).unwrap();
    for damage in [
        &b"no database"[..],
        &whole[..100],
        &whole[..whole.len() / 2],
        &vec![0; whole.len()],
    ] {
        fs::write(&path, damage).unwrap();
        let error = open(&folder).err().unwrap();
        assert!(
            matches!(&error, StoreError::Open { .. } | StoreError::Damaged { .. }),
            "{error}"
        );
    }
    for place in (0..whole.len()).step_by(whole.len() / 64) {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x40;
        fs::write(&path, &flipped).unwrap();
        if let Ok((_, loaded)) = open(&folder) {
            assert_eq!(loaded.state, before.state);
        }
    }
}
