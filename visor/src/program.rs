//! A program of the operator (a hook, a notification command): run once to its end, within limits, off the loop.
//!
//! Invariants: it leads a process group of its own, and nothing of it outlives [`run`], however that ends; it inherits no
//! descriptor of visor but its own lock, where it has one; what it writes is always read, so that it never waits for visor, and
//! reaches visor's log only within the limits of [`output`].

mod output;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::CommandFdExt as _;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use self::output::Output;
use crate::lock::{LockError, NoNode, NodeLock};
use crate::process::clear;
use crate::readiness::readable;

/// Between SIGTERM and SIGKILL. Long enough to remove a temporary file, short enough to be part of a downtime.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel may take to end what was sent SIGKILL, before it is left to it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// What was written before the end is in the pipes already; only a process that escaped its group keeps them open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// A program that answers to these would speak to the service manager in visor's name.
pub(crate) const NOT_INHERITED: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
];

/// What is run, and how.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What it is, in the log.
    pub(crate) name: &'static str,
    /// Absolute path, then the arguments.
    pub(crate) command: Vec<String>,
    /// Beside visor's own environment; without a value: not set.
    pub(crate) environment: Vec<(&'static str, Option<OsString>)>,
    /// Its working directory.
    pub(crate) directory: PathBuf,
    /// What it reads on its standard input.
    pub(crate) input: Vec<u8>,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// Held by everything that it starts: what an earlier visor left of it is ended before it is run again.
    pub(crate) lock: Option<NodeLock>,
}

/// Why a program counts as failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// There is nothing to run.
    #[error("run it: expected the path of a program, found an empty command")]
    Empty,
    /// It could not be executed.
    #[error("start {program}")]
    Start { program: String, source: io::Error },
    /// Its lock could not be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It could not be watched, and was ended.
    #[error("watch {program}")]
    Watch { program: String, source: io::Error },
    /// It ended with another code than 0.
    #[error("{program} ended with exit code {code}, expected 0")]
    Code { program: String, code: i32 },
    /// A signal ended it.
    #[error("{program} was ended by signal {signal}")]
    Signal { program: String, signal: i32 },
    /// It was ended because it took too long.
    #[error("{program} did not end within {limit:?} and was ended")]
    TooSlow { program: String, limit: Duration },
    /// It was ended because nobody wants its answer any more.
    #[error("{program} was ended before it was done")]
    Cancelled { program: String },
}

/// Why the waiting ended.
enum Ending {
    Exited,
    TooSlow,
    Cancelled,
}

/// Runs a program to its end, and ends everything that it started.
pub(crate) async fn run(program: &Program, cancelled: impl Future<Output = ()>) -> Result<(), ProgramError> {
    let Some(path) = program.command.first().cloned() else {
        return Err(ProgramError::Empty);
    };
    let mut cancelled = pin!(cancelled);
    let proof = tokio::select! {
        biased;
        () = &mut cancelled => return Err(ProgramError::Cancelled { program: path }),
        proof = alone(program.lock.as_ref()) => proof?,
    };
    let mut child = spawn(program, &path, proof)?;
    let pid = Pid::from_child(&child);
    let mut watched = || -> io::Result<_> { Ok((watch(pid)?, Pipes::take(&mut child)?)) };
    let (exit, pipes) = match watched() {
        Ok(watched) => watched,
        Err(source) => {
            // It has had no time to start anything.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Err(ProgramError::Watch {
                program: path,
                source,
            });
        }
    };
    let output = Output::new(program.name);
    let mut talk = pin!(pipes.talk(&program.input, &output));
    let mut limit = pin!(sleep(program.limit));
    let mut silent = false;
    let ending = loop {
        tokio::select! {
            biased;
            () = &mut cancelled => break Ending::Cancelled,
            _ = exit.readable() => break Ending::Exited,
            () = &mut limit => break Ending::TooSlow,
            () = &mut talk, if !silent => silent = true,
        }
    };
    // The process is not reaped yet, so neither its id nor its group can be another's.
    let _ = kill_process_group(pid, Signal::TERM);
    let quiet = async {
        let _ = exit.readable().await;
        if let Some(lock) = &program.lock {
            clear(lock, GRACE).await;
        }
        if !silent {
            talk.as_mut().await;
            silent = true;
        }
    };
    let _ = timeout(GRACE, quiet).await;
    let _ = kill_process_group(pid, Signal::KILL);
    if timeout(KILL_PATIENCE, exit.readable()).await.is_err() {
        tracing::error!(
            program.name = program.name,
            program.pid = child.id(),
            "a program does not end after SIGKILL"
        );
    } else if let Some(lock) = &program.lock {
        let _ = timeout(KILL_PATIENCE, clear(lock, Duration::ZERO)).await;
    }
    if !silent {
        let _ = timeout(LAST_WORDS, talk).await;
    }
    output.finish();
    match ending {
        Ending::Cancelled => {
            let _ = child.try_wait();
            Err(ProgramError::Cancelled { program: path })
        }
        Ending::TooSlow => {
            let _ = child.try_wait();
            let limit = program.limit;
            Err(ProgramError::TooSlow { program: path, limit })
        }
        Ending::Exited => judge(&mut child, path),
    }
}

