//! The folder of what is visor's own beside the launcher's files, and the note in it that says which folders it belongs to.
//!
//! The note is for the operator's commands (`visor status --home`): the two folders come from the launcher's environment, which a shell
//! does not have. It decides nothing for the launcher itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::config::{ConfigError, parse};
use crate::home::write_durably;

const NOTE: &str = "roots.toml";

/// The note in a folder.
#[must_use]
pub(crate) fn note(home: &Path) -> PathBuf {
    home.join(NOTE)
}

/// The launcher's two folders, absolute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roots {
    bin_dir: PathBuf,
    config_dir: PathBuf,
}

impl Roots {
    /// Those of a launcher.
    pub(crate) fn of(settings: &Settings) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self {
            bin_dir: absolute(&settings.bin_root),
            config_dir: absolute(&settings.config_root),
        }
    }

    /// For a look at them.
    pub(crate) fn settings(self) -> Settings {
        Settings {
            bin_root: self.bin_dir,
            config_root: self.config_dir,
            single_attempt: false,
        }
    }
}

/// Writes the note, when it says something else.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write(home: &Path, roots: &Roots) -> Result<(), NoteError> {
    let path = note(home);
    if matches!(read(home), Ok(Some(written)) if written == *roots) {
        return Ok(());
    }
    let text = toml::to_string(roots).map_err(|source| NoteError::Unencodable { source })?;
    let text =
        format!("# Written by visor: the folders of the launcher that this folder belongs to.\n{text}");
    write_durably(&path, text.as_bytes(), 0o600).map_err(|source| NoteError::Unwritable { path, source })
}

/// Reads the note; nothing when the home is no launcher's.
///
/// # Errors
/// When it is there and means nothing.
pub(crate) fn read(home: &Path) -> Result<Option<Roots>, ConfigError> {
    let path = note(home);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

/// Why the note cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoteError {
    /// A path is no text.
    #[error("note the launcher's folders: expected paths in UTF-8")]
    Unencodable {
        /// What says so.
        #[source]
        source: toml::ser::Error,
    },
    /// The folder cannot be written.
    #[error("write {path}: expected a folder that the launcher's user may write", path = path.display())]
    Unwritable {
        /// The note.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_read_as_it_was_written_and_a_home_without_one_is_no_launchers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let roots = Roots::of(&Settings {
            bin_root: "relative/bin".into(),
            config_root: "/etc/casper".into(),
            single_attempt: true,
        });
        assert!(roots.bin_dir.is_absolute());
        write(dir.path(), &roots).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(roots.clone()));
        let written = fs::metadata(note(dir.path())).unwrap().modified().unwrap();
        write(dir.path(), &roots).unwrap();
        assert_eq!(
            fs::metadata(note(dir.path())).unwrap().modified().unwrap(),
            written
        );
        fs::write(note(dir.path()), "torn").unwrap();
        assert!(read(dir.path()).is_err());
        write(dir.path(), &roots).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(roots));
    }
}
