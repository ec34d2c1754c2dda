//! Why a host of the launcher cannot be run as it is.

use std::path::PathBuf;

use semver::Version;

use super::layout::LayoutError;
use super::state::StateError;
use crate::adapter::AdapterError;
use crate::journal::JournalError;

/// Why a version of this host cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CasperError {
    /// A root, or visor's own folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The text is no version.
    #[error("use version {text:?}: expected a version such as 1.5.8")]
    NoVersion { text: String },
    /// It is not whole.
    #[error("use version {version}: {problem}")]
    NotStartable { version: Version, problem: String },
    /// It is not whole, and the state file names these very files (W17).
    #[error(
        "use version {version}: {problem}. {state} names this file; put it back, or correct the state file, or name another version with \
         `--force-version V`: no other version is run in its place", state = state.display()
    )]
    Gone {
        version: Version,
        problem: String,
        state: PathBuf,
    },
    /// There is nothing to begin with.
    #[error(
        "find the version to run: expected at least one that is complete in both {bin_root} and {config_root}, found none{problems}",
        bin_root = bin_root.display(), config_root = config_root.display()
    )]
    Nothing {
        bin_root: PathBuf,
        config_root: PathBuf,
        problems: String,
    },
    /// Programs are given text.
    #[error("start version {version}: expected a path in UTF-8, found {path:?}")]
    NotText { version: Version, path: PathBuf },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<CasperError> for AdapterError {
    fn from(error: CasperError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<StateError> for AdapterError {
    fn from(error: StateError) -> Self {
        Self::Other(Box::new(error))
    }
}
