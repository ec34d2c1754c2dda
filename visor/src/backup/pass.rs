//! The two passes. Both walk the sources and copy what the record does not know in exactly this state.
//!
//! When is a copy still good? When the file's stamp (size, times, inode, device) is the one from before it was copied, and every
//! change since must have given it another one. Two things could break that, and `settled` excludes both:
//! - A change in the same tick of the file system's clock as the one before gets the same time. So a file that had changed a moment
//!   before it was looked at is copied, but not recorded.
//! - A page that was written through a mapping may be written again without a new time, until it has been written back. So the
//!   file systems of the sources are synced first, and what has changed since that began is not recorded either.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::copy::{Contents, Copier, Named};
use super::error::{BackupError, failed};
use super::job::{Cancel, Tally};
use super::manifest::{Entry, Line, Manifest, Record, What, is_finished};
use super::plan::{Plan, is_own};
use super::space;
use super::tree::{self, Cursor, Dress, Kind, Meta, Time};

/// The folder of a backup with a copy of each source, named by its number.
pub(super) const DATA: &str = "data";
/// How often a file is copied again that changes meanwhile although the node is down.
const ATTEMPTS: u32 = 3;

/// What tests choose otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// Times closer than this may not tell two changes apart. Two seconds is the coarsest clock of a file system in use.
    pub(super) settle: Duration,
    /// Copies are made durable and recorded whenever they make up so many bytes: what a kill can cost, and what one sync may
    /// hold up others on the disk.
    pub(super) checkpoint: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            checkpoint: 256 << 20,
        }
    }
}

/// While the node runs.
pub(super) fn first(plan: &Plan, tuning: Tuning, cancel: &Cancel) -> Result<Tally, BackupError> {
    run(plan, tuning, cancel, None)
}

/// While nothing runs. What it replaces goes to `replaced`.
pub(super) fn second(
    plan: &Plan,
    tuning: Tuning,
    cancel: &Cancel,
    replaced: &mut Replaced,
) -> Result<Tally, BackupError> {
    run(plan, tuning, cancel, Some(replaced))
}

/// Copies that newer ones have replaced: removed, but held open, because to free the room of a large file takes longer than to copy it.
/// The node waits for the pass and not for that.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    files: Vec<OwnedFd>,
    bytes: u64,
}

impl Replaced {
    /// A small part of the descriptors that a process may have.
    const MAX_FILES: usize = 256;
    /// A small part of the default reserve: the room is not free yet.
    const MAX_BYTES: u64 = 256 << 20;

    fn hold(&mut self, file: OwnedFd, bytes: u64) {
        let total = self.bytes.saturating_add(bytes);
        if self.files.len() < Self::MAX_FILES && total <= Self::MAX_BYTES {
            self.files.push(file);
            self.bytes = total;
        }
    }
}

fn run(
    plan: &Plan,
    tuning: Tuning,
    cancel: &Cancel,
    replaced: Option<&mut Replaced>,
) -> Result<Tally, BackupError> {
    let quiet = replaced.is_some();
    plan.check()?;
    let backup = plan.backup();
    if is_finished(&backup) {
        // Finished: what stands in the sources by now may be another version's.
        let bytes = Manifest::read(&backup)?.bytes;
        // It may have been killed between its last rename and the sync of that.
        for path in [&backup, &plan.folder] {
            tree::open_path(path)
                .and_then(tree::sync_folder)
                .map_err(failed("sync", path))?;
        }
        return Ok(Tally { bytes, copied: 0 });
    }
    let folder = tree::open_path(&plan.folder).map_err(failed("open", &plan.folder))?;
    tree::make_folder(&folder, OsStr::new(&plan.name)).map_err(failed("create", &backup))?;
    let record = Record::open(plan)?;
    let place = tree::open_folder(&folder, OsStr::new(&plan.name)).map_err(failed("open", &backup))?;
    space::check(plan, Some(&record), cancel)?;
    tree::make_folder(&place, OsStr::new(DATA)).map_err(failed("create", backup.join(DATA)))?;
    let data = tree::open_folder(&place, OsStr::new(DATA)).map_err(failed("open", backup.join(DATA)))?;
    let mut pass = Pass {
        plan,
        tuning,
        cancel,
        quiet,
        replaced,
        backup: backup.join(DATA),
        record,
        copier: Copier::new(cancel.clone()),
        settled: Time::default(),
        entries: Vec::new(),
        fresh: Vec::new(),
        unsynced: 0,
        bytes: 0,
        copied: 0,
    };
    let walked = pass.walk(&data);
    if quiet && walked.is_ok() {
        Manifest::prepare(plan, &pass.entries, pass.bytes)?;
        // The copies, the list of them and the names above, which all lie on one file system: every further sync would be one more time
        // that the node waits for the disk.
        tree::sync(&data).map_err(failed("sync", &backup))?;
        Manifest::publish(plan)?;
    } else {
        // Also what a failed or cancelled pass has copied is of use.
        let kept = pass.checkpoint(&data);
        walked.and(kept)?;
    }
    Ok(Tally {
        bytes: pass.bytes,
        copied: pass.copied,
    })
}

