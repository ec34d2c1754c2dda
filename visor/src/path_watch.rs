//! Sees when a file changes, comes or goes: `config.toml`, whatever an editor or a deployment tool does to it, and visor's own socket.
//!
//! By inotify, without polling: on the file itself (written in place, permissions), on its folder (replaced by a rename, deleted, created),
//! and on the folder of every symbolic link on the way to it (Kubernetes mounts a configuration behind a link that it switches). A burst
//! of events is one change, told when it has been quiet for a moment. What changed is for whoever reads the file.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::WatchFlags;
use tokio::time::{Instant, sleep_until};

use crate::look::Look;
use crate::watches::{ENTRIES, Watches};

/// Editors write, rename and set permissions within milliseconds of each other.
const QUIET: Duration = Duration::from_millis(100);
/// A file that never comes to rest is looked at all the same.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// As many links as the system itself follows.
const MAX_LINKS: usize = 40;
/// The way to the file may change while it is being watched; it settles long before this.
const MAX_LOOKS: usize = 8;

/// Watches one file, which need not exist.
#[derive(Debug)]
pub(crate) struct PathWatch {
    path: PathBuf,
    quiet: Duration,
    watches: Watches,
    seen: Result<Look, io::ErrorKind>,
    burst: Option<Burst>,
}

/// Events that have come, and have not been told.
#[derive(Debug, Clone, Copy)]
struct Burst {
    began: Instant,
    due: Instant,
}

