//! A Vega Visor home: its files, its admin service, its releases.
//!
//! The home is used as it is. Beside its files lie those that every visor home has: journal, locks, socket, staging, backups.

mod args;
mod before_start;
mod config;
mod height;
mod home;
mod http;
mod init;
pub mod install;
mod link;
mod merge;
mod rpc;
mod run_config;
mod table;
mod tag;
#[cfg(test)]
mod test_core;

pub(crate) use self::home::{is_vega_config, is_vega_home};
pub(crate) use self::init::{config as written_config, init};
pub(crate) use self::merge::FILE_NAME as VISOR_FILE;
pub(crate) use self::run_config::RunConfig;
pub(crate) use self::tag::is_release_tag;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use visor_planner::{Completion, Conventions, ExitCodes};

use self::before_start::{Limits, Versions};
use self::config::Settings;
use self::home::{Names, VegaHomeError};
use self::install::{Installer, Wanted};
use self::link::{Followed, Retries};
use super::{
    Adapter, AdapterError, BoxFuture, Current, FoundOut, Link, LinkTo, Running, Stager, Start, Switch,
    ToStage,
};
use crate::adoption::{Candidate, explain};
use crate::cli::CommandError;
use crate::config::{Config, ConfigError};
use crate::exit_code;
use crate::home::{GENESIS, Home};
use crate::process::{Launch, Main, Program, Recognised, Role};
use crate::swap;

/// A Vega core says nothing by its exit code, and nothing but visor keeps its old version from running on past H (W-01).
pub(crate) const CONVENTIONS: Conventions = Conventions {
    exit_codes: ExitCodes {
        newer_required: None,
        older_required: None,
        upgrade: None,
        downgrade: None,
        shut_down: None,
    },
    halt_is_durable: false,
    migration: false,
    completion: Completion::FirstBlock,
    home_decides: false,
};

/// Checks a `config.toml` of Vega Visor, with the `visor.toml` beside it where there is one; names the keys that nobody knows.
///
/// # Errors
/// When one of them cannot be used.
pub(crate) fn check_config(config: &Path, visor: Option<&Path>) -> Result<BTreeSet<String>, ConfigError> {
    let config::Read { settings, unknown } = config::read(config)?;
    if let Some(visor) = visor {
        merge::merge(&settings, visor)?;
    }
    Ok(unknown)
}

/// How many versions are asked ahead; a host has one or two that may come next.
const MAX_ASKED_AHEAD: usize = 4;

/// A Vega Visor home.
#[derive(Debug)]
pub(crate) struct Vega {
    home: Home,
    state: Mutex<State>,
    /// What the programs said of themselves; staging asks them, so that a start need not.
    programs: Versions,
    retries: Retries,
}

/// What was read last and could be used.
#[derive(Debug)]
struct State {
    settings: Arc<Settings>,
    names: Names,
    /// Unknown keys that the operator was told of.
    told: BTreeSet<String>,
    /// The same of the run configuration that was read last for a start.
    told_of_run: BTreeSet<String>,
}

impl Vega {
    /// For looking only. A file that cannot be used is told of by [`Adapter::read_config`].
    pub(crate) fn look(home: Home) -> Self {
        let settings = config::read(&home.config())
            .map(|read| read.settings)
            .unwrap_or_default();
        let names = Names::read(&home, &settings.upgrade_folders).unwrap_or_default();
        Self::with(home, settings, names)
    }

    /// For running; visor's lock is held. A home in which nothing has run yet begins at genesis, as with Vega Visor.
    ///
    /// # Errors
    /// When the home's files cannot be used.
    pub(crate) fn open(home: Home) -> Result<Self, CommandError> {
        let config::Read { settings, unknown } = config::read(&home.config())?;
        let names = Names::read(&home, &settings.upgrade_folders)?;
        let vega = Self::with(home, settings.clone(), names);
        vega.take_over(settings, unknown);
        vega.begin()
            .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
        Ok(vega)
    }

    fn with(home: Home, settings: Settings, names: Names) -> Self {
        let retries = Retries::default();
        retries.set(
            settings.first_connection_retries,
            settings.restart_connection_retries,
        );
        Self {
            programs: Versions::default(),
            retries,
            home,
            state: Mutex::new(State {
                settings: Arc::new(settings),
                names,
                told: BTreeSet::new(),
                told_of_run: BTreeSet::new(),
            }),
        }
    }

