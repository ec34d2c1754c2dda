//! The new version of a Vega home is there before the halt: its folder is found and checked, or made from a release (W-45).
//!
//! Owns `staging/` and the making of version folders. Invariants: what is downloaded becomes executable only after every SHA-256 that is
//! known of it was found equal; a version folder appears complete, checked and durable, by one rename, or not at all (W-46); the running
//! version's files are only read.

mod archive;
mod digest;
mod download;
mod error;
mod folder;
mod make;
mod releases;
mod run_config;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use archive::ArchiveError;
pub use digest::DigestError;
pub use download::DownloadError;
pub use error::InstallError;
pub use folder::FolderError;
pub use make::Provenance;
pub use releases::ReleaseError;
pub use run_config::DeriveError;

use self::error::io_error;
use super::config;
use super::home::Names;
use super::tag::is_release_tag;
use crate::adapter::{LocalBoxFuture, Stager};
use crate::cli::chain;
use crate::config::Staging;
use crate::fault;
use crate::home::Home;

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Names the upgrade, and its folder in `staging/`.
    pub id: String,
    /// The release, as the chain accepted it.
    pub tag: String,
    /// H.
    pub height: u64,
    /// The folder of the version that runs.
    pub current: PathBuf,
}

/// How a version came to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Its folder was there, and is what it should be.
    Found,
    /// It was made from a release.
    Made(Provenance),
}

/// The installation of one version, tried until it succeeds.
#[derive(Debug)]
pub struct Installer {
    home: Home,
    limits: Staging,
    wanted: Wanted,
    /// Until when the server is left alone, and why.
    pause: Mutex<Option<(Instant, String)>>,
}

impl Installer {
    /// Prepares it; nothing is touched.
    #[must_use]
    pub fn new(home: Home, limits: Staging, wanted: Wanted) -> Self {
        Self {
            home,
            limits,
            wanted,
            pause: Mutex::new(None),
        }
    }

    /// One attempt. Vega's `config.toml` is read anew each time, so that the next attempt acts on what the operator changed.
    ///
    /// # Errors
    /// When the version is not there and could not be installed; the text is for the operator.
    pub async fn install(&self) -> Result<Installed, InstallError> {
        let Wanted { tag, height, .. } = &self.wanted;
        let settings = config::read(&self.home.config())?.settings;
        let folder = self.home.folder(&self.folder_of(&settings)?);
        match fs::symlink_metadata(&folder) {
            Ok(_) => {
                fault::point("staging-folder-found");
                folder::verify(&folder, tag, self.limits.version_timeout)
                    .await
                    .map_err(|source| InstallError::Unusable {
                        tag: tag.clone(),
                        folder,
                        height: *height,
                        source: Box::new(source),
                    })?;
                self.clear();
                Ok(Installed::Found)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !settings.auto_install.enabled {
                    return Err(InstallError::Missing {
                        tag: tag.clone(),
                        folder,
                        height: *height,
                    });
                }
                self.check_pause()?;
                let made = self.make(&settings.auto_install, &folder).await;
                if let Err(InstallError::Release(error)) = &made
                    && let Some(pause) = error.pause()
                {
                    self.set_pause(pause, chain(error));
                }
                let made = made?;
                self.clear();
                Ok(Installed::Made(made))
            }
            Err(error) => Err(io_error("look at", &folder)(error)),
        }
    }

    fn folder_of(&self, settings: &config::Settings) -> Result<String, InstallError> {
        let tag = &self.wanted.tag;
        let names = Names::read(&self.home, &settings.upgrade_folders)?;
        names
            .folder_of(tag)
            .ok()
            .filter(|_| is_release_tag(tag))
            .ok_or_else(|| InstallError::Name { tag: tag.clone() })
    }

    fn work(&self) -> PathBuf {
        // An id may hold what an operator has typed.
        let safe = |letter: char| match letter {
            '.' | '-' | '@' => letter,
            letter if letter.is_ascii_alphanumeric() => letter,
            _ => '_',
        };
        let name: String = self.wanted.id.chars().map(safe).collect();
        self.home.staging().join(format!("install-{name}"))
    }

    /// Best effort: it only takes room, and goes when the home is opened the next time.
    fn clear(&self) {
        let _ = fs::remove_dir_all(self.work());
    }

    fn check_pause(&self) -> Result<(), InstallError> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        match &*pause {
            Some((until, before)) if *until > Instant::now() => Err(InstallError::Waiting {
                before: before.clone(),
                seconds: until.duration_since(Instant::now()).as_secs() + 1,
            }),
            _ => Ok(()),
        }
    }

    fn set_pause(&self, pause: Duration, because: String) {
        let mut until = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some((Instant::now() + pause, because));
    }
}

impl Stager for Installer {
    fn attempt(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            match self.install().await {
                Ok(Installed::Found) => {
                    tracing::info!(
                        upgrade.version = self.wanted.tag,
                        "the version's folder is there and in order"
                    );
                    Ok(())
                }
                Ok(Installed::Made(made)) => {
                    tracing::info!(
                        upgrade.version = self.wanted.tag,
                        asset.name = made.asset,
                        asset.sha256 = made.sha256,
                        "installed the version from its release"
                    );
                    Ok(())
                }
                Err(error) => Err(chain(&error)),
            }
        })
    }

    fn abandon(&self) {
        self.clear();
    }
}