/// Takes the program's lock, after everything that an earlier visor left of it has ended.
async fn alone(lock: Option<&NodeLock>) -> Result<Option<NoNode>, LockError> {
    let Some(lock) = lock else {
        return Ok(None);
    };
    loop {
        if let Some(proof) = lock.prove_gone()? {
            return Ok(Some(proof));
        }
        clear(lock, GRACE).await;
    }
}

fn spawn(program: &Program, path: &str, proof: Option<NoNode>) -> Result<Child, ProgramError> {
    let stdin = if program.input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut command = Command::new(path);
    command
        .args(program.command.iter().skip(1))
        .current_dir(&program.directory)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    for (name, value) in &program.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(proof) = proof {
        command.preserved_fds(vec![proof.into_descriptor()]);
    }
    // The command owns visor's copy of the lock and closes it at the end of this function.
    command.spawn().map_err(|source| ProgramError::Start {
        program: path.to_owned(),
        source,
    })
}

fn watch(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    readable(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Reaps it. It has ended, so this does not wait.
fn judge(child: &mut Child, program: String) -> Result<(), ProgramError> {
    let status = match child.wait() {
        Ok(status) => status,
        Err(source) => return Err(ProgramError::Watch { program, source }),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(ProgramError::Code { program, code }),
        (None, signal) => Err(ProgramError::Signal {
            program,
            signal: signal.unwrap_or_default(),
        }),
    }
}

/// The ends that visor holds.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Pipes {
    fn take(child: &mut Child) -> io::Result<Self> {
        let sender = |end: OwnedFd| pipe::Sender::from_owned_fd(end);
        let receiver = |end: OwnedFd| pipe::Receiver::from_owned_fd(end);
        Ok(Self {
            stdin: child.stdin.take().map(OwnedFd::from).map(sender).transpose()?,
            stdout: child.stdout.take().map(OwnedFd::from).map(receiver).transpose()?,
            stderr: child.stderr.take().map(OwnedFd::from).map(receiver).transpose()?,
        })
    }

    /// Writes and reads until both sides have nothing more to say.
    async fn talk(self, input: &[u8], output: &Output) {
        tokio::join!(
            feed(self.stdin, input),
            output.read(self.stdout, "stdout"),
            output.read(self.stderr, "stderr"),
        );
    }
}

async fn feed(stdin: Option<pipe::Sender>, input: &[u8]) {
    use tokio::io::AsyncWriteExt as _;
    if let Some(mut stdin) = stdin {
        // A program that does not read its input to the end may still succeed.
        let _ = stdin.write_all(input).await;
    }
}
