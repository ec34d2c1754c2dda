//! Why a version is not installed.

use std::io;
use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::digest::DigestError;
use super::download::DownloadError;
use super::folder::FolderError;
use super::releases::{ReleaseError, listed};
use super::run_config::DeriveError;
use crate::config::ConfigError;
use crate::run_config::ProgramMissing;
use crate::staging::{DigestError as MeasureError, VersionProbeError};

/// Why a version is not installed; the text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody but the operator may put the version there, and it is not there.
    #[error(
        "find version {tag}: expected the folder {folder} with run-config.toml and its binaries before height {height}, found nothing, and \
         auto-install is off. Put it there and the upgrade goes on by itself; the node will stay halted at {height} until it is there",
        folder = folder.display()
    )]
    Missing {
        /// The release.
        tag: String,
        /// Where it belongs.
        folder: PathBuf,
        /// H.
        height: u64,
    },
    /// The version's folder is there and cannot be used.
    #[error(
        "use {folder} for version {tag} (the node will stay halted at {height} until it is in order; then the upgrade goes on by itself)",
        folder = folder.display()
    )]
    Unusable {
        /// The release.
        tag: String,
        /// Its folder.
        folder: PathBuf,
        /// H.
        height: u64,
        /// What is wrong with it.
        #[source]
        source: Box<FolderError>,
    },
    /// A release's name that could lead out of the home (W-53).
    #[error("install version {tag:?}: expected a release such as v1.2.0")]
    Name {
        /// As it was given.
        tag: String,
    },
    /// The token cannot be read.
    #[error("show the token to the releases API: {0}")]
    Token(String),
    /// The releases do not say where the version is.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The server is left alone for a while, as it wished.
    #[error("{before}; asked again in {seconds} s")]
    Waiting {
        /// Its refusal.
        before: String,
        /// So long it is left alone.
        seconds: u64,
    },
    /// The release has no file of the configured name (W-47).
    #[error(
        "find {asset} in release {tag} of {repository}: no file of that name, it offers {}. Correct autoInstall.asset.name, or put \
         the folder of the version there yourself",
        listed(offered)
    )]
    NoAsset {
        /// The configured name.
        asset: String,
        /// The release.
        tag: String,
        /// Owner and name.
        repository: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// The file is still being put there.
    #[error("download {asset} of release {tag}: it is not whole yet on the server (state {state:?})")]
    Unfinished {
        /// The file.
        asset: String,
        /// The release.
        tag: String,
        /// By the server.
        state: String,
    },
    /// It could not be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It took longer than the configured limit.
    #[error(
        "download {asset}: not whole within {limit:?} (staging.fetch_timeout); {arrived} bytes are here, from where the next attempt goes on"
    )]
    TooSlow {
        /// The file.
        asset: String,
        /// The limit.
        limit: std::time::Duration,
        /// So many bytes are here.
        arrived: u64,
    },
    /// The disk is too full.
    #[error("{operation} {what}: expected room for {needed} bytes and {reserve} to spare in {folder}, found {free} bytes free", folder = folder.display())]
    NoRoom {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        what: String,
        /// Where.
        folder: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are left to the node.
        reserve: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The bytes are not what they should be.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The bytes could not be read back.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// It could not be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no run configuration for it.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// What was unpacked lacks the binary.
    #[error(
        "install version {tag} from {asset}, which holds {}. Correct autoInstall.asset.binaryName, or run-config.{tag}.toml in the home \
         if there is one",
        listed(holds)
    )]
    NoBinary {
        /// The release.
        tag: String,
        /// The file.
        asset: String,
        /// What was in it.
        holds: Vec<String>,
        /// Which binary is missing.
        #[source]
        source: Box<ProgramMissing>,
    },
    /// A binary does not say that it is the version.
    #[error(transparent)]
    Version(#[from] VersionProbeError),
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
) -> impl Fn(io::Error) -> InstallError + 'a {
    move |source| InstallError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}
