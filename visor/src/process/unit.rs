//! The node and its companions: started in order, stopped in the reverse order, and gone only when nothing of any is left.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::clear::clear;
use super::found::Recognised;
use super::member::{Member, Status};
use super::{ProcessError, Ready, Role};
use crate::cli::chain;
use crate::fault;
use crate::lock::NodeLock;

/// How long each step of a stop may take (VIS-08).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopOrder {
    /// Before the first SIGTERM.
    pub delay: Duration,
    /// Between SIGTERM and SIGKILL, of each process that has no grace of its own.
    pub grace: Duration,
}

/// The end of a unit and of everything that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The companion that ended first on its own; absent when it was the node, or all were told to stop.
    pub process: Option<String>,
    /// The id of that process; of the node when all were told to stop.
    pub pid: u32,
    /// Its exit code; absent when a signal ended it, or it was no child of this visor.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When the last of the unit was seen to be gone.
    pub seen: Instant,
    /// The unit never was whole: why a process of it could not be started.
    pub failed_start: Option<String>,
}

/// A unit that runs. Dropping it ends the watching, never the processes.
pub struct Unit {
    processes: Vec<(Role, u32)>,
    whole: bool,
    orders: mpsc::Sender<StopOrder>,
    /// Polled by the loop itself and not by a task of its own: tasks take turns, and nothing may run between the news of an
    /// exit and its answer.
    watch: Pin<Box<dyn Future<Output = Exit> + Send>>,
}

impl Unit {
    /// Starts a unit under the lock. When this returns, every exec has succeeded, or the unit [is not
    /// whole](Self::is_whole): then the processes that were started are being stopped, and its exit says why.
    ///
    /// # Errors
    /// When a process of the previous unit lives, or the first program cannot be executed.
    pub fn start(ready: &Ready, lock: &NodeLock, stop: StopOrder) -> Result<Self, ProcessError> {
        let proof = lock
            .prove_gone()?
            .ok_or(ProcessError::StillAlive)?
            .into_descriptor();
        fault::point("node-lock-taken");
        let mut members = Vec::with_capacity(ready.programs.len());
        for one in &ready.programs {
            let started = ready.spawn(one, proof.as_fd()).and_then(|pid| {
                Member::observe(one.program.role.clone(), pid, one.program.grace).inspect_err(|_| {
                    // One that cannot be watched must not run; it has had no time to start anything.
                    let _ = kill_process(pid, Signal::KILL);
                    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                })
            });
            fault::point("node-spawned");
            match started {
                Ok(member) => members.push(member),
                Err(error) if members.is_empty() => return Err(error),
                Err(error) => {
                    let ending = Ending::NotWhole(Some(chain(&error)));
                    return Ok(Self::watch(members, lock, stop, ending));
                }
            }
        }
        // Visor's copy of the lock is closed here: from now on the unit alone holds it.
        drop(proof);
        Ok(Self::watch(members, lock, stop, Ending::Whole))
    }

    /// Takes over a unit that an earlier visor started (VIS-04). One that is not complete is stopped at once.
    ///
    /// # Errors
    /// When a process cannot be observed.
    pub fn adopt(found: &Recognised, lock: &NodeLock, stop: StopOrder) -> Result<Self, ProcessError> {
        let members: Result<Vec<_>, _> = found
            .processes
            .iter()
            .map(|(program, main)| Member::observe(program.role.clone(), main.holder.pid, program.grace))
            .collect();
        let ending = if found.is_complete() {
            Ending::Whole
        } else {
            Ending::NotWhole(None)
        };
        Ok(Self::watch(members?, lock, stop, ending))
    }

    fn watch(members: Vec<Member>, lock: &NodeLock, stop: StopOrder, ending: Ending) -> Self {
        let processes = members
            .iter()
            .map(|member| (member.role.clone(), member.id))
            .collect();
        let whole = matches!(ending, Ending::Whole);
        // One order is enough: a second one changes nothing.
        let (orders, received) = mpsc::channel(1);
        let lock = lock.clone();
        let watch = Box::pin(async move { until_gone(members, &lock, stop, received, ending).await });
        Self {
            processes,
            whole,
            orders,
            watch,
        }
    }

