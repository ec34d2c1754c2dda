//! The folders of a Vega home: how it is known, which folder is which version, and where `current` leads.
//!
//! A version is called by its release tag; a folder of which no tag is known, by the folder's own name. `upgradeFolders` may change at any
//! time, so what a folder was called when it was switched to is kept beside it: a version never changes its name under the journal.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::config::KEYS;
use super::run_config::{FILE_NAME, RunConfig, is_of_vega};
use super::table::{Table, read_text};
use super::tag::{FOLDER_EXPECTED, folder_name, is_release_tag};
use crate::config::ConfigError;
use crate::home::{GENESIS, Home, write_durably};
use crate::journal::Journal;
use crate::swap::SwapError;

/// Where it is kept what folders were called.
const NAMES: &str = "versions.toml";

/// Why a Vega home cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VegaHomeError {
    /// `current` was written with an absolute path, and the home lies elsewhere now (W-60).
    #[error(
        "use {path}: it leads to {target}, which does not exist, and this home has a folder {name} of its own: it seems to have been moved. \
         If that is the version that the chain runs, `ln -sfn {name} {path}`", path = path.display(), target = target.display()
    )]
    Moved {
        /// `current`.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
        /// The folder here.
        name: String,
    },
    /// Nothing says what to begin with.
    #[error(
        "begin in {home}: there is no `current`, and {genesis} cannot be used. Put the first version there, or run \
         `ln -s FOLDER {home}/current` with the version that the chain runs", home = home.display(), genesis = genesis.display()
    )]
    NoGenesis {
        /// The home.
        home: PathBuf,
        /// Its first folder.
        genesis: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<ConfigError>,
    },
    /// A release's name that could lead out of the home (W-53).
    #[error(
        "use version {version:?}: expected a release such as v1.2.0, or the name of a folder in the home"
    )]
    NotAName {
        /// As it was given.
        version: String,
    },
    /// What a folder is called could not be kept.
    #[error("write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Whether a file has one of the keys of Vega Visor's `config.toml`.
pub(crate) fn is_vega_config(path: &Path) -> bool {
    let Ok(text) = read_text(path) else {
        return false;
    };
    Table::parse(path, &text).is_ok_and(|table| KEYS.iter().any(|key| table.has(key)))
}

/// Whether the files of a home are Vega Visor's: its `config.toml` has one of the keys, or a run configuration has a section `vega`.
pub(crate) fn is_vega_home(home: &Home) -> bool {
    if is_vega_config(&home.config()) {
        return true;
    }
    // A file without a single key, or one that cannot be read at this moment, says nothing.
    [home.current(), home.folder(GENESIS)]
        .iter()
        .any(|folder| is_of_vega(&folder.join(FILE_NAME)))
}

/// What the versions of a home are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Folder by tag: the operator's word of now.
    folders: BTreeMap<String, String>,
    /// Version by folder, as it was called when it was switched to.
    kept: BTreeMap<String, String>,
}

