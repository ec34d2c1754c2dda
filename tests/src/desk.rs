//! A validator's desk without the wallet binary: it signs and sends hundreds of transactions a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use governance::{
    Action, Artifact, ChainId, Choice, Digest, Height, ProposalId, SignedTransaction, SigningKey, Subject,
    Transaction, TransactionId, Upgrade,
};
use proto::pb::governance::v1::get_transaction_response::Outcome;

use crate::client::{Client, already_there};

/// No transaction of a story is ever late.
const LAST_VALID_HEIGHT: Height = Height(1_000_000);
/// Pause before a node that did not answer, or had no room, is asked again.
const RETRY: Duration = Duration::from_millis(10);
/// One question for an outcome; it is asked again, perhaps to another node.
const PATIENCE: Duration = Duration::from_secs(2);

/// A block with a transaction in it, as a node has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The transaction.
    pub id: TransactionId,
    /// The block.
    pub height: u64,
    /// Index of the node that said so.
    pub by: usize,
    /// Whether execution refused it there.
    pub rejected: bool,
}

/// A governance key with its sequence number.
#[derive(Debug)]
pub struct Desk {
    key: SigningKey,
    chain_id: ChainId,
    next_sequence: AtomicU64,
}

impl Desk {
    /// A desk that has sent nothing yet.
    ///
    /// # Errors
    /// When the chain id is none.
    pub fn new(key: SigningKey, chain_id: &str) -> Result<Self> {
        Ok(Self {
            key,
            chain_id: chain_id.parse().context("a chain id")?,
            next_sequence: AtomicU64::new(0),
        })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The sequence number that the next transaction gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::SeqCst)
    }

    /// Goes on at another sequence number.
    pub fn continue_at(&self, sequence: u64) {
        self.next_sequence.store(sequence, Ordering::SeqCst);
    }

    /// Signs `action` with the next sequence number.
    #[must_use]
    pub fn sign(&self, action: Action) -> SignedTransaction {
        self.sign_at(self.next_sequence.fetch_add(1, Ordering::SeqCst), action)
    }

    /// Signs `action` with any sequence number.
    #[must_use]
    pub fn sign_at(&self, sequence: u64, action: Action) -> SignedTransaction {
        Transaction {
            chain_id: self.chain_id.clone(),
            sequence,
            last_valid_height: LAST_VALID_HEIGHT,
            action,
        }
        .sign(&self.key)
    }

    /// Proposes an upgrade that is never reached, for others to vote on, and returns its id once every node has it in a block.
    ///
    /// # Errors
    /// When it is refused, or not in a block within `limit`.
    pub async fn propose_far_upgrade(&self, clients: &[Client], limit: Duration) -> Result<ProposalId> {
        let upgrade = far_upgrade(self.next_sequence())?;
        let id = Subject::Upgrade(upgrade.clone()).id(&self.chain_id);
        let signed = self.sign(Action::ProposeUpgrade(upgrade));
        for (index, client) in clients.iter().enumerate() {
            let done = carry_through(&signed, std::slice::from_ref(client), 0, limit)
                .await
                .with_context(|| format!("the proposal on node {index}"))?;
            if done.rejected {
                bail!("the proposal was refused in block {}", done.height);
            }
        }
        Ok(id)
    }
}

/// An upgrade so far ahead that no story reaches it; another one for every number.
fn far_upgrade(number: u64) -> Result<Upgrade> {
    let artifact = Artifact {
        platform: "linux/amd64".parse().context("a platform")?,
        url: "https://example.org/governance".to_owned(),
        size: 1_000,
        sha256: Digest::of(b"a release that nobody runs"),
    };
    Upgrade::new(
        "9.0.0".parse().context("a version")?,
        Height(500_000 + number),
        vec![artifact],
        String::new(),
    )
    .context("an upgrade")
}

/// Vote number `turn` of a validator that cannot make up its mind. Only one validator of a network may be `critical`: with two
/// rejections the proposal would end.
#[must_use]
pub const fn wavering(proposal: ProposalId, turn: u64, critical: bool) -> Action {
    match (turn % 2, critical) {
        (0, _) => Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
        (_, true) => Action::Vote {
            proposal,
            choice: Choice::Reject,
        },
        (_, false) => Action::Withdraw { proposal },
    }
}

/// Sends a transaction to one node after the other, beginning with `first`, until one says that it is in a block.
///
/// # Errors
/// When a rule refuses it before, or no node says so within `limit`.
pub async fn carry_through(
    signed: &SignedTransaction,
    clients: &[Client],
    first: usize,
    limit: Duration,
) -> Result<Acknowledged> {
    let id = signed.id();
    let deadline = Instant::now() + limit;
    let mut last = String::from("nothing");
    for by in (0..clients.len()).cycle().skip(first) {
        if Instant::now() >= deadline {
            break;
        }
        let client = clients.get(by).context("a client")?;
        match client.submit(signed).await {
            Ok(()) => {}
            Err(status) if already_there(&status) => {}
            Err(status)
                if status.code() == tonic::Code::FailedPrecondition
                    && crate::client::rejection_code(&status) != "GOV-13.gap" =>
            {
                bail!("refused: {status}");
            }
            // The node has gone, has no room, or has not seen our last transaction yet.
            Err(status) => {
                last = status.to_string();
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        match client.outcome(id, PATIENCE).await {
            Ok(Outcome::Committed(committed)) => {
                return Ok(Acknowledged {
                    id,
                    height: committed.height,
                    by,
                    rejected: committed.rejection.is_some(),
                });
            }
            Ok(other) => last = format!("{other:?}"),
            Err(status) => last = status.to_string(),
        }
    }
    bail!("in no block within {limit:?}; the last answer: {last}")
}
