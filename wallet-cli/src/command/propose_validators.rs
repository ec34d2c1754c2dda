//! `wallet propose-validators`

use std::path::{Path, PathBuf};

use clap::Args;
use governance::{Height, Subject, Validator, ValidatorChange, ValidatorsChange};

use crate::change::{self, Addition, ChangeError, NewPower, Outcome, Rotation};
use crate::cli::Context;
use crate::command::{judge, proposing};
use crate::command_error::{CommandError, Kind};
use crate::input;
use crate::sending::{self, SendArgs};

/// The largest legal change is a transaction of at most 16 KiB; as JSON with much space it stays below this.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Propose a change of the validator set, and approve it
///
/// Validators are named by their id, their name, or at least 8 of the id's first digits. One change moves less than a third
/// of the power. Needs a node.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct ProposeValidatorsArgs {
    /// Somebody enters; its id follows from its governance key. May be given several times
    #[arg(
        long,
        group = "what",
        value_name = "name=NAME,governance-key=KEY,consensus-key=KEY,power=N"
    )]
    add: Vec<Addition>,
    /// Somebody leaves. May be given several times
    #[arg(long, group = "what", value_name = "ID")]
    remove: Vec<String>,
    /// Somebody's power becomes another. May be given several times
    #[arg(long, group = "what", value_name = "ID=POWER")]
    set_power: Vec<NewPower>,
    /// Somebody's keys become others; its id stays, a key that is not named too. May be given several times
    #[arg(
        long,
        group = "what",
        value_name = "ID[,governance-key=KEY][,consensus-key=KEY]"
    )]
    rotate: Vec<Rotation>,
    /// Take the whole change from a JSON file: `height`, `changes`, `description`
    #[arg(long, group = "what", value_name = "FILE", conflicts_with_all = ["add", "remove", "set_power", "rotate", "height", "description"])]
    file: Option<PathBuf>,
    /// The last block of the old set; the next one is decided by the new set
    #[arg(long, required_unless_present = "file", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    height: Option<u64>,
    /// A text for the people who vote
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    send: SendArgs,
}

pub(crate) async fn run(args: ProposeValidatorsArgs, context: &Context) -> Result<(), CommandError> {
    // Before anything is asked: a file that cannot be read is no matter of the chain.
    let whole = args.file.as_deref().map(read).transpose()?;
    let (mut client, author) = sending::begin(context).await?;
    let refuse = |rejection| CommandError::from(&rejection);
    judge::running(client.status()).map_err(refuse)?;

    let validators = client.validators().await?;
    let active: Vec<Validator> = validators.into_iter().map(|(validator, _)| validator).collect();
    let change = match whole {
        Some(change) => change,
        None => named(&args, &active)?,
    };
    judge::height(change.height, client.status()).map_err(refuse)?;
    change.validate().map_err(refuse)?;
    let outcome = Outcome::of(&change.changes, &active).map_err(refuse)?;
    let subject = Subject::Validators(change);
    let notes = vec![("outcome", outcome.to_string())];
    proposing::propose(&subject, notes, &author, &mut client, &args.send, context).await
}

/// What the flags say, in the order of validator ids: the same change has the same id, however it is written.
fn named(args: &ProposeValidatorsArgs, active: &[Validator]) -> Result<ValidatorsChange, CommandError> {
    let unknown = |error: ChangeError| {
        CommandError::new(Kind::Failed, error).with_hint("`wallet validators` lists names and ids")
    };
    let mut changes = Vec::new();
    for validator in &args.remove {
        changes.push(change::removal(validator, active).map_err(unknown)?);
    }
    for power in &args.set_power {
        changes.push(power.resolve(active).map_err(unknown)?);
    }
    for rotation in &args.rotate {
        changes.push(rotation.resolve(active).map_err(unknown)?);
    }
    for Addition(validator) in &args.add {
        changes.push(ValidatorChange::Add(validator.clone()));
    }
    changes.sort_by_key(ValidatorChange::validator);
    Ok(ValidatorsChange {
        // The command line has been refused without one.
        height: Height(args.height.unwrap_or_default()),
        changes,
        description: args.description.clone(),
    })
}

fn read(path: &Path) -> Result<ValidatorsChange, CommandError> {
    let content = input::read(path, MAX_FILE_BYTES).map_err(|error| CommandError::new(Kind::Usage, error))?;
    serde_json::from_slice(&content).map_err(|source| {
        let path = path.to_owned();
        CommandError::new(Kind::Usage, FileError { path, source }).with_hint(
            "expected an object with `height`, `changes` and `description`; the wallet's README has an example",
        )
    })
}

#[derive(Debug, thiserror::Error)]
#[error("{} describes no change of the validator set", path.display())]
struct FileError {
    path: PathBuf,
    source: serde_json::Error,
}
