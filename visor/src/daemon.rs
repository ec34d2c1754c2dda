//! The loop: select, one fact, one step of the planner, its orders one after the other, and again.
//!
//! Decides nothing. Invariants: an append is a barrier (VIS-01); between an exit and the exec that answers it nothing is
//! awaited, synced, hashed or logged (VIS-05); answers to orders become facts before anything else is waited for.

mod begin;
mod carry_out;
mod recorder;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use proto::pb::visor::v1 as pb;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use visor_planner::{Input, Planner, Record, Timer, UpgradeId, Version};

pub use self::begin::last_known;
use self::begin::now;
use self::recorder::Recorder;
use crate::adapter::{Adapter, LinkEvent, Refusal, Translated};
use crate::block_rate::BlockRate;
use crate::cli::{CommandError, chain};
use crate::config::{Config, EventKind};
use crate::execute::{Host, HostFact};
use crate::exit_code;
use crate::fault;
use crate::heartbeat::{Heartbeat, heartbeat};
use crate::home::Home;
use crate::http;
use crate::jobs::{Answers, Jobs};
use crate::journal::Journal;
use crate::notify::{Event, Notifier};
use crate::path_watch::PathWatch;
use crate::process::Exit;
use crate::reporter::{Reporter, Reports};
use crate::rpc::{self, Ticket};
use crate::service_manager::ServiceManager;
use crate::signals;
use crate::staging::{Order, Outcome};
use crate::status;

/// Facts that may wait while one is handled. Handling takes microseconds, an append some milliseconds.
const QUEUE: usize = 16;
/// How long a health probe waits for the loop. An append to a slow disk is the longest that the loop does at one go.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a stop may take beyond the delay and the graces of the processes.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// How long visor's end waits for notifications: the node is stopped already, and service managers wait much longer.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(3);

/// How long visor's end waits for answers that are being written.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The process is to end with this exit code.
    Code(u8),
    /// The process is to become the program that is installed now; the node runs on.
    SelfRestart,
    /// The node asked to be stopped for good, and is gone.
    ShutDown,
}

/// Runs the visor of a home until it is told to stop, or gives up. A version that the operator forces is noted before anything is begun;
/// that the home names it is the caller's.
///
/// # Errors
/// When it cannot begin. The node, if one runs, is left as it is.
pub(crate) async fn run(
    home: &Home,
    adapter: Arc<dyn Adapter>,
    config: &Config,
    forced: Option<Version>,
) -> Result<Ended, CommandError> {
    let reporter = Reporter::read(home.root(), &home.config(), &config.reporter)
        .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    let mut signals = Signals::new().map_err(|source| CommandError::new(exit_code::FAILED, source))?;
    // Before anything is begun. Not the code of a wrong configuration: an address that is taken, or not there yet at boot, may be free a
    // moment later, and a service manager is told to give up on that code.
    let observed = match config.http.listen {
        Some(address) => Some(
            http::bind(address)
                .await
                .map_err(|error| CommandError::new(exit_code::FAILED, error))?,
        ),
        None => None,
    };
    let mut opened = Journal::open(&home.journal())?;
    fault::point("journal-opened");
    if opened.torn_bytes > 0 {
        tracing::warn!(
            journal.torn_bytes = opened.torn_bytes,
            "the journal ended with a record that was never finished; it was cut off"
        );
    }
    if let Some(version) = forced {
        let record = Record::Forced { version, at: now() };
        opened.journal.append(&record, now().0)?;
        opened.entries = Journal::read(&home.journal())?;
    }
    let listener = rpc::bind(&home.socket()).map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    fault::point("listening");
    let (orders, order_facts) = mpsc::channel(QUEUE);
    let (mut daemon, mut facts) = Daemon::begin(
        home,
        adapter,
        config,
        opened.journal,
        &opened.entries,
        order_facts,
    )
    .await?;
    daemon.report_by(reporter);
    let (ending, ended_serving) = oneshot::channel();
    let server = tokio::spawn(rpc::serve(
        home.socket(),
        listener,
        daemon.status.subscribe(),
        orders,
        ended_serving,
    ));
    let manager = ServiceManager::from_environment();
    let (pulse, mut heartbeat) = heartbeat(manager.watchdog(), PATIENCE);
    let _observed = observed.map(|listener| listener.serve(daemon.status.subscribe(), pulse));
    // Ready: the node has been started or adopted (or is kept stopped), and the socket answers.
    manager.follow(daemon.status.subscribe());
    let ended = daemon
        .until_exit(&mut facts, &mut signals, &manager, &mut heartbeat)
        .await;
    daemon.jobs.end().await;
    // What happened last is what matters most to whoever is told.
    daemon.notifier.flush(LAST_NOTIFICATIONS).await;
    // What was answered last is still on its way to the operator; whoever watches the status is told by the end of the stream.
    drop(daemon);
    let _ = ending.send(());
    let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    // Best effort: a socket that is left behind is replaced by the next visor.
    let _ = std::fs::remove_file(home.socket());
    Ok(ended)
}

