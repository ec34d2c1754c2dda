//! Sees when something changes in the two roots, or in a version's folder, without polling.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::WatchFlags;
use tokio::time::{Instant, sleep_until};

use super::layout::Settings;
use super::version::discover;
use crate::watches::{ENTRIES, Watches};

/// A staging tool unpacks file after file; what it does in this time is one change.
const QUIET: Duration = Duration::from_millis(200);
/// Folders that never come to rest are looked at all the same.
const LONGEST_BURST: Duration = Duration::from_secs(2);

/// Watches the folders of a host. New ones are watched from the change on that made them.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    settings: Settings,
    watches: Watches,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    began: Instant,
    due: Instant,
}

impl FolderWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system has no more room for watches.
    pub(crate) fn new(settings: &Settings) -> io::Result<Self> {
        let mut watches = Watches::new()?;
        watch(&mut watches, settings)?;
        Ok(Self {
            settings: settings.clone(),
            watches,
            burst: None,
        })
    }

    /// Returns when something has happened in a folder, and has been quiet for a moment. May be cancelled and called again.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.burst.map(|burst| burst.due);
            tokio::select! {
                () = self.watches.happened() => {
                    let now = Instant::now();
                    let began = self.burst.map_or(now, |burst| burst.began);
                    let due = (now + QUIET).min(began + LONGEST_BURST);
                    self.burst = Some(Burst { began, due });
                }
                () = at(due) => {
                    self.burst = None;
                    if let Err(error) = watch(&mut self.watches, &self.settings) {
                        tracing::warn!(%error, "a change of the versions on this host may go unseen");
                    }
                    return;
                }
            }
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The roots and the folders in them that are named for a version.
fn folders(settings: &Settings) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for root in [&settings.bin_root, &settings.config_root] {
        match discover(root) {
            Ok(found) => {
                let names = found.versions.iter().map(super::version::folder_name);
                folders.extend(
                    names
                        .chain(found.misnamed.into_values())
                        .map(|name| root.join(name)),
                );
                folders.insert(root.clone());
            }
            // It has gone: whoever makes it again does so in its parent.
            Err(_) => {
                folders.extend(root.parent().map(Path::to_path_buf));
            }
        }
    }
    folders
}

fn watch(watches: &mut Watches, settings: &Settings) -> io::Result<()> {
    let events = ENTRIES | WatchFlags::CLOSE_WRITE;
    let mut folders = folders(settings);
    // A folder that is made while the watch begins is seen by the second look.
    loop {
        watches.set(folders.iter().map(|folder| (folder.as_path(), events)))?;
        let now = self::folders(settings);
        if now.is_subset(&folders) {
            watches.forget();
            return Ok(());
        }
        folders = now;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::adapter::casper::layout::tests::Host;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn every_change_of_what_is_installed_is_seen() {
        let host = Host::with(&[("1.0.0", 0)]);
        let mut watch = FolderWatch::new(&host.settings).unwrap();
        type Edit = fn(&Host);
        let edits: [(&str, Edit); 9] = [
            ("a configuration", |host| host.config("2.0.0")),
            ("its chain specification", |host| host.chainspec("2.0.0", "100")),
            ("another era", |host| host.chainspec("2.0.0", "101")),
            ("its binary", |host| host.binary("2.0.0")),
            ("its binary, removed", |host| {
                fs::remove_file(host.info("2.0.0").binary).unwrap()
            }),
            ("a folder, renamed", |host| {
                let root = &host.settings.config_root;
                fs::rename(root.join("2_0_0"), root.join("3_0_0")).unwrap();
            }),
            ("a root, moved away", |host| {
                fs::rename(&host.settings.bin_root, host.root().join("x")).unwrap()
            }),
            ("the root, made again", |host| {
                fs::create_dir(&host.settings.bin_root).unwrap()
            }),
            ("a binary in it", |host| host.binary("3.0.0")),
        ];
        for (name, edit) in edits {
            edit(&host);
            let told = tokio::time::timeout(PATIENCE, watch.changed()).await;
            assert!(told.is_ok(), "{name}");
            assert!(watch.burst.is_none());
        }
    }
}
