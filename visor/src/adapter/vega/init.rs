//! A new Vega Visor home: the same files as Vega Visor's own `init` writes, with examples that can run (W-59).

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::config::default_asset;
use super::run_config::{Binary, FILE_NAME, Rpc, RunConfig, default_socket};
use crate::home::{GENESIS, sync_directory, write_durably};

/// The folder whose run configuration is a sample for later versions.
const SAMPLE: &str = "vX.X.X";

/// Why there is no new home.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// Something is there already.
    #[error("make the home {home}: it exists already. Nothing was changed; choose another folder", home = home.display())]
    Exists {
        /// The home.
        home: PathBuf,
    },
    /// An operation failed.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> InitError + use<'a> {
    move |source| InitError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

/// Makes a home. It appears whole or not at all.
///
/// # Errors
/// When something stands in its place, or the system refuses.
pub(crate) fn init(home: &Path, with_data_node: bool) -> Result<(), InitError> {
    let exists = || InitError::Exists {
        home: home.to_path_buf(),
    };
    if fs::symlink_metadata(home).is_ok() {
        return Err(exists());
    }
    let parent = home.parent().unwrap_or(Path::new("/"));
    let mut folders = DirBuilder::new();
    folders.recursive(true).mode(0o755);
    folders.create(parent).map_err(failed("create", parent))?;
    let mut name = home.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = home.with_file_name(name);
    // Left behind by an attempt that was cut short: only an `init` gives a folder this name, and this content.
    if part.join(SAMPLE).is_dir() {
        fs::remove_dir_all(&part).map_err(failed("remove", &part))?;
    }
    DirBuilder::new()
        .mode(0o755)
        .create(&part)
        .map_err(failed("create", &part))?;
    // The sample first: by it a rest is known.
    for name in [SAMPLE, GENESIS] {
        let folder = part.join(name);
        folders.create(&folder).map_err(failed("create", &folder))?;
        let text = example(name, with_data_node).to_text();
        let file = folder.join(FILE_NAME);
        write_durably(&file, text.as_bytes(), 0o600).map_err(failed("write", &file))?;
    }
    let file = part.join("config.toml");
    write_durably(&file, config().as_bytes(), 0o600).map_err(failed("write", &file))?;
    // A rename would replace an empty folder that has appeared since.
    if fs::symlink_metadata(home).is_ok() {
        return Err(exists());
    }
    fs::rename(&part, home).map_err(failed("create", home))?;
    sync_directory(parent).map_err(failed("sync", parent))
}

fn example(name: &str, with_data_node: bool) -> RunConfig {
    let binary = |args: &[&str]| Binary {
        path: PathBuf::from("vega"),
        args: args.iter().map(|&argument| argument.to_owned()).collect(),
    };
    RunConfig {
        name: name.to_owned(),
        vega: binary(&["start", "--home", "/path/to/vega-home"]),
        rpc: Rpc {
            socket_path: default_socket(),
            http_path: "/rpc".to_owned(),
        },
        data_node: with_data_node
            .then(|| binary(&["datanode", "start", "--home", "/path/to/data-node-home"])),
    }
}

/// Every key with the value that Vega Visor writes, but for the asset, which is this host's (W-51).
pub(crate) fn config() -> String {
    format!(
        "maxNumberOfFirstConnectionRetries = 175000
maxNumberOfRestartConnectionRetries = 10
maxNumberOfRestarts = 3
restartsDelaySeconds = 5
stopDelaySeconds = 0
stopSignalTimeoutSeconds = 15

[upgradeFolders]
\"{SAMPLE}\" = \"{SAMPLE}\"

[autoInstall]
enabled = true
repositoryOwner = \"vegaprotocol\"
repository = \"vega\"

[autoInstall.asset]
name = \"{}\"
binaryName = \"vega\"
",
        default_asset()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::config;
    use super::*;

    #[test]
    fn w_59_the_written_files_can_be_used_and_have_vegas_modes() {
        let dir = tempfile::tempdir().unwrap();
        for with_data_node in [false, true] {
            let home = dir.path().join(format!("deep/{with_data_node}"));
            init(&home, with_data_node).unwrap();
            let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode("") & 0o700, 0o700);
            for name in ["genesis", "vX.X.X"] {
                assert_eq!(mode(name) & 0o711, 0o711 & !umask(), "{name}");
                assert_eq!(mode(&format!("{name}/{FILE_NAME}")), 0o600);
                let (run, unknown) = RunConfig::read_all(&home.join(name)).unwrap();
                assert_eq!((run.name.as_str(), unknown), (name, BTreeSet::new()));
                assert_eq!(run.data_node.is_some(), with_data_node);
                for (_, program) in run.programs(&home.join(name)) {
                    assert_eq!(program, home.join(name).join("vega"));
                }
            }
            assert_eq!(mode("config.toml"), 0o600);
            let read = config::read(&home.join("config.toml")).unwrap();
            assert_eq!(read.unknown, BTreeSet::new());
            let mut expected = config::Settings::default();
            expected.auto_install.enabled = true;
            expected
                .upgrade_folders
                .insert("vX.X.X".to_owned(), "vX.X.X".to_owned());
            assert_eq!(read.settings, expected);
        }
    }

    fn umask() -> u32 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Umask:"))
            .unwrap();
        u32::from_str_radix(line.trim(), 8).unwrap()
    }

    #[test]
    fn a_home_that_exists_is_left_as_it_is_and_a_rest_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        assert!(matches!(init(&home, false), Err(InitError::Exists { .. })));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
        fs::remove_dir(&home).unwrap();
        fs::create_dir_all(dir.path().join("home.part/vX.X.X")).unwrap();
        init(&home, false).unwrap();
        assert!(!dir.path().join("home.part").exists());
    }
}
