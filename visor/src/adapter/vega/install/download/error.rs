//! Why a file of a release is not here.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file of a release is not here.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server could not be reached, or broke off.
    #[error("download {asset}: broken off after {arrived} bytes, from where the next attempt goes on")]
    Http {
        /// What.
        asset: String,
        /// So many bytes are here.
        arrived: u64,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The answer ended before the file did.
    #[error(
        "download {asset}: expected {expected} bytes as the release says, the answer ended after {arrived}, from where the next attempt \
         goes on"
    )]
    Short {
        /// What.
        asset: String,
        /// By the release.
        expected: u64,
        /// So many bytes are here.
        arrived: u64,
    },
    /// The file has another size than the release says.
    #[error("download {asset}: expected {expected} bytes as the release says, found {found}")]
    Size {
        /// What.
        asset: String,
        /// By the release.
        expected: u64,
        /// By the server that has it; when there were more, at least this many.
        found: u64,
    },
    /// Larger than the operator allows.
    #[error(
        "download {asset}: expected at most {limit} bytes (staging.max_artifact_size), found {found} or more"
    )]
    TooLarge {
        /// What.
        asset: String,
        /// By the configuration.
        limit: u64,
        /// So many it has.
        found: u64,
    },
    /// Another part than was asked for.
    #[error(
        "download {asset}: expected the part from byte {expected} on, found {found:?}. The next attempt begins anew"
    )]
    Range {
        /// What.
        asset: String,
        /// The first byte that is missing here.
        expected: u64,
        /// What the server says that it sends.
        found: String,
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

pub(super) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> DownloadError + 'a {
    move |source| DownloadError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}
