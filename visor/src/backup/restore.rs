//! Putting the sources back as they are in the backup.
//!
//! Order: read the manifest; look which sources are not yet as it says (VIS-02); copy those beside their places, checking every
//! byte; make that durable; only then rename, source by source. What stood there is moved aside and stays. Killed anywhere, the same
//! order does the rest: a source that was already switched is found equal, a half made copy is made again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::copy::{Copier, Named};
use super::error::{BackupError, failed};
use super::job::{Cancel, Tally};
use super::manifest::{Entry, Manifest, What};
use super::pass::DATA;
use super::plan::{BEFORE_INSIDE, Plan, RESTORING_INSIDE, is_own};
use super::space;
use super::tree::{self, Cursor, Kind, Meta, walk};

/// Appended to the name of a source for the copy that is going to take its place.
const RESTORING: &str = ".visor-restoring";
/// Appended, with a number, for what stood in its place.
const BEFORE: &str = ".before-rollback-";

/// While nothing runs.
pub(super) fn restore(plan: &Plan, cancel: &Cancel) -> Result<Tally, BackupError> {
    plan.check_name()?;
    let backup = plan.backup();
    let manifest = Manifest::read(&backup)?;
    let path = backup.join(DATA);
    let data = tree::open_path(&path).map_err(failed("open", &path))?;
    let mut restore = Restore {
        manifest: &manifest,
        data,
        path,
        copier: Copier::new(cancel.clone()),
        cancel,
        copied: 0,
    };
    let mut places = Vec::new();
    let mut done = Vec::new();
    for (number, source) in (0..).zip(&manifest.sources) {
        let place = Target::open(number, source)?;
        place.clear()?;
        if restore.is_restored(&place)? {
            done.push(place);
        } else {
            places.push(place);
        }
    }
    restore.check_room(&places)?;
    for place in &places {
        if let Err(error) = restore.stage(place) {
            // They only take room; the next attempt would do the same.
            for place in &places {
                let _ = place.clear();
            }
            return Err(error);
        }
    }
    for place in &places {
        tree::sync(&place.stage).map_err(failed("sync", place.source))?;
    }
    for place in &places {
        restore.switch(place)?;
        tracing::info!(backup.name = %plan.name, backup.path = %place.source.display(), "restored");
    }
    // Those of an earlier attempt that was killed, perhaps just before its sync.
    for place in &done {
        tree::sync(&place.stage).map_err(failed("sync", place.source))?;
    }
    Ok(Tally {
        bytes: manifest.bytes,
        copied: restore.copied,
    })
}

/// Where a source goes.
struct Target<'a> {
    number: u32,
    source: &'a Path,
    parent: OwnedFd,
    name: &'a OsStr,
    /// The source is a mount point, which cannot be renamed: what is in it is exchanged.
    inside: bool,
    /// Where its copy is made, the same file system: beside it or in it.
    stage: OwnedFd,
    stage_name: OsString,
}

impl<'a> Target<'a> {
    fn open(number: u32, source: &'a Path) -> Result<Self, BackupError> {
        let (Some(above), Some(name)) = (source.parent(), source.file_name()) else {
            return Err(BackupError::NotAbsolute {
                path: source.to_path_buf(),
            });
        };
        std::fs::create_dir_all(above).map_err(failed("create", above))?;
        let parent = tree::open_path(above).map_err(failed("open", above))?;
        let now = tree::look(&parent, name).map_err(failed("look at", source))?;
        let inside = now.is_some_and(|now| now.mount && now.kind == Kind::Folder);
        let (stage, stage_name) = if inside {
            let stage = tree::open_folder(&parent, name).map_err(failed("open", source))?;
            (stage, OsString::from(RESTORING_INSIDE))
        } else {
            let stage = parent.try_clone().map_err(failed("open", above))?;
            (stage, with(name, RESTORING))
        };
        Ok(Self {
            number,
            source,
            parent,
            name,
            inside,
            stage,
            stage_name,
        })
    }