    fn begin(&self) -> Result<(), AdapterError> {
        let folder = match home::current_folder(&self.home)? {
            Some(folder) => folder,
            // The journal knows what ran last; the planner goes by that.
            None if !home::is_untouched(&self.home) => return Ok(()),
            None => {
                let genesis = self.home.folder(GENESIS);
                RunConfig::read(&genesis).map_err(|source| VegaHomeError::NoGenesis {
                    home: self.home.root().to_path_buf(),
                    genesis,
                    source: Box::new(source),
                })?;
                let others: Vec<String> = home::folders(&self.home)
                    .into_iter()
                    .filter(|folder| folder != GENESIS && home::is_complete(&self.home, folder))
                    .collect();
                if others.is_empty() {
                    tracing::info!("nothing has run in this home; beginning with genesis");
                } else {
                    tracing::warn!(
                        home.folders = ?others,
                        "there is no `current` and nothing has run in this home under visor; beginning with genesis, although there are later \
                         versions. If one of them is what the chain runs, stop visor and point `current` to it"
                    );
                }
                swap::switch(&self.home, GENESIS)?;
                swap::sync(&self.home)?;
                GENESIS.to_owned()
            }
        };
        let mut state = self.state();
        let version = state.names.version_of(&folder);
        state.names.keep(&self.home, &folder, &version)?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and what it holds is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of Vega Visor that is in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.state().settings)
    }

    /// The folder of a version, whether it is there or not.
    ///
    /// # Errors
    /// When the version is no name of a release or a folder (W-53).
    pub(crate) fn place_of(&self, version: &str) -> Result<PathBuf, AdapterError> {
        Ok(self.home.folder(&self.state().names.folder_of(version)?))
    }

    /// A version's folder and run configuration.
    ///
    /// # Errors
    /// When it is not there or cannot be used.
    pub(crate) fn read(&self, version: &str) -> Result<(PathBuf, RunConfig), AdapterError> {
        let folder = self.place_of(version)?;
        if !folder.is_dir() {
            return Err(AdapterError::NoFolder {
                version: version.to_owned(),
                home: self.home.root().to_path_buf(),
                expected: folder.display().to_string(),
            });
        }
        let run = RunConfig::read(&folder)?;
        Ok((folder, run))
    }

    /// Tells of the unknown keys of a run configuration, once.
    fn tell_of_run(&self, folder: &Path) {
        let Ok((_, unknown)) = RunConfig::read_all(folder) else {
            return;
        };
        let mut state = self.state();
        if !unknown.is_empty() && unknown != state.told_of_run {
            tracing::warn!(
                config.file = %folder.join(run_config::FILE_NAME).display(),
                config.keys = ?unknown,
                "keys that visor does not know are passed over"
            );
        }
        state.told_of_run = unknown;
    }

    fn take_over(&self, settings: Settings, unknown: BTreeSet<String>) {
        let mut state = self.state();
        if state.settings.upgrade_folders != settings.upgrade_folders {
            tracing::info!(config.to = ?settings.upgrade_folders, "upgradeFolders has changed");
            state.names.set_folders(&settings.upgrade_folders);
        }
        if state.settings.auto_install != settings.auto_install {
            tracing::info!(config.to = ?settings.auto_install, "autoInstall has changed; it counts from the next attempt on");
        }
        let (before, after) = (
            state.settings.restart_connection_retries,
            settings.restart_connection_retries,
        );
        if before != after {
            tracing::info!(
                config.from = before,
                config.to = after,
                "maxNumberOfRestartConnectionRetries has changed"
            );
        }
        self.retries.set(
            settings.first_connection_retries,
            settings.restart_connection_retries,
        );
        state.settings = Arc::new(settings);
        if !unknown.is_empty() && unknown != state.told {
            tracing::warn!(
                config.file = %self.home.config().display(),
                config.keys = ?unknown,
                "keys that visor does not know are passed over"
            );
        }
        state.told = unknown;
    }
}