impl PathWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system has no more room for watches.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Self::with_quiet(path, QUIET)
    }

    fn with_quiet(path: &Path, quiet: Duration) -> io::Result<Self> {
        let mut watches = Watches::new()?;
        watch(&mut watches, path)?;
        Ok(Self {
            path: path.to_path_buf(),
            quiet,
            watches,
            seen: look(path),
            burst: None,
        })
    }

    /// Returns when the file has changed since the last time, or since the watching began. May be cancelled and called again:
    /// nothing is lost.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.burst.map(|burst| burst.due);
            tokio::select! {
                () = self.watches.happened() => {
                    let now = Instant::now();
                    let began = self.burst.map_or(now, |burst| burst.began);
                    let due = (now + self.quiet).min(began + LONGEST_BURST.max(self.quiet));
                    self.burst = Some(Burst { began, due });
                }
                () = at(due) => {
                    self.burst = None;
                    if self.is_different() {
                        return;
                    }
                }
            }
        }
    }

    /// Looks again, and watches the way to the file as it is now.
    fn is_different(&mut self) -> bool {
        if let Err(error) = watch(&mut self.watches, &self.path) {
            tracing::warn!(watch.path = %self.path.display(), %error, "a change of this file may go unseen");
        }
        // After the watch has begun, so that no change falls between the two.
        let now = look(&self.path);
        let different = now != self.seen;
        self.seen = now;
        different
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn look(path: &Path) -> Result<Look, io::ErrorKind> {
    Look::at(path).map_err(|error| error.kind())
}

fn watch(watches: &mut Watches, path: &Path) -> io::Result<()> {
    let contents = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
    let mut folders = folders(path);
    let mut looks = 0;
    loop {
        // A file whose permission is gone cannot be watched itself, nor one that has gone in this moment; the folders tell.
        let wanted = folders.iter().map(|folder| (folder.as_path(), ENTRIES));
        watches.set(wanted.chain([(path, contents)]))?;
        let now = self::folders(path);
        looks += 1;
        if now == folders || looks == MAX_LOOKS {
            watches.forget();
            return Ok(());
        }
        folders = now;
    }
}

/// The folders in which a changed entry changes what `path` leads to: its own, and that of every link on the way.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut rest: VecDeque<OsString> = parts(path);
    let mut at = PathBuf::from("/");
    if path.is_relative() {
        at = std::env::current_dir().unwrap_or_default();
    }
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        if rest.is_empty() {
            folders.insert(at.clone());
        }
        let next = at.join(&part);
        match fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                folders.insert(at.clone());
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(_) | Err(_) => at = next,
        }
    }
    folders
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::Config;

    const BRIEF: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(20);
    const GOOD: &str = "[restart]\nmax_retries = 7\n";

    async fn is_told(watch: &mut PathWatch) -> bool {
        tokio::time::timeout(PATIENCE, watch.changed()).await.is_ok()
    }

    /// Nothing more is told than was.
    async fn is_silent(watch: &mut PathWatch) -> bool {
        tokio::time::timeout(5 * BRIEF, watch.changed()).await.is_err()
    }

    fn replace(path: &Path, text: &str) {
        let part = path.with_extension("part");
        fs::write(&part, text).unwrap();
        fs::rename(part, path).unwrap();
    }

    fn permit(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    type Edit = fn(&Path);

    #[tokio::test]
    async fn vis_13_every_way_to_change_the_file_is_seen_once() {
        let edits: [(&str, Edit); 10] = [
            ("in place", |path| fs::write(path, GOOD).unwrap()),
            ("appended", |path| {
                let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(b"# more\n").unwrap();
            }),
            ("renamed over", |path| replace(path, GOOD)),
            ("renamed over again", |path| replace(path, GOOD)),
            ("moved away, written and renamed back", |path| {
                fs::rename(path, path.with_extension("bak")).unwrap();
                fs::write(path, "").unwrap();
                fs::write(path, GOOD).unwrap();
                permit(path, 0o600);
            }),
            ("broken", |path| fs::write(path, "[restart\n").unwrap()),
            ("mended", |path| fs::write(path, GOOD).unwrap()),
            ("permission removed", |path| permit(path, 0o000)),
            ("permission given", |path| permit(path, 0o640)),
            ("deleted and created", |path| {
                fs::remove_file(path).unwrap();
                fs::write(path, GOOD).unwrap();
            }),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let mut watch = PathWatch::with_quiet(&path, BRIEF).unwrap();
        assert!(is_silent(&mut watch).await, "before the first change");
        for (name, edit) in edits {
            edit(&path);
            assert!(is_told(&mut watch).await, "{name}");
            let broken = name == "broken";
            // Nothing is forbidden to root.
            let forbidden = name == "permission removed" && !rustix::process::geteuid().is_root();
            assert_eq!(Config::read(&path).is_err(), broken || forbidden, "{name}");
            assert!(is_silent(&mut watch).await, "{name}: told twice");
        }
    }

    #[tokio::test]
    async fn vis_13_a_file_that_is_missing_for_a_while_is_told_both_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let mut watch = PathWatch::with_quiet(&path, BRIEF).unwrap();
        fs::write(&path, GOOD).unwrap();
        assert!(is_told(&mut watch).await, "created");
        fs::remove_file(&path).unwrap();
        assert!(is_told(&mut watch).await, "deleted");
        fs::write(&path, GOOD).unwrap();
        assert!(is_told(&mut watch).await, "created again");
    }

    #[tokio::test]
    async fn vis_13_a_link_that_is_switched_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // As Kubernetes mounts it: config.toml -> ..data/config.toml, ..data -> a folder per version.
        let version = |name: &str, text: &str| {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("config.toml"), text).unwrap();
        };
        let switch = |name: &str| {
            let part = root.join("..part");
            symlink(name, &part).unwrap();
            fs::rename(part, root.join("..data")).unwrap();
        };
        version("..1", "");
        switch("..1");
        let path = root.join("config.toml");
        symlink("..data/config.toml", &path).unwrap();
        let mut watch = PathWatch::with_quiet(&path, BRIEF).unwrap();
        for name in ["..2", "..3"] {
            version(name, GOOD);
            switch(name);
            assert!(is_told(&mut watch).await, "{name}");
            assert_eq!(Config::read(&path).unwrap().restart.max_retries, 7);
        }
        // The folder behind the link is watched too.
        replace(&root.join("..3/config.toml"), "");
        assert!(is_told(&mut watch).await, "renamed over behind the link");
        fs::write(root.join("..3/config.toml"), GOOD).unwrap();
        assert!(is_told(&mut watch).await, "written behind the link");
        // A link to elsewhere, by an absolute path.
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("visor.toml");
        fs::write(&target, GOOD).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&target, &path).unwrap();
        assert!(is_told(&mut watch).await, "another link");
        replace(&target, "");
        assert!(is_told(&mut watch).await, "renamed over elsewhere");
    }

    #[tokio::test]
    async fn vis_13_a_burst_is_one_change_and_others_files_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let mut watch = PathWatch::with_quiet(&path, BRIEF).unwrap();
        for _ in 0..1000 {
            fs::write(&path, GOOD).unwrap();
            replace(&path, GOOD);
        }
        assert!(is_told(&mut watch).await);
        assert!(is_silent(&mut watch).await, "told twice");
        for name in ["journal", "visor.lock", "current"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert!(is_silent(&mut watch).await, "another file");
    }

    #[tokio::test]
    async fn vis_13_a_loop_that_does_other_things_meanwhile_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let mut watch = PathWatch::with_quiet(&path, BRIEF).unwrap();
        fs::write(&path, GOOD).unwrap();
        let began = Instant::now();
        // Cancelled every millisecond, much sooner than the burst is over.
        while tokio::time::timeout(Duration::from_millis(1), watch.changed())
            .await
            .is_err()
        {
            assert!(began.elapsed() < PATIENCE);
        }
    }

    #[test]
    fn a_link_that_leads_to_itself_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        symlink("config.toml", &path).unwrap();
        assert_eq!(look(&path), look(&path));
        assert!(folders(&path).contains(dir.path()));
    }
}
