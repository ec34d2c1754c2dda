//! The loop: select, one fact, one step of the planner, its orders one after the other, and again.
//!
//! Decides nothing. Invariants: an append is a barrier (VIS-01); between an exit and the exec that answers it nothing is
//! awaited, synced, hashed or logged (VIS-05); answers to orders become facts before anything else is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::pb::visor::v1 as pb;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use visor_planner::{
    Announced, ArtifactFact, Effect, ExitReason, Input, Observed, Planner, Process, Record, RecoverError,
    Timer, Timestamp, UpgradeId, Version, recover,
};

use crate::adapter::governance::{EXIT_CODES, LinkEvent, Refusal, Translated, translate};
use crate::certificate::{Notary, Pin, PinError};
use crate::cli::{CommandError, chain};
use crate::config::{Config, EventKind};
use crate::execute::{Channels, Host};
use crate::exit_code;
use crate::fault;
use crate::home::Home;
use crate::journal::{Entry, Journal};
use crate::lock::{Holder, NodeLock};
use crate::notice;
use crate::notify::{Event, Facts as HostFacts, Notifier};
use crate::process::{Exit, Found, is_main};
use crate::rpc;
use crate::staging::{Artifact, Order, Outcome};
use crate::status;
use crate::swap;

/// Facts that may wait while one is handled. Handling takes microseconds, an append some milliseconds.
const QUEUE: usize = 16;

/// How long visor's end waits for notifications: the node is stopped already, and service managers wait much longer.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(3);

/// Runs the visor of a home until it is told to stop, or gives up.
///
/// # Errors
/// When it cannot begin. The node, if one runs, is left as it is.
pub async fn run(home: &Home, config: &Config) -> Result<u8, CommandError> {
    let mut signals = Signals::new().map_err(|source| CommandError::new(exit_code::FAILED, source))?;
    let opened = Journal::open(&home.journal())?;
    fault::point("journal-opened");
    if opened.torn_bytes > 0 {
        tracing::warn!(
            journal.torn_bytes = opened.torn_bytes,
            "the journal ended with a record that was never finished; it was cut off"
        );
    }
    let listener = rpc::bind(&home.socket()).map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    fault::point("listening");
    let (mut daemon, mut facts) = Daemon::begin(home, config, opened.journal, &opened.entries).await?;
    let server = tokio::spawn(rpc::serve(listener, daemon.status.subscribe()));
    let code = daemon.until_exit(&mut facts, &mut signals).await;
    // What happened last is what matters most to whoever is told.
    daemon.notifier.flush(LAST_NOTIFICATIONS).await;
    server.abort();
    // Best effort: a socket that is left behind is replaced by the next visor.
    let _ = std::fs::remove_file(home.socket());
    Ok(code)
}

/// What the journal and the home say while no visor runs; nothing is changed.
///
/// # Errors
/// When they cannot be read, or contradict each other.
pub fn last_known(home: &Home) -> Result<pb::Status, CommandError> {
    let config = Config::read(&home.config())?;
    let entries = if home.journal().exists() {
        Journal::read(&home.journal())?
    } else {
        Vec::new()
    };
    let node = NodeLock::new(home.node_lock())
        .holders()
        .into_iter()
        .find(is_main)
        .map(|main| {
            (
                process_of(&main),
                main.program()
                    .and_then(|program| version_of_program(home, &program)),
            )
        });
    let observed = observe(home, node)?;
    let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
    let (planner, _effects) = recover(config.planner(EXIT_CODES), now(), &records, observed)
        .map_err(|source| CommandError::new(exit_code::CONFIG, Contradiction { source }))?;
    let mut shown = status::of(&planner.status());
    match records.last() {
        Some(Record::GaveUp { reason, .. }) => {
            shown.phase = pb::Phase::Failed.into();
            shown.problems.push(reason.clone());
        }
        Some(Record::Stopped { .. }) => shown.phase = pb::Phase::Stopping.into(),
        _ => {}
    }
    Ok(shown)
}

