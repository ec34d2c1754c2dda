//! The node's process: start, adopt, stop, and the proof that its whole tree is gone.
//!
//! Invariants: a node is started only with [`NoNode`] in hand, and the started tree then holds that lock (VIS-03); an exit
//! is reported only when the lock could be taken again, so that no descendant is alive either; the node writes to no pipe
//! of visor and is not tied to its life, so that it survives a dead visor and is adopted by the next (VIS-04).

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::CommandFdExt as _;
use futures_util::future::join_all;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use crate::fault;
use crate::lock::{Holder, LockError, NoNode, NodeLock};
use crate::program::NOT_INHERITED;
use crate::readiness::readable;

/// How long a process may take to disappear after SIGKILL before the operator is told; it is waited for in any case.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between looks at a lock whose holder cannot be seen (another user's, or between fork and exec). Nothing tells when it
/// changes, so this is one of the few places that poll.
const UNSEEN_HOLDER: Duration = Duration::from_millis(5);

/// Why a process could not be started, adopted or waited for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be executed.
    #[error("start {}", program.display())]
    Start {
        /// The node's binary.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file for the node's output could not be opened.
    #[error("open {} for the node's output", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A process of an earlier node is still alive.
    #[error("start the node: a process of the previous one is still alive")]
    StillAlive,
    /// The lock could not be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A process could not be observed.
    #[error("watch process {pid}")]
    Watch {
        /// Its id.
        pid: u32,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Everything needed to start a version, read while the old one still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Absolute path of the binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where its standard output and error go; visor's own when absent.
    pub output: Option<PathBuf>,
}

/// How long each step of a stop may take (VIS-08).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopOrder {
    /// Before SIGTERM.
    pub delay: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// The end of a node and of everything that it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its process id.
    pub pid: u32,
    /// Its exit code; absent when a signal ended it, or it was adopted.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When the exit was seen.
    pub seen: Instant,
}

/// A node that runs. Dropping it ends the watching, never the node.
pub struct Node {
    pid: u32,
    orders: mpsc::Sender<StopOrder>,
    /// Polled by the loop itself and not by a task of its own: tasks take turns, and nothing may run between the news of an
    /// exit and its answer.
    watch: Pin<Box<dyn Future<Output = Exit> + Send>>,
}

impl Node {
    /// Starts a node under the lock. When this returns, the binary's exec has succeeded.
    ///
    /// # Errors
    /// When a process of the previous node lives, or the program cannot be executed.
    pub fn start(launch: &Launch, lock: &NodeLock, stop: StopOrder) -> Result<Self, ProcessError> {
        let proof = lock.prove_gone()?.ok_or(ProcessError::StillAlive)?;
        fault::point("node-lock-taken");
        let mut child = spawn(launch, proof)?;
        fault::point("node-spawned");
        match open_child(&child) {
            Ok((pid, descriptor)) => {
                let watched = Watched {
                    id: child.id(),
                    pid,
                    descriptor,
                    child: Some(child),
                };
                Ok(Self::watch(watched, lock.clone(), stop))
            }
            Err(source) => {
                // A node that cannot be watched must not run; it has had no time to start anything.
                let _ = child.kill();
                let _ = child.wait();
                Err(ProcessError::Watch {
                    pid: child.id(),
                    source,
                })
            }
        }
    }

    /// Takes over a node that an earlier visor started (VIS-04).
    ///
    /// # Errors
    /// When the process cannot be observed.
    pub fn adopt(pid: Pid, lock: &NodeLock, stop: StopOrder) -> Result<Self, ProcessError> {
        let id = pid.as_raw_nonzero().get().unsigned_abs();
        let descriptor = open_process(pid).map_err(|source| ProcessError::Watch { pid: id, source })?;
        let watched = Watched {
            id,
            pid,
            descriptor,
            child: None,
        };
        Ok(Self::watch(watched, lock.clone(), stop))
    }

