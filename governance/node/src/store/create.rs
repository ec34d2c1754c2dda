//! A new store: written whole under another name, then put in its place. A kill in between leaves no store at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use governance::encoding;
use governance::{Certificate, Height, State};
use redb::WriteTransaction;

use super::archive::{CHANGES, GOVERNANCE_CERTIFICATES, keep_change};
use super::error::Fault;
use super::{
    BASE, BLOCKS, Base, CERTIFICATES, CHAIN_ID, CHRONICLE, META, RECORDS, ROWS, SCHEMA, SCHEMA_VERSION,
    StoreError, TRANSACTIONS, builder, guarded, write,
};
use crate::chronicle::Chronicle;

/// What the name of a store that is being written ends with.
const NEW: &str = ".new";

/// What a new store holds.
pub(crate) struct Beginning<'a> {
    pub(crate) state: &'a State,
    pub(crate) chronicle: &'a Chronicle,
    /// Ballots and reports of ended proposals: keys and values.
    pub(crate) archive: &'a [(&'a [u8], &'a [u8])],
    /// The certificates of the executed changes, in order.
    pub(crate) changes: &'a [Certificate],
}

impl<'a> Beginning<'a> {
    /// Before the first block.
    pub(crate) const fn of_chain(state: &'a State, chronicle: &'a Chronicle) -> Self {
        Self {
            state,
            chronicle,
            archive: &[],
            changes: &[],
        }
    }
}

/// See [`super::Store::create`].
pub(super) fn create(path: &Path, beginning: &Beginning<'_>) -> Result<bool, StoreError> {
    let mut name = stem(path);
    name.push(format!(".{}{NEW}", std::process::id()));
    let temporary = path.with_file_name(name);
    let made = fill_new(&temporary, path, beginning).and_then(|()| {
        match fs::hard_link(&temporary, path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.and_then(|()| sync_folder(path)).map(|()| true),
        }
        .map_err(|source| StoreError::Disk {
            operation: "place the file",
            path: path.to_owned(),
            source,
        })
    });
    // Nothing but room is lost when this fails.
    let _ = fs::remove_file(&temporary);
    made
}

fn fill_new(temporary: &Path, path: &Path, beginning: &Beginning<'_>) -> Result<(), StoreError> {
    match fs::remove_file(temporary) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::Disk {
                operation: "remove what an earlier start has left",
                path: temporary.to_owned(),
                source,
            });
        }
        Ok(()) | Err(_) => {}
    }
    let database = builder()
        .create(temporary)
        .map_err(|error| StoreError::open(path, error))?;
    let made = guarded(|| write(&database, |transaction| fill(transaction, beginning)));
    // Closed before it is put in its place, also on a full disk.
    let closed = guarded(|| {
        drop(database);
        Ok(())
    });
    made.and(closed)
        .map_err(|fault| StoreError::of("create the tables", path, fault))
}

fn fill(transaction: &WriteTransaction, beginning: &Beginning<'_>) -> Result<(), Fault> {
    let Beginning {
        state,
        chronicle,
        archive,
        changes,
    } = beginning;
    let base = Base {
        height: state.height(),
        state_root: chronicle.chain_root(&state.state_root()),
    };
    let mut meta = transaction.open_table(META)?;
    meta.insert(SCHEMA, encoding::to_canonical(&SCHEMA_VERSION).as_slice())?;
    meta.insert(CHAIN_ID, encoding::to_canonical(state.chain_id()).as_slice())?;
    meta.insert(BASE, encoding::to_canonical(&base).as_slice())?;
    meta.insert(CHRONICLE, encoding::to_canonical(*chronicle).as_slice())?;
    let mut rows = transaction.open_table(ROWS)?;
    for row in state.rows() {
        rows.insert(row.key.to_bytes().as_slice(), row.value.as_slice())?;
    }
    for (key, value) in *archive {
        rows.insert(key, value)?;
    }
    transaction.open_table(BLOCKS)?;
    transaction.open_table(CERTIFICATES)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(TRANSACTIONS)?;
    let mut kept = transaction.open_table(GOVERNANCE_CERTIFICATES)?;
    let mut order = transaction.open_table(CHANGES)?;
    for (number, change) in (0..).zip(*changes) {
        let id = change.proposal();
        kept.insert(&id.0, encoding::to_canonical(change).as_slice())?;
        keep_change(
            &mut order,
            number,
            id,
            change.subject.height().unwrap_or(Height::ZERO),
        )?;
    }
    Ok(())
}

/// Removes what killed processes have left of stores that they were making. Whoever holds the store's lock may.
pub(super) fn remove_leftovers(path: &Path) {
    let stem = stem(path);
    let Some(entries) = path.parent().and_then(|folder| fs::read_dir(folder).ok()) else {
        return;
    };
    let leftover = |name: &OsString| {
        let (name, stem) = (name.to_string_lossy(), stem.to_string_lossy());
        let middle = name.strip_prefix(&*stem).and_then(|rest| rest.strip_suffix(NEW));
        middle.is_some_and(|middle| {
            middle.len() > 1
                && middle.starts_with('.')
                && middle.bytes().skip(1).all(|byte| byte.is_ascii_digit())
        })
    };
    let paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| leftover(&entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    for path in paths {
        // Nothing but room is lost when this fails.
        let _ = fs::remove_file(path);
    }
}

fn stem(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_os_string()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
