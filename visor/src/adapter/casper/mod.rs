//! A host of `casper-node-launcher`: its two roots of version folders, its state file, and nodes that ask for the next version by exiting with 0.
//!
//! It translates: which version is to run stands in the state file, which comes next in the root of the configurations, and when in the
//! chain specifications there. It never chooses between versions, but for the first start of a host (`first_start`).

mod chainspec;
mod first_start;
mod layout;
mod link;
mod stager;
mod state;
mod status;
mod version;
mod watch;

pub(crate) use self::layout::Settings;
pub(crate) use self::status::Address as StatusAddress;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use proto::pb::visor::v1 as pb;
use semver::Version;
use visor_planner::{
    self as planner, Completion, Conventions, ExitCodes, Height, Migration, Neighbour, Observed, Record,
    Timestamp, UpgradeId, UpgradePlan, recover,
};

use self::chainspec::{Chainspecs, Protocol};
use self::layout::{Installed, LayoutError, startable};
use self::stager::VersionStager;
use self::state::{NodeInfo, ReadyState, State, StateError, StateFile};
use super::{Adapter, AdapterError, Current, Link, LinkTo, Running, Stager, Start, Switch, ToStage};
use crate::adoption::{Candidate, explain};
use crate::config::{Config, ConfigError};
use crate::home::Home;
use crate::journal::Journal;
use crate::process::{Launch, Main, Program, Recognised, Role};

const CONVENTIONS: Conventions = Conventions {
    exit_codes: ExitCodes {
        newer_required: None,
        older_required: None,
        upgrade: Some(0),
        downgrade: Some(102),
        shut_down: Some(103),
    },
    halt_is_durable: true,
    migration: true,
    completion: Completion::Started,
    home_decides: true,
};

/// Between SIGTERM and SIGKILL, where the operator names no time. The launcher waits for ever; a node that is ended while it writes has to
/// repair its database.
const GRACE: Duration = Duration::from_secs(180);

/// The node's subcommands.
const VALIDATOR: &str = "validator";
const MIGRATE: &str = "migrate-data";

/// Why a version of this host cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CasperError {
    /// A root, or visor's own folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The text is no version.
    #[error("use version {text:?}: expected a version such as 1.5.8")]
    NoVersion { text: String },
    /// It is not whole.
    #[error("use version {version}: {problem}")]
    NotStartable { version: Version, problem: String },
    /// It is not whole, and the state file names these very files (W17).
    #[error(
        "use version {version}: {problem}. {state} names this file; put it back, or correct the state file, or name another version with \
         `--force-version V`: no other version is run in its place", state = state.display()
    )]
    Gone {
        version: Version,
        problem: String,
        state: PathBuf,
    },
    /// There is nothing to begin with.
    #[error(
        "find the version to run: expected at least one that is complete in both {bin_root} and {config_root}, found none{problems}",
        bin_root = bin_root.display(), config_root = config_root.display()
    )]
    Nothing {
        bin_root: PathBuf,
        config_root: PathBuf,
        problems: String,
    },
    /// Programs are given text.
    #[error("start version {version}: expected a path in UTF-8, found {path:?}")]
    NotText { version: Version, path: PathBuf },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
}