    fn staged(&self) -> PathBuf {
        if self.inside {
            self.source.join(&self.stage_name)
        } else {
            self.source.with_file_name(&self.stage_name)
        }
    }

    /// Removes a copy that was never switched to.
    fn clear(&self) -> Result<(), BackupError> {
        tree::remove(&self.stage, &self.stage_name).map_err(failed("remove", self.staged()))
    }

    /// The first free name for what is moved aside.
    fn aside(&self) -> io::Result<OsString> {
        let mut number = 1_u64;
        loop {
            let name = if self.inside {
                OsString::from(format!("{BEFORE_INSIDE}{number}"))
            } else {
                with(self.name, &format!("{BEFORE}{number}"))
            };
            if tree::look(&self.stage, &name)?.is_none() {
                return Ok(name);
            }
            number += 1;
        }
    }
}

struct Restore<'a> {
    manifest: &'a Manifest,
    data: OwnedFd,
    path: PathBuf,
    copier: Copier,
    cancel: &'a Cancel,
    copied: u64,
}

impl Restore<'_> {
    /// Whether a source is exactly what the manifest says: first by what the system says about its files, then by their bytes.
    fn is_restored(&mut self, place: &Target<'_>) -> Result<bool, BackupError> {
        let mut expected = entries(self.manifest, place.number);
        let mut files = Vec::new();
        let mut links = BTreeMap::new();
        // `None`: it differs.
        let walked = walk(
            &place.parent,
            place.name,
            |name| is_own(name, place.inside),
            |path, error| Some(failed("read", place.source.join(path))(error)),
            |path, folder, name, meta| {
                self.cancel.check().map_err(Some)?;
                if meta.kind == Kind::Other {
                    return Err(None);
                }
                let entry = expected.next().filter(|entry| entry.path == path).ok_or(None)?;
                if !looks_as(
                    entry,
                    meta,
                    tree::read_link(folder, name).ok().as_deref(),
                    &mut links,
                ) {
                    return Err(None);
                }
                if let What::File { size, blake3 } = entry.what {
                    files.push((path.to_path_buf(), size, blake3));
                }
                Ok(())
            },
        );
        match walked {
            Ok(()) if expected.next().is_none() => {}
            Ok(()) | Err(None) => return Ok(false),
            Err(Some(error)) => return Err(error),
        }
        let mut files_below = None;
        for (path, size, blake3) in files {
            let full = place.source.join(&path);
            let file = if path.as_os_str().is_empty() {
                tree::open_file(&place.parent, place.name)
            } else {
                open_below(&mut files_below, &place.parent, place.name, &path)
            };
            let file = file.map_err(failed("open", &full))?;
            let found = self.copier.contents(Named {
                file: &file,
                path: &full,
            })?;
            if (found.size, found.blake3) != (size, blake3) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Room for the copies, per file system.
    fn check_room(&self, places: &[Target<'_>]) -> Result<(), BackupError> {
        let own = tree::look_at(&self.data)
            .map_err(failed("look at", &self.path))?
            .device;
        let mut needed: BTreeMap<u64, u64> = BTreeMap::new();
        for place in places {
            let device = tree::look_at(&place.stage)
                .map_err(failed("look at", place.source))?
                .device;
            if device == own && space::can_share(&place.stage) {
                continue;
            }
            let mut sum: u64 = 0;
            walk(
                &self.data,
                OsStr::new(&place.number.to_string()),
                |_name| false,
                |path, error| failed("read", self.path.join(path))(error),
                |_path, _folder, _name, meta| {
                    if meta.kind == Kind::File {
                        sum = sum.saturating_add(meta.allocated);
                    }
                    Ok(())
                },
            )?;
            let needed = needed.entry(device).or_default();
            *needed = needed.saturating_add(sum);
            let free = space::free(&place.stage).map_err(failed("look at", place.source))?;
            if free < *needed {
                return Err(BackupError::NoRoom {
                    folder: place.source.parent().unwrap_or(place.source).to_path_buf(),
                    what: "the data to restore",
                    needed: *needed,
                    reserve: 0,
                    free,
                    hint: hint(place),
                });
            }
        }
        Ok(())
    }

    /// Makes the copy that takes the place of a source, and refuses it when the backup is not what was copied.
    fn stage(&mut self, place: &Target<'_>) -> Result<(), BackupError> {
        let staged = place.staged();
        let number = OsString::from(place.number.to_string());
        let origin = self.path.join(&number);
        let entries: Vec<&Entry> = entries(self.manifest, place.number).collect();
        let mut from = None;
        let mut to: Option<Cursor> = None;
        for entry in &entries {
            self.cancel.check()?;
            let path = staged.join(&entry.path);
            let write = failed("restore", &path);
            let Some(name) = entry.path.file_name() else {
                // The source itself.
                match &entry.what {
                    What::Folder => {
                        tree::make_folder(&place.stage, &place.stage_name).map_err(&write)?;
                        to = Some(Cursor::open(&place.stage, &place.stage_name, true).map_err(&write)?);
                    }
                    What::File { .. } => {
                        let file = tree::open_file(&self.data, &number);
                        let stage = place.stage.try_clone().map_err(&write)?;
                        self.file(entry, file, &origin, (&stage, &place.stage_name, &path))?;
                    }
                    What::Link { .. } | What::HardLink { .. } => {
                        return Err(unfit(&origin, "a file or folder as source", "a link"));
                    }
                }
                continue;
            };
            let Some(cursor) = &mut to else {
                return Err(unfit(&origin, "a folder before what is in it", "another order"));
            };
            let above = entry.path.parent().unwrap_or(Path::new(""));
            let folder = cursor
                .go(above)
                .and_then(|folder| folder.try_clone_to_owned())
                .map_err(&write)?;
            match &entry.what {
                What::Folder => tree::make_folder(&folder, name).map_err(&write)?,
                What::File { .. } => {
                    let file = open_below(&mut from, &self.data, &number, &entry.path);
                    self.file(entry, file, &origin.join(&entry.path), (&folder, name, &path))?;
                }
                What::Link { target } => tree::make_link(&folder, name, target.as_os_str())
                    .and_then(|()| tree::dress_link(&folder, name, &entry.dress()))
                    .map_err(&write)?,
                What::HardLink { to } => {
                    let above = to.parent().unwrap_or(Path::new(""));
                    cursor
                        .go(above)
                        .and_then(|first| {
                            tree::make_hard_link(first, to.file_name().unwrap_or_default(), &folder, name)
                        })
                        .map_err(&write)?;
                }
            }
        }
        let Some(cursor) = &mut to else { return Ok(()) };
        for entry in entries.iter().rev().filter(|entry| entry.what == What::Folder) {
            cursor
                .go(&entry.path)
                .and_then(|folder| tree::dress_file(folder, &entry.dress()))
                .map_err(failed("set owner, mode and time of", staged.join(&entry.path)))?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        entry: &Entry,
        from: io::Result<OwnedFd>,
        origin: &Path,
        (folder, name, path): (&OwnedFd, &OsStr, &Path),
    ) -> Result<(), BackupError> {
        let What::File { size, blake3 } = entry.what else {
            return Ok(());
        };
        let expected = || format!("{size} bytes with the BLAKE3 hash {}", hex::encode(blake3));
        let from = match from {
            Ok(file) => file,
            Err(error) if tree::is_gone(&error) => {
                return Err(BackupError::Damaged {
                    path: origin.to_path_buf(),
                    expected: expected(),
                    found: "no file".to_owned(),
                });
            }
            Err(error) => return Err(failed("open", origin)(error)),
        };
        let to = tree::create_file(folder, name).map_err(failed("create", path))?;
        let from = Named {
            file: &from,
            path: origin,
        };
        let found = self.copier.copy(from, Named { file: &to, path })?;
        if (found.size, found.blake3) != (size, blake3) {
            return Err(BackupError::Damaged {
                path: origin.to_path_buf(),
                expected: expected(),
                found: format!("{} with {}", found.size, hex::encode(found.blake3)),
            });
        }
        self.copied += found.size;
        tree::dress_file(&to, &entry.dress()).map_err(failed("set owner, mode and time of", path))
    }

    fn switch(&self, place: &Target<'_>) -> Result<(), BackupError> {
        let done = if place.inside {
            self.switch_inside(place)
        } else {
            switch_beside(place)
        };
        done.map_err(failed("put the restored data in the place of", place.source))
    }

    /// Exchanges what is in a mount point. Interrupted, it is begun again, and what is moved aside may be spread over two folders.
    fn switch_inside(&self, place: &Target<'_>) -> io::Result<()> {
        let root = &place.stage;
        let mut old = tree::names(root)?;
        old.retain(|name| !is_own(name, true));
        if !old.is_empty() {
            let aside = place.aside()?;
            tree::make_folder(root, &aside)?;
            let into = tree::open_folder(root, &aside)?;
            for name in &old {
                tree::rename(root, name, &into, name)?;
            }
            tree::sync_folder(&into)?;
        }
        let staged = tree::open_folder(root, &place.stage_name)?;
        for name in tree::names(&staged)? {
            tree::rename(&staged, &name, root, &name)?;
        }
        tree::remove(root, &place.stage_name)?;
        if let Some(top) = entries(self.manifest, place.number).next() {
            tree::dress_file(root, &top.dress())?;
        }
        tree::sync_folder(root)
    }
}

fn entries(manifest: &Manifest, number: u32) -> impl Iterator<Item = &Entry> {
    let entries = manifest.entries.iter();
    entries.filter(move |entry| entry.source == number)
}

fn switch_beside(place: &Target<'_>) -> io::Result<()> {
    let parent = &place.parent;
    if tree::look(parent, place.name)?.is_some() {
        tree::rename(parent, place.name, parent, &place.aside()?)?;
    }
    tree::rename(parent, &place.stage_name, parent, place.name)?;
    tree::sync_folder(parent)
}

fn looks_as(
    entry: &Entry,
    meta: &Meta,
    target: Option<&OsStr>,
    links: &mut BTreeMap<(u64, u64), PathBuf>,
) -> bool {
    let id = (meta.device, meta.inode);
    let same = match &entry.what {
        What::Folder => meta.kind == Kind::Folder,
        What::File { size, .. } => {
            let other_name = meta.links > 1 && links.insert(id, entry.path.clone()).is_some();
            meta.kind == Kind::File && meta.size == *size && !other_name
        }
        What::Link { target: wanted } => meta.kind == Kind::Link && target == Some(wanted.as_os_str()),
        What::HardLink { to } => return links.get(&id) == Some(to),
    };
    // Without the right to give files away a restored file has another owner.
    let owner = !rustix::process::geteuid().is_root() || (meta.uid, meta.gid) == (entry.uid, entry.gid);
    same && owner && meta.mtime == entry.mtime && (meta.kind == Kind::Link || meta.mode == entry.mode)
}

fn open_below(
    cursor: &mut Option<Cursor>,
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
) -> io::Result<OwnedFd> {
    let cursor = match cursor {
        Some(cursor) => cursor,
        None => cursor.insert(Cursor::open(parent, name, false)?),
    };
    let folder = cursor.go(path.parent().unwrap_or(Path::new("")))?;
    tree::open_file(folder.as_fd(), path.file_name().unwrap_or_default())
}

fn unfit(path: &Path, expected: &str, found: &str) -> BackupError {
    BackupError::Damaged {
        path: path.to_path_buf(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// Names what earlier restores moved aside: the first thing to remove.
fn hint(place: &Target<'_>) -> String {
    let prefix = if place.inside {
        OsString::from(BEFORE_INSIDE)
    } else {
        with(place.name, BEFORE)
    };
    let mut names = tree::names(&place.stage).unwrap_or_default();
    names.retain(|name| name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
    let Some(first) = names.first() else {
        return String::new();
    };
    let path = if place.inside {
        place.source.join(first)
    } else {
        place.source.with_file_name(first)
    };
    format!(
        "; {} is what an earlier restore moved aside, {} of these are there",
        path.display(),
        names.len()
    )
}

fn with(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}
