//! Folders by descriptor: nothing here follows a symbolic link, recurses, or depends on the length of a path.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::fault::step;

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Time(pub(super) i64, pub(super) u32);

impl Time {
    pub(super) fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self(now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What the system says about one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    /// Permission bits, set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Bytes on the disk.
    pub(super) allocated: u64,
    pub(super) links: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    /// Another file system begins here.
    pub(super) mount: bool,
}

/// What a file looked like before it was copied. When it looks the same later, it is the same (see `pass.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    size: u64,
    mtime: Time,
    ctime: Time,
    inode: u64,
    device: u64,
}

impl Meta {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            size: self.size,
            mtime: self.mtime,
            ctime: self.ctime,
            inode: self.inode,
            device: self.device,
        }
    }
}

impl Stamp {
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// Owner, mode and time of an entry, as they are to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dress {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
}

impl Dress {
    pub(super) fn of(meta: &Meta) -> Self {
        Self {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
        }
    }

    /// The mode that may be given to what belongs to `meta`'s owner: set-id bits mean another thing with another owner.
    fn mode_for(&self, meta: &Meta) -> Mode {
        let owned = meta.uid == self.uid && meta.gid == self.gid;
        Mode::from_raw_mode(if owned { self.mode } else { self.mode & 0o777 })
    }

    fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.0,
            tv_nsec: self.mtime.1.into(),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

const READ_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the folder at a path that the operator gave; links on the way there are theirs.
pub(super) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

pub(super) fn open_folder(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, READ_FOLDER, Mode::empty())?)
}

/// Opens a file for reading; what it is must be looked at afterwards.
pub(super) fn open_file(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    // Without waiting: it may have become a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

pub(super) fn create_file(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    step()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?)
}

