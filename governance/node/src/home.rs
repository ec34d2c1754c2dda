//! The files of a node's home, written so that a power cut leaves the old file or the new one, and never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use governance::{Genesis, GenesisError, State};

/// A node's home.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no configuration.
    #[error("{} is no home of a node: expected config.toml in it; run `governance init --home {}` first", root.display(), root.display())]
    NotInitialised {
        /// The folder.
        root: PathBuf,
    },
    /// There is one already.
    #[error("{} is a node's home already; choose another folder, its keys are not replaced", root.display())]
    Initialised {
        /// The folder.
        root: PathBuf,
    },
    /// There is no genesis.
    #[error("expected the chain's genesis.json in {}; copy the one that all nodes share, or make one with `governance genesis`", root.display())]
    NoGenesis {
        /// The folder.
        root: PathBuf,
    },
    /// The genesis is no JSON of the expected form.
    #[error("{} is no genesis", path.display())]
    GenesisForm {
        /// The file.
        path: PathBuf,
        /// Line, column, what was found and what was expected.
        #[source]
        source: serde_json::Error,
    },
    /// No chain can start from it.
    #[error("no chain can start from {}", path.display())]
    GenesisContent {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: GenesisError,
    },
    /// A secret that others can read.
    #[error("{} holds a secret key and has mode {mode:o}, expected 600: run `chmod 600 {}`, and replace the key if others use this host", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file could not be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HomeError + 'a {
    move |source| HomeError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

impl Home {
    /// The home at `root`, whatever is there.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        // Relative paths of a daemon mean another folder after a change of directory.
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()),
        }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// `genesis.json`.
    #[must_use]
    pub fn genesis_file(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// The chain's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A key's file.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(format!("{name}.json"))
    }

    /// Fails unless the home was made by `init`.
    ///
    /// # Errors
    /// `NotInitialised`.
    pub fn check_initialised(&self) -> Result<(), HomeError> {
        if self.config().exists() {
            Ok(())
        } else {
            Err(HomeError::NotInitialised {
                root: self.root.clone(),
            })
        }
    }

    /// Makes the folders, unless the home exists.
    ///
    /// # Errors
    /// `Initialised`, or the system's answer.
    pub fn create(&self) -> Result<(), HomeError> {
        if self.config().exists() {
            return Err(HomeError::Initialised {
                root: self.root.clone(),
            });
        }
        for folder in [self.root.clone(), self.root.join("keys"), self.data()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(failed("create", &folder))?;
        }
        Ok(())
    }

    /// Reads the genesis and checks that a chain can start from it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn genesis(&self) -> Result<Genesis, HomeError> {
        let path = self.genesis_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HomeError::NoGenesis {
                    root: self.root.clone(),
                });
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let genesis: Genesis = serde_json::from_str(&text).map_err(|source| HomeError::GenesisForm {
            path: path.clone(),
            source,
        })?;
        State::from_genesis(&genesis).map_err(|source| HomeError::GenesisContent { path, source })?;
        Ok(genesis)
    }
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// When others may read it, or it cannot be read.
pub(crate) fn read_secret(path: &Path) -> Result<String, HomeError> {
    let mode = fs::metadata(path).map_err(failed("read", path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Permissions {
            path: path.to_path_buf(),
            mode,
        });
    }
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Writes a file whole and durable, with this mode, unless there is one.
///
/// # Errors
/// The system's answer.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), HomeError> {
    if path.exists() {
        return Err(failed("create", path)(io::ErrorKind::AlreadyExists.into()));
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(failed("set the mode of", &temporary))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("place", path))?;
    // The folder of a bare file name is written as nothing.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make durable", folder))
}
