//! The two locks of a home: one visor, and one process tree of the node (VIS-03).
//!
//! Both are `flock` locks: the kernel drops them when the last descriptor of the open file closes, so no file left behind
//! by a dead process ever counts. The node's lock is taken on a descriptor that the node inherits, and visor closes its own
//! copy: from then on the lock lives exactly as long as any process of the node's tree. A lock that can be taken is
//! the proof that no node runs, whatever happened to visor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::fault;

/// A visor that was killed while it started a program leaves a child that holds a copy of its lock until its exec; that takes
/// milliseconds, on a machine under heavy load a little longer.
const ORPHANED_COPY: Duration = Duration::from_secs(10);

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another visor runs in this home.
    #[error(
        "take the lock {path}: another visor (pid {holder}) holds this home. Only one may run; use `visor status` to ask it, or \
         stop it first"
    )]
    Held {
        /// The lock.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
    },
    /// The file could not be used.
    #[error("use the lock {path}")]
    Io {
        /// The lock.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn try_flock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Held for as long as this visor lives, also across its own re-execution.
#[derive(Debug)]
pub struct VisorLock {
    held: OwnedFd,
    inherited: bool,
}

impl VisorLock {
    /// Takes the home for this process.
    ///
    /// # Errors
    /// When another visor holds it, or the file cannot be used.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut file = open(path).map_err(failed)?;
        let began = Instant::now();
        // The image before this one held it, and left it open for this one.
        if let Some(held) = inherited(&file).map_err(failed)? {
            return Ok(Self {
                held,
                inherited: true,
            });
        }
        while !try_flock(&file).map_err(failed)? {
            let mut holder = String::new();
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.read_to_string(&mut holder).map_err(failed)?;
            let holder = holder.trim().to_owned();
            let alive = holder
                .parse()
                .ok()
                .and_then(Pid::from_raw)
                .is_some_and(|pid| Holder::read(pid).is_some());
            if alive || began.elapsed() > ORPHANED_COPY {
                let holder = if holder.is_empty() {
                    "unknown".to_owned()
                } else {
                    holder
                };
                return Err(LockError::Held {
                    path: path.to_path_buf(),
                    holder,
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
        fault::point("lock-taken");
        file.set_len(0).map_err(failed)?;
        fault::point("lock-emptied");
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            held: file.into(),
            inherited: false,
        })
    }

    /// The image before this one held it: this process has replaced itself, and was called so once already.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Runs `execute`, which replaces the program of this process, with a lock that the new program inherits.
    pub(crate) fn inheritable<T>(&self, execute: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        fcntl_setfd(&self.held, FdFlags::empty())?;
        let result = execute();
        // It failed. A child that was started in between holds a copy until it ends, which does no harm.
        fcntl_setfd(&self.held, FdFlags::CLOEXEC)?;
        result
    }
}

/// A descriptor of the lock that was open when this program began to run in its process: the proof that the lock is ours.
/// Closed again in favour of a copy that no child inherits.
fn inherited(file: &File) -> io::Result<Option<OwnedFd>> {
    let mut holder = String::new();
    let mut reader = file;
    reader.read_to_string(&mut holder)?;
    if holder.trim() != std::process::id().to_string() {
        return Ok(None);
    }
    let identity = file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))?;
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The descriptor of this very listing is among them, and gone when it is asked for.
        if number == file.as_raw_fd() {
            continue;
        }
        let Ok(copy) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let copy = File::from(copy);
        let is_lock = copy
            .metadata()
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == identity);
        if is_lock && inheritable(number)? && try_flock(&copy)? {
            nix::unistd::close(number)?;
            return Ok(Some(copy.into()));
        }
    }
    Ok(None)
}

/// Everything that this program opens itself is closed at an exec; what is not came from the image before.
fn inheritable(number: RawFd) -> io::Result<bool> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    Ok(flags.is_some_and(|flags| flags & OFlags::CLOEXEC.bits() == 0))
}

/// The lock of the node's process tree.
#[derive(Debug, Clone)]
pub struct NodeLock {
    path: PathBuf,
}