/// The genesis that the operator trusts (VIS-12).
fn pin(home: &Home, config: &Config) -> Result<Option<Pin>, CommandError> {
    let genesis = &config.governance.genesis;
    if genesis.as_os_str().is_empty() {
        return Ok(None);
    }
    let pin = Pin::read(&home.root().join(genesis)).map_err(|source| {
        let config = home.config();
        CommandError::new(exit_code::CONFIG, UnusablePin { config, source })
    })?;
    tracing::info!(chain.id = %pin.chain_id(), "upgrades are believed only with a certificate");
    Ok(Some(pin))
}

fn observe(home: &Home, node: Option<(Process, Option<Version>)>) -> Result<Observed, CommandError> {
    let current = swap::current(home)?
        .and_then(|folder| home.version_of(&folder))
        .map(Version);
    let mut seed = [0; 8];
    // Without randomness the delays of this host are those of another; that is all.
    let _ = getrandom::fill(&mut seed);
    Ok(Observed {
        current,
        node,
        staged: home.versions().into_iter().map(Version).collect(),
        seed: u64::from_le_bytes(seed),
    })
}

fn process_of(main: &Holder) -> Process {
    Process {
        pid: main.pid.as_raw_nonzero().get().unsigned_abs(),
    }
}

fn version_of_program(home: &Home, program: &std::path::Path) -> Option<Version> {
    home.version_of(&home.folder_of(program)?).map(Version)
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The signals that mean something to visor.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // A lost terminal must not end the node.
                _ = self.hangup.recv() => tracing::info!("SIGHUP has no effect: the configuration is read when visor starts"),
            }
        }
    }
}

/// Where facts arrive.
struct Facts {
    links: mpsc::Receiver<(u64, LinkEvent)>,
    outcomes: mpsc::Receiver<(Order, Outcome)>,
}

struct Daemon {
    planner: Planner,
    host: Host,
    journal: Journal,
    status: watch::Sender<pb::Status>,
    notifier: Notifier,
    /// The chain whose genesis the operator has pinned; empty: none.
    pinned_chain: String,
    /// What the node announces and nobody has proven.
    refusals: Vec<Refusal>,
    timers: BTreeMap<Timer, tokio::time::Instant>,
    queue: VecDeque<Input>,
    /// When the exit was seen that the orders under way answer.
    exit_seen: Option<Instant>,
    /// `current` was switched, and the switch is not durable yet.
    unsynced_swap: bool,
    journal_failed: bool,
    exit: Option<u8>,
}