    fn watch(watched: Watched, lock: NodeLock, stop: StopOrder) -> Self {
        let pid = watched.id;
        // One order is enough: a second one changes nothing.
        let (orders, received) = mpsc::channel(1);
        let watch = Box::pin(async move { watched.until_gone(&lock, stop, received).await });
        Self { pid, orders, watch }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Begins to stop it; a stop that has begun goes on as it is. It goes on while [`Self::exit`] is awaited.
    pub fn stop(&self, order: StopOrder) {
        // Full: the same order is waiting already. Closed: the node is gone. Both are what was wanted.
        let _ = self.orders.try_send(order);
    }

    /// Waits until the node and everything that it started are gone. May be cancelled and awaited again until it has answered.
    pub async fn exit(&mut self) -> Exit {
        self.watch.as_mut().await
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Node")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

fn spawn(launch: &Launch, proof: NoNode) -> Result<Child, ProcessError> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .stdin(Stdio::null())
        .process_group(0);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    if let Some(path) = &launch.output {
        let failed = |source| ProcessError::Output {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
            .map_err(failed)?;
        command.stderr(file.try_clone().map_err(failed)?).stdout(file);
    }
    command.preserved_fds(vec![proof.into_descriptor()]);
    // The command owns visor's copy of the lock and closes it at the end of this function.
    command.spawn().map_err(|source| ProcessError::Start {
        program: launch.program.clone(),
        source,
    })
}

struct Watched {
    id: u32,
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
    child: Option<Child>,
}

impl Watched {
    /// Waits for the exit of the process and of its descendants, stopping them on order.
    async fn until_gone(
        mut self,
        lock: &NodeLock,
        default: StopOrder,
        mut orders: mpsc::Receiver<StopOrder>,
    ) -> Exit {
        let mut stop = Stop::NotOrdered;
        let mut grace = default.grace;
        loop {
            tokio::select! {
                biased;
                _ = self.descriptor.readable() => break,
                Some(order) = orders.recv(), if matches!(stop, Stop::NotOrdered) => {
                    grace = order.grace;
                    stop = Stop::Delayed(tokio::time::Instant::now() + order.delay);
                    if order.delay.is_zero() {
                        stop = self.terminate(grace);
                    }
                }
                () = stop.due() => stop = match stop {
                    Stop::NotOrdered | Stop::Killed => stop,
                    Stop::Delayed(_) => self.terminate(grace),
                    Stop::Terminated(_) => {
                        tracing::warn!(node.pid = self.id, stop.grace = ?grace, "the node ignores SIGTERM, killing it");
                        self.signal(Signal::KILL);
                        fault::point("sigkill-sent");
                        Stop::Killed
                    }
                },
            }
        }
        let seen = Instant::now();
        fault::point("exit-seen");
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        fault::point("node-reaped");
        clear(lock, grace).await;
        fault::point("tree-gone");
        Exit {
            pid: self.id,
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            seen,
        }
    }

    fn terminate(&self, grace: Duration) -> Stop {
        self.signal(Signal::TERM);
        fault::point("sigterm-sent");
        Stop::Terminated(tokio::time::Instant::now() + grace)
    }

    /// Signals the whole group. The process is not reaped yet, so neither its id nor its group can be another's.
    fn signal(&self, signal: Signal) {
        if kill_process_group(self.pid, signal).is_err() {
            // Not a group leader: started by hand under our lock. Its descendants are found by the lock.
            let _ = pidfd_send_signal(self.descriptor.get_ref(), signal);
        }
    }
}

enum Stop {
    NotOrdered,
    Delayed(tokio::time::Instant),
    Terminated(tokio::time::Instant),
    Killed,
}

impl Stop {
    async fn due(&self) {
        match self {
            Self::Delayed(at) | Self::Terminated(at) => sleep_until(*at).await,
            Self::NotOrdered | Self::Killed => std::future::pending().await,
        }
    }
}

fn open_child(child: &Child) -> io::Result<(Pid, AsyncFd<OwnedFd>)> {
    let pid = Pid::from_child(child);
    Ok((pid, open_process(pid)?))
}

fn open_process(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    readable(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Ends every process that still holds the node's lock: SIGTERM, `grace`, SIGKILL; returns when the lock is free.
///
/// The first look comes first and usually is the only one: between an exit and the next start it costs one system call.
pub async fn clear(lock: &NodeLock, grace: Duration) {
    let began = Instant::now();
    let mut terminated: Vec<Holder> = Vec::new();
    let mut told = false;
    loop {
        match lock.prove_gone() {
            Ok(Some(_free)) => return,
            Ok(None) => {}
            Err(error) => {
                if !told {
                    tracing::error!(error = %crate::cli::chain(&error), "cannot prove that the node is gone");
                    told = true;
                }
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        let kill = began.elapsed() >= grace;
        let holders = lock.holders();
        let mut watched = Vec::new();
        for holder in &holders {
            let Ok(descriptor) = open_process(holder.pid) else {
                continue;
            };
            // The id was read before the descriptor was opened: the same start time proves the same process.
            if Holder::read(holder.pid).as_ref().map(|now| now.start_time) != Some(holder.start_time) {
                continue;
            }
            let again = terminated.contains(holder);
            if kill || !again {
                let signal = if kill { Signal::KILL } else { Signal::TERM };
                tracing::info!(node.pid = holder.pid.as_raw_nonzero().get(), process.signal = ?signal, "ending a process that outlived the node");
                let _ = pidfd_send_signal(descriptor.get_ref(), signal);
            }
            if !again {
                terminated.push(holder.clone());
            }
            watched.push(descriptor);
        }
        if watched.is_empty() {
            sleep(UNSEEN_HOLDER).await;
        } else {
            let patience = if kill {
                KILL_PATIENCE
            } else {
                grace.saturating_sub(began.elapsed())
            };
            let all_gone = join_all(watched.iter().map(|descriptor| descriptor.readable()));
            let _ = timeout(patience, all_gone).await;
        }
        if !told && began.elapsed() >= grace + KILL_PATIENCE {
            let pids: Vec<i32> = holders
                .iter()
                .map(|holder| holder.pid.as_raw_nonzero().get())
                .collect();
            tracing::error!(node.pids = ?pids, "processes of the node do not end after SIGKILL; nothing is started until they do");
            told = true;
        }
    }
}

/// What an earlier visor left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: proved that no process of a node lives.
    Nothing,
    /// A node that runs.
    Node {
        /// Its main process.
        main: Holder,
        /// The program that it runs.
        program: PathBuf,
    },
    /// Processes that a dead node left behind.
    Leftovers,
}

/// Looks for what an earlier visor left behind.
///
/// # Errors
/// When the lock cannot be used.
pub async fn find_running(lock: &NodeLock) -> Result<Found, LockError> {
    let ours = std::env::current_exe().ok();
    loop {
        let holders = lock.holders();
        let programs: Vec<Option<PathBuf>> = holders.iter().map(Holder::program).collect();
        // A child of the dead visor between fork and exec still runs visor's program: it is about to become the node.
        let unsettled = programs
            .iter()
            .any(|program| program.is_none() || *program == ours);
        if !unsettled {
            if let Some((main, program)) = holders.iter().zip(programs).find(|(holder, _)| is_main(holder)) {
                return Ok(Found::Node {
                    main: main.clone(),
                    program: program.unwrap_or_default(),
                });
            }
            if !holders.is_empty() {
                return Ok(Found::Leftovers);
            }
            if lock.prove_gone()?.is_some() {
                return Ok(Found::Nothing);
            }
        }
        sleep(UNSEEN_HOLDER).await;
    }
}

/// Visor starts the node as the leader of a group in visor's own session, and a group leader cannot make a session of its
/// own. A helper of the node either is in the node's group, or has made a session.
pub(crate) fn is_main(holder: &Holder) -> bool {
    let pid = holder.pid.as_raw_nonzero().get();
    holder.group == pid && holder.session != pid
}

/// Runs a program to its end with a time limit and an output limit, and returns its standard output.
///
/// # Errors
/// When it cannot be started, fails, takes too long or says too much; the text says which.
pub async fn run_probe(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    max_output: u64,
) -> Result<Vec<u8>, ProbeError> {
    use tokio::io::AsyncReadExt as _;
    let failed = |source| ProbeError::Io { source };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut output = Vec::new();
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let read = async {
        stdout.take(max_output + 1).read_to_end(&mut output).await?;
        child.wait().await
    };
    let status = timeout(limit, read)
        .await
        .map_err(|_| ProbeError::TooSlow { limit })?
        .map_err(failed)?;
    if output.len() as u64 > max_output {
        return Err(ProbeError::TooMuchOutput { limit: max_output });
    }
    if !status.success() {
        return Err(ProbeError::Failed {
            status: status.to_string(),
        });
    }
    Ok(output)
}

/// Why a probe gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be run.
    #[error("it cannot be run")]
    Io {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("it ended with {status}")]
    Failed {
        /// How.
        status: String,
    },
    /// It did not end in time.
    #[error("it did not end within {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// It wrote more than any answer has.
    #[error("it wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The limit.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vis_04_the_main_process_is_known_by_its_group_and_session() {
        let holder = |pid, group, session| Holder {
            pid: Pid::from_raw(pid).unwrap(),
            group,
            session,
            start_time: 5,
        };
        assert!(is_main(&holder(50, 50, 7)));
        assert!(!is_main(&holder(51, 50, 7)), "a helper in the node's group");
        assert!(
            !is_main(&holder(52, 52, 52)),
            "a helper with a session of its own"
        );
    }
}
