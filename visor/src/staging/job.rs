//! Staging off the loop: a thread of its own with a runtime of its own, so that neither hashing nor a slow disk ever delays
//! the node's supervision, and its memory goes with it when it is done.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::install::Order;
use crate::adapter::Stager;
use crate::backup::{self, check_space};
use crate::cli::chain;
use crate::config::Staging;
use crate::reconnect::Delays;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The version folder is complete and durable.
    Staged,
    /// It is not; another attempt follows. The text is for the operator.
    Failed(String),
}

/// A staging under way. Dropping it ends it between two steps.
#[derive(Debug)]
pub struct Job {
    /// Told by being dropped.
    _cancel: oneshot::Sender<()>,
}

impl Job {
    /// Begins, and tries again with growing delays until it is staged. Every outcome carries the order. With a backup, the upgrade counts
    /// as staged only while there is room for it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn begin(
        stager: Box<dyn Stager>,
        order: Order,
        limits: Staging,
        backup: Option<backup::Plan>,
        outcomes: mpsc::Sender<(Order, Outcome)>,
    ) -> io::Result<Self> {
        let (cancel, cancelled) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new().name("staging".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = cancelled => stager.abandon(),
                    () = until_staged(stager.as_ref(), &limits, &order, backup.as_ref(), &outcomes) => {}
                }
            });
            // A name lookup may still run; nobody waits for it.
            runtime.shutdown_timeout(Duration::ZERO);
        })?;
        Ok(Self { _cancel: cancel })
    }
}

async fn until_staged(
    stager: &dyn Stager,
    limits: &Staging,
    order: &Order,
    backup: Option<&backup::Plan>,
    outcomes: &mpsc::Sender<(Order, Outcome)>,
) {
    let mut delays = Delays::new(limits.retry_initial, limits.retry_max);
    loop {
        let outcome = match stager.attempt().await {
            Ok(()) => match backup.map(check_space).transpose() {
                Ok(_) => Outcome::Staged,
                Err(error) => Outcome::Failed(chain(&error)),
            },
            Err(reason) => Outcome::Failed(reason),
        };
        let done = outcome == Outcome::Staged;
        if outcomes.send((order.clone(), outcome)).await.is_err() || done {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(delays.next_delay()) => {}
            () = stager.changed() => delays.reset(),
        }
    }
}
