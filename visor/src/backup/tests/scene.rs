//! Trees to copy, and a naive picture of a tree to compare them by.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backup::error::BackupError;
use crate::backup::job::{Cancel, Tally};
use crate::backup::pass::{Replaced, Tuning, first, second};
use crate::backup::plan::Plan;
use crate::backup::restore::restore;

/// Longer than a tick of the file system's clock.
const SETTLE: Duration = Duration::from_millis(15);
pub(super) const TUNING: Tuning = Tuning {
    settle: SETTLE,
    checkpoint: 4096,
};

/// A source folder, a source file and a folder for backups.
pub(super) struct Scene {
    pub(super) root: TempDir,
    pub(super) plan: Plan,
}

impl Scene {
    pub(super) fn new() -> Self {
        // In memory where that is possible: there are hundreds of these, and each syncs often.
        let root = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("data")).unwrap();
        fs::create_dir(path("outside")).unwrap();
        fs::write(path("outside").join("secret"), "not copied").unwrap();
        fs::write(path("state.json"), "{}").unwrap();
        let plan = Plan {
            name: "v1.0.0@120-1a2b3c4d".to_owned(),
            sources: vec![path("data"), path("state.json")],
            folder: path("backups"),
            keep: 2,
            reserve: 0,
        };
        fs::create_dir(&plan.folder).unwrap();
        Self { root, plan }
    }

    /// A tree with an entry of each kind.
    pub(super) fn small() -> Self {
        let scene = Self::new();
        let data = scene.data();
        fs::create_dir_all(data.join("sub/empty")).unwrap();
        fs::write(data.join("sub/kept"), vec![7; 6000]).unwrap();
        fs::write(data.join("sub/changed"), "one").unwrap();
        fs::write(data.join("removed"), "old").unwrap();
        fs::hard_link(data.join("sub/kept"), data.join("other-name")).unwrap();
        symlink("../outside", data.join("link")).unwrap();
        fs::set_permissions(data.join("sub"), fs::Permissions::from_mode(0o750)).unwrap();
        settle();
        scene
    }

    /// What a node does between the passes.
    pub(super) fn change(&self) {
        let data = self.data();
        fs::write(data.join("sub/changed"), "two").unwrap();
        fs::write(data.join("new"), "new").unwrap();
        fs::remove_file(data.join("removed")).unwrap();
        fs::remove_dir(data.join("sub/empty")).unwrap();
        fs::write(data.join("sub/empty"), "a file now").unwrap();
        fs::write(&self.plan.sources[1], "{\"height\":1}").unwrap();
    }

    /// What a new version does that is rolled back.
    pub(super) fn damage(&self) {
        let data = self.data();
        fs::write(data.join("sub/kept"), vec![8; 6000]).unwrap();
        fs::remove_file(data.join("new")).unwrap();
        fs::create_dir(data.join("migrated")).unwrap();
        fs::write(&self.plan.sources[1], "{\"height\":2}").unwrap();
    }

    pub(super) fn data(&self) -> PathBuf {
        self.plan.sources[0].clone()
    }

    pub(super) fn first(&self) -> Result<Tally, BackupError> {
        first(&self.plan, TUNING, &Cancel::default())
    }

    pub(super) fn second(&self) -> Result<Tally, BackupError> {
        second(&self.plan, TUNING, &Cancel::default(), &mut Replaced::default())
    }

    pub(super) fn restore(&self) -> Result<Tally, BackupError> {
        restore(&self.plan, &Cancel::default())
    }

    pub(super) fn picture(&self) -> Vec<Picture> {
        self.plan.sources.iter().map(|source| picture(source)).collect()
    }

    /// Pictures of everything that restores moved aside from the folder.
    pub(super) fn aside(&self) -> Vec<Picture> {
        (1..)
            .map(|number| self.root.path().join(format!("data.before-rollback-{number}")))
            .take_while(|path| path.exists())
            .map(|path| picture(&path))
            .collect()
    }
}

/// By path: everything that a restore brings back.
pub(super) type Picture = BTreeMap<PathBuf, String>;

pub(super) fn picture(root: &Path) -> Picture {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    add(root, Path::new(""), &mut found, &mut inodes);
    found
}

fn add(root: &Path, path: &Path, found: &mut Picture, inodes: &mut BTreeMap<u64, PathBuf>) {
    let full = if path.as_os_str().is_empty() {
        root.to_path_buf()
    } else {
        root.join(path)
    };
    let Ok(metadata) = fs::symlink_metadata(&full) else {
        return;
    };
    let kind = metadata.file_type();
    let contents = if kind.is_symlink() {
        format!("link to {:?}", fs::read_link(&full).unwrap())
    } else if kind.is_dir() {
        "folder".to_owned()
    } else {
        let first = inodes.entry(metadata.ino()).or_insert_with(|| path.to_path_buf());
        let bytes = fs::read(&full).unwrap();
        format!("{} bytes {} of {first:?}", bytes.len(), blake3::hash(&bytes))
    };
    let mode = if kind.is_symlink() {
        0
    } else {
        metadata.mode() & 0o7777
    };
    let line = format!(
        "{contents} mode {mode:o} owner {}:{} time {}.{}",
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    found.insert(path.to_path_buf(), line);
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&full)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            add(root, &path.join(name), found, inodes);
        }
    }
}

/// Waits until whatever was changed so far can be told from later changes.
pub(super) fn settle() {
    let began = Instant::now();
    while began.elapsed() < SETTLE * 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}
