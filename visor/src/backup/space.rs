//! How much room a copy takes, and how much there is.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::{BackupError, failed};
use super::job::Cancel;
use super::manifest::Record;
use super::plan::{Plan, is_own};
use super::tree::{self, Kind};

/// What a backup takes, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that it will write; none where files can share their blocks.
    pub needed: u64,
    /// Bytes that are free for visor.
    pub free: u64,
}

/// Whether there is room for one more backup and the reserve: for staging time and for doctor, while the node runs. Changes nothing.
///
/// # Errors
/// When there is not, or a source is no good; the text says what to do.
pub fn check_space(plan: &Plan) -> Result<Room, BackupError> {
    plan.check()?;
    check(plan, None, &Cancel::default())
}

/// What the record knows is there already.
pub(super) fn check(plan: &Plan, record: Option<&Record>, cancel: &Cancel) -> Result<Room, BackupError> {
    let (folder, place) = nearest(&plan.folder)?;
    let device = tree::look_at(&folder).map_err(failed("look at", &place))?.device;
    let shares = can_share(&folder);
    let mut needed: u64 = 0;
    for (number, source) in (0..).zip(&plan.sources) {
        needed = needed.saturating_add(size(number, source, record, (shares, device), cancel)?);
    }
    let room = Room {
        needed,
        free: free(&folder).map_err(failed("look at", &place))?,
    };
    if room.free < room.needed.saturating_add(plan.reserve) {
        return Err(BackupError::NoRoom {
            folder: place,
            what: "the backup",
            needed: room.needed,
            reserve: plan.reserve,
            free: room.free,
            hint: String::new(),
        });
    }
    Ok(room)
}

/// Bytes to be written for one source; also looks for file systems that begin inside it.
fn size(
    number: u32,
    source: &Path,
    record: Option<&Record>,
    (shares, device): (bool, u64),
    cancel: &Cancel,
) -> Result<u64, BackupError> {
    let above = source.parent().unwrap_or(source);
    let parent = tree::open_path(above).map_err(failed("open", above))?;
    let name = source.file_name().unwrap_or_default();
    let mount = tree::look(&parent, name).is_ok_and(|top| top.is_some_and(|top| top.mount));
    let mut sum: u64 = 0;
    tree::walk(
        &parent,
        name,
        |name| is_own(name, mount),
        |path, error| failed("read", source.join(path))(error),
        |path, _folder, _name, meta| {
            cancel.check()?;
            if meta.mount && !(meta.kind == Kind::Folder && path.as_os_str().is_empty()) {
                return Err(BackupError::MountInside {
                    source_path: source.to_path_buf(),
                    mount: source.join(path),
                });
            }
            if meta.kind == Kind::File && !(shares && meta.device == device) {
                // Its old copy gives way to the new one.
                let old = record
                    .and_then(|record| record.find(number, path))
                    .map_or(0, |line| line.stamp.size());
                // Each name of a file with several counts: too much at worst.
                sum = sum.saturating_add(meta.allocated.saturating_sub(old));
            }
            Ok(())
        },
    )?;
    Ok(sum)
}

/// Bytes that a program may write on the file system of `folder`.
pub(super) fn free(folder: &OwnedFd) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(folder)?;
    // What is set aside for the administrator is not for copies, also when visor runs as root.
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether files in this file system can share their blocks: tried with two files that have no name.
pub(super) fn can_share(folder: &OwnedFd) -> bool {
    let nameless = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)
    };
    let tried = nameless().and_then(|from| {
        rustix::io::pwrite(&from, &[1; 4096], 0)?;
        rustix::fs::ioctl_ficlone(nameless()?, from)
    });
    tried.is_ok()
}

/// The folder, or the nearest one above it that exists.
fn nearest(folder: &Path) -> Result<(OwnedFd, PathBuf), BackupError> {
    let mut path = folder;
    loop {
        match tree::open_path(path) {
            Ok(found) => return Ok((found, path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(above) => path = above,
                None => return Err(failed("open", folder)(error)),
            },
            Err(error) => return Err(failed("open", path)(error)),
        }
    }
}