/// The signals that mean something to visor.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user: [Signal; 2],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let listening = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        };
        signals::release();
        Ok(listening)
    }

    /// The next request.
    async fn next(&mut self) -> Asked {
        let [user_1, user_2] = &mut self.user;
        let (name, asked) = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Asked::Stop),
            _ = self.interrupt.recv() => ("SIGINT", Asked::Stop),
            _ = self.quit.recv() => ("SIGQUIT", Asked::Stop),
            // A lost terminal must not end the node.
            _ = self.hangup.recv() => ("SIGHUP", Asked::Reload),
            // By default they would end visor, and leave the node without one.
            _ = user_1.recv() => ("SIGUSR1", Asked::Nothing),
            _ = user_2.recv() => ("SIGUSR2", Asked::Nothing),
        };
        tracing::info!(signal.name = name, "received a signal");
        asked
    }
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
    Nothing,
}

/// Where facts arrive.
struct Facts {
    links: mpsc::Receiver<(u64, LinkEvent)>,
    outcomes: mpsc::Receiver<(Order, Outcome)>,
    answers: Answers,
    orders: mpsc::Receiver<Ticket>,
    /// For a file without one only SIGHUP tells.
    config: Vec<PathWatch>,
}

impl Facts {
    /// The next change of `config.toml`.
    async fn config_changed(config: &mut [PathWatch]) {
        if config.is_empty() {
            return std::future::pending().await;
        }
        select_all(config.iter_mut().map(|watch| Box::pin(watch.changed()))).await;
    }
}

struct Daemon {
    planner: Planner,
    host: Host,
    jobs: Jobs,
    recorder: Recorder,
    status: watch::Sender<pb::Status>,
    notifier: Notifier,
    block_rate: BlockRate,
    /// The chain whose genesis the operator has pinned; empty: none.
    pinned_chain: String,
    /// What the operator is shown of the versions that lie on this host.
    installed: Vec<pb::InstalledVersion>,
    /// What the node said last, when it made no sense; empty when it did.
    nonsense: String,
    /// Where the node was sought in vain; empty when it has answered.
    silent: String,
    /// What the node announces and nobody has proven.
    refusals: Vec<Refusal>,
    /// Readiness reports to the chain (GOV-16).
    reports: Reports,
    started_unix_ms: u64,
    /// Why the newest `config.toml` is not in force (VIS-13).
    config_problem: String,
    /// Operators who wait for an answer.
    tickets: BTreeMap<u64, oneshot::Sender<Result<String, String>>>,
    next_ticket: u64,
    timers: BTreeMap<Timer, tokio::time::Instant>,
    queue: VecDeque<Input>,
    /// When the exit was seen that the orders under way answer.
    exit_seen: Option<Instant>,
    /// `current` was switched, and the switch is not durable yet.
    unsynced_swap: bool,
    journal_failed: bool,
    exit: Option<Ended>,
}

