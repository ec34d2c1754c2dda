//! A launcher's host: the two folders of versions, the node's data, and a visor that is called `casper-node-launcher`. Everything that a
//! test started ends with it.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use visor::home::Home;
use visor::lock::NodeLock;

pub(crate) use super::launcher::Launcher;
use crate::scene::{loaded, wait_for};

/// The launcher's own name for its state.
pub(crate) const STATE: &str = "casper-node-launcher-state.toml";

/// One host.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    /// Bound and not listening: the port is this host's, and its nodes listen on it.
    _port: OwnedFd,
    address: SocketAddr,
    launchers: u32,
}

/// What the launcher's name for a version is.
pub(crate) fn folder(version: &str) -> String {
    version.replace('.', "_")
}

impl Host {
    /// Empty folders, retries within milliseconds and short timeouts.
    pub(crate) fn new() -> Self {
        let (port, address) = port();
        let host = Self {
            dir: tempfile::Builder::new().prefix("ct").tempdir().unwrap(),
            _port: port,
            address,
            launchers: 0,
        };
        for folder in [host.bin(), host.config(), host.node(), host.own()] {
            fs::create_dir_all(folder).unwrap();
        }
        host.configure(&[
            ("restart", "initial_delay", "20ms".into()),
            ("restart", "max_delay", "100ms".into()),
            ("first_start", "initial_delay", "20ms".into()),
            ("first_start", "max_delay", "100ms".into()),
            ("start_after_upgrade", "initial_delay", "20ms".into()),
            ("start_after_upgrade", "max_delay", "100ms".into()),
            ("stop", "grace", "2s".into()),
            ("casper", "status_url", format!("http://{address}/status").into()),
        ]);
        host
    }

    /// The same with 1.0.0 since genesis, and 2.0.0 from so many eras on.
    pub(crate) fn with_upgrade(activation: u64) -> Self {
        let host = Self::new();
        host.stage("1.0.0", 0);
        host.stage("2.0.0", activation);
        host
    }

