//! The host as the adapter, its links and its stagers share it: which files a version is run from, and which version comes next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use semver::Version;
use visor_planner::{self as planner, Height, UpgradeId, UpgradePlan};

use super::chainspec::{Chainspecs, Protocol};
use super::error::CasperError;
use super::layout::{Installed, LayoutError, Settings, startable};
use super::state::{NodeInfo, State, StateError, StateFile};
use super::version;
use super::watch::FolderWatch;
use crate::cli::chain;

/// What the adapter, its links and its stagers share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) settings: Settings,
    pub(super) state: StateFile,
    pub(super) chainspecs: Chainspecs,
    /// One for all runs of the node, used by the link to the present one: to close it takes time that a start has not.
    pub(super) watch: tokio::sync::Mutex<Option<FolderWatch>>,
    /// The problems that were named, by version.
    named: Mutex<BTreeMap<Version, String>>,
    /// The era that the node named last.
    era: AtomicU64,
}

impl Host {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            state: StateFile::new(&settings.config_root, &settings.own_folder()),
            settings,
            chainspecs: Chainspecs::default(),
            watch: tokio::sync::Mutex::default(),
            named: Mutex::default(),
            era: AtomicU64::new(0),
        }
    }

    /// Looks at everything that is installed, and names what is wrong when it is new or has changed.
    pub(super) fn survey(&self) -> Result<Vec<Installed>, LayoutError> {
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
    pub(super) fn info(&self, version: &Version) -> Result<NodeInfo, StateError> {
        let state = self.state.read()?;
        Ok(self.info_in(state.as_ref(), version))
    }

    /// The same, when the state file has been read.
    pub(super) fn info_in(&self, state: Option<&State>, version: &Version) -> NodeInfo {
        let recorded = state.and_then(|state| state.info(version));
        recorded.cloned().unwrap_or_else(|| self.settings.info(version))
    }

    /// The files of a version that could be started.
    pub(super) fn startable(&self, version: &Version) -> Result<NodeInfo, String> {
        let info = self.info(version).map_err(|error| chain(&error))?;
        startable(&info)?;
        Ok(info)
    }

    /// The same, for what is about to be done with them.
    pub(super) fn usable(&self, version: &Version) -> Result<NodeInfo, CasperError> {
        self.checked(self.info(version)?)
    }

    pub(super) fn checked(&self, info: NodeInfo) -> Result<NodeInfo, CasperError> {
        match startable(&info) {
            Ok(()) => Ok(info),
            Err(problem) if info != self.settings.info(&info.version) => Err(CasperError::Gone {
                version: info.version,
                problem,
                state: self.state.path().to_path_buf(),
            }),
            Err(problem) => Err(CasperError::NotStartable {
                version: info.version,
                problem,
            }),
        }
    }

    pub(super) fn protocol(&self, version: &Version) -> Result<Protocol, String> {
        self.chainspecs.get(&self.settings.chainspec(version), version)
    }

    /// The version that a node of `of` has stopped for.
    pub(super) fn next(&self, of: &Version) -> Result<Version, String> {
        let next = self.settings.next(of).map_err(|error| chain(&error))?;
        next.ok_or_else(|| {
            format!(
                "no higher version than {of} is installed in {}",
                self.settings.config_root.display()
            )
        })
    }

    /// The largest version below that could be started.
    pub(super) fn previous(&self, of: &Version) -> Result<Version, String> {
        let configured = self.settings.configured().map_err(|error| chain(&error))?;
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

    /// Makes durable what an upgrade from this version to the next will write. Waits for the disk.
    pub(super) fn make_ready(&self, of: &Version) -> Result<(), CasperError> {
        let Ok(next) = self.next(of) else {
            return Ok(());
        };
        // One that cannot be started is not gone on to.
        let Ok(new) = self.startable(&next) else {
            return Ok(());
        };
        let old = self.info(of)?;
        let migrate = State::Migrate {
            old,
            new: new.clone(),
        };
        for state in [migrate, State::Run(new)] {
            self.state.make_ready(&state)?;
        }
        Ok(())
    }

    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    pub(super) fn set_era(&self, era: u64) {
        self.era.store(era, Ordering::Relaxed);
    }
}

/// The upgrade to a version, whose era is known or not.
pub(super) fn plan(version: &Version, era: Option<u64>) -> UpgradePlan {
    let id = era.map_or_else(|| version.to_string(), |era| format!("{version}@era-{era}"));
    UpgradePlan {
        id: UpgradeId(id),
        version: planner::Version(version.to_string()),
        // The last era of the version before.
        height: Height(era.unwrap_or_default().saturating_sub(1)),
    }
}

/// A version, as the planner has it.
pub(super) fn parse(text: &str) -> Result<Version, CasperError> {
    Version::parse(text).map_err(|_| CasperError::NoVersion {
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use visor_planner::Neighbour;

    use crate::adapter::Adapter as _;
    use crate::adapter::casper::layout::tests::Host as Files;
    use crate::adapter::casper::tests::{open, run_state, state};
    use crate::config::Config;

    #[test]
    fn casper_w3_what_an_upgrade_writes_is_durable_before_it_is_needed() {
        let files = Files::with(&[("1.0.0", 0), ("2.0.0", 20)]);
        let casper = open(&files);
        casper.force("1.0.0").unwrap();
        let [old, new] = ["1.0.0", "2.0.0"].map(|version| semver::Version::parse(version).unwrap());
        casper.host.make_ready(&new).unwrap();
        let ready = ["migrate.ready", "run.ready"].map(|name| files.settings.own_folder().join(name));
        assert!(!ready[0].exists() && !ready[1].exists(), "nothing comes after it");
        casper.host.make_ready(&old).unwrap();
        let written = |path: &std::path::Path| fs::metadata(path).unwrap().ino();
        let made_ready = ready.each_ref().map(|path| written(path));
        // The upgrade only gives them the name.
        let state_file = casper.host.state.path().to_path_buf();
        casper
            .begin_migration("1.0.0", "2.0.0", &Config::default())
            .unwrap();
        assert_eq!(written(&state_file), made_ready[0]);
        casper.prepare_switch("2.0.0").unwrap().switch().unwrap();
        assert_eq!(written(&state_file), made_ready[1]);
        assert_eq!(state(&files), run_state(&files, "2.0.0"));
        // Not for a version that could not be started.
        casper.force("1.0.0").unwrap();
        fs::remove_file(files.info("2.0.0").binary).unwrap();
        for path in &ready {
            fs::remove_file(path).unwrap();
        }
        casper.host.make_ready(&old).unwrap();
        assert!(!ready[0].exists() && !ready[1].exists());
    }

    #[test]
    fn casper_w19_w39_the_next_version_is_the_one_that_the_node_stopped_for_or_none() {
        let files = Files::with(&[("1.0.0", 0), ("2.0.0", 20), ("3.0.0", 30)]);
        let casper = open(&files);
        let next = |of: &str| casper.neighbour(of, Neighbour::Next).map(|plan| plan.version.0);
        let previous = |of: &str| {
            casper
                .neighbour(of, Neighbour::Previous)
                .map(|plan| plan.version.0)
        };
        assert_eq!(next("1.0.0"), Ok("2.0.0".to_owned()));
        assert_eq!(next("2.5.0"), Ok("3.0.0".to_owned()));
        assert!(
            next("3.0.0")
                .unwrap_err()
                .contains("no higher version than 3.0.0")
        );
        assert!(
            previous("1.0.0")
                .unwrap_err()
                .contains("no lower version than 1.0.0")
        );
        // A binary alone is none that the node looks at; a configuration alone is one, and is never stepped over.
        files.binary("1.5.0");
        assert_eq!(next("1.0.0"), Ok("2.0.0".to_owned()));
        fs::remove_file(files.info("2.0.0").binary).unwrap();
        let error = next("1.0.0").unwrap_err();
        assert!(
            error.contains("version 2.0.0 is the next one, and its binary") && error.contains("is missing"),
            "{error}"
        );
        assert_eq!(previous("3.0.0"), Ok("1.0.0".to_owned()), "only a complete one");
        // Without an era it is known by its version.
        files.chainspec("3.0.0", "'x'");
        let plan = casper.neighbour("2.0.0", Neighbour::Next).unwrap();
        assert_eq!((plan.id.0.as_str(), plan.height.0), ("3.0.0", 0));
    }
}
