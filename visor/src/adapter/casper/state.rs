//! The launcher's state file: which version is to run, from which files, or which migration was begun.
//!
//! Written in the very bytes that the launcher writes, so that it can take over at any time; read as tolerantly as it reads. Invariants: the
//! file is replaced by one rename, so that it is whole at every moment (W3); between the end of one process and the start of the next
//! nothing waits for the disk: [`StateFile::make_ready`] makes the next contents durable while there is time, and [`StateFile::sync`]
//! makes the rename durable afterwards. Contents that were made ready change places with those before them, because to free the blocks of a
//! file takes a filesystem many times as long as a rename.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use semver::Version;

use super::version::of_folder;
use crate::fault;
use crate::home::{sync_directory, write_durably};
use crate::look::Look;

/// Its name in the configuration root.
pub(crate) const FILE_NAME: &str = "casper-node-launcher-state.toml";
/// Two paths and a version, twice, are far below this.
const MAX_BYTES: u64 = 64 << 10;
/// As the launcher makes it under the usual umask: other tools of the host read it.
const MODE: u32 = 0o644;

/// One version, and the files that it is run from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeInfo {
    /// The version.
    pub(crate) version: Version,
    /// Its binary.
    pub(crate) binary: PathBuf,
    /// Its `config.toml`.
    pub(crate) config: PathBuf,
}

/// What the state file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// This version is to run.
    Run(NodeInfo),
    /// The data is to be migrated from one version to the next.
    Migrate {
        /// The version before.
        old: NodeInfo,
        /// The version after, whose binary migrates.
        new: NodeInfo,
    },
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// An operation failed.
    #[error("{operation} {path}", path = path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It says nothing.
    #[error(
        "read {path}: {message}. Visor does not guess which version the chain runs: restore the file, or name the version with \
         `--force-version V`",
        path = path.display()
    )]
    Invalid { path: PathBuf, message: String },
    /// Its paths lead to another version than it names (W17).
    #[error(
        "use {path}: it names version {version}, but {key} is {found}, a file of version {other}. Correct the file, or name the version with \
         `--force-version V`; no version is run in its place",
        path = path.display(), found = found.display()
    )]
    Contradiction {
        path: PathBuf,
        version: String,
        key: &'static str,
        found: PathBuf,
        other: String,
    },
    /// A path that no text can hold.
    #[error("write {path}: expected paths in UTF-8, found {found:?}", path = path.display())]
    NotText { path: PathBuf, found: PathBuf },
}

/// The state file of a configuration root.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Where contents are made ready.
    own_dir: PathBuf,
    /// What was read last, and how the file looked then: it is asked for again and again between the end of one version and the start of the
    /// next.
    last: Mutex<Option<(Look, State)>>,
}

/// New contents of which only the rename is left to do.
#[derive(Debug)]
pub(crate) struct ReadyState {
    from: PathBuf,
    to: PathBuf,
    is_durable: bool,
}

impl ReadyState {
    /// Does it. When this fails, nothing has changed.
    pub(crate) fn put(self) -> Result<(), StateError> {
        // Not every filesystem can, and at first there is nothing to change places with. What is not durable yet is renamed: only that makes
        // some filesystems write the contents before the name.
        let exchanged = self.is_durable
            && self.to.is_file()
            && renameat_with(CWD, &self.from, CWD, &self.to, RenameFlags::EXCHANGE).is_ok();
        if !exchanged {
            fs::rename(&self.from, &self.to).map_err(failed("replace", &self.to))?;
        }
        fault::point("state-renamed");
        Ok(())
    }
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StateError + 'a {
    move |source| StateError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

impl StateFile {
    /// That of a configuration root; contents are made ready in `own_dir`.
    pub(crate) fn new(config_dir: &Path, own_dir: &Path) -> Self {
        Self {
            path: config_dir.join(FILE_NAME),
            own_dir: own_dir.to_path_buf(),
            last: Mutex::default(),
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; nothing when there is none.
    pub(crate) fn read(&self) -> Result<Option<State>, StateError> {
        // Before it is read: contents that come later have another look.
        let look = Look::at(&self.path).ok().filter(Look::is_settled);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, state)) = &*last
            && look == Some(*before)
        {
            return Ok(Some(state.clone()));
        }
        *last = None;
        let read = self.read_again()?;
        *last = look.zip(read.clone());
        Ok(read)
    }

