//! `visor rollback`: back to the version and the data of before the last upgrade, after a confirmation.

use std::io::{self, BufRead, IsTerminal as _};

use proto::pb::visor::v1::order_request::Order;
use proto::pb::visor::v1::{LastBackup, Rollback, Status};
use serde_json::{Value, json};
use visor_planner::Record;

use super::client::{OrderArguments, ask, give, run_command, to_json};
use super::text::{harmless, time};
use super::{CommandError, chain, complain, print};
use crate::exit_code;
use crate::home::Home;
use crate::journal::{Entry, Journal};

#[derive(clap::Args)]
pub(super) struct RollbackArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, thiserror::Error)]
enum RollbackError {
    #[error("roll back: no visor answers at {socket}. Start one with {command}", socket = home.socket().display(), command = run_command(home))]
    NoVisor { home: Home },
    #[error(
        "roll back: no backup of the last upgrade is known, so there is nothing to go back to. Nothing was changed"
    )]
    NoBackup,
    #[error(
        "roll back: expected a confirmation, and there is no terminal to ask for it. Nothing was changed; `--yes` confirms"
    )]
    NoTerminal,
    #[error("roll back: expected the answer `yes`. Nothing was changed")]
    NotConfirmed,
    #[error("read the answer")]
    Answer {
        #[source]
        source: io::Error,
    },
}

pub(super) fn rollback(arguments: &RollbackArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.order.home.home)?;
    let status = ask(&home)?;
    let backup = status.as_ref().and_then(of_last_upgrade);
    let entries = Journal::read_if_any(&home.journal())?;
    let made = backup.as_ref().and_then(|backup| made_at(backup, &entries));
    let done = confirmed(
        arguments,
        &home,
        status.as_ref(),
        backup.as_ref().map(|backup| (backup, made)),
    )
    .and_then(|()| give(&home, "roll back".to_owned(), Order::Rollback(Rollback {})));
    let failure = done.as_ref().err().map(|error| chain(error));
    if arguments.order.json {
        let message = failure.as_ref().or(done.as_ref().ok());
        print(
            &json_of(
                failure.is_none(),
                message.map_or("", String::as_str),
                backup.as_ref(),
                made,
            )
            .to_string(),
        )?;
    }
    let message = done?;
    if !arguments.order.json {
        print(&harmless(&message))?;
    }
    Ok(exit_code::SUCCESS)
}

/// The versioned contract with scripts: the fields of every order, and what is gone back to.
fn json_of(accepted: bool, message: &str, backup: Option<&LastBackup>, made: Option<u64>) -> Value {
    let mut value = to_json("rollback", accepted, message);
    let fields = [
        ("version", json!(backup.map(|backup| &backup.version))),
        ("height", json!(backup.map(|backup| backup.height))),
        ("backup", json!(backup.map(|backup| &backup.path))),
        ("backup_unix_ms", json!(made)),
    ];
    if let Some(object) = value.as_object_mut() {
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }
    value
}

fn confirmed(
    arguments: &RollbackArguments,
    home: &Home,
    status: Option<&Status>,
    backup: Option<(&LastBackup, Option<u64>)>,
) -> Result<(), CommandError> {
    let refused = |error| CommandError::new(exit_code::REFUSED, error);
    let Some(status) = status else {
        let home = home.clone();
        return Err(CommandError::new(
            exit_code::UNREACHABLE,
            RollbackError::NoVisor { home },
        ));
    };
    let (backup, made) = backup.ok_or_else(|| refused(RollbackError::NoBackup))?;
    complain(&consequences(status, backup, made));
    if arguments.yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(refused(RollbackError::NoTerminal));
    }
    complain("Type `yes` to go on:");
    if is_confirmed(&mut stdin.lock())
        .map_err(|source| CommandError::new(exit_code::FAILED, RollbackError::Answer { source }))?
    {
        Ok(())
    } else {
        Err(refused(RollbackError::NotConfirmed))
    }
}

fn is_confirmed(input: &mut impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// The backup that visor would go back to: one of an earlier upgrade is none.
fn of_last_upgrade(status: &Status) -> Option<LastBackup> {
    let last = status.last_upgrade.as_ref().map(|upgrade| upgrade.height);
    let under_way = status.upgrade.as_ref().map(|upgrade| upgrade.height);
    let backup = status.last_backup.clone()?;
    [last, under_way].contains(&Some(backup.height)).then_some(backup)
}

/// Milliseconds since 1970 when it was finished.
fn made_at(backup: &LastBackup, entries: &[Entry]) -> Option<u64> {
    let made = entries.iter().rev().find(
        |entry| matches!(&entry.record, Record::BackedUp { plan, .. } if plan.height.0 == backup.height),
    );
    made.map(|entry| entry.unix_ms)
}

fn consequences(status: &Status, backup: &LastBackup, made: Option<u64>) -> String {
    let height = backup.height;
    let made = made.map_or_else(|| "at a time that is not known".to_owned(), time);
    let lost = match status.node_height.checked_sub(height) {
        None | Some(0) => String::new(),
        Some(1) => " (1 block so far)".to_owned(),
        Some(blocks) => format!(" ({blocks} blocks so far)"),
    };
    format!(
        "A rollback\n\
         - stops the node, version {}, and starts version {} again;\n\
         - brings the node's data back from the backup of height {height}, made {made}: {} ({} bytes);\n\
         - takes every block above {height}{lost} from this host; what was written since then is moved aside, not deleted;\n\
         - leaves the upgrade of height {height} out until `visor skip --undo {height}`.\n\
         It is refused when this host has signed anything above height {height}.",
        harmless(&status.current_version),
        harmless(&backup.version),
        harmless(&backup.path),
        backup.bytes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, confirmed) in [
            ("yes\n", true),
            (" yes ", true),
            ("y\n", false),
            ("no\n", false),
            ("", false),
            ("YES\n", false),
        ] {
            assert_eq!(
                is_confirmed(&mut answer.as_bytes()).unwrap(),
                confirmed,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn what_is_lost_is_said_exactly() {
        let status = Status {
            current_version: "1.1.0".to_owned(),
            node_height: 107,
            ..Status::default()
        };
        let backup = LastBackup {
            version: "1.0.0".to_owned(),
            height: 100,
            node_down_ms: 5,
            bytes: 77,
            path: "/srv/visor/backups/100-1.0.0".to_owned(),
        };
        let text = consequences(&status, &backup, Some(0));
        for part in [
            "version 1.1.0",
            "version 1.0.0 again",
            "1970-01-01T00:00:00",
            "height 100",
            "/srv/visor/backups/100-1.0.0 (77 bytes)",
            "every block above 100 (7 blocks so far)",
            "moved aside",
            "skip --undo 100",
            "signed",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
