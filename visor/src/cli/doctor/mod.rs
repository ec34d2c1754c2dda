//! `visor doctor`: everything that would make the next upgrade fail, found while there is time.
//!
//! Looks and asks; writes nothing, and sends nothing beyond this host without `--network`. Every check always answers, and one
//! that cannot be made says why.

mod binary;
mod casper;
mod file;
mod home;
mod host;
mod node;
mod operator;
mod upgrade;
mod vega;

use std::fmt::Write as _;

use proto::pb::node::v1::NodeReport;
use proto::pb::visor::v1::Status;
use serde_json::{Value, json};

use super::client::ask;
use super::known::{Known, known};
use super::text::harmless;
use super::{CommandError, HomeArgument, print};
use crate::adapter::casper::Casper;
use crate::adapter::vega::is_vega_home;
use crate::config::Config;
use crate::exit_code;
use crate::home::Home;
use crate::journal::{Entry, Journal};
use crate::run_config::RunConfig;
use crate::swap;

#[derive(clap::Args)]
pub(super) struct DoctorArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Also try the addresses of the artifact and the webhook
    #[arg(long)]
    network: bool,
    /// For a host on which nothing runs yet: leave out what needs a visor and a node
    #[arg(long)]
    offline: bool,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Worth a look; the upgrade goes through all the same.
    Warn,
    /// The next upgrade would fail.
    Fail,
    /// There is nothing to check, or it cannot be told.
    Skipped,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Debug)]
struct Check {
    /// A stable name for scripts.
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it; absent when all is well.
    advice: Option<String>,
}

/// The checks so far, in the order in which they were made.
#[derive(Debug, Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn add(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        advice: Option<String>,
    ) {
        self.0.push(Check {
            name,
            verdict,
            found: found.into(),
            advice,
        });
    }

    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.add(name, Verdict::Ok, found, None);
    }

    fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.add(name, Verdict::Skipped, why, None);
    }

    fn warn(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(name, Verdict::Warn, found, Some(advice.into()));
    }

    fn fail(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(name, Verdict::Fail, found, Some(advice.into()));
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// What the checks go by. What could not be read is absent; the check that is about it says why.
struct Patient {
    home: Home,
    config: Option<Config>,
    status: Option<Status>,
    entries: Vec<Entry>,
    /// The folder that `current` leads to, with its run configuration; of a native home.
    current: Option<(String, RunConfig)>,
    /// What the node says; absent when it was not asked.
    report: Option<Result<NodeReport, String>>,
    /// Every upgrade that is known, the next one first.
    upgrades: Vec<Known>,
    network: bool,
    offline: bool,
    is_vega: bool,
}

impl Patient {
    /// The upgrade that this host carries out next.
    fn next(&self) -> Option<&Known> {
        self.upgrades.iter().find(|upgrade| !upgrade.skipped)
    }

    /// The configuration, or the defaults while it cannot be read.
    fn config(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    let status = ask(&home)?;
    let mut findings = Findings::default();
    let config = home::config(&home, status.as_ref(), &mut findings);
    let entries = Journal::read_if_any(&home.journal());
    home::journal(
        &home,
        entries.as_deref().map_err(|error| super::chain(error)),
        &mut findings,
    );
    let entries = entries.unwrap_or_default();
    let is_vega = is_vega_home(&home);
    let launcher = Casper::of_own_folder(&home);
    let folder = swap::current(&home).ok().flatten().filter(|_| !is_vega);
    let current = folder.and_then(|folder| {
        let run = RunConfig::read(&home.folder(&folder)).ok()?;
        Some((folder, run))
    });
    let mut patient = Patient {
        report: None,
        upgrades: known(&home, status.as_ref(), &entries),
        config,
        status,
        entries,
        current,
        network: arguments.network,
        offline: arguments.offline,
        is_vega,
        home,
    };
    super::run::runtime()?.block_on(async {
        // Asked once, and used by every check that is about it.
        if let Some((_, run)) = patient.current.as_ref().filter(|_| !patient.offline) {
            patient.report = Some(node::report(&run.node.socket).await);
        }
        home::check(&patient, &mut findings);
        if let Some(host) = &launcher {
            casper::check(&patient, host, &mut findings).await;
        } else if patient.is_vega {
            vega::check(&patient, &mut findings).await;
        } else {
            binary::check(&patient, &mut findings).await;
            node::check(&patient, &mut findings);
            upgrade::check(&patient, &mut findings).await;
        }
        upgrade::check_room(&patient, &mut findings);
        operator::check(&patient, &mut findings).await;
        host::check(&patient, &mut findings).await;
    });
    print(&if arguments.json {
        to_json(&findings).to_string()
    } else {
        to_text(&findings)
    })?;
    Ok(match findings.count(Verdict::Fail) {
        0 => exit_code::SUCCESS,
        _ => exit_code::UNREADY,
    })
}

/// The versioned contract with scripts. Every field is always there.
fn to_json(findings: &Findings) -> Value {
    let of = |check: &Check| {
        json!({
            "check": check.name,
            "verdict": check.verdict.name(),
            "found": check.found,
            "advice": check.advice,
        })
    };
    json!({
        "schema": 1,
        "ready": findings.count(Verdict::Fail) == 0,
        "failures": findings.count(Verdict::Fail),
        "warnings": findings.count(Verdict::Warn),
        "checks": findings.0.iter().map(of).collect::<Vec<Value>>(),
    })
}

fn to_text(findings: &Findings) -> String {
    let mut text = String::new();
    for check in &findings.0 {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<8}{:<21}{}",
            check.verdict.name(),
            check.name,
            harmless(&check.found)
        );
        if let Some(advice) = &check.advice {
            let _ = writeln!(text, "{:<29}-> {}", "", harmless(advice));
        }
    }
    let plural = |count: usize, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let failures = findings.count(Verdict::Fail);
    let warnings = plural(findings.count(Verdict::Warn), "warning", "warnings");
    let _ = match failures {
        0 => write!(
            text,
            "nothing found that would make the next upgrade fail; {warnings}"
        ),
        failures => write!(
            text,
            "{} would make the next upgrade fail; {warnings}",
            plural(failures, "problem", "problems")
        ),
    };
    text
}
