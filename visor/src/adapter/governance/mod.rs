//! The native chain: a home of visor's own layout, and a node that serves `node.v1`.

mod home;
mod link;
mod stager;
mod translate;

pub(crate) use self::link::{MAX_ANSWER, MAX_REPORT, connect, judge};
pub use self::translate::translate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use visor_planner::{Completion, Conventions, ExitCodes};

use self::home::alone;
use self::stager::FolderStager;
use super::{Adapter, AdapterError, Current, Link, LinkTo, Running, Stager, Start, Switch, ToStage};
use crate::adoption::{Candidate, explain};
use crate::certificate::{Notary, Pin, PinError};
use crate::config::{Config, ConfigError};
use crate::home::{GENESIS, Home};
use crate::process::{Launch, Main};
use crate::run_config::RunConfig;
use crate::swap;

/// What the node's exit codes mean; `governance/node` documents them.
pub const CONVENTIONS: Conventions = Conventions {
    exit_codes: ExitCodes {
        newer_required: Some(10),
        older_required: Some(11),
        upgrade: None,
        downgrade: None,
        shut_down: None,
    },
    halt_is_durable: true,
    migration: false,
    completion: Completion::FirstBlock,
    home_decides: false,
};

/// The pinned genesis cannot be used: then nothing is believed, and nothing begun.
#[derive(Debug, thiserror::Error)]
#[error("use governance.genesis of {config}", config = config.display())]
pub(crate) struct UnusablePin {
    config: PathBuf,
    #[source]
    source: PinError,
}

/// A home of visor's own layout.
#[derive(Debug)]
pub(crate) struct Governance {
    home: Home,
    /// Present when the operator has pinned a genesis (VIS-12).
    notary: Option<Arc<Notary>>,
}

impl Governance {
    /// For looking only: nothing that the node announces is judged.
    pub(crate) fn unpinned(home: Home) -> Self {
        Self { home, notary: None }
    }

    /// With the genesis that the operator trusts.
    ///
    /// # Errors
    /// When it is named and cannot be used.
    pub(crate) fn open(home: Home, config: &Config) -> Result<Self, UnusablePin> {
        let genesis = &config.governance.genesis;
        if genesis.as_os_str().is_empty() {
            return Ok(Self::unpinned(home));
        }
        let pin = Pin::read(&home.root().join(genesis)).map_err(|source| {
            let config = home.config();
            UnusablePin { config, source }
        })?;
        tracing::info!(chain.id = %pin.chain_id(), "upgrades are believed only with a certificate");
        Ok(Self {
            home,
            notary: Some(Arc::new(Notary::new(pin))),
        })
    }

    fn folder_of(&self, version: &str) -> Result<String, AdapterError> {
        self.home
            .folder_of_version(version)
            .ok_or_else(|| AdapterError::NoFolder {
                version: version.to_owned(),
                home: self.home.root().to_path_buf(),
                expected: self
                    .home
                    .folder(&Home::folder_name(version))
                    .display()
                    .to_string(),
            })
    }

    fn read(&self, version: &str) -> Result<(PathBuf, RunConfig), AdapterError> {
        let folder = self.home.folder(&self.folder_of(version)?);
        let run = RunConfig::read(&folder)?;
        Ok((folder, run))
    }
}

impl Adapter for Governance {
    fn name(&self) -> &'static str {
        "governance"
    }

    fn conventions(&self) -> Conventions {
        CONVENTIONS
    }

    fn pinned_chain(&self) -> String {
        self.notary
            .as_ref()
            .map(|notary| notary.chain_id().to_string())
            .unwrap_or_default()
    }

    fn read_config(&self) -> Result<Config, ConfigError> {
        Config::read(&self.home.config())
    }

    fn config_files(&self) -> Vec<PathBuf> {
        vec![self.home.config()]
    }

    fn current(&self) -> Result<Current, AdapterError> {
        let version = swap::current(&self.home)?.and_then(|folder| self.home.version_of(&folder));
        Ok(Current {
            version,
            migrating: None,
        })
    }

    fn versions(&self) -> Vec<String> {
        self.home.versions()
    }

    fn identify(&self, mains: &[Main]) -> Option<Running> {
        let current = swap::current(&self.home).ok().flatten();
        let mut folders: Vec<String> = current.iter().cloned().collect();
        folders.push(GENESIS.to_owned());
        folders.extend(self.home.version_folders());
        let candidates = folders.into_iter().filter_map(|name| {
            let path = self.home.folder(&name);
            let launch = RunConfig::read(&path).ok()?.launch(&path, None);
            Some(Candidate { name, launch })
        });
        let version_of = |folder: &String| self.home.version_of(folder);
        let current = || current.as_ref().and_then(version_of);
        if let Some((folder, unit)) = explain(candidates, mains) {
            let version = version_of(&folder);
            return Some(Running {
                watched: version.clone().or_else(current),
                version,
                is_migration: false,
                unit,
            });
        }
        // Nobody knows the program: a wrapper, or a folder whose run configuration was changed since. The oldest is the node.
        let main = mains.first()?;
        let version = self.home.folder_of(&main.program).as_ref().and_then(version_of);
        let watched = version.clone().or_else(current);
        Some(Running {
            unit: alone(&self.home, watched.as_deref(), main),
            is_migration: false,
            version,
            watched,
        })
    }

    fn folder(&self, version: &str) -> Option<PathBuf> {
        Some(self.home.folder(&self.home.folder_of_version(version)?))
    }

    fn program(&self, version: &str) -> Option<PathBuf> {
        let (folder, run) = self.read(version).ok()?;
        Some(run.program(&folder))
    }

    fn launch(&self, start: &Start, _added: &[String], config: &Config) -> Result<Launch, AdapterError> {
        let (folder, run) = self.read(&start.version)?;
        run.check_programs(&folder)?;
        Ok(run.launch(&folder, output(self.home.root(), config)))
    }

    fn prepare_switch(&self, version: &str) -> Result<Box<dyn Switch>, AdapterError> {
        let folder = self.folder_of(version)?;
        Ok(Box::new(swap::prepare(&self.home, &folder)?))
    }

    fn sync_switch(&self) -> Result<(), AdapterError> {
        Ok(swap::sync(&self.home)?)
    }

    fn open_link(&self, to: LinkTo) -> Result<Link, AdapterError> {
        let (_, run) = self.read(&to.version)?;
        let follow = link::follow(run.node.socket, to.run, to.events, self.notary.clone());
        Ok(Link::spawn(follow))
    }

    fn stager(&self, to_stage: ToStage) -> Result<Box<dyn Stager>, AdapterError> {
        let current = self.folder_of(&to_stage.current)?;
        Ok(Box::new(FolderStager::new(self.home.clone(), to_stage, current)))
    }
}

/// Where the processes write; nothing: where visor does.
fn output(root: &Path, config: &Config) -> Option<PathBuf> {
    let file = &config.node.log_file;
    (!file.as_os_str().is_empty()).then(|| root.join(file))
}