impl Names {
    /// # Errors
    /// When what was kept cannot be read.
    pub(super) fn read(home: &Home, folders: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let path = home.root().join(NAMES);
        let kept = match read_text(&path) {
            Ok(text) => Table::parse(&path, &text)?
                .all_meant(|_, version| folder_name(version).ok_or(FOLDER_EXPECTED))?,
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            folders: folders.clone(),
            kept,
        })
    }

    /// The operator's newest word.
    pub(super) fn set_folders(&mut self, folders: &BTreeMap<String, String>) {
        self.folders.clone_from(folders);
    }

    /// What a folder is called.
    pub(super) fn version_of(&self, folder: &str) -> String {
        if let Some(version) = self.kept.get(folder) {
            return version.clone();
        }
        // A tag that is its own folder's name needs no entry and beats the others.
        let mapped = self
            .folders
            .iter()
            .find(|(tag, mapped)| *mapped == folder && is_release_tag(tag));
        match mapped {
            Some((tag, _)) if !is_release_tag(folder) => tag.clone(),
            Some(_) | None => folder.to_owned(),
        }
    }

    /// The folder of a version, whether it is there or not.
    ///
    /// # Errors
    /// When the version is no name of a release or folder.
    pub(super) fn folder_of(&self, version: &str) -> Result<String, VegaHomeError> {
        let name = folder_name(version).ok_or_else(|| VegaHomeError::NotAName {
            version: version.to_owned(),
        })?;
        if let Some(folder) = self.folders.get(version) {
            return Ok(folder.clone());
        }
        let kept = self.kept.iter().find(|(_, kept)| *kept == version);
        Ok(kept.map_or(name, |(folder, _)| folder.clone()))
    }

    /// Keeps what a folder is called from now on, durably.
    ///
    /// # Errors
    /// The system's answer.
    pub(super) fn keep(&mut self, home: &Home, folder: &str, version: &str) -> Result<(), VegaHomeError> {
        match self.kept.get(folder) {
            Some(kept) if kept == version => return Ok(()),
            // No map changes what such a folder is called.
            None if folder == version && is_release_tag(folder) => return Ok(()),
            Some(_) | None => {}
        }
        let mut kept = self.kept.clone();
        kept.insert(folder.to_owned(), version.to_owned());
        let path = home.root().join(NAMES);
        let table: toml::Table = kept
            .iter()
            .map(|(folder, version)| (folder.clone(), toml::Value::from(version.as_str())))
            .collect();
        let text =
            format!("# Written by visor: which version each folder was when it was switched to.\n{table}");
        write_durably(&path, text.as_bytes(), 0o600)
            .map_err(|source| VegaHomeError::Write { path, source })?;
        self.kept = kept;
        Ok(())
    }
}

/// The name of the folder that `current` leads to, whether that folder exists or not; nothing when there is no `current`.
///
/// # Errors
/// When it is no link, or leads out of the home.
pub(super) fn current_folder(home: &Home) -> Result<Option<String>, CurrentError> {
    let path = home.current();
    let failed = |operation: &'static str, source| SwapError::Io {
        operation,
        path: home.current(),
        source,
    };
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("look at", error).into()),
    };
    if !metadata.is_symlink() {
        let found = if metadata.is_dir() { "folder" } else { "file" };
        return Err(SwapError::NotALink { path, found }.into());
    }
    let target = fs::read_link(&path).map_err(|error| failed("read the link", error))?;
    let full = home.root().join(&target);
    // Its place may be written in another way than the home's: by a link on the way, or with `..`.
    let inside = |place: &Path| {
        let folder = place.parent()?;
        let same = folder == home.root() || folder.canonicalize().ok()? == home.root();
        let name = place.file_name().filter(|_| same)?.to_str()?;
        Some(name.to_owned())
    };
    let lexical: PathBuf = full
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let resolved = || full.canonicalize().ok();
    if let Some(name) = inside(&lexical).or_else(|| inside(&resolved()?)) {
        return Ok(Some(name));
    }
    match full.file_name().and_then(|name| name.to_str()) {
        Some(name) if !full.exists() && home.folder(name).join(FILE_NAME).is_file() => {
            let name = name.to_owned();
            Err(VegaHomeError::Moved { path, target, name }.into())
        }
        Some(_) | None => Err(SwapError::Elsewhere { path, target }.into()),
    }
}

/// Why `current` cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CurrentError {
    /// It is no link into this home.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The home was moved.
    #[error(transparent)]
    Home(#[from] VegaHomeError),
}

/// Whether nothing has ever run here under visor: only then a home without `current` begins at genesis (W-43).
pub(super) fn is_untouched(home: &Home) -> bool {
    Journal::read_if_any(&home.journal()).is_ok_and(|entries| entries.is_empty())
}

/// Every folder that has a run configuration, in the order of the names.
pub(super) fn folders(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.root()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| folder_name(name).as_ref() == Some(name))
        .filter(|name| home.folder(name).join(FILE_NAME).is_file())
        .collect();
    names.sort_unstable();
    names
}

/// Whether a folder holds a version that could be started at once.
pub(super) fn is_complete(home: &Home, folder: &str) -> bool {
    let path = home.folder(folder);
    RunConfig::read(&path).is_ok_and(|run| run.check_programs(&path).is_ok())
}

#[cfg(test)]
mod tests;
