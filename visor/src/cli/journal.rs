//! `visor journal dump`: every record of the journal, or whether it reads clean.

use std::fmt::Write as _;

use serde_json::{Value, json};
use visor_planner::Record;

use super::text::{harmless, time};
use super::{CommandError, HomeArgument, print};
use crate::exit_code;
use crate::home::Home;
use crate::journal::{Journal, JournalError, Readable};

#[derive(clap::Args)]
pub(super) struct JournalArguments {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(clap::Subcommand)]
enum JournalCommand {
    /// Print every record, oldest first; works offline, and beside a running visor
    Dump(DumpArguments),
}

#[derive(clap::Args)]
struct DumpArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Only say whether the journal reads clean
    #[arg(long)]
    verify: bool,
}

pub(super) fn journal(arguments: &JournalArguments) -> Result<u8, CommandError> {
    match &arguments.command {
        JournalCommand::Dump(arguments) => dump(arguments),
    }
}

/// What could be read is printed whatever comes after it.
fn dump(arguments: &DumpArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    let path = home.journal();
    let found = match Journal::read_to_damage(&path) {
        // A home in which no visor has run.
        Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Readable {
            entries: Vec::new(),
            damage: None,
            torn_bytes: 0,
        },
        read => read?,
    };
    let text = if arguments.json {
        to_json(&path.to_string_lossy(), &found, arguments.verify)?.to_string()
    } else {
        to_text(&found, arguments.verify)?
    };
    print(&text)?;
    match found.damage {
        Some((offset, damage)) => Err(JournalError::Damaged { path, offset, damage }.into()),
        None => Ok(exit_code::SUCCESS),
    }
}

fn content(record: &Record) -> Result<Value, CommandError> {
    serde_json::to_value(record).map_err(|error| CommandError::new(exit_code::BUG, error))
}

/// The versioned contract with scripts. The records are the journal's own words, which belong to the version of visor that wrote them.
fn to_json(path: &str, found: &Readable, verify: bool) -> Result<Value, CommandError> {
    let records = if verify {
        Value::Null
    } else {
        let each = found.entries.iter().map(|entry| {
            Ok(json!({
                "sequence": entry.sequence,
                "unix_ms": entry.unix_ms,
                "time": time(entry.unix_ms),
                "record": content(&entry.record)?,
            }))
        });
        each.collect::<Result<Vec<Value>, CommandError>>()?.into()
    };
    Ok(json!({
        "schema": 1,
        "journal": path,
        "count": found.entries.len(),
        "records": records,
        "torn_bytes": found.torn_bytes,
        "damage": found.damage.map(|(offset, damage)| json!({
            "offset": offset,
            "reason": damage.to_string(),
        })),
    }))
}

fn to_text(found: &Readable, verify: bool) -> Result<String, CommandError> {
    let mut text = String::new();
    if !verify {
        for entry in &found.entries {
            let record = harmless(&content(&entry.record)?.to_string());
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:<6} {}  {record}", entry.sequence, time(entry.unix_ms));
        }
    }
    let count = found.entries.len();
    match found.damage {
        Some(_) => {
            let _ = write!(text, "{count} records before the damage");
        }
        None if found.torn_bytes > 0 => {
            let _ = write!(
                text,
                "{count} records, all clean; {} bytes of one more that is not finished (the next visor cuts them off)",
                found.torn_bytes
            );
        }
        None => {
            let _ = write!(text, "{count} records, all clean");
        }
    }
    Ok(text)
}
