//! How a daemon begins: what the journal, the home and the processes say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::pb::visor::v1 as pb;
use tokio::sync::{mpsc, watch};
use visor_planner::{Observed, Process, Record, RecoverError, Timestamp, Version, recover};

use super::recorder::Recorder;
use super::{Daemon, Facts, QUEUE};
use crate::adapter::{self, Adapter};
use crate::block_rate::BlockRate;
use crate::cli::CommandError;
use crate::config::Config;
use crate::execute::{Channels, ExecuteError, Host};
use crate::exit_code;
use crate::fault;
use crate::home::Home;
use crate::jobs::Jobs;
use crate::journal::{Entry, Journal};
use crate::lock::{Holder, NodeLock};
use crate::notify::{Facts as HostFacts, Notifier};
use crate::path_watch::PathWatch;
use crate::process::mains;
use crate::reporter::Reports;
use crate::rpc::Ticket;
use crate::status;

/// What the journal and the home say while no visor runs; nothing is changed.
///
/// # Errors
/// When they cannot be read, or contradict each other.
pub fn last_known(home: &Home) -> Result<pb::Status, CommandError> {
    let adapter = adapter::of_home(home);
    let config = adapter.read_config()?;
    let entries = if home.journal().exists() {
        Journal::read(&home.journal())?
    } else {
        Vec::new()
    };
    let mains = mains(&NodeLock::new(home.node_lock()).holders());
    let node = adapter.identify(&mains).and_then(|running| {
        Some((
            process_of(&running.unit.node()?.holder),
            running.version.map(Version),
        ))
    });
    let observed = observe(adapter.as_ref(), node)?;
    let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
    let (planner, _effects) = recover(config.planner(adapter.conventions()), now(), &records, observed)
        .map_err(|source| CommandError::new(exit_code::CONFIG, Contradiction { source }))?;
    let mut shown = status::of(&planner.status());
    shown.chain_system = adapter.name().to_owned();
    shown.position_unit = adapter.position_unit().to_owned();
    shown.installed_versions = adapter.installed();
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

/// Begins before the configuration counts as read, so that no change in between is missed.
fn watch_config(adapter: &dyn Adapter) -> Vec<PathWatch> {
    let files = adapter.config_files();
    let watched = files.iter().filter_map(|file| {
        PathWatch::new(file)
            .inspect_err(|error| {
                tracing::warn!(config.file = %file.display(), %error, "the file is not watched; SIGHUP reads it again");
            })
            .ok()
    });
    watched.collect()
}

fn observe(
    adapter: &dyn Adapter,
    node: Option<(Process, Option<Version>)>,
) -> Result<Observed, CommandError> {
    let current = adapter.current()?;
    let mut seed = [0; 8];
    // Without randomness the delays of this host are those of another; that is all.
    let _ = getrandom::fill(&mut seed);
    Ok(Observed {
        current: current.version.map(Version),
        migrating: current.migrating,
        node,
        staged: adapter.versions().into_iter().map(Version).collect(),
        seed: u64::from_le_bytes(seed),
    })
}

fn process_of(main: &Holder) -> Process {
    Process {
        pid: main.pid.as_raw_nonzero().get().unsigned_abs(),
    }
}

pub(super) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

impl Daemon {
    pub(super) async fn begin(
        home: &Home,
        adapter: Arc<dyn Adapter>,
        config: &Config,
        journal: Journal,
        entries: &[Entry],
        orders: mpsc::Receiver<Ticket>,
    ) -> Result<(Self, Facts), CommandError> {
        let (links, link_facts) = mpsc::channel(QUEUE);
        let (outcomes, outcome_facts) = mpsc::channel(QUEUE);
        let channels = Channels { links, outcomes };
        let (jobs, answers) = Jobs::new(home.clone());
        let facts = Facts {
            links: link_facts,
            outcomes: outcome_facts,
            answers,
            orders,
            config: watch_config(adapter.as_ref()),
        };
        let mut host = Host::new(home, Arc::clone(&adapter), config.clone(), channels);

        let node = match host.adopt_running().await {
            Ok(adopted) => adopted,
            Err(error @ ExecuteError::UnknownNode { .. }) => {
                return Err(CommandError::new(exit_code::CONFIG, error));
            }
            Err(error) => return Err(CommandError::new(exit_code::FAILED, error)),
        };

        fault::point("node-looked-for");
        home.clear_staging();
        let records: Vec<Record> = entries.iter().map(|entry| entry.record.clone()).collect();
        let watched = node.as_ref().map(|node| node.watched.clone());
        let node = node.map(|node| (Process { pid: node.pid }, node.version.map(Version)));
        let observed = observe(adapter.as_ref(), node)?;
        let (planner, effects) = recover(config.planner(adapter.conventions()), now(), &records, observed)
            .map_err(|source| CommandError::new(exit_code::CONFIG, Contradiction { source }))?;
        if let Some(version) = watched {
            let awaited = planner.upgrade_under_way().map(|plan| plan.height);
            host.follow(&version, awaited, true)
                .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
        }
        let status = watch::Sender::new(status::of(&planner.status()));
        let mut daemon = Self {
            planner,
            host,
            jobs,
            recorder: Recorder::new(journal),
            status,
            notifier: Notifier::new(&config.notify, HostFacts::of_this_host(home.root())),
            block_rate: BlockRate::default(),
            started_unix_ms: now().0,
            config_problem: String::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            pinned_chain: adapter.pinned_chain(),
            installed: adapter.installed(),
            nonsense: String::new(),
            silent: String::new(),
            refusals: Vec::new(),
            reports: Reports::none(),
            timers: BTreeMap::new(),
            queue: VecDeque::new(),
            exit_seen: None,
            // Whoever switched last may have been killed before that.
            unsynced_swap: true,
            journal_failed: false,
            exit: None,
        };
        daemon.execute(effects.0);
        daemon.settle();
        Ok((daemon, facts))
    }
}

/// The journal and the home do not agree on what is to be run.
#[derive(Debug, thiserror::Error)]
#[error("find the version to run")]
struct Contradiction {
    #[source]
    source: RecoverError,
}