impl Adapter for Vega {
    fn name(&self) -> &'static str {
        "vega"
    }

    fn conventions(&self) -> Conventions {
        CONVENTIONS
    }

    fn read_config(&self) -> Result<Config, ConfigError> {
        let config::Read { settings, unknown } = config::read(&self.home.config())?;
        let config = merge::merge(&settings, &self.home.root().join(merge::FILE_NAME))?;
        // Only what can be used as a whole counts.
        self.take_over(settings, unknown);
        Ok(config)
    }

    fn config_files(&self) -> Vec<PathBuf> {
        vec![self.home.config(), self.home.root().join(merge::FILE_NAME)]
    }

    fn current(&self) -> Result<Current, AdapterError> {
        let folder = match home::current_folder(&self.home)? {
            None if home::is_untouched(&self.home) => Some(GENESIS.to_owned()),
            other => other,
        };
        Ok(Current {
            version: folder.map(|folder| self.state().names.version_of(&folder)),
            migrating: None,
        })
    }

    fn versions(&self) -> Vec<String> {
        let state = self.state();
        let folders = home::folders(&self.home).into_iter();
        let complete = folders.filter(|folder| home::is_complete(&self.home, folder));
        complete
            .filter_map(|folder| {
                let version = state.names.version_of(&folder);
                // Of several folders that are called the same, the one that a start would use.
                (state.names.folder_of(&version).ok()? == folder).then_some(version)
            })
            .collect()
    }

    fn identify(&self, mains: &[Main]) -> Option<Running> {
        let current = home::current_folder(&self.home).ok().flatten();
        let mut folders: Vec<String> = current.iter().cloned().collect();
        folders.push(GENESIS.to_owned());
        folders.extend(home::folders(&self.home));
        // At which snapshot a core began says nothing about its version.
        let plain = |mut program: Program| {
            program.arguments = args::without(&program.arguments, args::SNAPSHOT_HEIGHT);
            program
        };
        let candidates = folders.into_iter().filter_map(|name| {
            let path = self.home.folder(&name);
            let mut launch = RunConfig::read(&path).ok()?.launch(&path, None, None);
            launch.programs = launch.programs.into_iter().map(plain).collect();
            Some(Candidate { name, launch })
        });
        let plain_mains: Vec<Main> = mains.iter().map(without_height).collect();
        let version_of = |folder: &String| self.state().names.version_of(folder);
        if let Some((folder, unit)) = explain(candidates, &plain_mains) {
            let version = version_of(&folder);
            return Some(Running {
                version: Some(version.clone()),
                watched: Some(version),
                is_migration: false,
                unit,
            });
        }
        // Nobody knows the program: a wrapper, or a folder whose run configuration was changed since. The oldest is the core.
        let main = mains.first()?;
        let folder = self.home.folder_of(&main.program);
        let folder = folder.filter(|folder| home::folders(&self.home).contains(folder));
        let version = folder.as_ref().map(version_of);
        let watched = version.clone().or_else(|| current.as_ref().map(version_of));
        Some(Running {
            unit: self.alone(watched.as_deref(), main),
            is_migration: false,
            version,
            watched,
        })
    }

    fn folder(&self, version: &str) -> Option<PathBuf> {
        self.place_of(version).ok().filter(|folder| folder.is_dir())
    }

    fn program(&self, version: &str) -> Option<PathBuf> {
        let (folder, run) = self.read(version).ok()?;
        Some(run.program(&folder)).filter(|program| program.is_file())
    }

    fn before_start(
        &self,
        start: &Start,
        config: &Config,
    ) -> Option<BoxFuture<'static, Result<FoundOut, String>>> {
        // What is missing is told by the start itself.
        let (folder, run) = self.read(&start.version).ok()?;
        run.make_executable(&folder).ok()?;
        let limits = Limits::new(config.staging.version_timeout);
        before_start::before_start(start, &folder, &run, &self.programs, limits)
    }

    fn launch(&self, start: &Start, added: &[String], config: &Config) -> Result<Launch, AdapterError> {
        let (folder, run) = self.read(&start.version)?;
        run.make_executable(&folder)?;
        self.tell_of_run(&folder);
        let height = before_start::snapshot_height(start, added);
        Ok(run.launch(&folder, height, output(self.home.root(), config)))
    }

    fn prepare_switch(&self, version: &str) -> Result<Box<dyn Switch>, AdapterError> {
        let mut state = self.state();
        let folder = state.names.folder_of(version)?;
        let switch = swap::prepare(&self.home, &folder)?;
        state.names.keep(&self.home, &folder, version)?;
        Ok(Box::new(switch))
    }

    fn sync_switch(&self) -> Result<(), AdapterError> {
        Ok(swap::sync(&self.home)?)
    }

    fn open_link(&self, to: LinkTo) -> Result<Link, AdapterError> {
        let (_, run) = self.read(&to.version)?;
        let followed = Followed {
            socket: run.rpc.socket_path,
            http_path: run.rpc.http_path,
            core_arguments: run.vega.args,
        };
        self.ask_ahead(&to);
        Ok(link::open(to, followed, self.retries.clone()))
    }

    fn stager(&self, to_stage: ToStage) -> Result<Box<dyn Stager>, AdapterError> {
        let wanted = Wanted {
            current: self.place_of(&to_stage.current)?,
            id: to_stage.order.id,
            tag: to_stage.order.version,
            height: to_stage.height.0,
        };
        let installer = Installer::new(self.home.clone(), to_stage.config.staging, wanted)
            .remembering(self.programs.clone());
        Ok(Box::new(installer))
    }
}