/// The taken lock, to be handed to the node. It proves that no other process of the node's tree is alive.
#[derive(Debug)]
pub struct NoNode {
    file: File,
}

impl NoNode {
    /// The descriptor that the node inherits.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }
}

impl NodeLock {
    /// The lock at `path`, which is never deleted or replaced.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Takes the lock when no process of a node's tree is alive.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn prove_gone(&self) -> Result<Option<NoNode>, LockError> {
        let failed = |source| LockError::Io {
            path: self.path.clone(),
            source,
        };
        let file = open(&self.path).map_err(failed)?;
        Ok(try_flock(&file).map_err(failed)?.then_some(NoNode { file }))
    }

    /// Every process that has the lock's file open, this one excepted, oldest first.
    ///
    /// A process that holds a deleted file of the same name counts too: it was started under the same lock.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let identity = fs::metadata(&self.path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let mut holders: Vec<Holder> = processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter(|pid| *pid != getpid())
            .filter(|pid| self.is_open_in(*pid, identity))
            .filter_map(Holder::read)
            .collect();
        holders.sort_by_key(|holder| holder.start_time);
        holders
    }

    fn is_open_in(&self, pid: Pid, identity: Option<(u64, u64)>) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else {
            return false;
        };
        let mut deleted = self.path.clone().into_os_string();
        deleted.push(" (deleted)");
        descriptors.filter_map(Result::ok).any(|entry| {
            let Ok(target) = fs::read_link(entry.path()) else {
                return false;
            };
            if target.as_os_str() == deleted {
                return true;
            }
            // Only a link with the same last name is worth a stat: sockets and pipes are most of them.
            target.file_name() == self.path.file_name()
                && fs::metadata(entry.path())
                    .is_ok_and(|metadata| Some((metadata.dev(), metadata.ino())) == identity)
        })
    }
}

/// A process of the node's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: Pid,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it started, in clock ticks since the host did. With the id it names a process for good.
    pub start_time: u64,
}

impl Holder {
    /// Reads `/proc/PID/stat`; nothing when the process is gone or a zombie.
    #[must_use]
    pub fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let stat = parse_stat(&stat)?;
        // A zombie holds nothing.
        (!matches!(stat.state, 'Z' | 'X')).then_some(Self {
            pid,
            group: stat.group,
            session: stat.session,
            start_time: stat.start_time,
        })
    }

    /// The program that it runs. A deleted one is named as it was.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/{}/exe", self.pid.as_raw_nonzero())).ok()?;
        match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
            Some(text) => Some(PathBuf::from(text)),
            None => Some(path),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: i32,
    session: i32,
    start_time: u64,
}

/// Reads a line of `/proc/PID/stat`; the program's name in it may hold anything.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Start time is field 22 of the line; session is field 6.
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        state,
        group,
        session,
        start_time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_hostile_program_name() {
        let line = "42 (a) Z 1 (b)) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 1000 100 18446744073709551615";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                state: 'S',
                group: 41,
                session: 40,
                start_time: 9876
            })
        );
    }

    #[test]
    fn vis_03_a_second_visor_is_told_who_holds_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("visor.lock");
        let held = VisorLock::acquire(&path).unwrap();
        let error = VisorLock::acquire(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(held);
        VisorLock::acquire(&path).unwrap();
    }

    #[test]
    fn vis_03_a_copy_left_by_a_dead_visor_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("visor.lock");
        let held = VisorLock::acquire(&path).unwrap();
        // No process has this id: it is above the kernel's limit.
        fs::write(&path, "4194305").unwrap();
        let waiting = thread::spawn({
            let path = path.clone();
            move || VisorLock::acquire(&path)
        });
        drop(held);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn vis_03_the_lock_is_free_only_when_no_descriptor_of_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = NodeLock::new(dir.path().join("node.lock"));
        let proof = lock.prove_gone().unwrap().unwrap();
        assert!(lock.prove_gone().unwrap().is_none());
        let descriptor = proof.into_descriptor();
        let copy = descriptor.try_clone().unwrap();
        drop(descriptor);
        assert!(lock.prove_gone().unwrap().is_none());
        drop(copy);
        assert!(lock.prove_gone().unwrap().is_some());
    }
}
