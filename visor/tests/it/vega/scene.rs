//! A home of Vega's visor with a fake core and data node, and a real visor over it. Everything that a test started ends with it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use proto::pb::visor::v1 as pb;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::log::{Log, Role};
use crate::scene::{PATIENCE, Visor, ask, loaded, status, wait_for};

pub(crate) const V79: &str = "v0.79.0";
pub(crate) const V80: &str = "v0.80.0";
pub(crate) const V81: &str = "v0.81.0";
pub(crate) const V82: &str = "v0.82.0";

/// What runs on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Core,
    /// And a data node of the same binary.
    OneBinary,
    /// And a data node of its own.
    TwoBinaries,
}

impl Kind {
    pub(crate) const fn has_data_node(self) -> bool {
        match self {
            Self::Core => false,
            Self::OneBinary | Self::TwoBinaries => true,
        }
    }
}

/// One host: a visor home as Vega's tools write it, and the world of its processes.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    kind: Kind,
    behaviour: Value,
    visors: u32,
}

impl Host {
    /// In its first life, with version 0.79.0 in `genesis`, and blocks of 10 ms.
    pub(crate) fn new(kind: Kind) -> Self {
        let host = Self::empty(kind);
        host.folder("genesis", V79);
        host
    }

    /// Taken over from Vega's visor in the middle of its life: `current` is the absolute link that this one writes, to a folder that
    /// is called by its tag.
    pub(crate) fn taken_over(kind: Kind) -> Self {
        let host = Self::empty(kind);
        host.folder("genesis", "v0.78.0");
        host.folder(V79, V79);
        std::os::unix::fs::symlink(host.home().join(V79), host.home().join("current")).unwrap();
        host
    }

    fn empty(kind: Kind) -> Self {
        let mut host = Self {
            dir: tempfile::Builder::new().prefix("vv").tempdir().unwrap(),
            kind,
            behaviour: json!({}),
            visors: 0,
        };
        let node = host.world().join("core/config/node");
        fs::create_dir_all(&node).unwrap();
        fs::create_dir_all(host.world().join("data")).unwrap();
        fs::create_dir(host.home()).unwrap();
        let addresses = format!(
            "[Admin.Server]\nSocketPath = {:?}\nHTTPPath = \"/rpc\"\n\n[Blockchain.Tendermint]\nRPCAddr = \"tcp://127.0.0.1:{}\"\n",
            host.admin_socket(),
            free_port()
        );
        fs::write(node.join("config.toml"), addresses).unwrap();
        host.configure(FEW_KEYS);
        host.configure_own(QUICK);
        host.behave(json!({ "with_data_node": kind.has_data_node() }));
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("v")
    }

    /// The folder of the processes' own homes and of their log.
    pub(crate) fn world(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.world().join("vega.sock")
    }

    /// Changes keys at the top of Vega's own `config.toml`: `name = value`, one in a line.
    pub(crate) fn with_keys(&self, lines: &str) {
        let changed: toml::Table = lines.parse().unwrap();
        let mut table: toml::Table = FEW_KEYS.parse().unwrap();
        table.extend(changed);
        self.configure(&table.to_string());
    }

    /// Adds to what is ours.
    pub(crate) fn with_own(&self, text: &str) {
        self.configure_own(&format!("{QUICK}{text}"));
    }

    /// Vega's own `config.toml`.
    pub(crate) fn configure(&self, text: &str) {
        replace(&self.home().join("config.toml"), text);
    }

    /// What is ours, beside it.
    pub(crate) fn configure_own(&self, text: &str) {
        replace(&self.home().join("visor.toml"), text);
    }

    /// A complete version's folder. It appears at once.
    pub(crate) fn folder(&self, name: &str, version: &str) {
        let being_made = self.dir.path().join(format!("making-{name}"));
        fs::create_dir(&being_made).unwrap();
        self.programs(&being_made, version);
        fs::write(being_made.join("run-config.toml"), self.run_config(version)).unwrap();
        fs::rename(being_made, self.home().join(name)).unwrap();
    }

    /// The binaries of a version.
    pub(crate) fn programs(&self, folder: &Path, version: &str) {
        for name in self.binaries() {
            write_program(&folder.join(name), version);
        }
    }

