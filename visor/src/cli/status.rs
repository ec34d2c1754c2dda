//! `visor status`: what visor and its node are doing; from the journal when no visor runs.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime_serde::re::humantime::format_duration;
use proto::pb::visor::v1::Status;
use serde_json::{Value, json};

use super::client::{ask, tell_offline};
use super::{CommandError, HomeArgument, print};
use crate::block_rate::time_to_upgrade;
use crate::daemon;
use crate::exit_code;
use crate::home::Home;
use crate::status::phase_name;

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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    time_to_upgrade(status, now).map(|left| left.as_secs())
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
        "node_height": status.node_height,
        "node_version": version(&status.node_version),
        "upgrade": status.upgrade.as_ref().map(|upgrade| json!({
            "proposal_id": upgrade.proposal_id,
            "version": upgrade.version,
            "height": upgrade.height,
            "approved": upgrade.approved,
            "staged": upgrade.staged,
            "staging_problem": version(&upgrade.staging_problem),
        })),
        "seconds_to_upgrade": seconds_to_upgrade(status),
        "restarts": status.restarts,
        "last_upgrade": status.last_upgrade.as_ref().map(|upgrade| json!({
            "from": upgrade.from,
            "to": upgrade.to,
            "height": upgrade.height,
            "stop_ms": upgrade.stop_ms,
            "node_down_ms": upgrade.node_down_ms,
            "exit_to_exec_us": upgrade.exit_to_exec_us,
            "restarts": upgrade.restarts,
        })),
        "pinned_chain": version(&status.pinned_chain),
        "paused": status.paused,
        "node_held": status.node_held,
        "skipped_heights": status.skipped_heights,
        "config_problem": version(&status.config_problem),
        "companions": status.companions.iter().map(|companion| json!({
            "name": companion.name,
            "pid": companion.pid,
        })).collect::<Vec<Value>>(),
        "last_backup": status.last_backup.as_ref().map(|backup| json!({
            "version": backup.version,
            "height": backup.height,
            "node_down_ms": backup.node_down_ms,
            "bytes": backup.bytes,
            "path": backup.path,
        })),
        "restarts_total": status.restarts_total,
        "started_unix_ms": if running { json!(status.started_unix_ms) } else { Value::Null },
        "problems": status.problems,
    })
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
            Some(node) if node.adopted => format!("running, pid {} (found running)", node.pid),
            Some(node) => format!("running, pid {}", node.pid),
            None => "not running".to_owned(),
        },
    );
    if status.node_height > 0 {
        let connected = if status.node_connected {
            ""
        } else {
            " (last known)"
        };
        line("height", format!("{}{connected}", status.node_height));
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
            format!("v{}@{}, {accepted}{when}", upgrade.version, upgrade.height),
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
            line("  problem", upgrade.staging_problem.clone());
        }
    }
    if status.restarts > 0 {
        line("restarts", status.restarts.to_string());
    }
    if let Some(upgrade) = &status.last_upgrade {
        line(
            "last upgrade",
            format!(
                "{} to {} after block {}; the node was down for {} ms, visor's share {} us",
                upgrade.from, upgrade.to, upgrade.height, upgrade.node_down_ms, upgrade.exit_to_exec_us
            ),
        );
    }
    if let Some(backup) = &status.last_backup {
        line(
            "last backup",
            format!(
                "of {} after block {}, in {}",
                backup.version, backup.height, backup.path
            ),
        );
    }
    for companion in &status.companions {
        line("companion", format!("{}, pid {}", companion.name, companion.pid));
    }
    if status.paused {
        line("paused", "no upgrade begins until `visor resume`".to_owned());
    }
    if status.node_held {
        line(
            "held",
            "the node is kept stopped until `visor start-node`".to_owned(),
        );
    }
    for height in &status.skipped_heights {
        line("skipped", format!("the upgrade at height {height}"));
    }
    if !status.pinned_chain.is_empty() {
        line("believes", format!("certificates of {}", status.pinned_chain));
    }
    for problem in &status.problems {
        line("problem", problem.clone());
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
        ] {
            assert!(value.get(field).is_some(), "{field}");
        }
    }
}
