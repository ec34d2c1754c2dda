//! The end of whatever outlived the unit's main processes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::{sleep, timeout};

use super::member::{KILL_PATIENCE, open_process};
use crate::lock::{Holder, NodeLock};

/// Between looks at a lock whose holder cannot be seen (between fork and exec, or another user's). Nothing tells when it changes, so
/// this is one of the few places that poll.
const UNSEEN_HOLDER: Duration = Duration::from_millis(5);
/// A holder that stays unseen for long is another user's, and may stay for days.
const LONGEST_UNSEEN: Duration = Duration::from_secs(1);

/// The time to the next look after `waited` for a holder that cannot be seen: at once while it may be between fork and exec, and
/// seldom when it cannot be that.
pub(super) fn until_next_look(waited: Duration) -> Duration {
    (waited / 10).clamp(UNSEEN_HOLDER, LONGEST_UNSEEN)
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
            sleep(until_next_look(began.elapsed())).await;
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
            if pids.is_empty() {
                tell_unseen();
            } else {
                tracing::error!(node.pids = ?pids, "processes of the node do not end after SIGKILL; nothing is started until they do");
            }
            told = true;
        }
    }
}

pub(super) fn tell_unseen() {
    tracing::error!(
        "a process that this user cannot see holds the node's lock: the node, or something that it has started, runs as another user; \
         nothing is started until it ends"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_cannot_be_seen_is_looked_for_often_and_then_seldom() {
        let next = |milliseconds| until_next_look(Duration::from_millis(milliseconds));
        assert_eq!(next(0), Duration::from_millis(5));
        assert_eq!(next(200), Duration::from_millis(20));
        assert_eq!(next(1_000_000), Duration::from_secs(1));
    }
}
