//! Where everything lies on a host, and which versions of it could be started.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proto::pb::visor::v1 as pb;
use rustix::fs::{Access, access};
use semver::Version;

use super::chainspec::{Chainspecs, Protocol};
use super::state::NodeInfo;
use super::version::{Discovered, discover, folder_name, next_in};
use crate::machine::{Made, made_for};
use crate::staging::host_platform;

/// Visor's own folder in the root of the configurations. Its name is no version, so that neither the launcher nor a node takes it for one.
const OWN_FOLDER: &str = "casper-visor";
const BINARY: &str = "casper-node";
const CONFIG: &str = "config.toml";
const CHAINSPEC: &str = "chainspec.toml";
/// Where a host's files lie, and how its operator wants it run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `<version>/casper-node` lies here.
    pub(crate) bin_root: PathBuf,
    /// `<version>/config.toml` and the state file lie here, and visor's own folder.
    pub(crate) config_root: PathBuf,
    /// As the launcher: a node that fails is not started again.
    pub(crate) single_attempt: bool,
}

/// Why a host cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// A root cannot be read.
    #[error("read the folder {root} ({variable} names another one)", root = root.display())]
    Root {
        root: PathBuf,
        variable: &'static str,
        #[source]
        source: io::Error,
    },
    /// Visor's own folder cannot be used.
    #[error("{operation} {path}", path = path.display())]
    OwnFolder {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A version that lies on this host, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) version: Version,
    /// The node looks for the next version among these only.
    pub(crate) in_config: bool,
    /// What keeps it from being started.
    pub(crate) not_startable: Option<String>,
    /// What its chain specification says, or why it says nothing.
    pub(crate) protocol: Result<Protocol, String>,
}

impl Installed {
    /// The first era of the version, where its chain specification tells.
    pub(crate) fn era(&self) -> Option<u64> {
        self.protocol.as_ref().ok()?.activation.era()
    }

    /// Everything that is wrong with it, in words.
    pub(crate) fn problem(&self) -> String {
        let chainspec = self.protocol.as_ref().err().filter(|_| self.in_config);
        let problems: Vec<&str> = self
            .not_startable
            .iter()
            .chain(chainspec)
            .map(String::as_str)
            .collect();
        problems.join("; ")
    }

    /// What the operator is shown of it.
    pub(crate) fn shown(&self) -> pb::InstalledVersion {
        pb::InstalledVersion {
            version: self.version.to_string(),
            activation: self.era(),
            complete: self.not_startable.is_none() && self.protocol.is_ok(),
            problem: self.problem(),
        }
    }
}

impl Settings {
    /// Journal, locks, socket, backups, and the optional `config.toml` of visor.
    pub(crate) fn own_folder(&self) -> PathBuf {
        self.config_root.join(OWN_FOLDER)
    }

