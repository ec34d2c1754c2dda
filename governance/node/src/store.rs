//! Blocks and state in one redb file: `chain.redb`.
//!
//! One block is one write transaction: block, certificate, changed rows of the state, chronicle, record and transaction
//! index appear together or not at all, and the transaction is durable before `Store::commit` returns. So after a power
//! cut the node is at some height with exactly the state of that height. What is loaded is checked against the recorded
//! state root before anybody uses it.
//!
//! The state is kept as the rows that it is made of ([`governance::Row`]); a commit writes those that the block has
//! changed, so its cost follows the block and not the state. Ballots and reports of a proposal that has ended stay where
//! they are, as an archive (`archive.rs`), until the proposal itself is forgotten.

mod archive;
mod create;
mod error;
mod record;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use governance::encoding;
use governance::{
    ChainId, Digest, Genesis, Height, ProposalId, Row, RowKey, State, TransactionId, ValidatorId,
};
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chronicle::Chronicle;
use crate::engine::DecidedBlock;
pub(crate) use create::Beginning;
use error::Fault;
pub use error::StoreError;
pub use record::{BlockRecord, Commit, Loaded, TransactionOutcome};

/// One row per name: what the file is, where it begins, and the newest chronicle.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The governance state after the newest block, and the ballots and reports of ended proposals: values by
/// [`RowKey::to_bytes`], whose order is the order of the keys.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
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
const BASE: &str = "base";
const CHRONICLE: &str = "chronicle";

/// The layout of the file. Any other is refused, never guessed at.
const SCHEMA_VERSION: u64 = 2;
/// Holds the pages of several blocks; the default of one gibibyte is for other uses.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Above anything that the limits of GOV-14 let a row grow to: a validator set of the largest size is the longest. A
/// longer row is damage.
const MAX_ROW_BYTES: usize = 256 * 1024 * 1024;

/// The chain's durable data.
pub struct Store {
    /// `None` only while it is being closed.
    database: Option<Database>,
    path: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A damaged file makes the library panic even while it closes the file.
        let database = self.database.take();
        if let Err(fault) = guarded(|| {
            drop(database);
            Ok(())
        }) {
            let error = StoreError::of("close the file", &self.path, fault);
            tracing::error!(error = %crate::cli::chain(&error), "the chain store is not closed");
        }
    }
}

impl Store {
    /// Opens the store at `path`, or creates it from `genesis`. What it holds is checked.
    pub fn open(path: &Path, genesis: &Genesis) -> Result<(Self, Loaded), StoreError> {
        if !path.exists() {
            let state = State::from_genesis(genesis).map_err(StoreError::Genesis)?;
            let chronicle = Chronicle::genesis(&genesis.chain_id);
            // Made by whomever: opening it says whether its maker still has it.
            Self::create(path, &Beginning::of_chain(&state, &chronicle))?;
        }
        let shown = path.to_owned();
        let opened = guarded(|| {
            Ok(builder()
                .set_repair_callback(move |session| {
                    // Called several times; the first tells the operator what takes so long.
                    if session.progress() == 0.0 {
                        tracing::warn!(store.path = %shown.display(), "the chain store was not closed: checking it");
                    }
                })
                .open(path))
        });
        let database = opened
            .map_err(|fault| StoreError::of("open the file", path, fault))?
            .map_err(|error| StoreError::open(path, error))?;
        let store = Self {
            database: Some(database),
            path: path.to_owned(),
        };
        create::remove_leftovers(path);
        let loaded = store.load(genesis)?;
        Ok((store, loaded))
    }

    /// Makes a store at `path`, whole or not at all. One that another process has put there is left as it is; then
    /// `false`.
    pub(crate) fn create(path: &Path, beginning: &Beginning<'_>) -> Result<bool, StoreError> {
        create::create(path, beginning)
    }

    /// The record of the block at `height`, if it is committed.
    pub fn record(&self, height: Height) -> Result<Option<BlockRecord>, StoreError> {
        self.read("read a block record", |read| get(read, RECORDS, height.0))
    }

    /// What became of a transaction, if it is in a block.
    pub fn transaction(&self, id: TransactionId) -> Result<Option<TransactionOutcome>, StoreError> {
        self.read("read a transaction", |read| get(read, TRANSACTIONS, &id.0))
    }