    /// Whether everything was started.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The node's process id; 0 when a unit that is not whole has none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.processes
            .iter()
            .find_map(|(role, pid)| (*role == Role::Node).then_some(*pid))
            .unwrap_or_default()
    }

    /// Names and process ids of the companions, in the order of their starts.
    pub fn companions(&self) -> impl Iterator<Item = (&str, u32)> {
        self.processes
            .iter()
            .filter_map(|(role, pid)| Some((role.companion()?, *pid)))
    }

    /// Begins to stop it; a stop that has begun goes on as it is. It goes on while [`Self::exit`] is awaited.
    pub fn stop(&self, order: StopOrder) {
        // Full: the same order is waiting already. Closed: the unit is gone. Both are what was wanted.
        let _ = self.orders.try_send(order);
    }

    /// Waits until all processes and everything that they started are gone. May be cancelled and awaited again until it has
    /// answered.
    pub async fn exit(&mut self) -> Exit {
        self.watch.as_mut().await
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Unit")
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

/// When the stop of a unit begins.
enum Ending {
    /// On order, or when one of its processes ends.
    Whole,
    /// At once.
    NotWhole(Option<String>),
}

async fn until_gone(
    members: Vec<Member>,
    lock: &NodeLock,
    default: StopOrder,
    mut orders: mpsc::Receiver<StopOrder>,
    ending: Ending,
) -> Exit {
    let mut grace = default.grace;
    let (first, failed_start) = match ending {
        Ending::NotWhole(reason) => (None, reason),
        Ending::Whole => {
            let mut due = None;
            let first = loop {
                tokio::select! {
                    biased;
                    place = first_gone(&members) => break Some(place),
                    Some(order) = orders.recv(), if due.is_none() => {
                        grace = order.grace;
                        if order.delay.is_zero() {
                            break None;
                        }
                        due = Some(tokio::time::Instant::now() + order.delay);
                    }
                    () = reached(due) => break None,
                }
            };
            (first, None)
        }
    };
    if members.len() > 1
        && let Some(member) = first.and_then(|place| members.get(place))
    {
        tracing::warn!(process.role = %member.role, process.pid = member.id, "a process ended; stopping the others with it");
    }
    let mut statuses = vec![Status::default(); members.len()];
    for (place, (member, status)) in members.iter().zip(&mut statuses).enumerate().rev() {
        member.end(grace).await;
        fault::point("exit-seen");
        *status = member.reap();
        fault::point("node-reaped");
        if first.is_some_and(|first| first != place) {
            // Which of two that take each other down is seen first is chance.
            tracing::info!(process.role = %member.role, process.pid = member.id, process.code = status.code, process.signal = status.signal, "another process ended with it");
        }
    }
    // Only one that survived SIGKILL is waited for here.
    join_all(members.iter().map(Member::gone)).await;
    let seen = Instant::now();
    clear(lock, grace).await;
    fault::point("tree-gone");
    let told = first.or_else(|| members.iter().position(|member| member.role == Role::Node));
    let told = told.and_then(|place| members.get(place).zip(statuses.get(place)));
    let status = told.map(|(_, status)| *status).unwrap_or_default();
    Exit {
        process: told.and_then(|(member, _)| member.role.companion().map(str::to_owned)),
        pid: told.map(|(member, _)| member.id).unwrap_or_default(),
        code: status.code,
        signal: status.signal,
        seen,
        failed_start,
    }
}

async fn first_gone(members: &[Member]) -> usize {
    poll_fn(|context| {
        match members
            .iter()
            .position(|member| member.poll_gone(context).is_ready())
        {
            Some(place) => Poll::Ready(place),
            None => Poll::Pending,
        }
    })
    .await
}

async fn reached(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
