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
use std::os::unix::fs::MetadataExt as _;
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
use super::before_start::Versions;
use super::config;
use super::home::Names;
use super::tag::is_release_tag;
use crate::adapter::{LocalBoxFuture, Stager};
use crate::cli::chain;
use crate::config::Staging;
use crate::fault;
use crate::home::Home;

/// Only while a version is missing, and only a few files; a folder that is put there at the halt must not wait for the next attempt.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A version's folder has a handful of entries.
const MAX_LOOKED_AT: usize = 100;

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
    /// What the programs say of themselves, for the starts to come.
    programs: Versions,
    /// Until when the server is left alone, and why.
    pause: Mutex<Option<(Instant, String)>>,
    /// What lay on the host when the last attempt began.
    seen: Mutex<Option<Seen>>,
}

/// Inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

/// Files and folders as they were, nothing standing for one that was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Vec<(PathBuf, Option<Stamp>)>);

impl Seen {
    fn at(paths: Vec<PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let found = fs::metadata(&path).ok();
            let found = found.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
            (path, found)
        };
        Self(paths.into_iter().map(look).collect())
    }
}

impl Installer {
    /// Prepares it; nothing is touched.
    #[must_use]
    pub fn new(home: Home, limits: Staging, wanted: Wanted) -> Self {
        Self {
            home,
            limits,
            wanted,
            programs: Versions::default(),
            pause: Mutex::new(None),
            seen: Mutex::new(None),
        }
    }

    /// Keeps what the programs say of their version here, so that nobody need ask them between an exit and a start (VIS-05).
    #[must_use]
    pub(super) fn remembering(self, programs: Versions) -> Self {
        Self { programs, ..self }
    }

    /// One attempt. Vega's `config.toml` is read anew each time, so that the next attempt acts on what the operator changed.
    ///
    /// # Errors
    /// When the version is not there and could not be installed; the text is for the operator.
    pub async fn install(&self) -> Result<Installed, InstallError> {
        let Wanted { tag, height, .. } = &self.wanted;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.look());
        let settings = config::read(&self.home.config())?.settings;
        let folder = self.home.folder(&self.folder_of(&settings)?);
        match fs::symlink_metadata(&folder) {
            Ok(_) => {
                fault::point("staging-folder-found");
                folder::verify(&folder, tag, self.limits.version_timeout, &self.programs)
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

    /// What the operator can change on this host to help.
    fn look(&self) -> Seen {
        let home = self.home.root();
        let config = self.home.config();
        let mut paths = vec![run_config::override_of(home, &self.wanted.tag)];
        // A configuration that cannot be used names no folder, and is looked at itself.
        if let Ok(read) = config::read(&config)
            && let Ok(name) = self.folder_of(&read.settings)
        {
            let folder = self.home.folder(&name);
            let entries = fs::read_dir(&folder).into_iter().flatten();
            paths.extend(
                entries
                    .take(MAX_LOOKED_AT)
                    .filter_map(|entry| Some(entry.ok()?.path())),
            );
            paths.push(folder);
        }
        paths.push(config);
        paths.sort_unstable();
        Seen::at(paths)
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

    fn changed(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut last = before.clone();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let now = Some(self.look());
                // Twice the same: nobody is in the middle of it.
                if now != before && now == last {
                    return;
                }
                last = now;
            }
        })
    }

    fn abandon(&self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installer(home: &std::path::Path) -> Installer {
        let wanted = Wanted {
            id: "x".to_owned(),
            tag: "v0.80.0".to_owned(),
            height: 7,
            current: home.join("genesis"),
        };
        Installer::new(Home::at(home.to_path_buf()), Staging::default(), wanted)
    }

    #[tokio::test]
    async fn what_the_operator_does_ends_the_wait_for_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        fs::write(home.join("config.toml"), "").unwrap();
        let folder = home.join("v0.80.0");
        let steps: [&dyn Fn(); 6] = [
            &|| fs::create_dir(&folder).unwrap(),
            &|| fs::write(folder.join("vega"), "x").unwrap(),
            &|| fs::write(folder.join("vega"), "xy").unwrap(),
            &|| fs::write(home.join("config.toml"), "[autoInstall]\nenabled = false\n").unwrap(),
            &|| fs::write(home.join("run-config.v0.80.0.toml"), "x").unwrap(),
            &|| fs::remove_dir_all(&folder).unwrap(),
        ];
        for (number, step) in steps.into_iter().enumerate() {
            let installer = installer(home);
            assert!(installer.install().await.is_err());
            step();
            let changed = tokio::time::timeout(Duration::from_secs(60), installer.changed());
            assert!(changed.await.is_ok(), "step {number}");
        }
        let installer = installer(home);
        assert!(installer.install().await.is_err());
        let unchanged = tokio::time::timeout(LOOK_EVERY * 4, installer.changed()).await;
        assert!(unchanged.is_err());
    }
}
