//! `visor plan`: every upgrade that is known, and what is missing for it.

use std::fmt::Write as _;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use proto::pb::visor::v1::{Standing, Status};
use serde_json::{Value, json};

use super::client::{ask, tell_offline};
use super::known::{Known, known, unit_of};
use super::text::{harmless, now};
use super::{CommandError, HomeArgument, print};
use crate::block_rate::time_to_height;
use crate::exit_code;
use crate::home::Home;
use crate::journal::Journal;
use crate::run_config::tag;
use crate::status::standing_name;

#[derive(clap::Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn plan(arguments: &PlanArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    let entries = Journal::read_if_any(&home.journal())?;
    let status = ask(&home)?;
    if status.is_none() {
        tell_offline(&home);
    }
    let upgrades = known(&home, status.as_ref(), &entries);
    print(&if arguments.json {
        to_json(status.as_ref(), &upgrades).to_string()
    } else {
        to_text(status.as_ref(), &upgrades, unit_of(&home))
    })?;
    Ok(match status {
        Some(_) => exit_code::SUCCESS,
        None => exit_code::UNREACHABLE,
    })
}

/// Blocks that the node still executes before it halts; nothing while its height is unknown.
fn blocks_left(status: Option<&Status>, upgrade: &Known) -> Option<u64> {
    let height = status
        .map(|status| status.node_height)
        .filter(|height| *height > 0)?;
    Some(upgrade.height.saturating_sub(height))
}

/// At the present pace of the chain; nothing while that is not known.
fn seconds_left(status: Option<&Status>, upgrade: &Known) -> Option<u64> {
    let status = status.filter(|status| status.node_height > 0)?;
    time_to_height(status, upgrade.height, now()).map(|left| left.as_secs())
}

/// The versioned contract with scripts. Every field is always there; what is not known is null.
fn to_json(status: Option<&Status>, upgrades: &[Known]) -> Value {
    let of = |upgrade: &Known| {
        json!({
            "id": upgrade.id,
            "version": upgrade.version,
            "height": upgrade.height,
            "blocks_left": blocks_left(status, upgrade),
            "seconds_left": seconds_left(status, upgrade),
            "standing": standing_name(upgrade.standing),
            "approved": upgrade.approved(),
            "staged": upgrade.staged,
            "staging_problem": Some(&upgrade.staging_problem).filter(|problem| !problem.is_empty()),
            "skipped": upgrade.skipped,
            "artifact": upgrade.artifact.as_ref().map(|artifact| json!({
                "url": artifact.url,
                "size": artifact.size,
                "sha256": artifact.sha256,
            })),
        })
    };
    json!({
        "schema": 1,
        "visor_running": status.is_some(),
        "current_version": status.map(|status| &status.current_version),
        "node_height": status.map(|status| status.node_height).filter(|height| *height > 0),
        "paused": status.map(|status| status.paused),
        "upgrades": upgrades.iter().map(of).collect::<Vec<Value>>(),
    })
}

fn to_text(status: Option<&Status>, upgrades: &[Known], unit: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if status.is_some_and(|status| status.paused) {
        let _ = writeln!(text, "paused: no upgrade begins until `visor resume`");
    }
    if upgrades.is_empty() {
        let _ = writeln!(text, "no upgrade is known");
    }
    for upgrade in upgrades {
        let _ = write!(text, "{}@{}", tag(&upgrade.version), upgrade.height);
        let standing = match upgrade.standing {
            Standing::Unspecified | Standing::Proposed => "being voted on",
            Standing::Approved => "approved",
            Standing::LockedIn => "locked in",
            Standing::Manual => "ordered by hand",
        };
        let _ = write!(text, ", {standing}");
        let _ = write!(text, ", {}", if upgrade.staged { "staged" } else { "not staged" });
        match blocks_left(status, upgrade) {
            Some(0) => text.push_str(", due"),
            Some(1) => {
                let _ = write!(text, ", in 1 {unit}");
            }
            Some(left) => {
                let _ = write!(text, ", in {left} {unit}s");
            }
            None => {}
        }
        if let Some(seconds) = seconds_left(status, upgrade).filter(|seconds| *seconds > 0) {
            let left = format_duration(Duration::from_secs(seconds));
            let _ = write!(text, " (about {left})");
        }
        if upgrade.skipped {
            text.push_str(", skipped: it is not carried out");
        }
        text.push('\n');
        if !upgrade.staging_problem.is_empty() {
            let _ = writeln!(text, "  problem   {}", harmless(&upgrade.staging_problem));
        }
        if let Some(artifact) = &upgrade.artifact {
            let _ = writeln!(text, "  artifact  {}", harmless(&artifact.url));
            let _ = writeln!(
                text,
                "            {} bytes, sha256 {}",
                artifact.size,
                harmless(&artifact.sha256)
            );
        }
    }
    text.truncate(text.trim_end().len());
    text
}
