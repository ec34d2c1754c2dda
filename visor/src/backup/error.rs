//! Why a backup or a restore could not be finished.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a backup or a restore could not be finished, or would not be.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The name cannot be that of a folder.
    #[error(
        "use the backup name {name:?}: expected the name of a folder, without / and not beginning with a dot"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A path that means something else wherever visor is started.
    #[error("use {path}: expected an absolute path without `..`, found another (backup.paths, backup.folder)", path = path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A source is not there.
    #[error("back up {path}: expected a file or a folder, found nothing. Correct backup.paths", path = path.display())]
    Missing {
        /// The source.
        path: PathBuf,
    },
    /// A source is something that holds no data of its own.
    #[error("back up {path}: expected a file or a folder, found a {found}. Name what it leads to in backup.paths", path = path.display())]
    Kind {
        /// The source.
        path: PathBuf,
        /// What stands there.
        found: &'static str,
    },
    /// Two folders of which one contains the other, or the same twice.
    #[error(
        "back up {outer}: {inner} lies in it ({what}). Choose paths of which none contains another (backup.paths, backup.folder)",
        outer = outer.display(), inner = inner.display()
    )]
    Overlap {
        /// The source.
        outer: PathBuf,
        /// What lies in it, or is the same.
        inner: PathBuf,
        /// What that is.
        what: &'static str,
    },
    /// Another file system begins inside a source: it could not be replaced as a whole.
    #[error(
        "back up {source_path}: another file system is mounted at {mount}, inside it. Name the parts instead of the whole in \
         backup.paths, and that mount point as one of them", source_path = source_path.display(), mount = mount.display()
    )]
    MountInside {
        /// The source.
        source_path: PathBuf,
        /// Where it begins.
        mount: PathBuf,
    },
    /// There would not be enough room.
    #[error(
        "find room in {folder}: expected {needed} bytes free for {what} and {reserve} more in reserve, found {free}. Make room \
         there (visor removes old backups only beyond backup.keep){hint}", folder = folder.display()
    )]
    NoRoom {
        /// Where it is missing.
        folder: PathBuf,
        /// For what.
        what: &'static str,
        /// Bytes that will be written.
        needed: u64,
        /// Bytes that must stay free.
        reserve: u64,
        /// Bytes that are free.
        free: u64,
        /// What could be removed, or nothing.
        hint: String,
    },
    /// The file system filled up on the way.
    #[error(
        "{operation} {path}: expected room on the file system, found it full (or its quota used up) on the way. What was copied is \
         kept and used by the next attempt; make room there, it goes on by itself", path = path.display()
    )]
    Full {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something writes although nothing should run.
    #[error(
        "back up {path}: expected that nothing writes to it while the node is down, found it changed while it was copied. Find out \
         what does (for example `fuser -v {path}`), or leave it out of backup.paths", path = path.display()
    )]
    Unsteady {
        /// The file or folder.
        path: PathBuf,
    },
    /// There is no finished backup of that name.
    #[error(
        "restore {path}: expected a finished backup, found no manifest in it. Nothing was changed; a backup without a manifest is \
         not whole", path = path.display()
    )]
    NoManifest {
        /// The backup.
        path: PathBuf,
    },
    /// Bytes that are not those that were copied.
    #[error(
        "use {path}: expected {expected}, found {found}. Nothing of the node's data was changed; use another backup, or restore \
         by hand what is still good", path = path.display()
    )]
    Damaged {
        /// The file or folder in the backup.
        path: PathBuf,
        /// By the manifest.
        expected: String,
        /// In fact.
        found: String,
    },
    /// Another backup, or another visor, works in the same folder.
    #[error(
        "use {folder}: expected it for this visor alone, found it in use by another process for {waited} s. Give each visor a \
         backup.folder of its own", folder = folder.display()
    )]
    Busy {
        /// The backups folder.
        folder: PathBuf,
        /// Seconds.
        waited: u64,
    },
    /// It was not wanted any more.
    #[error("finish: it was called off")]
    Cancelled,
    /// An operation failed.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Names the operation and the path of what the system answered; a full file system is told apart.
pub(super) fn failed<'a>(
    operation: &'static str,
    path: impl AsRef<Path> + 'a,
) -> impl Fn(io::Error) -> BackupError + 'a {
    move |source| {
        let path = path.as_ref().to_path_buf();
        let full = [Errno::NOSPC, Errno::DQUOT]
            .iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()));
        if full {
            BackupError::Full {
                operation,
                path,
                source,
            }
        } else {
            BackupError::Io {
                operation,
                path,
                source,
            }
        }
    }
}
