//! From an action to a transaction in a block: who signs, with which sequence number, and what became of it.

use std::time::Duration;

use clap::Args;
use governance::{Account, Action, Height, Power, Rejection, Transaction, TransactionId, Validator};

use crate::cli::Context;
use crate::client::{Client, Outcome, Submitted, Wanted};
use crate::client_error::ClientError;
use crate::command_error::{CommandError, Kind};
use crate::keystore::Key;
use crate::text::{self, printable};
use crate::ui::Ui;

/// How many transactions of this key may wait for a block before this one; more is somebody else's doing.
const MAX_WAITING: u64 = 16;

/// What every command that signs can be told.
#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// Wait until the transaction is in a block, then show the tally
    #[arg(long)]
    wait: bool,
    /// How long to wait with --wait
    #[arg(long, value_name = "TIME", requires = "wait", default_value = "60s", value_parser = text::parse_duration)]
    wait_timeout: Duration,
    /// For how many blocks the transaction stays valid: later it can never enter a block
    #[arg(long, value_name = "BLOCKS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    valid_for: u64,
}

/// In what capacity a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The validator itself: proposes, votes, authorises.
    Governance,
    /// The validator's host: reports readiness, with sequence numbers of its own (GOV-16).
    Reporter,
}

/// The validator that signs.
pub(crate) struct Author {
    key: Key,
    role: Role,
    pub(crate) validator: Validator,
    /// As it was when the command began.
    pub(crate) account: Account,
    total_power: Power,
}

/// A transaction on its way, or in a block.
pub(crate) struct Sent {
    pub(crate) id: TransactionId,
    pub(crate) committed: Option<Height>,
}

impl Author {
    /// The validator with this key; GOV-01 is checked before anything is asked or signed.
    async fn governance(key: Key, client: &mut Client) -> Result<Self, CommandError> {
        let public_key = key.public_key();
        match client.validator(&Wanted::GovernanceKey(public_key)).await? {
            Some(found) => Ok(Self::new(key, Role::Governance, found, client)),
            None => Err(CommandError::from(&Rejection::NotAValidator { public_key })),
        }
    }

    /// The validator that has authorised this key, or the one that is named; GOV-16 as above.
    async fn reporter(key: Key, named: Option<&str>, client: &mut Client) -> Result<Self, CommandError> {
        let public_key = key.public_key();
        let wanted = named.map_or(Wanted::ReporterKey(public_key), Wanted::parse);
        let Some(found) = client.validator(&wanted).await? else {
            let error = match named {
                Some(_) => CommandError::new(Kind::Failed, format!("there is no {wanted}")),
                None => CommandError::new(
                    Kind::Failed,
                    format!(
                        "no active validator has authorised the key {} to report",
                        key.name
                    ),
                ),
            };
            return Err(error.with_hint(
                "`wallet validators` lists the validators; one authorises a reporter with `wallet authorize-reporter KEY`, and `--key NAME` chooses the key that reports",
            ));
        };
        if found.1.reporter != Some(public_key) {
            return Err(CommandError::from(&Rejection::NotTheReporter {
                public_key,
                validator: found.0.id,
            }));
        }
        Ok(Self::new(key, Role::Reporter, found, client))
    }

    fn new(key: Key, role: Role, (validator, account): (Validator, Account), client: &Client) -> Self {
        Self {
            key,
            role,
            validator,
            account,
            total_power: client.status().total_power,
        }
    }

    /// The first line of the question before signing.
    pub(crate) fn introduction(&self, client: &Client) -> String {
        let key = match self.role {
            Role::Governance => "key",
            Role::Reporter => "reporter key",
        };
        format!(
            "To be signed on chain {} by {} (power {} of {}) with {key} {}:",
            client.chain_id(),
            printable(&self.validator.name),
            self.validator.power,
            self.total_power,
            self.key.name
        )
    }

    /// Signs, sends and, when asked to, waits.
    pub(crate) async fn send(
        &self,
        action: Action,
        client: &mut Client,
        options: &SendArgs,
        context: &Context,
    ) -> Result<Sent, CommandError> {
        let id = self.submit(action, client, options).await?;
        if !options.wait {
            context.ui.note(&format!(
                "Sent, but not in a block yet; to see what becomes of it: wallet transaction {id}"
            ));
            return Ok(Sent { id, committed: None });
        }
        context
            .ui
            .note(&format!("Sent; waiting until it is in a block: {id}"));
        let outcome = client.outcome(id, options.wait_timeout).await;
        let committed = finished(id, outcome, options)?;
        Ok(Sent {
            id,
            committed: Some(committed),
        })
    }

    /// Height and sequence number are asked for at the last moment: a person may have thought for long.
    async fn submit(
        &self,
        action: Action,
        client: &mut Client,
        options: &SendArgs,
    ) -> Result<TransactionId, CommandError> {
        client.refresh().await?;
        let now = client.validator(&Wanted::Id(self.validator.id)).await?;
        let account = now.map_or(self.account, |(_, account)| account);
        let first = match self.role {
            Role::Governance => account.next_sequence,
            Role::Reporter => account.next_report_sequence,
        };
        let last_valid_height = Height(client.status().height.0.saturating_add(options.valid_for));
        let mut sequence = first;
        loop {
            let transaction = Transaction {
                chain_id: client.chain_id().clone(),
                sequence,
                last_valid_height,
                action: action.clone(),
            };
            let signed = transaction.sign(self.key.signing_key());
            match client.submit(&signed).await {
                Ok(Submitted::Admitted | Submitted::AlreadyKnown) => return Ok(signed.id()),
                // Earlier transactions of this key wait for a block: this one goes behind them.
                Err(ClientError::Rejected { code, .. })
                    if code == "GOV-13.replay" && sequence < first.saturating_add(MAX_WAITING) =>
                {
                    sequence = sequence.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The height of the block, or why there is none.
fn finished(
    id: TransactionId,
    outcome: Result<Outcome, ClientError>,
    options: &SendArgs,
) -> Result<Height, CommandError> {
    let fate = format!("`wallet transaction {id}` tells what became of it");
    match outcome {
        Ok(Outcome::Committed { height }) => Ok(height),
        Ok(Outcome::Rejected { code, message, .. } | Outcome::Dropped { code, message }) => {
            Err(CommandError::rejected(&code, &message))
        }
        Ok(Outcome::Pending | Outcome::Unknown) => {
            let waited = humantime::format_duration(options.wait_timeout);
            let message = format!("transaction {id} is in no block after {waited}");
            Err(CommandError::new(Kind::Failed, message)
                .with_hint(format!("it was sent and may still be carried out; {fate}")))
        }
        Err(error) => Err(CommandError::from(error).with_hint(format!("the transaction was sent; {fate}"))),
    }
}

/// Whether somebody can be asked, and who signs: the first things that every signing command wants to know.
pub(crate) async fn begin(context: &Context) -> Result<(Client, Author), CommandError> {
    let (mut client, key) = ready(context).await?;
    let author = Author::governance(key, &mut client).await?;
    Ok((client, author))
}

/// The same for a command that a validator's host runs, with its reporter key.
pub(crate) async fn begin_report(
    context: &Context,
    validator: Option<&str>,
) -> Result<(Client, Author), CommandError> {
    let (mut client, key) = ready(context).await?;
    let author = Author::reporter(key, validator, &mut client).await?;
    Ok((client, author))
}

async fn ready(context: &Context) -> Result<(Client, Key), CommandError> {
    let ui: &Ui = &context.ui;
    ui.can_confirm()?;
    let key = context.keystore()?.choose(context.key.as_ref())?;
    Ok((context.connect().await?, key))
}