impl Daemon {
    async fn until_exit(
        &mut self,
        facts: &mut Facts,
        signals: &mut Signals,
        manager: &ServiceManager,
        heartbeat: &mut Heartbeat,
    ) -> Ended {
        let mut asked = 0_u32;
        loop {
            if let Some(ended) = self.exit {
                return ended;
            }
            let next = self
                .timers
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(timer, at)| (*timer, *at));
            tokio::select! {
                biased;
                fact = self.host.next() => match fact {
                    HostFact::Exited(exit) => {
                        // A node that said with its last breath that it halts has halted, not crashed (W-36 of Vega Visor).
                        self.host.link_settled().await;
                        while let Ok((run, event)) = facts.links.try_recv() {
                            self.linked(run, event);
                            self.settle();
                        }
                        self.exited(exit);
                    }
                    HostFact::StartedLater { start, why, outset } => self.started(&start, why, outset),
                },
                Some((run, event)) = facts.links.recv() => self.linked(run, event),
                Some((order, outcome)) = facts.outcomes.recv() => self.staged(order, outcome),
                () = due(next) => {
                    if let Some((timer, _)) = next {
                        self.timers.remove(&timer);
                        self.queue.push_back(Input::TimerFired(timer));
                    }
                }
                fact = self.jobs.next(&mut facts.answers) => self.queue.push_back(fact),
                reason = self.recorder.failed() => {
                    self.journal_failed = true;
                    self.queue.push_back(Input::AppendFailed { reason });
                }
                // Only the status changes.
                () = self.reports.changed() => {}
                Some(ticket) = facts.orders.recv() => self.ordered(ticket),
                () = Facts::config_changed(&mut facts.config) => {
                    manager.reloading();
                    self.reload();
                    manager.reloaded();
                }
                () = heartbeat.beat() => {}
                request = signals.next() => match request {
                    Asked::Stop => {
                        asked += 1;
                        manager.stopping(self.longest_stop());
                        tracing::info!(stop.requests = asked, "asked to stop; stopping the node first");
                        self.queue.push_back(Input::StopRequested);
                    }
                    Asked::Nothing => {}
                    Asked::Reload => {
                        manager.reloading();
                        self.reload();
                        manager.reloaded();
                    }
                },
            }
            self.settle();
        }
    }

    fn exited(&mut self, exit: Exit) {
        self.exit_seen = Some(exit.seen);
        self.host.forget_node();
        self.block_rate.forget();
        self.nonsense.clear();
        self.silent.clear();
        let ended = match (exit.code, exit.signal) {
            (Some(code), _) => visor_planner::Exit::Code(code),
            (None, Some(signal)) => visor_planner::Exit::Signal(signal),
            (None, None) => visor_planner::Exit::Unknown,
        };
        self.queue.push_back(match exit.failed_start {
            Some(reason) => Input::NodeStartFailed { reason },
            None => Input::NodeExited {
                exit: ended,
                companion: exit.process.clone(),
            },
        });
        self.settle();
        // After the answer, so that nothing is written before it.
        tracing::info!(node.pid = exit.pid, node.exit = ?ended, node.companion = exit.process, "the node and all that it started are gone");
    }

    fn linked(&mut self, run: u64, event: LinkEvent) {
        if !self.host.is_present_run(run) {
            return;
        }
        match event {
            LinkEvent::Lost => {
                self.block_rate.forget();
                self.queue.push_back(Input::NodeLinkLost);
            }
            LinkEvent::Reported(Translated { report, refusals }) => {
                self.nonsense.clear();
                self.silent.clear();
                self.block_rate.observe(report.height.0, Instant::now(), now().0);
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
            LinkEvent::Nonsense(what) => {
                if self.nonsense != what {
                    tracing::warn!(node.said = %what, "the node sent a report that makes no sense; it is ignored");
                }
                self.nonsense = what;
            }
            LinkEvent::Silent(what) => {
                tracing::warn!(node.problem = %what, "the node has given no answer yet");
                self.silent = what;
            }
            LinkEvent::Unresponsive(reason) => self.queue.push_back(Input::NodeUnresponsive { reason }),
            LinkEvent::Installed(installed) => self.installed = installed,
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
        shown.chain_system = self.host.adapter().name().to_owned();
        shown.position_unit = self.host.adapter().position_unit().to_owned();
        shown.installed_versions = self.installed.clone();
        shown.companions = self
            .host
            .companions()
            .map(|(name, pid)| pb::CompanionProcess {
                name: name.to_owned(),
                pid,
            })
            .collect();
        shown.config_problem = self.config_problem.clone();
        shown.started_unix_ms = self.started_unix_ms;
        shown.journal_failed = self.journal_failed;
        self.block_rate.show(&mut shown);
        if !self.config_problem.is_empty() {
            shown.problems.push(format!(
                "the changed configuration is not in force: {}",
                self.config_problem
            ));
        }
        shown.problems.extend(self.refusals.iter().map(|refusal| {
            format!(
                "{} at height {} is not believed and not carried out: {}",
                refusal.plan.version, refusal.plan.height, refusal.reason
            )
        }));
        shown
            .problems
            .extend((!self.silent.is_empty()).then(|| self.silent.clone()));
        if !self.nonsense.is_empty() {
            shown.problems.push(format!(
                "what the node says makes no sense and is ignored: {}",
                self.nonsense
            ));
        }
        shown.problems.extend(self.reports.problems());
        shown
    }

    /// From now on this reporter reports, or nobody.
    fn report_by(&mut self, reporter: Option<Reporter>) {
        self.reports =
            reporter.map_or_else(Reports::none, |reporter| reporter.begin(self.status.subscribe()));
    }

    /// How long a stop of all processes may take: each has the grace for itself, and once more for what it leaves behind.
    fn longest_stop(&self) -> Duration {
        let stop = &self.host.config().stop;
        let processes = u32::try_from(self.status.borrow().companions.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let graces = stop.grace.saturating_mul(processes.saturating_mul(2));
        graces.saturating_add(stop.delay).saturating_add(STOP_MARGIN)
    }

    fn ordered(&mut self, Ticket { order, answer }: Ticket) {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, answer);
        self.queue.push_back(Input::Operator {
            ticket: self.next_ticket,
            order,
        });
    }

    /// VIS-13: a file that is no configuration leaves the one that is in force.
    fn reload(&mut self) {
        match self.host.adapter().read_config() {
            Ok(config) => {
                if !std::mem::take(&mut self.config_problem).is_empty() {
                    tracing::info!("the configuration can be read again");
                }
                for change in self.host.config().diff(&config) {
                    tracing::info!(
                        config.key = %change.key,
                        config.from = %change.from,
                        config.to = %change.to,
                        config.at_next_start = change.needs_restart(),
                        "the configuration has changed"
                    );
                }
                self.notifier.configure(&config.notify);
                let conventions = self.host.adapter().conventions();
                self.queue
                    .push_back(Input::Configured(Box::new(config.planner(conventions))));
                self.host.configure(config);
            }
            Err(error) => {
                self.config_problem = chain(&error);
                tracing::error!(config.problem = %self.config_problem, "the changed configuration is not in force");
            }
        }
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
        // An answer is lost only with the record before it.
        for (_, caller) in std::mem::take(&mut self.tickets) {
            let _ = caller.send(Err("the journal cannot be written; see `visor status`".to_owned()));
        }
        let shown = self.shown();
        self.status.send_if_modified(|status| {
            let changed = *status != shown;
            *status = shown;
            changed
        });
    }
}

async fn due(next: Option<(Timer, tokio::time::Instant)>) {
    match next {
        Some((_, at)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
