//! A pass or a restore off the loop: a thread of its own that ends with it.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::mpsc;

use super::error::{BackupError, failed};
use super::pass::{self, Replaced, Tuning};
use super::plan::Plan;
use super::restore::restore;
use super::retention::retire;
use crate::cli::chain;

/// How long an earlier job that was called off may take to notice; it looks between two pieces of a file.
const BUSY_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks; the thread lives for its job only.
const BUSY_DELAY: Duration = Duration::from_millis(10);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Copy everything while the node runs.
    FirstPass(Plan),
    /// Copy what has changed since, while nothing runs, and finish the backup.
    SecondPass(Plan),
    /// Put the sources back as they are in the backup, while nothing runs.
    Restore(Plan),
}

impl Order {
    /// What it is about.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        match self {
            Self::FirstPass(plan) | Self::SecondPass(plan) | Self::Restore(plan) => plan,
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and durable.
    Passed {
        /// The order.
        order: Order,
        /// Bytes in the backup.
        bytes: u64,
        /// Bytes that had to be copied for it; those of earlier attempts do not count.
        copied: u64,
        /// How long it took.
        took: Duration,
    },
    /// It is not; the same order may be given again. The text is for the operator.
    Failed {
        /// The order.
        order: Order,
        /// Why.
        reason: String,
    },
}

/// Bytes in the backup, and those that were copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) copied: u64,
}

/// Told when its job is no longer wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn check(&self) -> Result<(), BackupError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(BackupError::Cancelled);
        }
        Ok(())
    }
}

/// An order under way. Dropping it calls it off: its thread ends at the next piece of a file, and sends nothing.
///
/// One job works in a backups folder at a time. A second one waits until the first has ended, so a first pass is ended and its
/// second pass begun by putting the new job in the old one's place.
#[derive(Debug)]
pub struct Job {
    cancel: Cancel,
}

impl Job {
    /// Begins. Exactly one outcome is sent, unless the job is dropped before.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn begin(order: Order, outcomes: mpsc::Sender<Outcome>) -> io::Result<Self> {
        let cancel = Cancel::default();
        let seen = cancel.clone();
        thread::Builder::new().name("backup".to_owned()).spawn(move || {
            let began = Instant::now();
            let mut replaced = Replaced::default();
            let (result, lock) = match hold(order.plan(), &seen) {
                Ok(lock) => (run(&order, &seen, &mut replaced), Some(lock)),
                Err(error) => (Err(error), None),
            };
            let outcome = match result {
                Ok(Tally { bytes, copied }) => Outcome::Passed {
                    order: order.clone(),
                    bytes,
                    copied,
                    took: began.elapsed(),
                },
                Err(BackupError::Cancelled) => return,
                Err(error) => Outcome::Failed {
                    order: order.clone(),
                    reason: chain(&error),
                },
            };
            let finished = matches!((&outcome, &order), (Outcome::Passed { .. }, Order::SecondPass(_)));
            // Nobody waits any more: then nobody is told.
            let _ = outcomes.blocking_send(outcome);
            drop(replaced);
            if finished {
                // The node starts meanwhile. It goes on when the job is dropped: the backup is done, this only makes room.
                retire(order.plan());
            }
            drop(lock);
        })?;
        Ok(Self { cancel })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel.0.store(true, Ordering::Relaxed);
    }
}

fn run(order: &Order, cancel: &Cancel, replaced: &mut Replaced) -> Result<Tally, BackupError> {
    match order {
        Order::FirstPass(plan) => pass::first(plan, Tuning::default(), cancel),
        Order::SecondPass(plan) => pass::second(plan, Tuning::default(), cancel, replaced),
        Order::Restore(plan) => restore(plan, cancel),
    }
}

/// The right to work in the backups folder, until it is dropped or the process ends.
fn hold(plan: &Plan, cancel: &Cancel) -> Result<File, BackupError> {
    std::fs::create_dir_all(&plan.folder).map_err(failed("create", &plan.folder))?;
    let path = plan.folder.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    let began = Instant::now();
    loop {
        cancel.check()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < BUSY_LIMIT => thread::sleep(BUSY_DELAY),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(BackupError::Busy {
                    folder: plan.folder.clone(),
                    waited: BUSY_LIMIT.as_secs(),
                });
            }
            Err(error) => return Err(failed("lock", &path)(error.into())),
        }
    }
}
