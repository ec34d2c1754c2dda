//! What the system says about files, without touching them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Whether this process may do that with the path, by its effective user.
pub(super) fn may(path: &Path, access: Access) -> io::Result<()> {
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(io::Error::from)
}

/// Why a program could not be started; nothing when it could.
pub(super) fn not_a_program(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("there is no such file".to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(metadata) if !metadata.is_file() => Some("it is no file".to_owned()),
        Ok(_) => may(path, Access::EXEC_OK)
            .err()
            .map(|error| format!("it cannot be executed: {error}")),
    }
}

/// The nearest folder of a path that exists.
pub(super) fn nearest(path: &Path) -> PathBuf {
    let mut there = path;
    while !there.exists() {
        match there.parent() {
            Some(parent) => there = parent,
            None => break,
        }
    }
    there.to_path_buf()
}

/// Bytes that are free for this user on the file system of a path.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The kind of the file system on which a path lies, as `mount` names it.
pub(super) fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    kind_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// The mount with the longest path wins, and of those the last: it covers the others.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && found.is_none_or(|(deepest, _)| depth >= deepest) {
            found = Some((depth, after.split(' ').next()?));
        }
    }
    found.map(|(_, kind)| kind.to_owned())
}

/// The kernel writes a blank in a path as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_names_the_file_system() {
        let mounts = "22 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
                      30 22 0:27 / /srv rw shared:5 - xfs /dev/vdb rw\n\
                      31 30 0:28 / /srv/my\\040home rw - nfs4 host:/x rw\n\
                      32 30 0:29 / /srv/my\\040home rw - tmpfs tmpfs rw\n";
        for (path, kind) in [
            ("/etc", "ext4"),
            ("/srv/visor", "xfs"),
            ("/srvx", "ext4"),
            ("/srv/my home/v", "tmpfs"),
        ] {
            assert_eq!(kind_of(mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
    }
}