    pub(crate) fn binaries(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Core | Kind::OneBinary => &["vega"],
            Kind::TwoBinaries => &["vega", "data-node"],
        }
    }

    pub(crate) fn run_config(&self, name: &str) -> String {
        let (core, data) = (self.world().join("core"), self.world().join("data"));
        let mut text = format!(
            "name = {name:?}\n\n[vega]\n  [vega.binary]\n    path = \"vega\"\n    args = [\"start\", \"--home\", {core:?}]\n  \
             [vega.rpc]\n    socketPath = {:?}\n    httpPath = \"/rpc\"\n",
            self.admin_socket()
        );
        let binary = match self.kind {
            Kind::Core => return text,
            Kind::OneBinary => {
                format!("path = \"vega\"\n    args = [\"datanode\", \"start\", \"--home\", {data:?}]\n")
            }
            Kind::TwoBinaries => {
                format!("path = \"data-node\"\n    args = [\"start\", \"--home\", {data:?}]\n")
            }
        };
        text += &format!("\n[data_node]\n  [data_node.binary]\n    {binary}");
        text
    }

    /// Changes what the processes do from the next block on.
    pub(crate) fn behave(&mut self, changes: Value) {
        for (key, value) in changes.as_object().unwrap() {
            self.behaviour[key] = value.clone();
        }
        replace(&self.world().join("behaviour.json"), &self.behaviour.to_string());
    }

    /// The chain accepts a release for so many blocks from now.
    pub(crate) fn accept(&mut self, tag: &str, blocks: u64) -> u64 {
        let height = self.height() + blocks;
        let mut upgrades = self.behaviour["upgrades"].as_array().cloned().unwrap_or_default();
        upgrades.push(json!({ "tag": tag, "height": height }));
        self.behave(json!({ "upgrades": upgrades }));
        height
    }

    /// The height of the core's block store.
    pub(crate) fn height(&self) -> u64 {
        fs::read_to_string(self.world().join("core/state/store"))
            .map_or(0, |text| text.trim().parse().unwrap())
    }

    pub(crate) fn log(&self) -> Log {
        Log::read(&self.world())
    }

    /// Waits until the processes' log has so many lines of a role that begin with the word.
    pub(crate) fn wait_said(&self, role: Role, word: &str, times: usize) {
        self.wait(&format!("{times} of {role:?} {word}"), || {
            (self.log().said(role, word).len() >= times).then_some(())
        });
    }

    pub(crate) fn wait_height(&self, height: u64) {
        self.wait(&format!("block {height}"), || {
            (self.height() >= height).then_some(())
        });
    }

    /// As the scene's, and a failure shows the processes' log.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        wait_for(what, || {
            let found = look();
            assert!(
                found.is_some() || began.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for: {what}; {:#?}; status {:#?}",
                self.log().lines,
                self.ask()
            );
            found
        })
    }

    /// The name of the folder that runs.
    pub(crate) fn current(&self) -> String {
        let target = fs::read_link(self.home().join("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// `visor run --home` on it.
    pub(crate) fn command(&self) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_visor")))
    }

    pub(crate) fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["run", "--home"])
            .arg(self.home())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) -> Visor {
        let command = self.command();
        self.launch(command)
    }

    /// A visor that kills itself: these are the variables of `visor-faulty`. Without any it is as good as `visor`.
    pub(crate) fn start_faulty(&mut self, variables: &[(&str, &str)]) -> Visor {
        let mut command = self.command_of(Path::new(env!("CARGO_BIN_EXE_visor-faulty")));
        command.envs(variables.iter().copied());
        self.launch(command)
    }

    pub(crate) fn launch(&mut self, command: Command) -> Visor {
        self.visors += 1;
        Visor::launch(
            command,
            self.dir.path().join(format!("visor-{}.log", self.visors)),
        )
    }

    /// Output of an operator's command on this home.
    pub(crate) fn operator(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_visor"))
            .args(arguments)
            .arg("--home")
            .arg(self.home())
            .output()
            .unwrap()
    }

    pub(crate) fn ask(&self) -> Option<pb::Status> {
        ask(&self.home())
    }

    /// Waits until a running visor's status satisfies the condition.
    pub(crate) fn wait_status(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let (code, status) = status(&self.home());
            if code == Some(0) && condition(&status) {
                return status;
            }
            last = status;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!(
            "waited {PATIENCE:?} for: {what}; last status {last:#}; {:#?}",
            self.log().lines
        );
    }

    pub(crate) fn wait_connected(&self) -> Value {
        self.wait_status("the node", |status| status["node_connected"] == true)
    }

    /// Waits until this version has made blocks of its own.
    pub(crate) fn wait_upgraded(&self, tag: &str) -> Value {
        self.wait_status(&format!("the upgrade to {tag}"), |status| {
            status["last_upgrade"]["to"] == tag && status["node_connected"] == true
        })
    }

    /// SIGKILL for every process that holds this home's lock.
    pub(crate) fn kill_node(&self) {
        self.signal_all(Signal::KILL);
    }

    /// A signal for every process that holds this home's lock.
    pub(crate) fn signal_all(&self, signal: Signal) {
        let lock = visor::lock::NodeLock::new(self.home().join("node.lock"));
        for holder in lock.holders() {
            let _ = kill_process(holder.pid, signal);
        }
    }

    /// A signal for the newest process of a role. It may have ended.
    pub(crate) fn signal(&self, role: Role, signal: Signal) {
        let pid = self.log().starts(role).last().unwrap().pid;
        let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
    }

    /// No process of this host's node is alive.
    pub(crate) fn assert_no_node(&self) {
        let lock = visor::lock::NodeLock::new(self.home().join("node.lock"));
        assert!(lock.prove_gone().unwrap().is_some(), "{:?}", lock.holders());
    }

    /// SIGTERM to visor stops everything.
    pub(crate) fn stop(&self, mut visor: Visor) {
        visor.terminate();
        assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
        self.assert_no_node();
        self.log().assert_sane();
    }
}

impl Drop for Host {
    /// Ends what a failed test left behind.
    fn drop(&mut self) {
        self.kill_node();
    }
}

/// The few keys that Vega's own tools write, with short times.
pub(crate) const FEW_KEYS: &str = "maxNumberOfRestarts = 3
maxNumberOfFirstConnectionRetries = 100
restartsDelaySeconds = 0
stopSignalTimeoutSeconds = 5
[autoInstall]
enabled = false
";

/// Staging is tried again within milliseconds.
const QUICK: &str = "[staging]
retry_initial = \"20ms\"
retry_max = \"100ms\"
";

fn replace(path: &Path, text: &str) {
    let part = path.with_extension("part");
    fs::write(&part, text).unwrap();
    fs::rename(part, path).unwrap();
}

/// A copy of the fake that is this version; what follows a blank in it is more that the fake is to know.
pub(crate) fn write_program(path: &Path, version: &str) {
    static LOADED: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = LOADED
        .get_or_init(|| loaded(env!("CARGO_BIN_EXE_fake-vega")))
        .clone();
    bytes.extend_from_slice(format!("\nFAKE-VERSION:{version}").as_bytes());
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A port that nobody listens on. It lies below those that the system gives out by itself, and every test process begins elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 900).unwrap() * 20;
    loop {
        let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
