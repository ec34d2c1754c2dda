//! The store at its borders: restarts, damage, limits.

use std::fs;

use governance::{
    Action, Choice, MAX_ENDED_PROPOSALS, Parameters, ParametersChange, SignedTransaction, Subject,
};
use tempfile::TempDir;

use super::*;
use crate::chronicle::Entry;
use crate::fixture::{OLD, chain_id, genesis, propose, sign};

/// Executes and commits the next block.
fn commit(store: &Store, loaded: &Loaded, transactions: &[SignedTransaction]) -> Result<Loaded, StoreError> {
    let mut state = loaded.state.clone();
    let height = state.height().next().unwrap();
    let mut events = state.begin_block(height, &OLD).unwrap();
    for transaction in transactions {
        events.extend(state.apply(&transaction.verify(&chain_id()).unwrap()).unwrap());
    }
    events.extend(state.end_block());
    let block = Digest([7; 32]);
    let chronicle = loaded.chronicle.record(&Entry {
        height,
        block,
        version: &OLD,
        transactions: u64::try_from(transactions.len()).unwrap(),
    });
    let outcome = |transaction: &SignedTransaction| {
        let outcome = TransactionOutcome {
            height,
            rejection: None,
        };
        (transaction.id(), outcome)
    };
    store.commit(&Commit {
        record: &BlockRecord {
            height,
            block,
            state_root: chronicle.chain_root(&state.state_root()),
            version: OLD,
            committed_at_unix_ms: height.0,
            events,
            transactions: transactions.iter().map(SignedTransaction::id).collect(),
        },
        block: &[u8::try_from(height.0 % 256).unwrap(); 10],
        certificate: b"certificate",
        previous: &loaded.state,
        state: &state,
        chronicle: &chronicle,
        outcomes: &transactions.iter().map(outcome).collect::<Vec<_>>(),
    })?;
    Ok(Loaded { state, chronicle })
}

/// A store with `blocks` blocks of one transaction each, the last state, and the ids.
fn filled(folder: &TempDir, blocks: u64) -> (Loaded, Vec<TransactionId>) {
    let (store, mut loaded) = Store::open(&folder.path().join("chain.redb"), &genesis()).unwrap();
    let mut ids = Vec::new();
    for number in 1..=blocks {
        let transaction = propose(u8::try_from(number % 4).unwrap(), (number - 1) / 4, number);
        loaded = commit(&store, &loaded, std::slice::from_ref(&transaction)).unwrap();
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
fn a_store_of_another_layout_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 1);
    for (found, word) in [(1_u64, "governance import"), (3, "newer binary")] {
        let database = Database::open(folder.path().join("chain.redb")).unwrap();
        let write = database.begin_write().unwrap();
        write
            .open_table(META)
            .unwrap()
            .insert(SCHEMA, encoding::to_canonical(&found).as_slice())
            .unwrap();
        write.commit().unwrap();
        drop(database);
        let error = open(&folder).err().unwrap().to_string();
        assert!(
            error.contains(word) && error.contains(&format!("layout {found}")),
            "{error}"
        );
    }
}

/// A killed process may leave a store that is half made, under another name: it is no store, and the next start removes it.
#[test]
fn what_a_killed_start_leaves_is_no_store() {
    let folder = TempDir::new().unwrap();
    let leftover = folder.path().join("chain.redb.12345.new");
    fs::write(&leftover, "half").unwrap();
    let kept = folder.path().join("chain.redb.backup.new");
    fs::write(&kept, "an operator's").unwrap();
    let (_, loaded) = open(&folder).unwrap();
    assert_eq!(loaded.state.height(), Height::ZERO);
    assert!(!leftover.exists() && kept.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_store_that_is_there_is_not_made_again() {
    let folder = TempDir::new().unwrap();
    let (before, _) = filled(&folder, 2);
    let first = State::from_genesis(&genesis()).unwrap();
    let chronicle = Chronicle::genesis(&chain_id());
    let path = folder.path().join("chain.redb");
    let made = Store::create(&path, &Beginning::of_chain(&first, &chronicle)).unwrap();
    assert!(!made);
    assert_eq!(open(&folder).unwrap().1.state, before.state);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn vote(sender: u8, sequence: u64, proposal: ProposalId, choice: Choice) -> SignedTransaction {
    sign(
        sender,
        sequence,
        Height(1_000_000),
        Action::Vote { proposal, choice },
    )
}

/// Ballots and reports of what has ended stay until the state forgets the proposal; certificates of changes for ever.
#[test]
fn the_archive_holds_what_has_ended_and_no_more() {
    let folder = TempDir::new().unwrap();
    let (store, mut loaded) = open(&folder).unwrap();
    let change = ParametersChange {
        height: Height(6),
        parameters: Parameters {
            min_lead_blocks: 5,
            ..genesis().parameters
        },
        description: String::new(),
    };
    let changed = Subject::Parameters(change.clone()).id(&chain_id());
    let propose_change = sign(0, 0, Height(100), Action::ProposeParameters(change));
    loaded = commit(&store, &loaded, &[propose_change]).unwrap();
    let votes = [1, 2].map(|sender| vote(sender, 0, changed, Choice::Approve));
    loaded = commit(&store, &loaded, &votes).unwrap();
    while loaded.state.executed_changes() == 0 {
        loaded = commit(&store, &loaded, &[]).unwrap();
    }
    assert_eq!(store.ballots(&changed, None, 10).unwrap().len(), 3);
    assert_eq!(store.changes_below(Height(6)).unwrap(), []);
    let certificate = store.certificate(&changed).unwrap().unwrap();
    assert_eq!(
        store.changes_below(Height(7)).unwrap(),
        std::slice::from_ref(&certificate)
    );

    // Each of these is proposed by one and rejected by two, and ends at once.
    let mut first = None;
    for number in 0..u64::try_from(MAX_ENDED_PROPOSALS).unwrap() {
        let upgrade = crate::fixture::upgrade(10_000 + number);
        let id = Subject::Upgrade(upgrade.clone()).id(&chain_id());
        let transactions = [
            sign(3, number, Height(1_000_000), Action::ProposeUpgrade(upgrade)),
            vote(0, 1 + number, id, Choice::Reject),
            vote(1, 1 + number, id, Choice::Reject),
        ];
        loaded = commit(&store, &loaded, &transactions).unwrap();
        if number == 0 {
            first = Some(id);
            assert_eq!(store.ballots(&id, None, 10).unwrap().len(), 3);
            let page = store.ballots(&id, None, 2).unwrap();
            let rest = store.ballots(&id, Some(&page[1].0), 2).unwrap();
            assert_eq!((page.len(), rest.len()), (2, 1));
            assert!(page[0].0 < page[1].0 && page[1].0 < rest[0].0);
        }
    }
    let first = first.unwrap();
    assert_eq!(
        store.ballots(&first, None, 10).unwrap().len(),
        3,
        "still remembered"
    );
    assert!(store.ballots(&changed, None, 10).unwrap().is_empty(), "forgotten");
    assert_eq!(
        store.certificate(&changed).unwrap(),
        Some(certificate),
        "never forgotten"
    );
    assert_eq!(store.archive(&[]).unwrap().len(), 3 * MAX_ENDED_PROPOSALS);
    drop(store);
    let (_, after) = open(&folder).unwrap();
    assert_eq!(after.state, loaded.state);
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