struct Pass<'a> {
    plan: &'a Plan,
    tuning: Tuning,
    cancel: &'a Cancel,
    /// Nothing changes: the node is down.
    quiet: bool,
    replaced: Option<&'a mut Replaced>,
    backup: PathBuf,
    record: Record,
    copier: Copier,
    /// What changed before this would have another stamp after any later change.
    settled: Time,
    entries: Vec<Entry>,
    /// Copied, but not yet durable.
    fresh: Vec<Line>,
    unsynced: u64,
    bytes: u64,
    copied: u64,
}

/// A name in a source.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: u32,
    path: &'a Path,
    /// For errors.
    origin: &'a Path,
    from: BorrowedFd<'a>,
    name: &'a OsStr,
    to: BorrowedFd<'a>,
    to_name: &'a OsStr,
}

impl Pass<'_> {
    fn walk(&mut self, data: &OwnedFd) -> Result<(), BackupError> {
        self.settle()?;
        let mut expected = Vec::new();
        for (number, source) in (0_u32..).zip(&self.plan.sources) {
            let name = OsString::from(number.to_string());
            self.source(number, source, data, &name)?;
            expected.push(name);
        }
        self.tidy(data.as_fd(), &expected, Path::new(""))
    }

    fn source(
        &mut self,
        number: u32,
        source: &Path,
        data: &OwnedFd,
        to_name: &OsStr,
    ) -> Result<(), BackupError> {
        let (Some(above), Some(name)) = (source.parent(), source.file_name()) else {
            return Err(BackupError::NotAbsolute {
                path: source.to_path_buf(),
            });
        };
        let parent = tree::open_path(above).map_err(failed("open", above))?;
        let meta = tree::look(&parent, name).map_err(failed("look at", source))?;
        let Some(meta) = meta else {
            return Err(BackupError::Missing {
                path: source.to_path_buf(),
            });
        };
        let place = Place {
            source: number,
            path: Path::new(""),
            origin: source,
            from: parent.as_fd(),
            name,
            to: data.as_fd(),
            to_name,
        };
        self.entry(place, &meta, &mut BTreeMap::new())?;
        if meta.kind != Kind::Folder {
            return Ok(());
        }
        let mut from = Cursor::open(&parent, name, false).map_err(failed("open", source))?;
        let mut to = Cursor::open(data, to_name, true).map_err(failed("open", self.backup.join(to_name)))?;
        self.folders(number, source, &meta, &mut from, &mut to)
    }

    fn folders(
        &mut self,
        number: u32,
        source: &Path,
        top: &Meta,
        from: &mut Cursor,
        to: &mut Cursor,
    ) -> Result<(), BackupError> {
        let copy = self.backup.join(number.to_string());
        let mut links = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        let mut dresses = vec![(PathBuf::new(), Dress::of(top))];
        while let Some(folder) = open.pop() {
            self.cancel.check()?;
            let origin = source.join(&folder);
            let names = from
                .go(&folder)
                .and_then(|here| Ok((here.try_clone_to_owned()?, tree::names(here)?)));
            let (here, mut names) = match names {
                Ok(found) => found,
                Err(error) if tree::is_gone(&error) && !self.quiet => continue,
                Err(error) => return Err(failed("read", &origin)(error)),
            };
            if folder.as_os_str().is_empty() {
                names.retain(|name| !is_own(name, top.mount));
            }
            let there = to
                .go(&folder)
                .and_then(|there| there.try_clone_to_owned())
                .map_err(failed("open", copy.join(&folder)))?;
            self.tidy(there.as_fd(), &names, &folder)?;
            for name in &names {
                let path = folder.join(name);
                let origin = origin.join(name);
                let meta = match tree::look(&here, name).map_err(failed("look at", &origin))? {
                    Some(meta) => meta,
                    None if self.quiet => return Err(BackupError::Unsteady { path: origin }),
                    None => continue,
                };
                if meta.mount {
                    return Err(BackupError::MountInside {
                        source_path: source.to_path_buf(),
                        mount: origin,
                    });
                }
                let place = Place {
                    source: number,
                    path: &path,
                    origin: &origin,
                    from: here.as_fd(),
                    name,
                    to: there.as_fd(),
                    to_name: name,
                };
                self.entry(place, &meta, &mut links)?;
                if meta.kind == Kind::Folder {
                    dresses.push((path.clone(), Dress::of(&meta)));
                    open.push(path);
                }
            }
        }
        for (folder, mut dress) in dresses.into_iter().rev() {
            // Visor must be able to work in it; the manifest has the mode as it is.
            dress.mode |= 0o700;
            let path = copy.join(&folder);
            let there = to.go(&folder).map_err(failed("open", &path))?;
            let same = tree::look_at(there).is_ok_and(|meta| Dress::of(&meta) == dress);
            if !same {
                tree::dress_file(there, &dress).map_err(failed("set owner, mode and time of", &path))?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        place: Place<'_>,
        meta: &Meta,
        links: &mut BTreeMap<(u64, u64), PathBuf>,
    ) -> Result<(), BackupError> {
        let copy = || self.backup.join(place.source.to_string()).join(place.path);
        match meta.kind {
            Kind::Folder => {
                tree::make_folder(place.to, place.to_name).map_err(failed("create", copy()))?;
                self.push(Entry::new(place.source, place.path, meta, What::Folder));
                Ok(())
            }
            Kind::Link => self.link(place, meta),
            Kind::File if meta.links > 1 => {
                let id = (meta.device, meta.inode);
                let Some(first) = links.get(&id) else {
                    if self.file(place, meta)? {
                        links.insert(id, place.path.to_path_buf());
                    }
                    return Ok(());
                };
                let path = copy();
                self.hard_link(place, first)
                    .map_err(failed("make the hard link", &path))?;
                let what = What::HardLink { to: first.clone() };
                self.push(Entry::new(place.source, place.path, meta, what));
                Ok(())
            }
            Kind::File => self.file(place, meta).map(|_copied| ()),
            Kind::Other => {
                tracing::info!(backup.path = %place.origin.display(), "not copied: a socket, pipe or device");
                tree::remove(place.to, place.to_name).map_err(failed("remove", copy()))
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        // The first pass needs no list: its record has the files.
        if self.quiet {
            self.entries.push(entry);
        }
    }

    fn link(&mut self, place: Place<'_>, meta: &Meta) -> Result<(), BackupError> {
        let target = match tree::read_link(place.from, place.name) {
            Ok(target) => target,
            Err(_) if !self.quiet => return Ok(()),
            Err(error) => return Err(failed("read the link", place.origin)(error)),
        };
        let there = tree::look(place.to, place.to_name);
        let same = there.is_ok_and(|there| {
            there.is_some_and(|there| there.kind == Kind::Link && Dress::of(&there) == Dress::of(meta))
        }) && tree::read_link(place.to, place.to_name).is_ok_and(|found| found == target);
        if !same {
            tree::remove(place.to, place.to_name)
                .and_then(|()| tree::make_link(place.to, place.to_name, &target))
                .and_then(|()| tree::dress_link(place.to, place.to_name, &Dress::of(meta)))
                .map_err(failed("copy the link", place.origin))?;
        }
        let what = What::Link {
            target: target.into(),
        };
        self.push(Entry::new(place.source, place.path, meta, what));
        Ok(())
    }

    /// Links the copy of another name of the same file.
    fn hard_link(&self, place: Place<'_>, first: &Path) -> io::Result<()> {
        let data = tree::open_path(&self.backup)?;
        let mut cursor = Cursor::open(&data, OsStr::new(&place.source.to_string()), true)?;
        let folder = cursor.go(first.parent().unwrap_or(Path::new("")))?;
        tree::remove(place.to, place.to_name)?;
        tree::make_hard_link(
            folder,
            first.file_name().unwrap_or_default(),
            place.to,
            place.to_name,
        )
    }

    /// Makes sure of the copy of a file. False when the file has vanished meanwhile.
    fn file(&mut self, place: Place<'_>, meta: &Meta) -> Result<bool, BackupError> {
        if let Some(line) = self.record.find(place.source, place.path)
            && line.stamp == meta.stamp()
            && tree::look(place.to, place.to_name)
                .is_ok_and(|there| there.is_some_and(|there| is_copy(&there, meta.size)))
        {
            let entry = line.entry.clone();
            self.bytes += meta.size;
            self.push(entry);
            return Ok(true);
        }
        let path = self.backup.join(place.source.to_string()).join(place.path);
        for _ in 0..ATTEMPTS {
            let from = match tree::open_file(place.from, place.name) {
                Ok(file) => file,
                Err(error) if tree::is_gone(&error) && !self.quiet => return Ok(false),
                Err(error) => return Err(failed("open", place.origin)(error)),
            };
            let before = tree::look_at(&from).map_err(failed("look at", place.origin))?;
            if before.kind != Kind::File {
                if self.quiet {
                    continue;
                }
                return Ok(false);
            }
            let contents = self.copy(place, &from, &path, &before)?;
            let steady = contents.size == before.size
                && (!self.quiet || tree::look_at(&from).is_ok_and(|after| after.stamp() == before.stamp()));
            if !steady && self.quiet {
                continue;
            }
            let what = What::File {
                size: contents.size,
                blake3: contents.blake3,
            };
            let entry = Entry::new(place.source, place.path, &before, what);
            self.bytes += contents.size;
            self.copied += contents.size;
            self.unsynced += contents.size;
            if steady && before.ctime < self.settled {
                self.fresh.push(Line {
                    stamp: before.stamp(),
                    entry: entry.clone(),
                });
            }
            self.push(entry);
            if self.unsynced >= self.tuning.checkpoint {
                self.checkpoint(&place.to.try_clone_to_owned().map_err(failed("open", &path))?)?;
            }
            return Ok(true);
        }
        Err(BackupError::Unsteady {
            path: place.origin.to_path_buf(),
        })
    }

    fn copy(
        &mut self,
        place: Place<'_>,
        from: &OwnedFd,
        path: &Path,
        meta: &Meta,
    ) -> Result<Contents, BackupError> {
        // A new file, not new bytes in the old one: that may have other names by now.
        if let Some(replaced) = &mut self.replaced
            && let Ok(old) = tree::open_file(place.to, place.to_name)
            && let Ok(found) = tree::look_at(&old)
        {
            replaced.hold(old, found.size);
        }
        tree::remove(place.to, place.to_name).map_err(failed("remove", path))?;
        let to = tree::create_file(place.to, place.to_name).map_err(failed("create", path))?;
        let from = Named {
            file: from,
            path: place.origin,
        };
        let contents = self.copier.copy(from, Named { file: &to, path })?;
        tree::dress_file(&to, &Dress::of(meta)).map_err(failed("set owner, mode and time of", path))?;
        Ok(contents)
    }

    /// Removes from a folder of the copy what is not in the original.
    fn tidy(&self, there: BorrowedFd<'_>, names: &[OsString], folder: &Path) -> Result<(), BackupError> {
        let path = self.backup.join(folder);
        for name in tree::names(there).map_err(failed("read", &path))? {
            if names.binary_search(&name).is_err() {
                tree::remove(there, &name).map_err(failed("remove", path.join(&name)))?;
            }
        }
        Ok(())
    }

    /// Makes durable what was copied, then records it: a record never promises more than the disk holds.
    fn checkpoint(&mut self, copy: &OwnedFd) -> Result<(), BackupError> {
        tree::sync(copy).map_err(failed("sync", &self.backup))?;
        let lines = std::mem::take(&mut self.fresh);
        self.record.append(lines)?;
        self.unsynced = 0;
        self.settle()
    }

    fn settle(&mut self) -> Result<(), BackupError> {
        let now = Time::now();
        if !self.quiet {
            for source in &self.plan.sources {
                let above = source.parent().unwrap_or(source);
                // The source itself may be a file system of its own.
                let path = if source.is_dir() { source } else { above };
                tree::open_path(path)
                    .and_then(tree::sync)
                    .map_err(failed("sync", path))?;
            }
        }
        let settle = self.tuning.settle;
        let seconds = i64::try_from(settle.as_secs()).unwrap_or(i64::MAX);
        self.settled = match now.1.checked_sub(settle.subsec_nanos()) {
            Some(nanoseconds) => Time(now.0.saturating_sub(seconds), nanoseconds),
            None => Time(
                now.0.saturating_sub(seconds).saturating_sub(1),
                now.1 + 1_000_000_000 - settle.subsec_nanos(),
            ),
        };
        Ok(())
    }
}

fn is_copy(there: &Meta, size: u64) -> bool {
    there.kind == Kind::File && there.size == size
}