impl From<CasperError> for AdapterError {
    fn from(error: CasperError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<StateError> for AdapterError {
    fn from(error: StateError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// The upgrade to a version, whose era is known or not.
fn plan(version: &Version, era: Option<u64>) -> UpgradePlan {
    let id = era.map_or_else(|| version.to_string(), |era| format!("{version}@era-{era}"));
    UpgradePlan {
        id: UpgradeId(id),
        version: planner::Version(version.to_string()),
        // The last era of the version before.
        height: Height(era.unwrap_or_default().saturating_sub(1)),
    }
}

/// What the adapter, its links and its stagers share.
#[derive(Debug)]
struct Host {
    settings: Settings,
    state: StateFile,
    chainspecs: Chainspecs,
    /// The problems that were named, by version.
    named: Mutex<BTreeMap<Version, String>>,
    /// The era that the node named last.
    era: AtomicU64,
}

impl Host {
    /// Looks at everything that is installed, and names what is wrong when it is new or has changed.
    fn survey(&self) -> Result<Vec<Installed>, LayoutError> {
        let installed = self.settings.survey(&self.chainspecs)?;
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *named);
        for found in &installed {
            let problem = found.problem();
            if problem.is_empty() {
                continue;
            }
            if before.get(&found.version) != Some(&problem) {
                tracing::warn!(version.name = %found.version, version.problem = %problem, "a version on this host is not complete");
            }
            named.insert(found.version.clone(), problem);
        }
        for version in before.keys().filter(|version| !named.contains_key(version)) {
            tracing::info!(version.name = %version, "nothing is wrong with this version any more");
        }
        Ok(installed)
    }

    /// The files of a version: as the state file names them, else where they belong.
    fn info(&self, version: &Version) -> Result<NodeInfo, StateError> {
        let state = self.state.read()?;
        let recorded = state.as_ref().and_then(|state| state.info(version));
        Ok(recorded.cloned().unwrap_or_else(|| self.settings.info(version)))
    }

    /// The files of a version that could be started.
    fn startable(&self, version: &Version) -> Result<NodeInfo, String> {
        let info = self.info(version).map_err(|error| crate::cli::chain(&error))?;
        startable(&info)?;
        Ok(info)
    }

    /// The same, for what is about to be done with them.
    fn usable(&self, version: &Version) -> Result<NodeInfo, CasperError> {
        let info = self.info(version)?;
        match startable(&info) {
            Ok(()) => Ok(info),
            Err(problem) if info != self.settings.info(version) => Err(CasperError::Gone {
                version: version.clone(),
                problem,
                state: self.state.path().to_path_buf(),
            }),
            Err(problem) => Err(CasperError::NotStartable {
                version: version.clone(),
                problem,
            }),
        }
    }

    fn protocol(&self, version: &Version) -> Result<Protocol, String> {
        self.chainspecs.get(&self.settings.chainspec(version), version)
    }

    /// The version that a node of `of` has stopped for: it looks into the root of the configurations alone.
    fn next(&self, of: &Version) -> Result<Version, String> {
        let configured = self
            .settings
            .configured()
            .map_err(|error| crate::cli::chain(&error))?;
        version::next(&configured.versions, of).cloned().ok_or_else(|| {
            format!(
                "no higher version than {of} is installed in {}",
                self.settings.config_root.display()
            )
        })
    }

    /// The largest version below that could be started.
    fn previous(&self, of: &Version) -> Result<Version, String> {
        let configured = self
            .settings
            .configured()
            .map_err(|error| crate::cli::chain(&error))?;
        let whole = configured
            .versions
            .iter()
            .filter(|version| *version < of && startable(&self.settings.info(version)).is_ok());
        version::previous(whole, of).cloned().ok_or_else(|| {
            format!(
                "no lower version than {of} is complete in {} and {}",
                self.settings.bin_root.display(),
                self.settings.config_root.display()
            )
        })
    }

    fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    fn set_era(&self, era: u64) {
        self.era.store(era, Ordering::Relaxed);
    }
}

/// A host of the launcher.
#[derive(Debug, Clone)]
pub(crate) struct Casper {
    host: Arc<Host>,
}

impl Casper {
    /// For looking only: nothing is made, and nothing is said of what is not whole.
    pub(crate) fn at(settings: Settings) -> Self {
        let state = StateFile::new(&settings.config_root, &settings.own_folder());
        Self {
            host: Arc::new(Host {
                settings,
                state,
                chainspecs: Chainspecs::default(),
                named: Mutex::default(),
                era: AtomicU64::new(0),
            }),
        }
    }

    /// For running it. What is installed in part is named and blocks nothing (W1).
    ///
    /// # Errors
    /// When a root cannot be read, or visor's own folder not be made.
    pub(crate) fn open(settings: Settings) -> Result<Self, AdapterError> {
        let casper = Self::at(settings);
        let made = casper.host.settings.make_own_folder();
        made.and_then(|()| casper.host.survey())
            .map_err(CasperError::from)?;
        Ok(casper)
    }

    /// Writes the state file of a host that has none, and whose journal names no version either: the first start. To be called before the
    /// daemon, when no version is forced.
    ///
    /// # Errors
    /// When the state file cannot be used (it is never replaced then), or nothing could be started.
    pub(crate) fn settle(&self) -> Result<(), AdapterError> {
        let state = &self.host.state;
        if let Some(found) = state.read()? {
            tracing::info!(state.path = %state.path().display(), state.says = %Said(&found), "read the state file");
            return Ok(());
        }
        if let Some(version) = self.told_by_journal()? {
            tracing::warn!(
                state.path = %state.path().display(),
                node.version = %version,
                "the state file is gone; the journal names the version that ran last, which counts"
            );
            return Ok(());
        }
        let version = self.first()?;
        tracing::info!(node.version = %version, "first start: the highest complete version whose era may have come");
        state.write(&State::Run(self.host.settings.info(&version)))?;
        Ok(())
    }

    /// Makes an installed version the one to run, durably, and forgets a migration that was under way. It is the operator's word: no
    /// migration follows.
    ///
    /// # Errors
    /// When it is not complete in both roots, or the state file cannot be written.
    pub(crate) fn force(&self, version: &str) -> Result<(), AdapterError> {
        let version = parse(version)?;
        let info = self.host.settings.info(&version);
        startable(&info).map_err(|problem| CasperError::NotStartable { version, problem })?;
        Ok(self.host.state.write(&State::Run(info))?)
    }

    /// What the journal says runs here; nothing when it names no version.
    fn told_by_journal(&self) -> Result<Option<String>, CasperError> {
        let home = Home::at(self.host.settings.own_folder());
        let entries = Journal::read_if_any(&home.journal())?;
        let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
        let nothing = Observed {
            current: None,
            node: None,
            staged: Vec::new(),
            migrating: None,
            seed: 0,
        };
        // Which timers it would set does not matter here.
        let config = Config::default().planner(CONVENTIONS);
        let told = recover(config, Timestamp(0), &records, nothing);
        Ok(told.ok().map(|(planner, _)| planner.status().current.0))
    }

    fn first(&self) -> Result<Version, CasperError> {
        let settings = &self.host.settings;
        let installed = settings.survey(&self.host.chainspecs)?;
        let chosen = first_start::choose(&installed, SystemTime::now());
        chosen.map(|found| found.version.clone()).ok_or_else(|| {
            let problem = |found: &Installed| format!("; {}: {}", found.version, found.problem());
            CasperError::Nothing {
                bin_root: settings.bin_root.clone(),
                config_root: settings.config_root.clone(),
                problems: installed.iter().map(problem).collect(),
            }
        })
    }

    /// What starts the node of a version.
    fn validator(info: &NodeInfo, config: Option<&Config>) -> Result<Launch, CasperError> {
        let arguments = vec![VALIDATOR.to_owned(), text(info, &info.config)?];
        Ok(launch(info, arguments, config))
    }

    fn running(&self, unit: Recognised, version: Option<String>) -> Running {
        let migrate = OsStr::new(MIGRATE);
        let is_migration = unit
            .node()
            .is_some_and(|main| main.command_line.iter().any(|word| word == migrate));
        let current = || self.current().ok().and_then(|current| current.version);
        Running {
            watched: version.clone().or_else(current),
            version,
            is_migration,
            unit,
        }
    }
}

/// Whether the operator has set a key.
fn sets(path: &Path, section: &str, key: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let table = text.parse::<toml::Table>().unwrap_or_default();
    table
        .get(section)
        .is_some_and(|section| section.get(key).is_some())
}

fn parse(text: &str) -> Result<Version, CasperError> {
    Version::parse(text).map_err(|_| CasperError::NoVersion {
        text: text.to_owned(),
    })
}

fn text(info: &NodeInfo, path: &Path) -> Result<String, CasperError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| CasperError::NotText {
            version: info.version.clone(),
            path: path.to_path_buf(),
        })
}

fn launch(info: &NodeInfo, arguments: Vec<String>, config: Option<&Config>) -> Launch {
    let file = config
        .map(|config| config.node.log_file.clone())
        .unwrap_or_default();
    Launch {
        programs: vec![Program {
            role: Role::Node,
            path: info.binary.clone(),
            arguments,
            grace: None,
        }],
        output: (!file.as_os_str().is_empty()).then_some(file),
        inherit_input: true,
    }
}

/// A state, for the log.
struct Said<'a>(&'a State);