impl Daemon {
    async fn begin(
        home: &Home,
        config: &Config,
        journal: Journal,
        entries: &[Entry],
    ) -> Result<(Self, Facts), CommandError> {
        let failed = |error| CommandError::new(exit_code::FAILED, error);
        let (links, link_facts) = mpsc::channel(QUEUE);
        let (outcomes, outcome_facts) = mpsc::channel(QUEUE);
        let facts = Facts {
            links: link_facts,
            outcomes: outcome_facts,
        };
        let notary = pin(home, config)?.map(|pin| Arc::new(Notary::new(pin)));
        let pinned_chain = notary
            .as_ref()
            .map(|notary| notary.chain_id().to_string())
            .unwrap_or_default();
        let channels = Channels { links, outcomes };
        let mut host = Host::new(home.clone(), config.clone(), channels, notary);

        let node = loop {
            match host.find_running().await.map_err(failed)? {
                Found::Nothing => break None,
                Found::Leftovers => host.clear_leftovers().await,
                Found::Node { main, program } => {
                    let version = version_of_program(home, &program);
                    let fallback = || {
                        swap::current(home)
                            .ok()
                            .flatten()
                            .and_then(|folder| home.version_of(&folder))
                    };
                    let Some(watched) = version
                        .as_ref()
                        .map(|version| version.0.clone())
                        .or_else(fallback)
                    else {
                        return Err(CommandError::new(
                            exit_code::CONFIG,
                            UnknownNode {
                                pid: process_of(&main).pid,
                                program,
                            },
                        ));
                    };
                    match host.adopt(main.pid, &watched) {
                        Ok(()) => {
                            tracing::info!(node.pid = process_of(&main).pid, node.version = %watched, "adopted the running node");
                            break Some((process_of(&main), version));
                        }
                        // It ended in this moment; look again.
                        Err(error) if Holder::read(main.pid).is_none() => {
                            tracing::debug!(error = %chain(&error), "the node ended while it was being adopted");
                        }
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        };

        fault::point("node-looked-for");
        home.clear_staging();
        let records: Vec<Record> = entries.iter().map(|entry| entry.record.clone()).collect();
        let observed = observe(home, node)?;
        let (planner, effects) = recover(config.planner(EXIT_CODES), now(), &records, observed)
            .map_err(|source| CommandError::new(exit_code::CONFIG, Contradiction { source }))?;
        let status = watch::Sender::new(status::of(&planner.status()));
        let mut daemon = Self {
            planner,
            host,
            journal,
            status,
            notifier: Notifier::new(&config.notify, HostFacts::of_this_host(home.root())),
            pinned_chain,
            refusals: Vec::new(),
            timers: BTreeMap::new(),
            queue: VecDeque::new(),
            exit_seen: None,
            unsynced_swap: false,
            journal_failed: false,
            exit: None,
        };
        daemon.execute(effects.0);
        daemon.settle();
        Ok((daemon, facts))
    }

    async fn until_exit(&mut self, facts: &mut Facts, signals: &mut Signals) -> u8 {
        let mut asked = 0_u32;
        loop {
            if let Some(code) = self.exit {
                return code;
            }
            let next = self
                .timers
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(timer, at)| (*timer, *at));
            tokio::select! {
                biased;
                exit = self.host.exit() => self.exited(exit),
                Some((run, event)) = facts.links.recv() => self.linked(run, event),
                Some((order, outcome)) = facts.outcomes.recv() => self.staged(order, outcome),
                () = due(next) => {
                    if let Some((timer, _)) = next {
                        self.timers.remove(&timer);
                        self.queue.push_back(Input::TimerFired(timer));
                    }
                }
                () = signals.stop() => {
                    asked += 1;
                    tracing::info!(stop.requests = asked, "asked to stop; stopping the node first");
                    self.queue.push_back(Input::StopRequested);
                }
            }
            self.settle();
        }
    }

    fn exited(&mut self, exit: Exit) {
        self.exit_seen = Some(exit.seen);
        self.host.forget_node();
        let ended = match (exit.code, exit.signal) {
            (Some(code), _) => visor_planner::Exit::Code(code),
            (None, Some(signal)) => visor_planner::Exit::Signal(signal),
            (None, None) => visor_planner::Exit::Unknown,
        };
        self.queue.push_back(Input::NodeExited { exit: ended });
        self.settle();
        // After the answer, so that nothing is written before it.
        tracing::info!(node.pid = exit.pid, node.exit = ?ended, "the node and all that it started are gone");
    }

    fn linked(&mut self, run: u64, event: LinkEvent) {
        if !self.host.is_present_run(run) {
            return;
        }
        match event {
            LinkEvent::Lost => self.queue.push_back(Input::NodeLinkLost),
            LinkEvent::Reported { report, verdicts } => match translate(&report, verdicts.as_ref()) {
                Some(Translated { report, refusals }) => {
                    self.refuse(refusals);
                    self.host.set_live(
                        report
                            .upgrades
                            .iter()
                            .map(|upgrade| upgrade.plan.id.0.clone())
                            .collect(),
                    );
                    self.queue.push_back(Input::NodeReported(report));
                }
                None => {
                    tracing::warn!(node.version = %report.version, "the node sent a report that makes no sense; it is ignored");
                }
            },
        }
    }

    /// VIS-12: tells once what is not believed, and why.
    fn refuse(&mut self, refusals: Vec<Refusal>) {
        for refusal in refusals.iter().filter(|refusal| !self.refusals.contains(refusal)) {
            tracing::error!(
                upgrade.id = %refusal.plan.id.0,
                upgrade.version = %refusal.plan.version,
                upgrade.height = refusal.plan.height.0,
                upgrade.problem = %refusal.reason,
                "the node announces an accepted upgrade that is not proven; it is not carried out"
            );
            let message = format!(
                "the upgrade to {} at height {} is announced and not proven; it is not carried out: {}",
                refusal.plan.version, refusal.plan.height, refusal.reason
            );
            let event = Event::new(EventKind::Failed, message)
                .version(&refusal.plan.version)
                .reason(&refusal.reason)
                .about(&refusal.plan.id.0, &refusal.plan.version.0, refusal.plan.height.0);
            self.notifier.send(event);
        }
        self.refusals = refusals;
    }

    /// Tells the operator, with the upgrade's id: as it was known before this step, when the step was its last.
    fn tell(&mut self, mut event: Event) {
        let now = self.planner.status();
        for upgrade in &now.upgrades {
            event = event.about(&upgrade.id.0, &upgrade.version.0, upgrade.height.0);
        }
        for upgrade in &self.status.borrow().upgrades {
            event = event.about(&upgrade.proposal_id, &upgrade.version, upgrade.height);
        }
        self.notifier.send(event);
    }

    /// The planner's status with what was kept from the planner.
    fn shown(&self) -> pb::Status {
        let mut shown = status::of(&self.planner.status());
        shown.pinned_chain = self.pinned_chain.clone();
        shown.problems.extend(self.refusals.iter().map(|refusal| {
            format!(
                "{} at height {} is not believed and not carried out: {}",
                refusal.plan.version, refusal.plan.height, refusal.reason
            )
        }));
        shown
    }

    fn staged(&mut self, order: Order, outcome: Outcome) {
        if outcome == Outcome::Staged {
            self.host.unstage(&order.id);
        }
        let upgrade = UpgradeId(order.id);
        self.queue.push_back(match outcome {
            Outcome::Staged => Input::Staged { upgrade },
            Outcome::Failed(reason) => Input::StagingFailed { upgrade, reason },
        });
    }

    /// Steps until every answer has been taken in, then shows the outcome.
    fn settle(&mut self) {
        while self.exit.is_none()
            && let Some(input) = self.queue.pop_front()
        {
            fault::point_of("fact", &input);
            let effects = self.planner.step(now(), input);
            self.execute(effects.0);
        }
        self.exit_seen = None;
        let shown = self.shown();
        self.status.send_if_modified(|status| {
            let changed = *status != shown;
            *status = shown;
            changed
        });
    }

    fn execute(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            fault::point_of("before", &effect);
            if let Err(failure) = self.execute_one(effect) {
                // The rest of the batch stands behind what failed.
                self.queue.push_back(failure);
                return;
            }
            fault::point("order-carried-out");
        }
    }

    /// One order. An error is the fact that ends the batch.
    fn execute_one(&mut self, effect: Effect) -> Result<(), Input> {
        match effect {
            Effect::Append(record) => self.append(&record)?,
            Effect::Stage(announced) => self.stage(announced),
            Effect::Unstage(upgrade) => self.host.unstage(&upgrade.0),
            Effect::Stop => {
                if !self.host.stop() {
                    self.queue.push_back(Input::NodeExited {
                        exit: visor_planner::Exit::Unknown,
                    });
                }
            }
            Effect::Swap(version) => {
                self.unsynced_swap = true;
                self.host.swap(&version.0).map_err(|error| Input::SwapFailed {
                    reason: chain(&error),
                })?;
            }
            Effect::Start { version, why } => self.start(&version, why),
            Effect::SetTimer(timer, after) => {
                let at = tokio::time::Instant::now() + Duration::from_millis(after.0);
                self.timers.insert(timer, at);
            }
            Effect::CancelTimer(timer) => {
                self.timers.remove(&timer);
            }
            Effect::Notify(notice) => {
                notice::tell(&notice);
                self.tell(notice::event(&notice, &self.planner.status().current));
            }
            Effect::Exit(reason) => {
                self.exit = Some(match reason {
                    _ if self.journal_failed => exit_code::JOURNAL,
                    ExitReason::Stopped => exit_code::SUCCESS,
                    ExitReason::RetriesExhausted { .. } => exit_code::NODE_FAILED,
                });
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(), Input> {
        if let Record::UpgradeIntended { plan, .. } = record {
            // The old node still runs: the last moment to read anything.
            self.host.prepare(&plan.version.0);
        }
        self.append_durably(record).map_err(|reason| {
            self.journal_failed = true;
            Input::AppendFailed { reason }
        })
    }

    fn append_durably(&mut self, record: &Record) -> Result<(), String> {
        if self.unsynced_swap {
            // The records from here on may say that the new version runs.
            self.host.sync_swap().map_err(|error| chain(&error))?;
            fault::point("swap-synced");
            self.unsynced_swap = false;
        }
        self.journal
            .append(record, now().0)
            .map(drop)
            .map_err(|error| chain(&error))
    }

    fn start(&mut self, version: &Version, why: &'static str) {
        match self.host.start(&version.0) {
            Ok(started) => {
                let exit_to_exec_us = self
                    .exit_seen
                    .take()
                    .map(|seen| started.at.saturating_duration_since(seen).as_micros())
                    .and_then(|micros| u64::try_from(micros).ok());
                self.queue.push_back(Input::NodeStarted {
                    process: Process { pid: started.pid },
                    exit_to_exec_us,
                });
                tracing::info!(
                    node.version = %version,
                    node.pid = started.pid,
                    node.why = why,
                    node.exit_to_exec_us = exit_to_exec_us,
                    "started the node"
                );
            }
            Err(error) => self.queue.push_back(Input::NodeStartFailed {
                reason: chain(&error),
            }),
        }
    }

    fn stage(&mut self, announced: Announced) {
        let upgrade = announced.plan.id.clone();
        let failed = |reason| Input::StagingFailed {
            upgrade: upgrade.clone(),
            reason,
        };
        let Some(order) = order(announced) else {
            self.queue
                .push_back(failed("the plan's artifact is not readable".to_owned()));
            return;
        };
        let current = self.planner.status().current;
        if let Err(error) = self.host.stage(order, &current.0) {
            self.queue.push_back(failed(chain(&error)));
        }
    }
}

fn order(announced: Announced) -> Option<Order> {
    let ArtifactFact::Available(artifact) = announced.artifact else {
        return None;
    };
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&artifact.sha256, &mut sha256).ok()?;
    Some(Order {
        id: announced.plan.id.0,
        version: announced.plan.version.0,
        artifact: Artifact {
            url: artifact.url,
            size: artifact.size,
            sha256,
        },
    })
}

async fn due(next: Option<(Timer, tokio::time::Instant)>) {
    match next {
        Some((_, at)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The pinned genesis cannot be used: then nothing is believed, and nothing begun.
#[derive(Debug, thiserror::Error)]
#[error("use governance.genesis of {config}", config = config.display())]
struct UnusablePin {
    config: std::path::PathBuf,
    #[source]
    source: PinError,
}

/// The journal and the home do not agree on what is to be run.
#[derive(Debug, thiserror::Error)]
#[error("find the version to run")]
struct Contradiction {
    #[source]
    source: RecoverError,
}

/// A node of this home runs that is of no known version.
#[derive(Debug, thiserror::Error)]
#[error(
    "adopt the running node (pid {pid}): its program {program} lies in no version folder of this home, and `current` leads to \
     none either. Stop it, or point `current` to its folder", program = program.display()
)]
struct UnknownNode {
    pid: u32,
    program: std::path::PathBuf,
}
