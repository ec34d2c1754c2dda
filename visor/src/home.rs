//! The layout of a visor home, and the small file operations that everything durable here needs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::adapter::casper::own;
use crate::fault;
use crate::run_config::{RunConfig, is_version};

/// The longest path that a UNIX socket address can hold: `sun_path` is 108 bytes including the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// The folder of the version that the operator began with.
pub const GENESIS: &str = "genesis";

/// A socket path that no process can bind or connect to.
#[derive(Debug, thiserror::Error)]
#[error(
    "use the UNIX socket {path} ({origin}): expected at most {MAX_SOCKET_PATH} bytes, found {}. The system cannot address a \
     longer path; choose a shorter {origin}", path.as_os_str().len()
)]
pub struct SocketPathTooLong {
    path: PathBuf,
    origin: &'static str,
}

/// Checks that a socket path fits the system's limit.
///
/// # Errors
/// When it is too long.
pub fn check_socket_path(path: &Path, origin: &'static str) -> Result<(), SocketPathTooLong> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(SocketPathTooLong {
            path: path.to_path_buf(),
            origin,
        });
    }
    Ok(())
}

/// A home that is not there, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder does not exist or cannot be read.
    #[error("open the home {path}: expected a folder made by `visor init --home {path} --binary PATH`")]
    Unreadable {
        /// The home.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The folder exists and holds no `config.toml`.
    #[error(
        "use the home {path}: it is not initialised, {path}/config.toml is missing. Run `visor init --home {path} --binary PATH`"
    )]
    NotInitialised {
        /// The home.
        path: PathBuf,
    },
    /// The path of its socket is too long.
    #[error(transparent)]
    Socket(#[from] SocketPathTooLong),
}

/// The paths in one visor home.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The layout under `root`, whether it exists or not. `root` should be absolute.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Opens an initialised home.
    ///
    /// # Errors
    /// When it is missing, not initialised, or too deep for its socket.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let root = root.canonicalize().map_err(|source| HomeError::Unreadable {
            path: root.to_path_buf(),
            source,
        })?;
        let home = Self { root };
        // A launcher's folder has a configuration only when somebody wants one.
        if !home.config().exists() && !own::note(&home.root).exists() {
            return Err(HomeError::NotInitialised { path: home.root });
        }
        check_socket_path(&home.socket(), "home folder of visor")?;
        Ok(home)
    }

    /// The home itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration of visor.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The link to the version that runs.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// Where artifacts are fetched and checked.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The durable log.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Held by the visor of this home for its whole life.
    #[must_use]
    pub fn visor_lock(&self) -> PathBuf {
        self.root.join("visor.lock")
    }

    /// Held by the node's process tree for its whole life.
    #[must_use]
    pub fn node_lock(&self) -> PathBuf {
        self.root.join("node.lock")
    }

    /// Where visor answers.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("visor.sock")
    }

    /// The folder of a version, `genesis` or `vX.Y.Z`.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The name of the folder that an upgrade to `version` gets.
    #[must_use]
    pub fn folder_name(version: &str) -> String {
        format!("v{version}")
    }

    /// The version that a folder holds, when its run configuration can be read and its binary is there.
    #[must_use]
    pub fn version_of(&self, folder: &str) -> Option<String> {
        let path = self.folder(folder);
        let run = RunConfig::read(&path).ok()?;
        run.program(&path)
            .is_file()
            .then(|| run.version().map(str::to_owned))
            .flatten()
    }

    /// The folder that holds a version: the one named for it, else the first one.
    #[must_use]
    pub fn folder_of_version(&self, version: &str) -> Option<String> {
        let named = Self::folder_name(version);
        [named, GENESIS.to_owned()]
            .into_iter()
            .find(|folder| self.version_of(folder).as_deref() == Some(version))
    }

    /// Every version with a complete folder: one that could be started, with its companions (VIS-05).
    #[must_use]
    pub fn versions(&self) -> Vec<String> {
        let complete = |name: &String| {
            let path = self.folder(name);
            RunConfig::read(&path).is_ok_and(|run| run.check_programs(&path).is_ok())
        };
        self.version_folders()
            .filter(complete)
            .filter_map(|name| {
                self.version_of(&name)
                    .filter(|version| name == Self::folder_name(version))
            })
            .collect()
    }

    /// The folders that have the form of a version's.
    pub(crate) fn version_folders(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.strip_prefix('v').is_some_and(is_version))
    }

    /// Removes what a staging left behind that never finished. Best effort: it only takes room.
    pub(crate) fn clear_staging(&self) {
        let Ok(entries) = fs::read_dir(self.staging()) else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(staging.path = %entry.path().display(), %error, "cannot remove what is left of a staging");
            }
        }
    }

    /// The entry of this home that `path` lies in, when it lies in one.
    #[must_use]
    pub fn folder_of(&self, path: &Path) -> Option<String> {
        let inside = path.strip_prefix(&self.root).ok()?;
        let first = inside.components().next()?;
        Some(first.as_os_str().to_str()?.to_owned())
    }
}

/// Makes the entries of a folder durable.
///
/// # Errors
/// The system's answer.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a file whole or not at all, durably.
///
/// # Errors
/// The system's answer.
pub fn write_durably(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fault::point("file-written");
    fs::rename(&part, path)?;
    fault::point("file-renamed");
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_may_have_107_bytes_and_no_more() {
        let longest = PathBuf::from(format!("/{}", "x".repeat(106)));
        assert!(check_socket_path(&longest, "home").is_ok());
        let error = check_socket_path(&longest.join("y"), "home")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("at most 107") && error.contains("found 109"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_is_known_by_the_programs_in_it() {
        let home = Home::at(PathBuf::from("/srv/visor"));
        assert_eq!(
            home.folder_of(Path::new("/srv/visor/v1.1.0/governance"))
                .as_deref(),
            Some("v1.1.0")
        );
        assert_eq!(home.folder_of(Path::new("/usr/bin/governance")), None);
    }
}