impl fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            State::Run(info) => write!(formatter, "run {}", info.version),
            State::Migrate { old, new } => {
                write!(formatter, "migrate from {} to {}", old.version, new.version)
            }
        }
    }
}

/// A new state of which only the rename is left to do.
#[derive(Debug)]
struct StateSwitch(ReadyState);

impl Switch for StateSwitch {
    fn switch(self: Box<Self>) -> Result<(), AdapterError> {
        Ok(self.0.put()?)
    }
}

impl Adapter for Casper {
    fn name(&self) -> &'static str {
        "casper"
    }

    fn conventions(&self) -> Conventions {
        CONVENTIONS
    }

    fn position_unit(&self) -> &'static str {
        "era"
    }

    fn read_config(&self) -> Result<Config, ConfigError> {
        let home = Home::at(self.host.settings.own_folder());
        let path = home.config();
        let (mut config, sets_grace) = match Config::read(&path) {
            // The launcher has no configuration file.
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                (Config::default(), false)
            }
            read => (read?, sets(&path, "stop", "grace")),
        };
        if !sets_grace {
            config.stop.grace = GRACE;
        }
        if !config.node.log_file.as_os_str().is_empty() {
            config.node.log_file = home.root().join(&config.node.log_file);
        }
        if self.host.settings.single_attempt {
            for retry in [
                &mut config.restart,
                &mut config.first_start,
                &mut config.start_after_upgrade,
            ] {
                retry.max_retries = 0;
            }
        }
        Ok(config)
    }

    fn config_files(&self) -> Vec<PathBuf> {
        vec![Home::at(self.host.settings.own_folder()).config()]
    }

    fn current(&self) -> Result<Current, AdapterError> {
        let version = |version: &Version| Some(version.to_string());
        match self.host.state.read()? {
            Some(State::Run(info)) => Ok(Current {
                version: version(&info.version),
                migrating: None,
            }),
            Some(State::Migrate { old, new }) => {
                let era = self
                    .host
                    .protocol(&new.version)
                    .ok()
                    .and_then(|found| found.activation.era());
                Ok(Current {
                    version: version(&old.version),
                    migrating: Some(Migration {
                        from: planner::Version(old.version.to_string()),
                        plan: plan(&new.version, era),
                    }),
                })
            }
            // The journal counts (W4).
            None if self.told_by_journal()?.is_some() => Ok(Current::default()),
            None => Ok(Current {
                version: version(&self.first()?),
                migrating: None,
            }),
        }
    }

    fn versions(&self) -> Vec<String> {
        let installed = self
            .host
            .settings
            .survey(&self.host.chainspecs)
            .unwrap_or_default();
        let whole = installed.iter().filter(|found| found.not_startable.is_none());
        whole.map(|found| found.version.to_string()).collect()
    }

    fn installed(&self) -> Vec<pb::InstalledVersion> {
        let installed = self
            .host
            .settings
            .survey(&self.host.chainspecs)
            .unwrap_or_default();
        installed.iter().map(Installed::shown).collect()
    }

    fn identify(&self, mains: &[Main]) -> Option<Running> {
        let state = self.host.state.read().ok().flatten();
        let recorded = state.iter().flat_map(State::infos).cloned();
        let roots = [self.host.settings.configured(), self.host.settings.with_binary()];
        let found = roots.into_iter().flatten().flat_map(|root| root.versions);
        let found = found.map(|version| self.host.settings.info(&version));
        let candidates = recorded.chain(found).filter_map(|info| {
            Some(Candidate {
                launch: Self::validator(&info, None).ok()?,
                name: info.version.to_string(),
            })
        });
        if let Some((version, unit)) = explain(candidates, mains) {
            return Some(self.running(unit, Some(version)));
        }
        // A binary that replaced itself by another, say. The oldest is the node.
        let main = mains.first()?;
        let node = Program {
            role: Role::Node,
            path: main.program.clone(),
            arguments: Vec::new(),
            grace: None,
        };
        let unit = Recognised {
            processes: vec![(node, main.clone())],
            missing: Vec::new(),
            exact: 0,
        };
        Some(self.running(unit, None))
    }

    fn folder(&self, version: &str) -> Option<PathBuf> {
        let folder = self.host.settings.config_folder(&parse(version).ok()?);
        folder.is_dir().then_some(folder)
    }

    fn program(&self, version: &str) -> Option<PathBuf> {
        let binary = self.host.info(&parse(version).ok()?).ok()?.binary;
        binary.is_file().then_some(binary)
    }

    fn neighbour(&self, of: &str, which: Neighbour) -> Result<UpgradePlan, String> {
        let of = parse(of).map_err(|error| error.to_string())?;
        let version = match which {
            Neighbour::Next => self.host.next(&of)?,
            Neighbour::Previous => self.host.previous(&of)?,
        };
        self.host
            .startable(&version)
            .map_err(|problem| format!("version {version} is the next one, and {problem}"))?;
        let era = self
            .host
            .protocol(&version)
            .ok()
            .and_then(|found| found.activation.era());
        Ok(plan(&version, era))
    }

    fn launch(&self, start: &Start, added: &[String], config: &Config) -> Result<Launch, AdapterError> {
        let info = self.host.usable(&parse(&start.version)?)?;
        let mut launch = Self::validator(&info, Some(config))?;
        for program in &mut launch.programs {
            program.arguments.extend_from_slice(added);
        }
        Ok(launch)
    }

    fn begin_migration(&self, from: &str, to: &str, config: &Config) -> Result<Launch, AdapterError> {
        let old = self.host.info(&parse(from)?)?;
        // Before anything is written: the launcher is bound to a version that it cannot run (W2).
        let new = self.host.usable(&parse(to)?)?;
        let arguments = vec![
            MIGRATE.to_owned(),
            "--old-config".to_owned(),
            text(&old, &old.config)?,
            "--new-config".to_owned(),
            text(&new, &new.config)?,
        ];
        let launch = launch(&new, arguments, Some(config));
        self.host.state.prepare(&State::Migrate { old, new })?.put()?;
        Ok(launch)
    }

    fn prepare_switch(&self, version: &str) -> Result<Box<dyn Switch>, AdapterError> {
        let info = self.host.usable(&parse(version)?)?;
        let ready = self.host.state.prepare(&State::Run(info))?;
        Ok(Box::new(StateSwitch(ready)))
    }

    fn sync_switch(&self) -> Result<(), AdapterError> {
        Ok(self.host.state.sync()?)
    }

    fn open_link(&self, to: LinkTo) -> Result<Link, AdapterError> {
        let version = parse(&to.version)?;
        Ok(Link::spawn(link::follow(Arc::clone(&self.host), version, to)))
    }

    fn stager(&self, to_stage: ToStage) -> Result<Box<dyn Stager>, AdapterError> {
        let version = parse(&to_stage.order.version)?;
        let current = parse(&to_stage.current)?;
        let host = Arc::clone(&self.host);
        Ok(Box::new(VersionStager::new(host, to_stage, version, current)))
    }
}