    /// Makes visor's own folder, for its user alone: whoever can write into it can make visor run what they like. Doing it twice is the same
    /// as once.
    pub(crate) fn make_own_folder(&self) -> Result<(), LayoutError> {
        let path = self.own_folder();
        let failed = |operation| {
            let path = path.clone();
            move |source| LayoutError::OwnFolder {
                operation,
                path,
                source,
            }
        };
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make the folder")(error));
            }
            Ok(()) | Err(_) => {}
        }
        let mode = fs::metadata(&path)
            .map_err(failed("look at"))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&path, private).map_err(failed("make private"))?;
        }
        Ok(())
    }

    /// The files that a version is run from.
    pub(crate) fn info(&self, version: &Version) -> NodeInfo {
        NodeInfo {
            binary: self.bin_root.join(folder_name(version)).join(BINARY),
            config: self.config_folder(version).join(CONFIG),
            version: version.clone(),
        }
    }

    /// The folder of a version's configuration.
    pub(crate) fn config_folder(&self, version: &Version) -> PathBuf {
        self.config_root.join(folder_name(version))
    }

    /// The chain specification of a version.
    pub(crate) fn chainspec(&self, version: &Version) -> PathBuf {
        self.config_folder(version).join(CHAINSPEC)
    }

    /// What lies in the root of the configurations.
    pub(crate) fn configured(&self) -> Result<Discovered, LayoutError> {
        discover(&self.config_root).map_err(|source| LayoutError::Root {
            root: self.config_root.clone(),
            variable: "CASPER_CONFIG_DIR",
            source,
        })
    }

    /// The version that a node of another one goes on to, complete or not: the node looks into the root of the configurations alone.
    pub(crate) fn next(&self, of: &Version) -> Result<Option<Version>, LayoutError> {
        next_in(&self.config_root, of).map_err(|source| LayoutError::Root {
            root: self.config_root.clone(),
            variable: "CASPER_CONFIG_DIR",
            source,
        })
    }

    /// What lies in the root of the binaries.
    pub(crate) fn with_binary(&self) -> Result<Discovered, LayoutError> {
        discover(&self.bin_root).map_err(|source| LayoutError::Root {
            root: self.bin_root.clone(),
            variable: "CASPER_BIN_DIR",
            source,
        })
    }

    /// Everything that lies on this host, ascending. What is in one root only, or half, is among it and blocks nothing (W1).
    pub(crate) fn survey(&self, chainspecs: &Chainspecs) -> Result<Vec<Installed>, LayoutError> {
        let (configured, with_binary) = (self.configured()?, self.with_binary()?);
        let all: BTreeSet<&Version> = [&configured, &with_binary]
            .into_iter()
            .flat_map(|root| root.versions.iter().chain(root.misnamed.keys()))
            .collect();
        let installed = all.into_iter().map(|version| {
            let misnamed = [(&configured, &self.config_root), (&with_binary, &self.bin_root)]
                .into_iter()
                .find_map(|(root, path)| Some(path.join(root.misnamed.get(version)?)));
            let not_startable = match misnamed {
                Some(path) => Some(format!(
                    "the folder {} is never looked for, rename it to {}",
                    path.display(),
                    folder_name(version)
                )),
                None => startable(&self.info(version)).err(),
            };
            Installed {
                version: version.clone(),
                in_config: configured.versions.contains(version),
                not_startable,
                protocol: chainspecs.get(&self.chainspec(version), version),
            }
        });
        let installed: Vec<Installed> = installed.collect();
        let known: BTreeSet<PathBuf> = installed
            .iter()
            .map(|version| self.chainspec(&version.version))
            .collect();
        chainspecs.keep(|path| known.contains(path));
        Ok(installed)
    }
}

