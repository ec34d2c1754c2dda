//! What is seen of one run of a node: the versions that are staged beside it, and what it says of itself at `/status`.
//!
//! The chain's decision is in the staged chain specifications: the node reads them itself, and stops before the era that the next one names.
//! So they make the report, and `/status` adds how far the chain is, and whether the node has seen what lies there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::pb::visor::v1 as pb;
use semver::Version;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use visor_planner::{self as planner, Announced, ArtifactFact, Height, NodeReport, Standing};

use super::host::{Host, plan};
use super::layout::Installed;
use super::status::{Address, Answer, StatusError};
use super::watch::FolderWatch;
use crate::adapter::{LinkEvent, LinkTo, Translated};
use crate::cli::chain;
use crate::reconnect::Delays;

/// Between two questions, far from any upgrade.
const SELDOM: Duration = Duration::from_secs(10);
/// Once the era before an upgrade has begun: it is what the operator watches.
const OFTEN: Duration = Duration::from_secs(1);
/// A node that has just been started answers some time later.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// An address at which nobody ever answers must not keep what is staged from being checked.
const WITHOUT_ANSWER: Duration = Duration::from_secs(10);
/// One question that finds no answer may be the node's load.
const MISSES: u32 = 2;
/// A node looks for new versions every 30 s. One that has not found a version after three looks does not find it.
const FOUND_WITHIN: Duration = Duration::from_secs(90);

/// Follows one run until the daemon does not listen any more.
pub(super) async fn follow(host: Arc<Host>, version: Version, to: LinkTo) {
    // The configuration was checked when it was read.
    let address = Address::parse(&to.config.casper.status_url);
    // The link to the run before gives it back when it is gone.
    let mut watch = host.watch.lock().await;
    if watch.is_none() {
        *watch = FolderWatch::new(&host.settings)
            .inspect_err(|error| {
                tracing::warn!(%error, "the versions on this host are not watched; they are looked at with every question for the node's status");
            })
            .ok();
    }
    let mut run = Run::new(Arc::clone(&host), version, to.run, to.events, address.is_some());
    // Nothing is seen twice: the watch has begun before.
    run.look();
    run.make_ready();
    let mut next = address.as_ref().map(|_| Instant::now());
    let mut patience = Some(
        Instant::now()
            + if address.is_some() {
                WITHOUT_ANSWER
            } else {
                Duration::ZERO
            },
    );
    loop {
        let told = tokio::select! {
            () = changed(&mut watch) => {
                run.look();
                run.make_ready();
                run.tell().await
            }
            answer = asked(address.as_ref(), next) => {
                if watch.is_none() {
                    run.look();
                }
                next = Some(Instant::now() + run.answered(answer));
                run.tell().await
            }
            () = at(patience) => {
                patience = None;
                run.is_patient = false;
                run.tell().await
            }
        };
        if told.is_err() {
            return;
        }
    }
}

