//! Why an archive could not be unpacked.

use std::io;
use std::path::{Path, PathBuf};

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Of another kind.
    #[error("unpack {archive}: expected a zip or tar.gz archive, or the binary itself, found {found}", archive = archive.display())]
    Kind {
        /// The archive.
        archive: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is not whole, or not what its first bytes promise.
    #[error("unpack {archive}: expected a whole {kind} archive, found {found}", archive = archive.display())]
    Corrupt {
        /// The archive.
        archive: PathBuf,
        /// What its first bytes promise.
        kind: &'static str,
        /// What was met.
        found: String,
    },
    /// An entry that would lie outside the folder, or is no folder and no ordinary file.
    #[error(
        "unpack {archive}: expected folders and ordinary files inside the archive, found {name:?}, which {found}. Nothing of it was kept",
        archive = archive.display()
    )]
    Entry {
        /// The archive.
        archive: PathBuf,
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        found: &'static str,
    },
    /// More than a release has.
    #[error("unpack {archive}: expected at most {limit} files and folders, found more", archive = archive.display())]
    TooMany {
        /// The archive.
        archive: PathBuf,
        /// The limit.
        limit: u32,
    },
    /// More bytes than the operator allows, or than there is room for.
    #[error("unpack {archive}: expected at most {limit} bytes unpacked ({because}), found more", archive = archive.display())]
    TooLarge {
        /// The archive.
        archive: PathBuf,
        /// The limit.
        limit: u64,
        /// Where it comes from.
        because: &'static str,
    },
    /// A file could not be read or written.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

pub(super) fn corrupt(archive: &Path, kind: &'static str, error: &dyn std::error::Error) -> ArchiveError {
    ArchiveError::Corrupt {
        archive: archive.to_path_buf(),
        kind,
        found: error.to_string(),
    }
}

pub(super) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> ArchiveError + 'a {
    move |source| ArchiveError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}
