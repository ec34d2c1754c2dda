//! What is copied where, and whether that can work.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::error::{BackupError, failed};

/// What is copied where. One backup per upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The backup's folder in `folder`, the same for all passes of one upgrade, for example `v1.0.0@120-1a2b3c4d`.
    pub name: String,
    /// Absolute paths of the files and folders to copy; none contains another. A restore goes by those in the backup itself.
    pub sources: Vec<PathBuf>,
    /// Where the backups of this visor are, absolute; no other visor's are there.
    pub folder: PathBuf,
    /// How many finished backups are kept, the newest; one at least.
    pub keep: u32,
    /// Bytes that must stay free on the file system of `folder`.
    pub reserve: u64,
}

/// Where a restore prepares what goes into a source that is a mount point.
pub(super) const RESTORING_INSIDE: &str = ".visor-restoring";
/// With a number: what such a restore moved aside.
pub(super) const BEFORE_INSIDE: &str = ".visor-before-rollback-";

/// Whether a name right in a source is not the node's: it is neither copied nor replaced.
pub(super) fn is_own(name: &OsStr, mount: bool) -> bool {
    name == RESTORING_INSIDE
        || name.as_encoded_bytes().starts_with(BEFORE_INSIDE.as_bytes())
        || (mount && name == "lost+found")
}

impl Plan {
    /// Refuses what no pass could work with.
    pub(super) fn check(&self) -> Result<(), BackupError> {
        self.check_name()?;
        check_paths(&self.sources, &self.folder, None)
    }

    pub(super) fn check_name(&self) -> Result<(), BackupError> {
        let legal = !self.name.is_empty()
            && !self.name.starts_with('.')
            && !self.name.contains(['/', '\0'])
            && self.name.len() <= 200;
        if !legal {
            return Err(BackupError::Name {
                name: self.name.clone(),
            });
        }
        Ok(())
    }

    /// The backup itself.
    pub(super) fn backup(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Refuses sources that are missing, are links, contain one another, the backups or visor's own home. For the check of the
/// configuration; each pass does the same without `home`.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_paths(sources: &[PathBuf], folder: &Path, home: Option<&Path>) -> Result<(), BackupError> {
    let folder = real(folder)?;
    let home = home.map(real).transpose()?;
    let mut seen: Vec<PathBuf> = Vec::new();
    for source in sources {
        let place = real(source)?;
        let metadata = match fs::symlink_metadata(source) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::Missing { path: source.clone() });
            }
            Err(error) => return Err(failed("look at", source)(error)),
        };
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(BackupError::Kind {
                path: source.clone(),
                found: if kind.is_symlink() {
                    "symbolic link"
                } else {
                    "device, socket or pipe"
                },
            });
        }
        let source = place;
        if source.parent().is_none() {
            return Err(overlap(&source, &folder, "the backups folder"));
        }
        if folder.starts_with(&source) {
            return Err(overlap(&source, &folder, "the backups folder"));
        }
        if source.starts_with(&folder) {
            return Err(overlap(&folder, &source, "a source in the backups folder"));
        }
        if let Some(home) = home.as_ref().filter(|home| home.starts_with(&source)) {
            return Err(overlap(&source, home, "visor's home"));
        }
        for other in &seen {
            if source.starts_with(other) {
                return Err(overlap(other, &source, "another source"));
            }
            if other.starts_with(&source) {
                return Err(overlap(&source, other, "another source"));
            }
        }
        seen.push(source);
    }
    Ok(())
}

fn overlap(outer: &Path, inner: &Path, what: &'static str) -> BackupError {
    BackupError::Overlap {
        outer: outer.to_path_buf(),
        inner: inner.to_path_buf(),
        what,
    }
}

/// The path without links, also when its end does not exist yet.
fn real(path: &Path) -> Result<PathBuf, BackupError> {
    let plain = path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain {
        return Err(BackupError::NotAbsolute {
            path: path.to_path_buf(),
        });
    }
    let mut there = path.to_path_buf();
    let mut rest: Vec<OsString> = Vec::new();
    loop {
        match there.canonicalize() {
            Ok(real) => return Ok(rest.iter().rev().fold(real, |path, name| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(name) = there.file_name().map(ToOwned::to_owned) else {
                    return Err(failed("look at", path)(error));
                };
                rest.push(name);
                there.pop();
            }
            Err(error) => return Err(failed("look at", path)(error)),
        }
    }
}
