//! `visor history`: what happened in this home, from the journal.

use std::fmt::Write as _;

use serde_json::{Value, json};
use visor_planner::{Exit, Record, UpgradePlan};

use super::known::unit_of;
use super::text::{harmless, time};
use super::{CommandError, HomeArgument, print};
use crate::exit_code;
use crate::home::Home;
use crate::journal::{Entry, Journal};

#[derive(clap::Args)]
pub(super) struct HistoryArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Only the last so many events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) fn history(arguments: &HistoryArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    let entries = Journal::read_if_any(&home.journal())?;
    let events: Vec<Event> = entries.iter().filter_map(event).collect();
    let skipped = events
        .len()
        .saturating_sub(arguments.limit.unwrap_or(events.len()));
    let shown = &events[skipped..];
    print(&if arguments.json {
        json!({
            "schema": 1,
            "events": shown.iter().map(to_json).collect::<Vec<Value>>(),
        })
        .to_string()
    } else if shown.is_empty() {
        "nothing has happened yet".to_owned()
    } else {
        to_text(shown, unit_of(&home))
    })?;
    Ok(exit_code::SUCCESS)
}

/// One line of the history. What a kind of event has no word for is absent.
#[derive(Debug, Default)]
struct Event {
    sequence: u64,
    unix_ms: u64,
    name: &'static str,
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
    height: Option<u64>,
    node_down_ms: Option<u64>,
    exit_to_exec_us: Option<u64>,
    stop_ms: Option<u64>,
    restarts: Option<u32>,
    pid: Option<u32>,
    exit: Option<String>,
    reason: Option<String>,
}

impl Event {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    fn of_plan(name: &'static str, plan: &UpgradePlan) -> Self {
        Self {
            name,
            version: Some(plan.version.0.clone()),
            height: Some(plan.height.0),
            ..Self::default()
        }
    }
}

/// Intents that an outcome follows at once, and the end of a count, are left out: `visor journal dump` has them.
fn event(entry: &Entry) -> Option<Event> {
    let event = match &entry.record {
        Record::StartIntended { .. }
        | Record::Healthy { .. }
        | Record::SuccessHookEnded { .. }
        | Record::RollbackAllowed { .. } => return None,
        Record::Restored { .. } => Event::named("restored"),
        Record::Scheduled { plan, .. } => Event::of_plan("scheduled", plan),
        Record::Unscheduled { plan, .. } => Event::of_plan("unscheduled", plan),
        Record::Staged { version, .. } => Event {
            version: Some(version.0.clone()),
            ..Event::named("staged")
        },
        Record::Halted { plan } => Event::of_plan("halted", plan),
        Record::UpgradeIntended { plan, from, .. } => Event {
            from: Some(from.0.clone()),
            to: Some(plan.version.0.clone()),
            ..Event::of_plan("upgrade_begun", plan)
        },
        Record::NodeStarted { version, process, .. } => Event {
            version: Some(version.0.clone()),
            pid: Some(process.pid),
            ..Event::named("node_started")
        },
        Record::NodeFailed { exit, reason, .. } => Event {
            exit: exit.as_ref().map(exit_name),
            reason: Some(reason.clone()),
            ..Event::named("node_failed")
        },
        Record::UpgradeCompleted {
            plan,
            from,
            node_down_ms,
            exit_to_exec_us,
            stop_ms,
            restarts,
            hook: _,
        } => Event {
            from: Some(from.0.clone()),
            to: Some(plan.version.0.clone()),
            node_down_ms: Some(*node_down_ms),
            exit_to_exec_us: Some(*exit_to_exec_us),
            stop_ms: Some(*stop_ms),
            restarts: Some(*restarts),
            ..Event::of_plan("upgraded", plan)
        },
        Record::GaveUp { reason, .. } => Event {
            reason: Some(reason.clone()),
            ..Event::named("gave_up")
        },
        Record::Stopped { .. } => Event::named("stopped"),
        Record::BackedUp {
            plan, from, backup, ..
        } => Event {
            version: Some(from.0.clone()),
            reason: Some(format!("{} bytes in {}", backup.bytes, backup.path)),
            ..Event::of_plan("backed_up", plan)
        },
        Record::NotBackedUp { plan, reason, .. } => Event {
            reason: Some(reason.clone()),
            ..Event::of_plan("not_backed_up", plan)
        },
        Record::RollbackIntended {
            plan, from, reason, ..
        } => Event {
            from: Some(plan.version.0.clone()),
            to: Some(from.0.clone()),
            reason: Some(reason.clone()),
            ..Event::of_plan("rollback_begun", plan)
        },
        Record::RollbackRefused { reason, .. } => Event {
            reason: Some(reason.clone()),
            ..Event::named("rollback_refused")
        },
        Record::RolledBack { plan, from, .. } => Event {
            from: Some(plan.version.0.clone()),
            to: Some(from.0.clone()),
            ..Event::of_plan("rolled_back", plan)
        },
        Record::ManualPlanned { plan, .. } => Event::of_plan("planned", plan),
        Record::Skipped { height, .. } => Event {
            height: Some(height.0),
            ..Event::named("skipped")
        },
        Record::Unskipped { height, .. } => Event {
            height: Some(height.0),
            ..Event::named("unskipped")
        },
        Record::Migrated { .. } => Event::named("migrated"),
        Record::Downgraded { from, to, .. } => Event {
            from: Some(from.0.clone()),
            to: Some(to.0.clone()),
            ..Event::named("downgraded")
        },
        Record::Forced { version, .. } => Event {
            version: Some(version.0.clone()),
            ..Event::named("forced")
        },
        Record::ShutDown { .. } => Event::named("shut_down"),
        Record::Paused { .. } => Event::named("paused"),
        Record::Resumed { .. } => Event::named("resumed"),
        Record::NodeHeld { .. } => Event::named("node_held"),
        Record::NodeReleased { .. } => Event::named("node_released"),
    };
    Some(Event {
        sequence: entry.sequence,
        unix_ms: entry.unix_ms,
        ..event
    })
}

