//! A constant load: every validator changes its vote back and forth, each time as soon as the last change is in a block.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use governance::ProposalId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::desk::{Acknowledged, Desk, carry_through, wavering};

/// How long one vote may take. A network that goes on needs a few blocks.
const VOTE_LIMIT: Duration = Duration::from_secs(60);

/// Every transaction that a node has acknowledged to be in a block, in the order of the acknowledgements.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<Acknowledged>>>);

impl Ledger {
    /// What it holds so far.
    #[must_use]
    pub fn all(&self) -> Vec<Acknowledged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing has been acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest block that this node has named.
    #[must_use]
    pub fn highest_by(&self, node: usize) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|one| one.by == node)
            .map(|one| one.height)
            .max()
            .unwrap_or(0)
    }

    fn write(&self, acknowledged: Acknowledged) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(acknowledged);
    }
}

/// The load. Stops when it goes.
#[derive(Debug)]
pub struct Load {
    ledger: Ledger,
    stop: watch::Sender<bool>,
    voters: JoinSet<Result<()>>,
}

impl Load {
    /// Starts it: the desk with index 0 switches between approval and rejection, the others between approval and none. Every
    /// desk prefers the node of its own index and goes to the next one when that does not answer.
    #[must_use]
    pub fn start(desks: Vec<Arc<Desk>>, clients: &[Client], proposal: ProposalId) -> Self {
        let ledger = Ledger::default();
        let (stop, stopped) = watch::channel(false);
        let mut voters = JoinSet::new();
        for (index, desk) in desks.into_iter().enumerate() {
            let (clients, ledger, stopped) = (clients.to_vec(), ledger.clone(), stopped.clone());
            voters.spawn(async move {
                let mut turn = 0;
                while !*stopped.borrow() {
                    let signed = desk.sign(wavering(proposal, turn, index == 0));
                    let done = carry_through(&signed, &clients, index % clients.len().max(1), VOTE_LIMIT)
                        .await
                        .with_context(|| format!("vote {turn} of validator {index}"))?;
                    ledger.write(done);
                    turn += 1;
                }
                Ok(())
            });
        }
        Self { ledger, stop, voters }
    }

    /// What has been acknowledged.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Lets every voter finish its last vote.
    ///
    /// # Errors
    /// When a vote was refused or got lost.
    pub async fn finish(mut self) -> Result<Ledger> {
        let _ = self.stop.send(true);
        while let Some(ended) = self.voters.join_next().await {
            ended.context("a voter")??;
        }
        Ok(self.ledger)
    }

    /// Fails when a voter has given up.
    ///
    /// # Errors
    /// Why it did.
    pub async fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.voters.try_join_next() {
            ended.context("a voter")??;
        }
        Ok(())
    }
}