    /// The same, and the state file says that 1.0.0 runs.
    pub(crate) fn with_upgrade_ahead(activation: u64) -> Self {
        let host = Self::with_upgrade(activation);
        host.write_state(&host.validator_text("1.0.0"));
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("b")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    /// The node's data.
    pub(crate) fn node(&self) -> PathBuf {
        self.dir.path().join("n")
    }

    /// What is visor's own.
    pub(crate) fn own(&self) -> PathBuf {
        self.config().join("casper-visor")
    }

    pub(crate) fn binary(&self, version: &str) -> PathBuf {
        self.bin().join(folder(version)).join("casper-node")
    }

    pub(crate) fn node_config(&self, version: &str) -> PathBuf {
        self.config().join(folder(version)).join("config.toml")
    }

    /// A version in both folders.
    pub(crate) fn stage(&self, version: &str, activation: u64) {
        self.stage_binary(version);
        self.stage_config(version, activation);
    }

    pub(crate) fn stage_binary(&self, version: &str) {
        self.stage_binary_in(&folder(version), version);
    }

    /// The same in a folder of another name.
    pub(crate) fn stage_binary_in(&self, folder: &str, version: &str) {
        let path = self.bin().join(folder).join("casper-node");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = made(version);
        // A link where that can be, since a program that nobody has written for a while is never busy.
        if fs::hard_link(&made, &path).is_err() {
            fs::copy(&made, &path).unwrap();
        }
    }

    pub(crate) fn stage_config(&self, version: &str, activation: u64) {
        self.stage_config_in(&folder(version), version, activation);
    }

    pub(crate) fn stage_config_in(&self, folder: &str, version: &str, activation: u64) {
        let path = self.config().join(folder);
        fs::create_dir_all(&path).unwrap();
        let config = json!({
            "storage": { "path": self.node() },
            "rest_server": { "address": self.address },
        });
        fs::write(
            path.join("config.toml"),
            toml::Table::try_from(config).unwrap().to_string(),
        )
        .unwrap();
        self.chainspec(folder, version, activation);
    }

    pub(crate) fn chainspec(&self, folder: &str, version: &str, activation: u64) {
        let text = format!(
            "[protocol]\nversion = '{version}'\nhard_reset = false\nactivation_point = {activation}\n\n[network]\nname = 'fake'\n"
        );
        fs::write(self.config().join(folder).join("chainspec.toml"), text).unwrap();
    }

    /// Takes a version away, as `unstage_protocol` does.
    pub(crate) fn unstage(&self, version: &str) {
        for root in [self.bin(), self.config()] {
            let _ = fs::remove_dir_all(root.join(folder(version)));
        }
    }

    /// Puts something else in the place of a version's binary. It must be a new file: the others are links to one.
    pub(crate) fn replace_binary(&self, version: &str, bytes: &[u8], mode: u32) {
        let path = self.binary(version);
        let part = path.with_extension("part");
        fs::write(&part, bytes).unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// What a version's node does.
    pub(crate) fn behave(&self, version: &str, behaviour: &Value) {
        self.behave_in(&folder(version), behaviour);
    }

    pub(crate) fn behave_in(&self, folder: &str, behaviour: &Value) {
        let path = self.config().join(folder).join("behaviour.json");
        let part = path.with_extension("part");
        fs::write(&part, behaviour.to_string()).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// The next node of this version exits with this code, once.
    pub(crate) fn exit_once(&self, version: &str, code: i32) {
        self.write_once(version, "exit-once", code);
    }

    /// The same of a migration to it.
    pub(crate) fn migrate_exit_once(&self, version: &str, code: i32) {
        self.write_once(version, "migrate-exit-once", code);
    }

    fn write_once(&self, version: &str, name: &str, code: i32) {
        let path = self.config().join(folder(version)).join(name);
        let part = path.with_extension("part");
        fs::write(&part, code.to_string()).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// Changes visor's own configuration.
    pub(crate) fn configure(&self, values: &[(&str, &str, toml::Value)]) {
        let path = self.own().join("config.toml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut table: toml::Table = text.parse().unwrap();
        for (section, key, value) in values {
            let section = table.entry(*section).or_insert_with(|| toml::Table::new().into());
            section
                .as_table_mut()
                .unwrap()
                .insert((*key).to_owned(), value.clone());
        }
        fs::write(path, table.to_string()).unwrap();
    }

    /// Restarts of failed nodes at most so often.
    pub(crate) fn max_retries(&self, retries: i64) {
        let sections = ["restart", "first_start", "start_after_upgrade"];
        let values = sections.map(|section| (section, "max_retries", retries.into()));
        self.configure(&values);
    }

    /// The launcher's command, with its environment.
    pub(crate) fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_visor"))
    }

    fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg0("casper-node-launcher")
            .env("CASPER_BIN_DIR", self.bin())
            .env("CASPER_CONFIG_DIR", self.config())
            .env("CASPER_SHUTDOWN_SCRIPT", self.script())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// The place of the shutdown script.
    pub(crate) fn script(&self) -> PathBuf {
        self.root().join("casper_shutdown_script")
    }

    pub(crate) fn write_script(&self, text: &str, mode: u32) {
        fs::write(self.script(), text).unwrap();
        fs::set_permissions(self.script(), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn start(&mut self) -> Launcher {
        let command = self.command();
        self.launch(command)
    }

    /// Until the node of this version makes eras.
    pub(crate) fn start_validating(&mut self, version: &str) -> Launcher {
        let launcher = self.start();
        self.wait_validating(version);
        launcher
    }

    /// With something changed about the command.
    pub(crate) fn start_with(&mut self, change: impl FnOnce(&mut Command)) -> Launcher {
        let mut command = self.command();
        change(&mut command);
        self.launch(command)
    }

    /// A visor that kills itself: these are the variables of `visor-faulty`. Without any it is as good as `visor`.
    pub(crate) fn start_faulty(&mut self, variables: &[(&str, &str)]) -> Launcher {
        let mut command = self.command_of(env!("CARGO_BIN_EXE_visor-faulty"));
        command.envs(variables.iter().copied());
        self.launch(command)
    }

    pub(crate) fn launch(&mut self, command: Command) -> Launcher {
        self.launchers += 1;
        Launcher::launch(command, &self.root().join(format!("launcher-{}", self.launchers)))
    }

    /// The text of the shape that says which version runs.
    pub(crate) fn validator_text(&self, version: &str) -> String {
        format!(
            "mode = 'RunNodeAsValidator'\nversion = '{version}'\nbinary_path = '{}'\nconfig_path = '{}'\n",
            self.binary(version).display(),
            self.node_config(version).display()
        )
    }

    /// The text of the shape that says what is migrated.
    pub(crate) fn migration_text(&self, old: &str, new: &str) -> String {
        let info = |name: &str, version: &str| {
            format!(
                "\n[{name}]\nversion = '{version}'\nbinary_path = '{}'\nconfig_path = '{}'\n",
                self.binary(version).display(),
                self.node_config(version).display()
            )
        };
        format!(
            "mode = 'MigrateData'\n{}{}",
            info("old_info", old),
            info("new_info", new)
        )
    }

    pub(crate) fn write_state(&self, text: &str) {
        fs::write(self.config().join(STATE), text).unwrap();
    }

    /// SIGKILL for every process that visor has started here.
    pub(crate) fn kill_node(&self) {
        let lock = NodeLock::new(Home::at(self.own()).node_lock());
        for holder in lock.holders() {
            let _ = kill_process(holder.pid, Signal::KILL);
        }
    }
}

impl Drop for Host {
    /// Ends what a failed test left behind.
    fn drop(&mut self) {
        self.kill_node();
    }
}

/// A port for the nodes of one host. The socket is bound and never listens; those that do share the port with it.
fn port() -> (OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap();
    let address = SocketAddr::try_from(address).unwrap();
    (socket, address)
}

/// The fake node that is this version, made once and never written again.
fn made(version: &str) -> PathBuf {
    static LOADED: OnceLock<Vec<u8>> = OnceLock::new();
    let program = env!("CARGO_BIN_EXE_fake-casper");
    let name = format!("fake-casper-{version}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let is_fresh = || -> Option<bool> {
        let built = fs::metadata(program).ok()?.modified().ok()?;
        Some(fs::metadata(&path).ok()?.modified().ok()? > built)
    };
    if is_fresh() != Some(true) {
        let mut bytes = LOADED.get_or_init(|| loaded(program)).clone();
        bytes.extend_from_slice(format!("\nFAKE-VERSION:{version}").as_bytes());
        let part = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(part.path(), bytes).unwrap();
        fs::set_permissions(part.path(), fs::Permissions::from_mode(0o755)).unwrap();
        part.into_temp_path().persist(&path).unwrap();
        // Busy until every child that another test forked meanwhile has come to its exec.
        wait_for("the node's program to be free", || {
            Command::new(&path).arg("--version").output().ok()
        });
    }
    path
}