fn exit_name(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Unknown => "unknown".to_owned(),
    }
}

/// The versioned contract with scripts. Every field is always there; what an event has no word for is null.
fn to_json(event: &Event) -> Value {
    json!({
        "sequence": event.sequence,
        "unix_ms": event.unix_ms,
        "time": time(event.unix_ms),
        "event": event.name,
        "version": event.version,
        "from": event.from,
        "to": event.to,
        "height": event.height,
        "node_down_ms": event.node_down_ms,
        "exit_to_exec_us": event.exit_to_exec_us,
        "stop_ms": event.stop_ms,
        "restarts": event.restarts,
        "pid": event.pid,
        "exit": event.exit,
        "reason": event.reason,
    })
}

fn to_text(events: &[Event], unit: &str) -> String {
    let mut text = String::new();
    for event in events {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{}  {:<14}",
            time(event.unix_ms),
            event.name.replace('_', " ")
        );
        match (&event.from, &event.to, &event.version) {
            (Some(from), Some(to), _) => {
                let _ = write!(text, " {from} to {to}");
            }
            (_, _, Some(version)) => {
                let _ = write!(text, " {version}");
            }
            (_, _, None) => {}
        }
        if let Some(height) = event.height {
            let _ = write!(text, " after {unit} {height}");
        }
        if let Some(pid) = event.pid {
            let _ = write!(text, ", pid {pid}");
        }
        if let (Some(down), Some(exec), Some(stop)) =
            (event.node_down_ms, event.exit_to_exec_us, event.stop_ms)
        {
            let _ = write!(
                text,
                ": stopped in {stop} ms, down for {down} ms, visor's share {exec} us"
            );
        }
        match event.restarts {
            Some(0) | None => {}
            Some(1) => text.push_str(", after 1 failed start"),
            Some(restarts) => {
                let _ = write!(text, ", after {restarts} failed starts");
            }
        }
        if let Some(reason) = &event.reason {
            let _ = write!(text, " {}", harmless(reason));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}