/// Whether a version could be started from these files; why not, in words.
pub(crate) fn startable(info: &NodeInfo) -> Result<(), String> {
    binary(&info.binary)?;
    let path = info.config.display();
    match fs::metadata(&info.config) {
        Ok(found) if !found.is_file() => Err(format!("its configuration {path} is no file")),
        Ok(_) => access(&info.config, Access::READ_OK).map_err(|error| {
            format!(
                "its configuration {path} cannot be read: {}",
                io::Error::from(error)
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("its configuration {path} is missing"))
        }
        Err(error) => Err(format!("its configuration {path} cannot be used: {error}")),
    }
}

fn binary(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let size = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(format!("its binary {shown} is no file")),
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("its binary {shown} is missing"));
        }
        Err(error) => return Err(format!("its binary {shown} cannot be used: {error}")),
    };
    access(path, Access::EXEC_OK).map_err(|error| {
        format!(
            "its binary {shown} cannot be executed: {}",
            io::Error::from(error)
        )
    })?;
    if size == 0 {
        return Err(format!("its binary {shown} is empty"));
    }
    // Who may execute a file need not be able to read it; then the start itself tells.
    match made_for(path) {
        Ok(Made::ForAnother(machine)) => Err(format!(
            "its binary {shown} is made for another machine (ELF {machine}), not for {}",
            host_platform()
        )),
        Ok(Made::CutOff(missing)) => Err(format!(
            "its binary {shown} is cut off, {missing} bytes are missing at its end"
        )),
        Ok(Made::ForThisHost | Made::Unknown) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host with both roots in a temporary folder.
    pub(crate) struct Host {
        dir: tempfile::TempDir,
        pub(crate) settings: Settings,
    }

    impl Host {
        pub(crate) fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings = Settings {
                bin_root: dir.path().join("bin"),
                config_root: dir.path().join("etc"),
                single_attempt: false,
            };
            fs::create_dir(&settings.bin_root).unwrap();
            fs::create_dir(&settings.config_root).unwrap();
            Self { dir, settings }
        }

        /// With these versions, each with the era that it activates at.
        pub(crate) fn with(versions: &[(&str, u64)]) -> Self {
            let host = Self::new();
            for (version, era) in versions {
                host.config(version);
                host.chainspec(version, &era.to_string());
                host.binary(version);
            }
            host
        }

        pub(crate) fn root(&self) -> &Path {
            self.dir.path()
        }

        pub(crate) fn info(&self, version: &str) -> NodeInfo {
            self.settings.info(&Version::parse(version).unwrap())
        }

        pub(crate) fn binary(&self, version: &str) {
            let path = self.info(version).binary;
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        pub(crate) fn config(&self, version: &str) {
            let path = self.info(version).config;
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        }

        pub(crate) fn chainspec(&self, version: &str, activation: &str) {
            let path = self.info(version).config.with_file_name(CHAINSPEC);
            let text = format!(
                "[protocol]\nversion = '{version}'\nhard_reset = false\nactivation_point = {activation}\n\
                 [core]\nera_duration = '1h'\n"
            );
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }

        pub(crate) fn survey(&self) -> Vec<Installed> {
            self.settings.survey(&Chainspecs::default()).unwrap()
        }
    }

    fn problem(host: &Host, version: &str) -> String {
        let installed = host.survey();
        let version = Version::parse(version).unwrap();
        installed
            .iter()
            .find(|found| found.version == version)
            .unwrap()
            .problem()
    }

    #[test]
    fn casper_w1_what_is_half_there_is_named_and_blocks_nothing() {
        let host = Host::with(&[("1.0.0", 0), ("2.0.0", 100)]);
        host.config("3.0.0");
        host.chainspec("3.0.0", "200");
        host.binary("4.0.0");
        let shown: Vec<_> = host.survey().iter().map(Installed::shown).collect();
        let summary: Vec<_> = shown
            .iter()
            .map(|found| (found.version.as_str(), found.activation, found.complete))
            .collect();
        assert_eq!(
            summary,
            [
                ("1.0.0", Some(0), true),
                ("2.0.0", Some(100), true),
                ("3.0.0", Some(200), false),
                ("4.0.0", None, false),
            ]
        );
        assert_eq!([&shown[0].problem, &shown[1].problem], ["", ""]);
        assert!(shown[2].problem.contains("bin/3_0_0/casper-node is missing"));
        assert!(shown[3].problem.contains("etc/4_0_0/config.toml is missing"));
        fs::remove_dir_all(&host.settings.bin_root).unwrap();
        let error = host
            .settings
            .survey(&Chainspecs::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("CASPER_BIN_DIR"), "{error}");
    }

    #[test]
    fn casper_w11_a_binary_that_does_not_run_here_is_named_before_it_is_needed() {
        let host = Host::with(&[("1.0.0", 0)]);
        let path = host.info("1.0.0").binary;
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(problem(&host, "1.0.0").contains("cannot be executed"));
        mode(0o755);
        assert_eq!(problem(&host, "1.0.0"), "");
        fs::write(&path, "").unwrap();
        assert!(problem(&host, "1.0.0").contains("is empty"));
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        fs::write(&path, &own[..own.len() / 2]).unwrap();
        assert!(problem(&host, "1.0.0").contains("is cut off"));
        let mut other = own[..64].to_vec();
        other[18..20].copy_from_slice(&8_u16.to_le_bytes());
        fs::write(&path, &other).unwrap();
        assert!(problem(&host, "1.0.0").contains("made for another machine (ELF 8)"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(problem(&host, "1.0.0").contains("is no file"));
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(problem(&host, "1.0.0").contains("is missing"));
    }

    #[test]
    fn casper_w18_a_folder_with_dots_is_named_where_its_own_is_missing() {
        let host = Host::with(&[("1.0.0", 0)]);
        fs::create_dir(host.settings.config_root.join("1.0.0")).unwrap();
        assert_eq!(problem(&host, "1.0.0"), "");
        fs::create_dir(host.settings.bin_root.join("2.0.0")).unwrap();
        let found = problem(&host, "2.0.0");
        assert!(
            found.contains("bin/2.0.0") && found.contains("rename it to 2_0_0"),
            "{found}"
        );
    }

    #[test]
    fn a_chain_specification_that_says_nothing_is_a_problem_and_keeps_nothing_from_starting() {
        let host = Host::with(&[("1.0.0", 0)]);
        host.chainspec("1.0.0", "'x'");
        let installed = &host.survey()[0];
        assert_eq!(installed.not_startable, None);
        assert!(!installed.shown().complete);
        assert!(installed.problem().contains("activation_point"));
    }

    #[test]
    fn the_own_folder_is_private_also_when_it_was_not() {
        let host = Host::new();
        let own = host.settings.own_folder();
        for _ in 0..2 {
            host.settings.make_own_folder().unwrap();
            assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert!(host.survey().is_empty(), "its name is no version");
        fs::remove_dir_all(host.root().join("etc")).unwrap();
        assert!(host.settings.make_own_folder().is_err());
    }
}
