//! One process of a unit, watched by its pidfd.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::{ProcessError, Role};
use crate::fault;
use crate::readiness::readable;

/// How long a process may take to disappear after SIGKILL before the operator is told; it is waited for in any case.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Member {
    pub(super) role: Role,
    pub(super) id: u32,
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
    grace: Option<Duration>,
}

/// How a process ended; neither is known of one that is no child of visor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Status {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

impl Member {
    pub(super) fn observe(role: Role, pid: Pid, grace: Option<Duration>) -> Result<Self, ProcessError> {
        let id = pid.as_raw_nonzero().get().unsigned_abs();
        match open_process(pid) {
            Ok(descriptor) => Ok(Self {
                role,
                id,
                pid,
                descriptor,
                grace,
            }),
            Err(source) => Err(ProcessError::Watch {
                role,
                pid: id,
                source,
            }),
        }
    }

    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.descriptor.poll_read_ready(context).map(drop)
    }

    pub(super) async fn gone(&self) {
        let _ = self.descriptor.readable().await;
    }

    /// Asked of the system: the runtime may learn it a moment later.
    fn is_gone(&self) -> bool {
        let mut wanted = [PollFd::new(self.descriptor.get_ref(), PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut wanted, Some(&now)), Ok(1..))
    }

    /// SIGTERM to its group, grace, SIGKILL, until it is gone (VIS-08). One that the kernel does not let go is reported
    /// and left, so that the others can be stopped; it must be waited for again.
    pub(super) async fn end(&self, grace: Duration) {
        if self.is_gone() {
            return;
        }
        let grace = self.grace.unwrap_or(grace);
        self.signal(Signal::TERM);
        fault::point("sigterm-sent");
        if timeout(grace, self.gone()).await.is_ok() {
            return;
        }
        tracing::warn!(process.role = %self.role, process.pid = self.id, stop.grace = ?grace, "a process ignores SIGTERM, killing it");
        self.signal(Signal::KILL);
        fault::point("sigkill-sent");
        if timeout(KILL_PATIENCE, self.gone()).await.is_err() {
            tracing::error!(process.role = %self.role, process.pid = self.id, "a process does not end after SIGKILL; nothing is started until it does");
        }
    }

    /// Signals the whole group.
    ///
    /// A child is not reaped yet, so neither its id nor its group can be another's; of any other process it was asked a
    /// moment ago whether it lives.
    fn signal(&self, signal: Signal) {
        if !self.is_gone() && kill_process_group(self.pid, signal).is_err() {
            // Not a group leader: started by hand under our lock. Its descendants are found by the lock.
            let _ = pidfd_send_signal(self.descriptor.get_ref(), signal);
        }
    }

    /// Takes the status of a process that is gone, so that no zombie stays. Also of one that was adopted: after visor
    /// replaced itself the unit's processes are its children still.
    pub(super) fn reap(&self) -> Status {
        let id = WaitId::PidFd(self.descriptor.get_ref().as_fd());
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => Status {
                code: status.exit_status(),
                signal: status.terminating_signal(),
            },
            // Another's child: its parent is told, and visor is not.
            Ok(None) | Err(_) => Status::default(),
        }
    }
}

pub(super) fn open_process(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    readable(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}