    /// The lowest height of which the block is or will be kept: above the one that the store begins with.
    pub(crate) fn earliest(&self) -> Result<Height, StoreError> {
        let base = self.read("read where the store begins", |read| meta::<Base>(read, BASE))?;
        Ok(base.height.next().unwrap_or(base.height))
    }

    /// Committed blocks from `first` to `last` in order, up to the first gap, as many as fit `bytes`, at least one.
    pub(crate) fn decided(
        &self,
        first: Height,
        last: Height,
        bytes: usize,
    ) -> Result<Vec<DecidedBlock>, StoreError> {
        self.read("read decided blocks", |read| {
            let blocks = read.open_table(BLOCKS)?;
            let certificates = read.open_table(CERTIFICATES)?;
            let mut found: Vec<DecidedBlock> = Vec::new();
            let mut size = 0usize;
            for height in first.0..=last.0 {
                let (Some(block), Some(certificate)) = (blocks.get(height)?, certificates.get(height)?)
                else {
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
        })
    }

    /// Makes one block durable, whole or not at all.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        const OPERATION: &str = "commit a block";
        let database = self.database()?;
        guarded(|| write(database, |transaction| fill(transaction, commit)))
            .map_err(|fault| StoreError::of(OPERATION, &self.path, fault))
    }

    /// The newest state, checked against everything that the file says about it.
    fn load(&self, genesis: &Genesis) -> Result<Loaded, StoreError> {
        const OPERATION: &str = "read the newest state";
        let path = self.path.clone();
        let schema: u64 = self.read(OPERATION, |read| meta(read, SCHEMA))?;
        match schema {
            SCHEMA_VERSION => {}
            found if found < SCHEMA_VERSION => return Err(StoreError::OlderSchema { path, found }),
            found => return Err(StoreError::NewerSchema { path, found }),
        }
        let chain_id: ChainId = self.read(OPERATION, |read| meta(read, CHAIN_ID))?;
        if chain_id != genesis.chain_id {
            return Err(StoreError::ForeignChain {
                path,
                expected: genesis.chain_id.clone(),
                found: chain_id,
            });
        }
        let (rows, chronicle, base): (Vec<Row>, Chronicle, Base) = self.read(OPERATION, |read| {
            Ok((state_rows(read)?, meta(read, CHRONICLE)?, meta(read, BASE)?))
        })?;
        let state = State::from_rows(rows).map_err(|error| {
            self.damaged(format!("its rows make no state: {}", crate::cli::chain(&error)))
        })?;
        if *state.chain_id() != chain_id {
            return Err(self.damaged(format!("its state belongs to chain {}", state.chain_id())));
        }
        let root = chronicle.chain_root(&state.state_root());
        let height = state.height();
        if height == Height::ZERO {
            let first = State::from_genesis(genesis).map_err(StoreError::Genesis)?;
            if root != Chronicle::genesis(&chain_id).chain_root(&first.state_root()) {
                return Err(self.damaged("its first state is not the one that genesis.json makes".to_owned()));
            }
        }
        let recorded = if height == base.height {
            base.state_root
        } else {
            let record = self.record(height)?;
            record
                .ok_or_else(|| self.damaged(format!("block {height} has no record")))?
                .state_root
        };
        if root != recorded {
            return Err(self.damaged(format!(
                "the state at height {height} has root {root}, recorded is {recorded}"
            )));
        }
        Ok(Loaded { state, chronicle })
    }

    /// One consistent look at the file.
    fn read<T>(
        &self,
        operation: &'static str,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        guarded(|| look(&database.begin_read()?))
            .map_err(|fault| StoreError::of(operation, &self.path, fault))
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database
            .as_ref()
            .ok_or_else(|| self.damaged("it has been closed".to_owned()))
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

/// Where a store begins: with the genesis, or with a snapshot. Blocks up to here are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
struct Base {
    height: Height,
    /// The chain's state root there.
    state_root: Digest,
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Uses the database. It checks sums of pages only after a crash, and panics over some pages that make no sense: that is
/// damage like any other. What it was doing is not stored; whoever is told stops the node.
fn guarded<T>(operation: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::Damaged(format!(
            "the database cannot make sense of it: {}",
            said.unwrap_or("it does not say why")
        )))
    })
}

/// One write transaction, on disk when this returns.
fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn fill(transaction: &WriteTransaction, commit: &Commit<'_>) -> Result<(), Fault> {
    let height = commit.record.height.0;
    transaction.open_table(BLOCKS)?.insert(height, commit.block)?;
    transaction
        .open_table(CERTIFICATES)?
        .insert(height, commit.certificate)?;
    transaction
        .open_table(RECORDS)?
        .insert(height, encoding::to_canonical(commit.record).as_slice())?;
    transaction
        .open_table(META)?
        .insert(CHRONICLE, encoding::to_canonical(commit.chronicle).as_slice())?;

    let changes = commit.state.changes_since(commit.previous);
    // What is forgotten goes first: nothing that the block has written may be taken for it.
    archive::forget(transaction, &changes)?;
    let mut rows = transaction.open_table(ROWS)?;
    for change in &changes {
        let key = change.key.to_bytes();
        match &change.value {
            Some(value) => rows.insert(key.as_slice(), value.as_slice())?,
            None => rows.remove(key.as_slice())?,
        };
    }
    archive::keep_certificates(transaction, commit)?;

    let mut transactions = transaction.open_table(TRANSACTIONS)?;
    for (id, outcome) in commit.outcomes {
        // The first outcome stands: a copy in a later place is refused there as a replay.
        if transactions.get(&id.0)?.is_none() {
            transactions.insert(&id.0, encoding::to_canonical(outcome).as_slice())?;
        }
    }
    Ok(())
}

/// The rows of the newest state. Ballots and reports of ended proposals, which are many, are passed over unread.
fn state_rows(read: &ReadTransaction) -> Result<Vec<Row>, Fault> {
    let table = read.open_table(ROWS)?;
    let mut rows = Vec::new();
    let mut add = |from: Bound<&[u8]>, to: Bound<&[u8]>| -> Result<Vec<ProposalId>, Fault> {
        let mut live = Vec::new();
        for entry in table.range::<&[u8]>((from, to))? {
            let (key, value) = entry?;
            let key = row_key(key.value())?;
            if let RowKey::Live(id) = key {
                live.push(id);
            }
            rows.push(Row {
                key,
                value: value.value().to_vec(),
            });
        }
        Ok(live)
    };
    let first_ballot = ballots_of(&ProposalId([0; 32])).0;
    let live = add(Bound::Unbounded, Bound::Excluded(&first_ballot))?;
    for bounds in [ballots_of, reports_of] {
        for id in &live {
            let (first, last) = bounds(id);
            add(Bound::Included(&first), Bound::Included(&last))?;
        }
    }
    let first_ended = RowKey::Ended(0).to_bytes();
    add(Bound::Included(&first_ended), Bound::Unbounded)?;
    Ok(rows)
}

fn row_key(bytes: &[u8]) -> Result<RowKey, Fault> {
    RowKey::from_bytes(bytes).map_err(|error| Fault::Damaged(format!("a row's key cannot be read: {error}")))
}

/// The first and the last key that a ballot on this proposal can have.
fn ballots_of(proposal: &ProposalId) -> (Vec<u8>, Vec<u8>) {
    bounds(|validator| RowKey::Ballot(*proposal, validator))
}

/// The first and the last key that a report on this proposal can have.
fn reports_of(proposal: &ProposalId) -> (Vec<u8>, Vec<u8>) {
    bounds(|validator| RowKey::Report(*proposal, validator))
}

fn bounds(key: impl Fn(ValidatorId) -> RowKey) -> (Vec<u8>, Vec<u8>) {
    let ends = [[0; 20], [0xff; 20]].map(|id| key(ValidatorId(id)).to_bytes());
    let [first, last] = ends;
    (first, last)
}

fn meta<T: Serialize + DeserializeOwned>(read: &ReadTransaction, name: &'static str) -> Result<T, Fault> {
    get(read, META, name)?.ok_or_else(|| Fault::Damaged(format!("the row {name:?} is missing")))
}

fn get<'k, K: redb::Key, T: Serialize + DeserializeOwned>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, Fault> {
    match read.open_table(table)?.get(key)? {
        Some(value) => Ok(Some(decode(value.value())?)),
        None => Ok(None),
    }
}

fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    encoding::from_canonical(bytes, MAX_ROW_BYTES).map_err(|error| Fault::Damaged(error.to_string()))
}