async fn changed(watch: &mut Option<FolderWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Asks when it is time. Begun anew when something else comes first, which happens seldom.
async fn asked(address: Option<&Address>, due: Option<Instant>) -> Result<Answer, StatusError> {
    at(due).await;
    match address {
        Some(address) => address.ask().await,
        None => std::future::pending().await,
    }
}

/// The daemon does not listen any more.
struct Closed;

/// One run of a node, as it is known.
struct Run {
    host: Arc<Host>,
    version: Version,
    run: u64,
    events: mpsc::Sender<(u64, LinkEvent)>,
    installed: Vec<Installed>,
    /// When each version above the running one was first seen.
    staged_since: BTreeMap<Version, Instant>,
    /// The last one.
    answer: Option<Answer>,
    /// Questions in a row that found no answer.
    misses: u32,
    /// The node answers, and the planner knows.
    connected: bool,
    /// What was said last.
    reported: Option<NodeReport>,
    shown: Vec<pb::InstalledVersion>,
    /// That another version answers has been said.
    warned: bool,
    /// There is an address to ask at.
    asks: bool,
    /// The first answer may still come soon.
    is_patient: bool,
    delays: Delays,
}

impl Run {
    fn new(
        host: Arc<Host>,
        version: Version,
        run: u64,
        events: mpsc::Sender<(u64, LinkEvent)>,
        asks: bool,
    ) -> Self {
        Self {
            host,
            version,
            run,
            events,
            installed: Vec::new(),
            staged_since: BTreeMap::new(),
            answer: None,
            misses: 0,
            connected: false,
            reported: None,
            shown: Vec::new(),
            warned: false,
            asks,
            is_patient: true,
            delays: Delays::new(FIRST_DELAY, SELDOM),
        }
    }

    fn look(&mut self) {
        match self.host.survey() {
            Ok(installed) => {
                let above = installed.iter().filter(|found| found.version > self.version);
                let before = std::mem::take(&mut self.staged_since);
                self.staged_since = above
                    .map(|found| {
                        let since = before.get(&found.version).copied();
                        (found.version.clone(), since.unwrap_or_else(Instant::now))
                    })
                    .collect();
                self.installed = installed;
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the versions on this host cannot be looked at; what was seen last counts");
            }
        }
    }

    /// Begins to make durable what the upgrade from this version will write, off the loop. Without it the upgrade writes it in its own time.
    fn make_ready(&self) {
        let (host, version) = (Arc::clone(&self.host), self.version.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = host.make_ready(&version) {
                tracing::warn!(error = %chain(&error), "what the next upgrade will write cannot be made ready");
            }
        });
    }

    /// Takes an answer in, and says when to ask again.
    fn answered(&mut self, answer: Result<Answer, StatusError>) -> Duration {
        match answer {
            Ok(answer) => {
                self.misses = 0;
                self.delays.reset();
                if let Some(block) = answer.last_added_block_info {
                    self.host.set_era(block.era_id);
                }
                self.compare(&answer);
                self.answer = Some(answer);
                if self.is_near() { OFTEN } else { SELDOM }
            }
            Err(error) => {
                self.misses = self.misses.saturating_add(1);
                tracing::debug!(error = %chain(&error), "the node does not tell its status");
                if self.connected {
                    OFTEN
                } else {
                    self.delays.next_delay()
                }
            }
        }
    }

    /// Another node may answer at that address.
    fn compare(&mut self, answer: &Answer) {
        let says = Version::parse(&answer.api_version).ok();
        if let Some(says) = says.filter(|says| *says != self.version)
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!(
                node.version = %self.version,
                node.says = %says,
                "the node's status is that of another version; is casper.status_url the address of this node?"
            );
        }
    }

    /// The era before an upgrade runs, or a later one.
    fn is_near(&self) -> bool {
        let era = self.host.era();
        self.staged()
            .filter_map(Installed::era)
            .any(|activation| era.saturating_add(1) >= activation)
    }

    /// The versions above the running one, ascending.
    fn staged(&self) -> impl Iterator<Item = &Installed> {
        self.installed.iter().filter(|found| found.version > self.version)
    }

    /// What the operator is shown of each version.
    fn shown(&self) -> Vec<pb::InstalledVersion> {
        let unseen = self.unseen();
        let shown = self.installed.iter().map(|found| {
            let mut shown = found.shown();
            if let Some((version, problem)) = &unseen
                && **version == found.version
            {
                if !shown.problem.is_empty() {
                    shown.problem.push_str("; ");
                }
                shown.problem.push_str(problem);
            }
            shown
        });
        shown.collect()
    }

    /// The next version, when the node should have found it long ago and has not.
    fn unseen(&self) -> Option<(&Version, String)> {
        let answer = self.answer.as_ref().filter(|_| self.connected)?;
        let next = self.staged().find(|found| found.in_config)?;
        let era = next.era()?;
        let since = self.staged_since.get(&next.version)?.elapsed();
        let says = answer.next_upgrade.as_ref();
        let is_found = says.is_some_and(|says| {
            says.protocol_version == next.version.to_string() && says.activation_point.as_u64() == Some(era)
        });
        if is_found || since < FOUND_WITHIN {
            return None;
        }
        let says = says.map_or_else(
            || "no upgrade".to_owned(),
            |says| format!("{} at {}", says.protocol_version, says.activation_point),
        );
        Some((
            &next.version,
            format!(
                "the node has not found it in {} s and announces {says}, so that it would not stop for it",
                since.as_secs()
            ),
        ))
    }

    /// Says what is new.
    async fn tell(&mut self) -> Result<(), Closed> {
        if self.misses == 0 && self.answer.is_some() {
            if !std::mem::replace(&mut self.connected, true) {
                // It has to be told that the node answers, whatever it says.
                self.reported = None;
            }
        } else if self.misses >= MISSES && std::mem::take(&mut self.connected) {
            self.send(LinkEvent::Lost).await?;
        }
        let shown = self.shown();
        if shown != self.shown {
            self.shown.clone_from(&shown);
            self.send(LinkEvent::Installed(shown)).await?;
        }
        let report = self.report_now();
        if (!self.connected && self.is_patient) || self.reported.as_ref() == Some(&report) {
            return Ok(());
        }
        self.reported = Some(report.clone());
        let refusals = Vec::new();
        self.send(LinkEvent::Reported(Translated { report, refusals }))
            .await?;
        if self.asks && !self.connected {
            // What is staged is known all the same; that the node answers is not claimed.
            self.send(LinkEvent::Lost).await?;
        }
        Ok(())
    }

    fn report_now(&self) -> NodeReport {
        // The node looks at the smallest version above its own and at no other: for that one it stops. Those after it have their turn.
        let next = self
            .staged()
            .find(|found| found.in_config)
            .map(|found| &found.version);
        // Without an era in its chain specification a version is no upgrade: no node ever stops for it.
        let upgrades = self
            .staged()
            .filter(|found| found.in_config && found.era().is_some());
        let upgrades = upgrades.map(|found| Announced {
            plan: plan(&found.version, found.era()),
            standing: if Some(&found.version) == next {
                Standing::LockedIn
            } else {
                Standing::Approved
            },
            artifact: ArtifactFact::InPlace,
        });
        NodeReport {
            version: planner::Version(self.version.to_string()),
            height: Height(self.host.era()),
            upgrades: upgrades.collect(),
            halt: None,
        }
    }

    async fn send(&self, event: LinkEvent) -> Result<(), Closed> {
        self.events.send((self.run, event)).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests;
