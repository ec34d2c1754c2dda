//! `visor status`: what visor and its node are doing; from the journal when no visor runs.

use std::fmt::Write as _;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use proto::pb::visor::v1::{Status, UpgradeStatus};
use serde_json::{Value, json};

use super::client::{ask, tell_offline};
use super::text::{harmless, now};
use super::{CommandError, HomeArgument, print};
use crate::block_rate::time_to_upgrade;
use crate::daemon;
use crate::exit_code;
use crate::home::Home;
use crate::run_config::tag;
use crate::status::{phase_name, standing_name};

#[derive(clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &StatusArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    if let Some(status) = ask(&home)? {
        print(&if arguments.json {
            to_json(&status, true).to_string()
        } else {
            to_text(&status)
        })?;
        return Ok(exit_code::SUCCESS);
    }
    tell_offline(&home);
    let status = daemon::last_known(&home)?;
    print(&if arguments.json {
        to_json(&status, false).to_string()
    } else {
        to_text(&status)
    })?;
    Ok(exit_code::UNREACHABLE)
}

/// At the present pace of the chain; absent when no upgrade or no pace is known.
fn seconds_to_upgrade(status: &Status) -> Option<u64> {
    time_to_upgrade(status, now()).map(|left| left.as_secs())
}

/// The versioned contract with scripts. Every field is always there; what is not known is null.
fn to_json(status: &Status, running: bool) -> Value {
    let version = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    json!({
        "schema": 1,
        "visor_running": running,
        "visor_version": version(&status.visor_version),
        "visor_pid": if running { json!(status.visor_pid) } else { Value::Null },
        "phase": phase_name(status.phase()),
        "current_version": version(&status.current_version),
        "node": status.node.as_ref().map(|node| json!({ "pid": node.pid, "adopted": node.adopted })),
        "node_connected": status.node_connected,
        "node_held": status.node_held,
        "node_height": status.node_height,
        "node_version": version(&status.node_version),
        "companions": status.companions.iter().map(|companion| json!({
            "name": companion.name,
            "pid": companion.pid,
        })).collect::<Vec<Value>>(),
        "upgrade": status.upgrade.as_ref().map(upgrade_json),
        "upgrades": status.upgrades.iter().map(upgrade_json).collect::<Vec<Value>>(),
        "skipped_heights": status.skipped_heights,
        "paused": status.paused,
        "seconds_to_upgrade": seconds_to_upgrade(status),
        "restarts": status.restarts,
        "restarts_total": status.restarts_total,
        "last_upgrade": status.last_upgrade.as_ref().map(|upgrade| json!({
            "from": upgrade.from,
            "to": upgrade.to,
            "height": upgrade.height,
            "stop_ms": upgrade.stop_ms,
            "node_down_ms": upgrade.node_down_ms,
            "exit_to_exec_us": upgrade.exit_to_exec_us,
            "restarts": upgrade.restarts,
        })),
        "last_backup": status.last_backup.as_ref().map(|backup| json!({
            "version": backup.version,
            "height": backup.height,
            "node_down_ms": backup.node_down_ms,
            "bytes": backup.bytes,
            "path": backup.path,
        })),
        "started_unix_ms": Some(status.started_unix_ms).filter(|started| *started > 0),
        "pinned_chain": version(&status.pinned_chain),
        "config_problem": version(&status.config_problem),
        "journal_failed": status.journal_failed,
        "chain_system": version(&status.chain_system),
        "position_unit": version(&status.position_unit),
        "installed_versions": status.installed_versions.iter().map(|installed| json!({
            "version": installed.version,
            "activation": installed.activation,
            "complete": installed.complete,
            "problem": version(&installed.problem),
        })).collect::<Vec<Value>>(),
        "problems": status.problems,
    })
}

fn upgrade_json(upgrade: &UpgradeStatus) -> Value {
    let known = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    json!({
        "proposal_id": upgrade.proposal_id,
        "version": upgrade.version,
        "height": upgrade.height,
        "standing": standing_name(upgrade.standing()),
        "approved": upgrade.approved,
        "staged": upgrade.staged,
        "staging_problem": known(&upgrade.staging_problem),
        "skipped": upgrade.skipped,
    })
}

/// What the heights count.
fn unit(status: &Status) -> &str {
    match status.position_unit.as_str() {
        "" => "height",
        unit => unit,
    }
}