impl Vega {
    /// Asks the programs of the version that runs and of later ones what they are, while there is time. Staging has done so for the version
    /// that it staged, but a visor that was started since would ask between exit and exec (VIS-05).
    fn ask_ahead(&self, to: &LinkTo) {
        let running = tag::numbers(&to.version);
        let mut unasked: Vec<(PathBuf, String)> = Vec::new();
        let later = self.versions().into_iter().filter(|version| {
            let numbers = tag::numbers(version);
            numbers.is_some() && numbers >= running
        });
        for version in later.take(MAX_ASKED_AHEAD) {
            let Ok((folder, run)) = self.read(&version) else {
                continue;
            };
            let programs = run.programs(&folder).into_iter().map(|(_, program)| program);
            let programs = programs.filter(|program| !self.programs.is(program, &version));
            unasked.extend(programs.map(|program| (program, version.clone())));
        }
        if unasked.is_empty() {
            return;
        }
        let (versions, limit) = (self.programs.clone(), to.config.staging.version_timeout);
        tokio::spawn(async move {
            for (program, tag) in unasked {
                // A start that needs it will say what is wrong with it.
                if let Err(error) = versions.check(&program, &tag, limit).await {
                    tracing::debug!(error = %crate::cli::chain(&error), "asked a program ahead of its start");
                }
            }
        });
    }

    /// The core of a program that no run configuration names, and its data node missing, if it has one.
    fn alone(&self, version: Option<&str>, main: &Main) -> Recognised {
        let run = version.and_then(|version| Some(self.read(version).ok()?.1));
        let programs = run.map(|run| run.launch(Path::new(""), None, None).programs);
        let missing = programs.into_iter().flatten().map(|program| program.role);
        let core = Program {
            role: Role::Node,
            path: main.program.clone(),
            arguments: Vec::new(),
            grace: None,
        };
        Recognised {
            processes: vec![(core, main.clone())],
            missing: missing.filter(|role| *role != Role::Node).collect(),
            exact: 0,
        }
    }
}

/// A process as if its core had begun at no snapshot in particular.
fn without_height(main: &Main) -> Main {
    let words: Option<Vec<String>> = main
        .command_line
        .iter()
        .map(|word| word.to_str().map(str::to_owned))
        .collect();
    let mut main = main.clone();
    // Arguments that are no text were not written by a run configuration.
    if let Some(words) = words {
        let plain = args::without(&words, args::SNAPSHOT_HEIGHT);
        main.command_line = plain.into_iter().map(Into::into).collect();
    }
    main
}

/// Where the processes write; nothing: where visor does.
fn output(root: &Path, config: &Config) -> Option<PathBuf> {
    let file = &config.node.log_file;
    (!file.as_os_str().is_empty()).then(|| root.join(file))
}

impl From<VegaHomeError> for AdapterError {
    fn from(error: VegaHomeError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<home::CurrentError> for AdapterError {
    fn from(error: home::CurrentError) -> Self {
        match error {
            home::CurrentError::Swap(error) => Self::Swap(error),
            home::CurrentError::Home(error) => Self::Other(Box::new(error)),
        }
    }
}
