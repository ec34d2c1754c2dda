//! Blocks and state in one redb file: `chain.redb`.
//!
//! One block is one write transaction: block, certificate, state, chronicle, record and transaction index appear
//! together or not at all, and the transaction is durable before `Store::commit` returns. So after a power cut the
//! node is at some height with exactly the state of that height. What is loaded is checked against the recorded state
//! root before anybody uses it.

use std::path::{Path, PathBuf};

use governance::encoding::{self, EncodingError};
use governance::{ChainId, Digest, Event, Genesis, Height, ReleaseVersion, State, TransactionId};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chronicle::Chronicle;
use crate::engine::DecidedBlock;

/// One row per name: what the file is, and the newest state.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Canonical blocks by height.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// The engine's certificates by height.
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("certificates");
/// [`BlockRecord`]s by height.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// [`TransactionOutcome`]s by transaction id.
const TRANSACTIONS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("transactions");

const SCHEMA: &str = "schema";
const CHAIN_ID: &str = "chain-id";
const STATE: &str = "state";
const CHRONICLE: &str = "chronicle";

/// The layout of the file. A newer one is refused, never guessed at.
const SCHEMA_VERSION: u64 = 1;
/// Holds the pages of several blocks; the default of one gibibyte is for other uses.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Above anything that the limits of GOV-14 let the state grow to; a longer row is damage.
const MAX_ROW_BYTES: usize = 256 * 1024 * 1024;

/// What is known of a committed block, besides the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// The block.
    pub height: Height,
    /// Its id.
    pub block: Digest,
    /// The chain's state root after it.
    pub state_root: Digest,
    /// The release version that executed it.
    pub version: ReleaseVersion,
    /// When this node had executed it, by its own clock: milliseconds since 1970-01-01 UTC. Not part of consensus.
    pub committed_at_unix_ms: u64,
    /// What happened in it.
    pub events: Vec<Event>,
    /// The transactions in it.
    pub transactions: Vec<TransactionId>,
}

/// What became of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionOutcome {
    /// The block.
    pub height: Height,
    /// Set when execution refused it and it changed nothing: the stable code and the text.
    pub rejection: Option<(String, String)>,
}

/// Everything that one block changes.
pub(crate) struct Commit<'a> {
    pub(crate) record: &'a BlockRecord,
    pub(crate) block: &'a [u8],
    pub(crate) certificate: &'a [u8],
    pub(crate) state: &'a State,
    pub(crate) chronicle: &'a Chronicle,
    pub(crate) outcomes: &'a [(TransactionId, TransactionOutcome)],
}

/// What the store holds when it is opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The governance state.
    pub state: State,
    /// The chain's own state.
    pub chronicle: Chronicle,
}

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the chain store {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another process has it open.
    #[error("the chain store {} is in use: only one node may run in a home; stop the other one first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {operation} in the chain store {}", path.display())]
    Access {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another chain's store.
    #[error("the chain store {} belongs to chain {found}, genesis.json names chain {expected}: use this chain's home", path.display())]
    ForeignChain {
        /// The file.
        path: PathBuf,
        /// The chain of genesis.json.
        expected: ChainId,
        /// The chain of the store.
        found: ChainId,
    },
    /// A layout that this binary does not know.
    #[error("the chain store {} has layout {found}, this binary knows {SCHEMA_VERSION}: use a newer binary", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: u64,
    },
    /// A row that cannot be.
    #[error("the chain store {} is damaged: {what}; restore it from a backup, or remove it to sync again from the other nodes", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The genesis file makes no state.
    #[error("genesis.json makes no chain")]
    Genesis(#[source] governance::GenesisError),
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return StoreError::InUse { path };
    }
    if let DatabaseError::Storage(StorageError::Corrupted(what)) = error {
        return StoreError::Damaged { path, what };
    }
    if let DatabaseError::Storage(StorageError::Io(cause)) = &error
        && cause.kind() == std::io::ErrorKind::InvalidData
    {
        let what = cause.to_string();
        return StoreError::Damaged { path, what };
    }
    StoreError::Open {
        path,
        source: Box::new(error.into()),
    }
}