    fn read_again(&self) -> Result<Option<State>, StateError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &self.path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed("read", &self.path))?;
        let invalid = |message: String| StateError::Invalid {
            path: self.path.clone(),
            message,
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("expected at most {MAX_BYTES} bytes, found more")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            invalid(format!(
                "expected text in UTF-8, found another byte at {}",
                error.valid_up_to()
            ))
        })?;
        let state = State::parse(text).map_err(invalid)?;
        for info in state.infos() {
            self.check(info)?;
        }
        Ok(Some(state))
    }

    /// A path may be anything, but not in the folder of another version.
    fn check(&self, info: &NodeInfo) -> Result<(), StateError> {
        for (key, found) in [("binary_path", &info.binary), ("config_path", &info.config)] {
            let folder = found.parent().and_then(Path::file_name);
            if let Some(other) = folder.and_then(of_folder)
                && other != info.version
            {
                return Err(StateError::Contradiction {
                    path: self.path.clone(),
                    version: info.version.to_string(),
                    key,
                    found: found.clone(),
                    other: other.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Where the contents for a mode are kept until they are needed.
    fn ready_path(&self, state: &State) -> PathBuf {
        self.own_dir.join(match state {
            State::Run(_) => "run.ready",
            State::Migrate { .. } => "migrate.ready",
        })
    }

    /// Makes contents durable that are needed soon. Waits for the disk.
    pub(crate) fn make_ready(&self, state: &State) -> Result<(), StateError> {
        let text = self.text(state)?;
        let path = self.ready_path(state);
        if is_exactly(&path, &text) {
            return Ok(());
        }
        write_durably(&path, text.as_bytes(), MODE).map_err(failed("write", &path))
    }

    /// Does all of a change but the rename. Waits for no disk.
    pub(crate) fn prepare(&self, state: &State) -> Result<ReadyState, StateError> {
        let text = self.text(state)?;
        let to = self.target();
        let ready = self.ready_path(state);
        if is_exactly(&ready, &text) && is_beside(&ready, &to) {
            return Ok(ReadyState {
                from: ready,
                to,
                is_durable: true,
            });
        }
        let mut part = to.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &part)(error));
            }
            Ok(()) | Err(_) => {}
        }
        // Nothing that lies in a folder of another user is followed.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&part)
            .map_err(failed("create", &part))?;
        file.write_all(text.as_bytes()).map_err(failed("write", &part))?;
        fault::point("state-written");
        Ok(ReadyState {
            from: part,
            to,
            is_durable: false,
        })
    }

    /// Makes the last change durable.
    pub(crate) fn sync(&self) -> Result<(), StateError> {
        let target = self.target();
        match File::open(&target) {
            Ok(file) => file.sync_all().map_err(failed("sync", &target))?,
            // It is lost: there is only its absence to make durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("open", &target)(error)),
        }
        let folder = target.parent().unwrap_or(Path::new("."));
        sync_directory(folder).map_err(failed("sync the folder", folder))
    }

    /// Replaces the contents, durably.
    pub(crate) fn write(&self, state: &State) -> Result<(), StateError> {
        self.prepare(state)?.put()?;
        self.sync()
    }

    /// What a link in its place leads to: the launcher writes through one.
    fn target(&self) -> PathBuf {
        let is_link = fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_symlink());
        let target = is_link.then(|| fs::canonicalize(&self.path).ok());
        target.flatten().unwrap_or_else(|| self.path.clone())
    }

    fn text(&self, state: &State) -> Result<String, StateError> {
        state.text().map_err(|found| StateError::NotText {
            path: self.path.clone(),
            found,
        })
    }
}

fn is_exactly(path: &Path, text: &str) -> bool {
    let mut found = Vec::new();
    // One byte more than expected is enough to see a difference.
    let limit = text.len() as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut found));
    read.is_ok() && found == text.as_bytes()
}

/// A rename works only within a filesystem.
fn is_beside(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::metadata(path.parent()?).ok().map(|folder| folder.dev());
    device(one).is_some() && device(one) == device(other)
}

impl State {
    /// The versions that it names, the one to run last.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &NodeInfo> {
        let (first, last) = match self {
            Self::Run(info) => (None, info),
            Self::Migrate { old, new } => (Some(old), new),
        };
        first.into_iter().chain([last])
    }

    /// What it says of a version, when it names it.
    pub(crate) fn info(&self, version: &Version) -> Option<&NodeInfo> {
        self.infos().find(|info| info.version == *version)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        let inner = |key: &str| match table.get(key) {
            Some(toml::Value::Table(table)) => NodeInfo::parse(table, &format!("[{key}] ")),
            Some(_) => Err(format!("expected a table [{key}], found something else")),
            None => Err(format!("expected a table [{key}], found none")),
        };
        match text_of(&table, "mode", "")? {
            "RunNodeAsValidator" => Ok(Self::Run(NodeInfo::parse(&table, "")?)),
            "MigrateData" => Ok(Self::Migrate {
                old: inner("old_info")?,
                new: inner("new_info")?,
            }),
            other => Err(format!(
                "expected mode 'RunNodeAsValidator' or 'MigrateData', found {other:?}"
            )),
        }
    }

    /// The bytes that the launcher writes; the path that no text can hold.
    fn text(&self) -> Result<String, PathBuf> {
        match self {
            Self::Run(info) => Ok(format!("mode = 'RunNodeAsValidator'\n{}", info.text()?)),
            Self::Migrate { old, new } => Ok(format!(
                "mode = 'MigrateData'\n\n[old_info]\n{}\n[new_info]\n{}",
                old.text()?,
                new.text()?
            )),
        }
    }
}

impl NodeInfo {
    fn parse(table: &toml::Table, place: &str) -> Result<Self, String> {
        let version = text_of(table, "version", place)?;
        let path = |key: &str| text_of(table, key, place).map(PathBuf::from);
        Ok(Self {
            version: Version::parse(version).map_err(|error| {
                format!("{place}version: expected a version such as '1.5.8', found {version:?} ({error})")
            })?,
            binary: path("binary_path")?,
            config: path("config_path")?,
        })
    }

    fn text(&self) -> Result<String, PathBuf> {
        let text = |path: &PathBuf| path.to_str().map(quoted).ok_or_else(|| path.clone());
        Ok(format!(
            "version = {}\nbinary_path = {}\nconfig_path = {}\n",
            quoted(&self.version.to_string()),
            text(&self.binary)?,
            text(&self.config)?
        ))
    }
}

fn text_of<'a>(table: &'a toml::Table, key: &str, place: &str) -> Result<&'a str, String> {
    match table.get(key) {
        Some(toml::Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{place}{key}: expected a string, found something else")),
        None => Err(format!("expected a key {place}{key}, found none")),
    }
}

/// A TOML string as the launcher writes it: in single quotes, where those can hold it.
fn quoted(text: &str) -> String {
    let is_literal = |letter: char| letter == '\t' || !letter.is_control();
    if text.chars().all(|letter| is_literal(letter) && letter != '\'') {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