fn to_text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("phase", phase_name(status.phase()).replace('_', " "));
    line("version", status.current_version.clone());
    line(
        "node",
        match &status.node {
            Some(node) => {
                let found = if node.adopted { " (found running)" } else { "" };
                let silent = if status.node_connected {
                    ""
                } else {
                    ", no word from it"
                };
                format!("running, pid {}{found}{silent}", node.pid)
            }
            None if status.node_held => "kept stopped until `visor start-node`".to_owned(),
            None => "not running".to_owned(),
        },
    );
    for companion in &status.companions {
        line("", format!("{}, pid {}", companion.name, companion.pid));
    }
    if status.node_height > 0 {
        let connected = if status.node_connected {
            ""
        } else {
            " (last known)"
        };
        line(unit(status), format!("{}{connected}", status.node_height));
    }
    if let Some(upgrade) = &status.upgrade {
        let accepted = if upgrade.approved {
            "approved"
        } else {
            "being voted on"
        };
        let when = seconds_to_upgrade(status)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| format!(", in about {}", format_duration(Duration::from_secs(seconds))))
            .unwrap_or_default();
        line(
            "next upgrade",
            format!("{}@{}, {accepted}{when}", tag(&upgrade.version), upgrade.height),
        );
        line(
            "staged",
            if upgrade.staged {
                "yes".to_owned()
            } else {
                "not yet".to_owned()
            },
        );
        if !upgrade.staging_problem.is_empty() {
            line("  problem", harmless(&upgrade.staging_problem));
        }
    }
    if status.paused {
        line("paused", "no upgrade begins until `visor resume`".to_owned());
    }
    if !status.skipped_heights.is_empty() {
        let heights: Vec<String> = status.skipped_heights.iter().map(u64::to_string).collect();
        line("skipped", heights.join(", "));
    }
    if status.restarts > 0 {
        line("restarts", status.restarts.to_string());
    }
    if let Some(upgrade) = &status.last_upgrade {
        line(
            "last upgrade",
            format!(
                "{} to {} after {} {}; the node was down for {} ms, visor's share {} us",
                upgrade.from,
                upgrade.to,
                if unit(status) == "height" {
                    "block"
                } else {
                    unit(status)
                },
                upgrade.height,
                upgrade.node_down_ms,
                upgrade.exit_to_exec_us
            ),
        );
    }
    if let Some(backup) = &status.last_backup {
        line(
            "last backup",
            format!(
                "{} {} of {}, {} bytes in {}",
                unit(status),
                backup.height,
                backup.version,
                backup.bytes,
                backup.path
            ),
        );
    }
    if !status.pinned_chain.is_empty() {
        line("believes", format!("certificates of {}", status.pinned_chain));
    }
    if !status.config_problem.is_empty() {
        line("configuration", harmless(&status.config_problem));
    }
    for installed in &status.installed_versions {
        let activation = installed
            .activation
            .map(|activation| format!(", begins with {} {activation}", unit(status)))
            .unwrap_or_default();
        let state = match installed.problem.as_str() {
            "" if installed.complete => "complete".to_owned(),
            "" => "not complete".to_owned(),
            problem => harmless(problem),
        };
        line("installed", format!("{}{activation}: {state}", installed.version));
    }
    for problem in &status.problems {
        line("problem", harmless(problem));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use proto::pb::visor::v1::Phase;

    use super::*;

    #[test]
    fn json_names_the_phase_in_snake_case_and_has_every_field() {
        let status = Status {
            phase: Phase::BackingUp.into(),
            ..Status::default()
        };
        let value = to_json(&status, true);
        assert_eq!(value["phase"], "backing_up");
        assert_eq!(value["schema"], 1);
        for field in [
            "node",
            "upgrade",
            "last_upgrade",
            "current_version",
            "problems",
            "restarts",
            "node_connected",
            "seconds_to_upgrade",
            "upgrades",
            "paused",
            "node_held",
            "skipped_heights",
            "companions",
            "last_backup",
            "config_problem",
            "journal_failed",
            "restarts_total",
            "started_unix_ms",
            "chain_system",
            "position_unit",
            "installed_versions",
        ] {
            assert!(value.get(field).is_some(), "{field}");
        }
    }
}