/// What stands there; nothing when nothing does.
pub(super) fn look(at: impl AsFd, name: &OsStr) -> io::Result<Option<Meta>> {
    match statx(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn look_at(file: impl AsFd) -> io::Result<Meta> {
    statx(file, OsStr::new(""), AtFlags::EMPTY_PATH)
}

fn statx(at: impl AsFd, name: &OsStr, flags: AtFlags) -> io::Result<Meta> {
    let found = rustix::fs::statx(at, name, flags, StatxFlags::BASIC_STATS)?;
    let time = |time: rustix::fs::StatxTimestamp| Time(time.tv_sec, time.tv_nsec);
    Ok(Meta {
        kind: match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        },
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        allocated: found.stx_blocks.saturating_mul(512),
        links: found.stx_nlink,
        device: (u64::from(found.stx_dev_major) << 32) | u64::from(found.stx_dev_minor),
        inode: found.stx_ino,
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        mount: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    })
}

/// The names in a folder, sorted by their bytes.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn read_link(at: impl AsFd, name: &OsStr) -> io::Result<OsString> {
    let target = rustix::fs::readlinkat(at, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// Makes a folder for visor alone, or finds one.
pub(super) fn make_folder(at: impl AsFd, name: &OsStr) -> io::Result<()> {
    match look(&at, name)?.map(|meta| meta.kind) {
        Some(Kind::Folder) => return Ok(()),
        Some(Kind::File | Kind::Link | Kind::Other) => remove(&at, name)?,
        None => {}
    }
    step()?;
    Ok(rustix::fs::mkdirat(at, name, Mode::RWXU)?)
}

pub(super) fn make_link(at: impl AsFd, name: &OsStr, target: &OsStr) -> io::Result<()> {
    step()?;
    Ok(rustix::fs::symlinkat(target, at, name)?)
}

pub(super) fn make_hard_link(
    from: impl AsFd,
    from_name: &OsStr,
    at: impl AsFd,
    name: &OsStr,
) -> io::Result<()> {
    step()?;
    Ok(rustix::fs::linkat(from, from_name, at, name, AtFlags::empty())?)
}

/// Renames to a name that is free.
pub(super) fn rename(from: impl AsFd, from_name: &OsStr, to: impl AsFd, to_name: &OsStr) -> io::Result<()> {
    step()?;
    Ok(rustix::fs::renameat(from, from_name, to, to_name)?)
}

pub(super) fn dress_file(file: impl AsFd, dress: &Dress) -> io::Result<()> {
    step()?;
    let mut meta = look_at(&file)?;
    if (meta.uid, meta.gid) != (dress.uid, dress.gid) && rustix::process::geteuid().is_root() {
        rustix::fs::fchown(
            &file,
            Some(Uid::from_raw(dress.uid)),
            Some(Gid::from_raw(dress.gid)),
        )?;
        (meta.uid, meta.gid) = (dress.uid, dress.gid);
    }
    rustix::fs::fchmod(&file, dress.mode_for(&meta))?;
    Ok(rustix::fs::futimens(file, &dress.times())?)
}

pub(super) fn dress_link(at: impl AsFd, name: &OsStr, dress: &Dress) -> io::Result<()> {
    step()?;
    if rustix::process::geteuid().is_root() {
        rustix::fs::chownat(
            &at,
            name,
            Some(Uid::from_raw(dress.uid)),
            Some(Gid::from_raw(dress.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(rustix::fs::utimensat(
        at,
        name,
        &dress.times(),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Makes everything on the file system of `file` durable.
pub(super) fn sync(file: impl AsFd) -> io::Result<()> {
    step()?;
    Ok(rustix::fs::syncfs(file)?)
}

/// A place in a tree that is walked: the next place is mostly a child of this one, so few folders are opened twice.
#[derive(Debug)]
pub(super) struct Cursor {
    root: OwnedFd,
    at: PathBuf,
    here: OwnedFd,
    /// Nobody else moves folders in this tree: the way up is `..`.
    own: bool,
}

impl Cursor {
    pub(super) fn open(parent: impl AsFd, name: &OsStr, own: bool) -> io::Result<Self> {
        let root = open_folder(parent, name)?;
        Ok(Self {
            here: root.try_clone()?,
            at: PathBuf::new(),
            root,
            own,
        })
    }

    /// Goes to a folder, by its path from the root of the tree.
    pub(super) fn go(&mut self, to: &Path) -> io::Result<BorrowedFd<'_>> {
        if to == self.at {
            return Ok(self.here.as_fd());
        }
        self.here = if to.parent() == Some(&self.at) {
            open_folder(&self.here, to.file_name().unwrap_or_default())?
        } else if self.own && self.at.parent() == Some(to) {
            rustix::fs::openat(&self.here, "..", READ_FOLDER, Mode::empty())?
        } else {
            self.descend(to)?
        };
        self.at = to.to_path_buf();
        Ok(self.here.as_fd())
    }

    fn descend(&self, to: &Path) -> io::Result<OwnedFd> {
        let mut here = self.root.try_clone()?;
        for part in to.components() {
            match part {
                Component::Normal(name) => here = open_folder(&here, name)?,
                Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
        }
        Ok(here)
    }
}

/// Visits everything below `name` and itself: a folder before what is in it, the entries of a folder together. `skip` leaves
/// out names of the topmost folder.
pub(super) fn walk<E>(
    parent: impl AsFd,
    name: &OsStr,
    skip: impl Fn(&OsStr) -> bool,
    on_error: impl Fn(&Path, io::Error) -> E,
    mut visit: impl FnMut(&Path, BorrowedFd<'_>, &OsStr, &Meta) -> Result<(), E>,
) -> Result<(), E> {
    let top = Path::new("");
    let Some(meta) = look(&parent, name).map_err(|error| on_error(top, error))? else {
        return Ok(());
    };
    visit(top, parent.as_fd(), name, &meta)?;
    if meta.kind != Kind::Folder {
        return Ok(());
    }
    let mut cursor = match Cursor::open(&parent, name, false) {
        Ok(cursor) => cursor,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(on_error(top, error)),
    };
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = match cursor.go(&folder) {
            Ok(here) => here,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(on_error(&folder, error)),
        };
        for name in names(here).map_err(|error| on_error(&folder, error))? {
            if folder.as_os_str().is_empty() && skip(&name) {
                continue;
            }
            let path = folder.join(&name);
            let Some(meta) = look(here, &name).map_err(|error| on_error(&path, error))? else {
                continue;
            };
            visit(&path, here, &name, &meta)?;
            if meta.kind == Kind::Folder {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// It vanished, or something else stands in its place.
pub(super) fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Removes whatever stands there, with everything in it. Nothing there is no error.
pub(super) fn remove(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    step()?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let unlock = |at: BorrowedFd<'_>, name: &OsStr| {
        // A folder that was made unreadable, by our own hand.
        rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())
    };
    if !rustix::process::geteuid().is_root() {
        unlock(parent.as_fd(), name)?;
    }
    let mut cursor = Cursor::open(&parent, name, true)?;
    let mut open = vec![PathBuf::new()];
    let mut empty = Vec::new();
    while let Some(folder) = open.pop() {
        let here = cursor.go(&folder)?;
        for name in names(here)? {
            match rustix::fs::unlinkat(here, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    if !rustix::process::geteuid().is_root() {
                        unlock(here, &name)?;
                    }
                    open.push(folder.join(&name));
                }
                Err(error) => return Err(error.into()),
            }
        }
        empty.push(folder);
    }
    for folder in empty.iter().rev() {
        match (folder.parent(), folder.file_name()) {
            (Some(above), Some(name)) => {
                rustix::fs::unlinkat(cursor.go(above)?, name, AtFlags::REMOVEDIR)?;
            }
            _ => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
        }
    }
    Ok(())
}

/// Any path as text that can be read back: bytes that are no text, and `%` itself, are written as `%` and two digits.
pub(super) fn to_text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            text.push('%');
            text.push_str(&hex::encode_upper([*byte]));
        }
    }
    text
}

pub(super) fn from_text(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: impl AsFd) -> io::Result<()> {
    step()?;
    Ok(rustix::fs::fsync(folder)?)
}
