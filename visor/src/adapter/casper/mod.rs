//! A host of `casper-node-launcher`: its two roots of version folders, its state file, and nodes that ask for the next version by exiting with 0.
//!
//! It translates: which version is to run stands in the state file, which comes next in the root of the configurations, and when in the
//! chain specifications there. It never chooses between versions, but for the first start of a host (`first_start`).

mod begin;
mod chainspec;
mod error;
mod first_start;
mod host;
mod layout;
mod link;
pub(crate) mod own;
pub(crate) mod shutdown_script;
mod stager;
mod state;
mod status;
pub(crate) mod strangers;
mod version;
mod watch;

pub(crate) use self::layout::Settings;
pub(crate) use self::status::Address as StatusAddress;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::pb::visor::v1 as pb;
use semver::Version;
use visor_planner::{self as planner, Completion, Conventions, ExitCodes, Migration, Neighbour, UpgradePlan};

use self::error::CasperError;
use self::host::{Host, parse, plan};
use self::layout::Installed;
use self::stager::VersionStager;
use self::state::{NodeInfo, ReadyState, State};
use super::{Adapter, AdapterError, Current, Link, LinkTo, Running, Stager, Start, Switch, ToStage};
use crate::adoption::{Candidate, explain};
use crate::config::{Config, ConfigError};
use crate::home::Home;
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

/// A host of the launcher.
#[derive(Debug, Clone)]
pub(crate) struct Casper {
    host: Arc<Host>,
}

impl Casper {
    /// For looking only: nothing is made, and nothing is said of what is not whole.
    pub(crate) fn at(settings: Settings) -> Self {
        Self {
            host: Arc::new(Host::new(settings)),
        }
    }

    /// The host whose own folder this is, for looking only; nothing when it is no launcher's.
    pub(crate) fn of_own_folder(home: &Home) -> Option<Self> {
        let roots = own::read(home.root()).ok().flatten()?;
        Some(Self::at(roots.settings()))
    }

    /// Whether a version could be started; from which files, or why not, in words.
    pub(crate) fn check(&self, version: &str) -> Result<String, String> {
        let version = parse(version).map_err(|error| error.to_string())?;
        let info = self.host.startable(&version)?;
        Ok(format!(
            "{} with {}",
            info.binary.display(),
            info.config.display()
        ))
    }

    /// The version that a node of this one would go on to, complete or not.
    pub(crate) fn installed_after(&self, version: &Version) -> Option<pb::InstalledVersion> {
        let next = self.host.next(version).ok()?;
        let installed = self.host.settings.survey(&self.host.chainspecs).ok()?;
        installed
            .iter()
            .find(|found| found.version == next)
            .map(Installed::shown)
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

    /// What starts the node of a version, and nothing else.
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
        let state = self.host.state.read().map_err(CasperError::from)?;
        let info = |version| Ok::<_, CasperError>(self.host.info_in(state.as_ref(), &parse(version)?));
        let old = info(from)?;
        // Before anything is written: the launcher is bound to a version that it cannot run (W2).
        let new = self.host.checked(info(to)?)?;
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
        let host = Arc::clone(&self.host);
        Ok(Box::new(VersionStager::new(host, to_stage, version)))
    }
}

#[cfg(test)]
pub(super) mod tests;
