//! What is to be started, made ready while the old unit still runs, and the start of one process.
//!
//! The start is `posix_spawn`: no copy of visor's address space is made, so it costs the same whatever visor's size. The lock's
//! descriptor loses its close-on-exec mark in the child alone, so that no other child of visor ever inherits it.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Pid;

use super::ProcessError;
use crate::program::NOT_INHERITED;

/// Which process of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The node.
    Node,
    /// A companion, by its name.
    Companion(String),
}

impl Role {
    /// The companion's name; nothing for the node.
    #[must_use]
    pub fn companion(&self) -> Option<&str> {
        match self {
            Self::Node => None,
            Self::Companion(name) => Some(name),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => formatter.write_str("the node"),
            Self::Companion(name) => write!(formatter, "the companion {name}"),
        }
    }
}

/// One program of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Which it is.
    pub role: Role,
    /// Absolute path of the binary.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Between SIGTERM and SIGKILL; that of the stop order when absent.
    pub grace: Option<Duration>,
}

/// Everything needed to start a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// In the order of their starts; exactly one is the node.
    pub programs: Vec<Program>,
    /// Where standard output and error go; visor's own when absent.
    pub output: Option<PathBuf>,
    /// Standard input is visor's own; otherwise there is none.
    pub inherit_input: bool,
}

/// A launch with everything opened and converted that can be.
#[derive(Debug)]
pub struct Ready {
    pub(super) programs: Vec<ReadyProgram>,
    environment: &'static [CString],
    attributes: PosixSpawnAttr,
    input: Option<File>,
    output: Option<File>,
}

#[derive(Debug)]
pub(super) struct ReadyProgram {
    pub(super) program: Program,
    path: CString,
    /// With the path in front, as is custom.
    arguments: Vec<CString>,
}

impl Launch {
    /// Opens and converts what a start needs.
    ///
    /// # Errors
    /// When the output cannot be opened, or a text holds a zero byte.
    pub fn ready(self) -> Result<Ready, ProcessError> {
        let mut programs = Vec::with_capacity(self.programs.len());
        for program in self.programs {
            let text = |text: &OsStr| {
                CString::new(text.as_bytes()).map_err(|_| ProcessError::ZeroByte {
                    role: program.role.clone(),
                    program: program.path.clone(),
                    found: text.to_string_lossy().into_owned(),
                })
            };
            let path = text(program.path.as_os_str())?;
            let mut arguments = vec![path.clone()];
            for argument in &program.arguments {
                arguments.push(text(argument.as_ref())?);
            }
            programs.push(ReadyProgram {
                program,
                path,
                arguments,
            });
        }
        let output = self
            .output
            .map(|path| open_output(&path).map_err(|source| ProcessError::Output { path, source }));
        let null = |source| ProcessError::Output {
            path: PathBuf::from("/dev/null"),
            source,
        };
        Ok(Ready {
            programs,
            environment: passed_on(),
            attributes: attributes().map_err(null)?,
            input: (!self.inherit_input)
                .then(|| File::open("/dev/null"))
                .transpose()
                .map_err(null)?,
            output: output.transpose()?,
        })
    }
}

/// Without waiting: a pipe that nobody reads would hold up visor, and not only the node.
fn open_output(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    // The node is to wait for whoever reads it, as it would in a shell.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// What a unit's processes inherit; visor's own environment does not change.
fn passed_on() -> &'static [CString] {
    static PASSED_ON: OnceLock<Vec<CString>> = OnceLock::new();
    // A program that answers to the others would speak to the service manager in visor's name.
    PASSED_ON.get_or_init(|| environment(|name| !NOT_INHERITED.iter().any(|other| name == *other)))
}

/// Visor's own environment. An entry with a zero byte cannot exist in it.
pub(super) fn environment(wanted: impl Fn(&OsStr) -> bool) -> Vec<CString> {
    std::env::vars_os()
        .filter(|(name, _)| wanted(name))
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            CString::new(entry).ok()
        })
        .collect()
}

/// A group of its own, no signal blocked, and SIGPIPE as a program expects it: the Rust runtime ignores it in visor.
fn attributes() -> io::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&pipe)?;
    Ok(attributes)
}

impl Ready {
    /// Starts one of the programs. When this returns, its exec has succeeded.
    pub(super) fn spawn(&self, one: &ReadyProgram, lock: BorrowedFd<'_>) -> Result<Pid, ProcessError> {
        self.try_spawn(one, lock).map_err(|source| ProcessError::Start {
            role: one.program.role.clone(),
            program: one.program.path.clone(),
            source,
        })
    }

    fn try_spawn(&self, one: &ReadyProgram, lock: BorrowedFd<'_>) -> io::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        if let Some(input) = &self.input {
            actions.add_dup2(input.as_raw_fd(), 0)?;
        }
        if let Some(output) = &self.output {
            actions.add_dup2(output.as_raw_fd(), 1)?;
            actions.add_dup2(output.as_raw_fd(), 2)?;
        }
        // Onto itself: that takes the close-on-exec mark away.
        actions.add_dup2(lock.as_raw_fd(), lock.as_raw_fd())?;
        let pid = posix_spawn(
            one.path.as_c_str(),
            &actions,
            &self.attributes,
            &one.arguments,
            self.environment,
        )?;
        // The system lets visor go on in the middle of the child's exec, often on the same processor. What visor has to write down can wait.
        std::thread::yield_now();
        Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("the system named no process"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_and_waited_for_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let error = open_output(&pipe).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()));
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&pipe)
            .unwrap();
        let writer = open_output(&pipe).unwrap();
        assert!(!fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
        drop(reader);
    }
}
