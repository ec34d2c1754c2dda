//! Why the store cannot be opened, read or written.

use std::io;
use std::path::{Path, PathBuf};

use governance::ChainId;
use redb::{DatabaseError, StorageError};

use super::SCHEMA_VERSION;

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
    /// The disk is full, or fails. What was committed before is whole.
    #[error(
        "the disk refuses to {operation} in the chain store {}: everything committed before is whole, and nothing of this is \
         stored; make room on the disk or repair it, then start the node again, and it goes on where it was", path.display()
    )]
    Disk {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
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
    /// The layout of an older binary.
    #[error(
        "the chain store {} has layout {found}, this binary knows {SCHEMA_VERSION} alone: move the data folder away and start \
         the node again, and it syncs from the other nodes; `governance import` with a snapshot of this layout saves the time",
        path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: u64,
    },
    /// The layout of a newer binary.
    #[error("the chain store {} has layout {found}, this binary knows {SCHEMA_VERSION} alone: use a newer binary", path.display())]
    NewerSchema {
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

/// What can go wrong within one transaction.
pub(super) enum Fault {
    /// The database's answer.
    Database(redb::Error),
    /// What it holds cannot be.
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl StoreError {
    /// A failed operation.
    pub(super) fn of(operation: &'static str, path: &Path, fault: Fault) -> Self {
        let path = path.to_owned();
        match fault {
            Fault::Damaged(what) | Fault::Database(redb::Error::Corrupted(what)) => Self::Damaged {
                path,
                what: format!("cannot {operation}: {what}"),
            },
            Fault::Database(redb::Error::Io(source)) => Self::Disk {
                operation,
                path,
                source,
            },
            Fault::Database(redb::Error::PreviousIo) => Self::Disk {
                operation,
                path,
                source: io::Error::other("an earlier write has failed"),
            },
            Fault::Database(error) => Self::Access {
                operation,
                path,
                source: Box::new(error),
            },
        }
    }

    /// A file that cannot be opened.
    pub(super) fn open(path: &Path, error: DatabaseError) -> Self {
        let path = path.to_owned();
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            return Self::InUse { path };
        }
        if let DatabaseError::Storage(StorageError::Corrupted(what)) = error {
            return Self::Damaged { path, what };
        }
        if let DatabaseError::Storage(StorageError::Io(source)) = error {
            let kind = source.kind();
            if matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                let what = source.to_string();
                return Self::Damaged { path, what };
            }
            if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) {
                let source = Box::new(redb::Error::Io(source));
                return Self::Open { path, source };
            }
            return Self::Disk {
                operation: "open the file",
                path,
                source,
            };
        }
        Self::Open {
            path,
            source: Box::new(error.into()),
        }
    }
}