/// The chain's durable data.
pub struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the store at `path`, or creates it from `genesis`. What it holds is checked.
    pub fn open(path: &Path, genesis: &Genesis) -> Result<(Self, Loaded), StoreError> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| open_error(path, error))?;
        let store = Self {
            database,
            path: path.to_owned(),
        };
        store.create_tables(genesis)?;
        let loaded = store.load(genesis)?;
        Ok((store, loaded))
    }

    /// The record of the block at `height`, if it is committed.
    pub fn record(&self, height: Height) -> Result<Option<BlockRecord>, StoreError> {
        self.read("read a block record", RECORDS, height.0)
    }

    /// What became of a transaction, if it is in a block.
    pub fn transaction(&self, id: TransactionId) -> Result<Option<TransactionOutcome>, StoreError> {
        self.read("read a transaction", TRANSACTIONS, &id.0)
    }

    /// The lowest height of which the block is kept, if there is one.
    pub(crate) fn earliest(&self) -> Result<Option<Height>, StoreError> {
        const OPERATION: &str = "find the first block";
        let read = self
            .database
            .begin_read()
            .map_err(|error| self.access(OPERATION, error))?;
        let table = read
            .open_table(BLOCKS)
            .map_err(|error| self.access(OPERATION, error))?;
        let first = table.first().map_err(|error| self.access(OPERATION, error))?;
        Ok(first.map(|(height, _)| Height(height.value())))
    }

    /// Committed blocks from `first` to `last` in order, up to the first gap, as many as fit `bytes`, at least one.
    pub(crate) fn decided(
        &self,
        first: Height,
        last: Height,
        bytes: usize,
    ) -> Result<Vec<DecidedBlock>, StoreError> {
        const OPERATION: &str = "read decided blocks";
        let read = self
            .database
            .begin_read()
            .map_err(|error| self.access(OPERATION, error))?;
        let blocks = read
            .open_table(BLOCKS)
            .map_err(|error| self.access(OPERATION, error))?;
        let certificates = read
            .open_table(CERTIFICATES)
            .map_err(|error| self.access(OPERATION, error))?;
        let mut found: Vec<DecidedBlock> = Vec::new();
        let mut size = 0usize;
        for height in first.0..=last.0 {
            let block = blocks
                .get(height)
                .map_err(|error| self.access(OPERATION, error))?;
            let certificate = certificates
                .get(height)
                .map_err(|error| self.access(OPERATION, error))?;
            let (Some(block), Some(certificate)) = (block, certificate) else {
                break;
            };
            size = size
                .saturating_add(block.value().len())
                .saturating_add(certificate.value().len());
            if size > bytes && !found.is_empty() {
                break;
            }
            found.push(DecidedBlock {
                height: Height(height),
                block: block.value().to_vec(),
                certificate: certificate.value().to_vec(),
            });
        }
        Ok(found)
    }

    /// Makes one block durable, whole or not at all.
    pub(crate) fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        const OPERATION: &str = "commit a block";
        let mut write = self
            .database
            .begin_write()
            .map_err(|error| self.access(OPERATION, error))?;
        write
            .set_durability(Durability::Immediate)
            .map_err(|error| self.access(OPERATION, error))?;
        self.fill(&write, commit)
            .map_err(|error| self.access(OPERATION, error))?;
        write.commit().map_err(|error| self.access(OPERATION, error))
    }

    fn fill(&self, write: &redb::WriteTransaction, commit: &Commit<'_>) -> Result<(), redb::Error> {
        let height = commit.record.height.0;
        write.open_table(BLOCKS)?.insert(height, commit.block)?;
        write
            .open_table(CERTIFICATES)?
            .insert(height, commit.certificate)?;
        write
            .open_table(RECORDS)?
            .insert(height, encoding::to_canonical(commit.record).as_slice())?;
        let mut meta = write.open_table(META)?;
        meta.insert(STATE, encoding::to_canonical(commit.state).as_slice())?;
        meta.insert(CHRONICLE, encoding::to_canonical(commit.chronicle).as_slice())?;
        let mut transactions = write.open_table(TRANSACTIONS)?;
        for (id, outcome) in commit.outcomes {
            // The first outcome stands: a copy in a later place is refused there as a replay.
            if transactions.get(&id.0)?.is_none() {
                transactions.insert(&id.0, encoding::to_canonical(outcome).as_slice())?;
            }
        }
        Ok(())
    }

    /// Lays out a new file; an existing one is left as it is.
    fn create_tables(&self, genesis: &Genesis) -> Result<(), StoreError> {
        const OPERATION: &str = "create the tables";
        let read = self
            .database
            .begin_read()
            .map_err(|error| self.access(OPERATION, error))?;
        let is_new = match read.open_table(META) {
            Ok(_) => false,
            Err(redb::TableError::TableDoesNotExist(_)) => true,
            Err(error) => return Err(self.access(OPERATION, error)),
        };
        if !is_new {
            return Ok(());
        }
        let state = State::from_genesis(genesis).map_err(StoreError::Genesis)?;
        let chronicle = Chronicle::genesis(&genesis.chain_id);
        let fill = |write: &redb::WriteTransaction| -> Result<(), redb::Error> {
            let mut meta = write.open_table(META)?;
            meta.insert(SCHEMA, encoding::to_canonical(&SCHEMA_VERSION).as_slice())?;
            meta.insert(CHAIN_ID, encoding::to_canonical(&genesis.chain_id).as_slice())?;
            meta.insert(STATE, encoding::to_canonical(&state).as_slice())?;
            meta.insert(CHRONICLE, encoding::to_canonical(&chronicle).as_slice())?;
            write.open_table(BLOCKS)?;
            write.open_table(CERTIFICATES)?;
            write.open_table(RECORDS)?;
            write.open_table(TRANSACTIONS)?;
            Ok(())
        };
        let mut write = self
            .database
            .begin_write()
            .map_err(|error| self.access(OPERATION, error))?;
        write
            .set_durability(Durability::Immediate)
            .map_err(|error| self.access(OPERATION, error))?;
        fill(&write).map_err(|error| self.access(OPERATION, error))?;
        write.commit().map_err(|error| self.access(OPERATION, error))
    }

    /// The newest state, checked against everything that the file says about it.
    fn load(&self, genesis: &Genesis) -> Result<Loaded, StoreError> {
        let schema: u64 = self.meta(SCHEMA)?;
        if schema != SCHEMA_VERSION {
            return Err(StoreError::Schema {
                path: self.path.clone(),
                found: schema,
            });
        }
        let chain_id: ChainId = self.meta(CHAIN_ID)?;
        if chain_id != genesis.chain_id {
            return Err(StoreError::ForeignChain {
                path: self.path.clone(),
                expected: genesis.chain_id.clone(),
                found: chain_id,
            });
        }
        let state: State = self.meta(STATE)?;
        let chronicle: Chronicle = self.meta(CHRONICLE)?;
        if *state.chain_id() != chain_id {
            return Err(self.damaged(format!("its state belongs to chain {}", state.chain_id())));
        }
        let root = chronicle.chain_root(&state.state_root());
        let height = state.height();
        let recorded = if height == Height::ZERO {
            let genesis_state = State::from_genesis(genesis).map_err(StoreError::Genesis)?;
            Chronicle::genesis(&chain_id).chain_root(&genesis_state.state_root())
        } else {
            let record = self.record(height)?;
            record
                .ok_or_else(|| self.damaged(format!("block {height} has no record")))?
                .state_root
        };
        if root != recorded {
            let what = if height == Height::ZERO {
                "its first state is not the one that genesis.json makes".to_owned()
            } else {
                format!("the state at height {height} has root {root}, recorded is {recorded}")
            };
            return Err(self.damaged(what));
        }
        Ok(Loaded { state, chronicle })
    }

    fn meta<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        self.read("read the newest state", META, name)?
            .ok_or_else(|| self.damaged(format!("the row {name:?} is missing")))
    }

    fn read<'k, K: redb::Key, T: Serialize + DeserializeOwned>(
        &self,
        operation: &'static str,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: impl std::borrow::Borrow<K::SelfType<'k>>,
    ) -> Result<Option<T>, StoreError> {
        let read = self
            .database
            .begin_read()
            .map_err(|error| self.access(operation, error))?;
        let opened = read
            .open_table(table)
            .map_err(|error| self.access(operation, error))?;
        let Some(row) = opened.get(key).map_err(|error| self.access(operation, error))? else {
            return Ok(None);
        };
        let decoded: Result<T, EncodingError> = encoding::from_canonical(row.value(), MAX_ROW_BYTES);
        decoded
            .map(Some)
            .map_err(|error| self.damaged(format!("{operation}: {error}")))
    }

    fn access(&self, operation: &'static str, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Access {
            operation,
            path: self.path.clone(),
            source: Box::new(error.into()),
        }
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(store.earliest().unwrap(), Some(Height(1)));
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
}
