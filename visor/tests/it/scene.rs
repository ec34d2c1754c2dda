//! A home with a fake node, and a real visor over it. Everything that a test started ends with it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use proto::pb::visor::v1 as pb;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Longer than anything takes on a loaded machine; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The user and the group that own nothing, on every system.
const NOBODY: u32 = 65_534;
pub(crate) const OLD: &str = "1.0.0";
pub(crate) const NEW: &str = "1.1.0";

/// Waits until `look` returns something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One validator host: a visor home, a node home and the artifacts.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    behaviour: Value,
    visors: u32,
    hidden: bool,
    corrupt: bool,
    /// The visor of a user without privileges.
    unprivileged: Option<PathBuf>,
    /// Where the home is seen from here, when that is not where visor sees it.
    seen_at: Option<PathBuf>,
}

/// A running visor; killed when dropped.
pub(crate) struct Visor {
    child: Child,
    log: PathBuf,
}

impl Host {
    /// A home made by `visor init` with version 1.0.0, retries within milliseconds and short timeouts.
    pub(crate) fn new() -> Self {
        let host = Self {
            dir: tempfile::Builder::new().prefix("vt").tempdir().unwrap(),
            behaviour: json!({}),
            visors: 0,
            hidden: false,
            corrupt: false,
            unprivileged: None,
            seen_at: None,
        };
        fs::create_dir(host.node_home()).unwrap();
        host.binary(OLD);
        let output = host.init();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        host.configure(&[
            ("restart", "initial_delay", "20ms".into()),
            ("restart", "max_delay", "100ms".into()),
            ("start_after_upgrade", "initial_delay", "20ms".into()),
            ("start_after_upgrade", "max_delay", "100ms".into()),
            ("staging", "retry_initial", "20ms".into()),
            ("staging", "retry_max", "100ms".into()),
            ("stop", "grace", "2s".into()),
        ]);
        host
    }

    pub(crate) fn init(&self) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_visor"))
            .args(["init", "--home"])
            .arg(self.home())
            .arg("--binary")
            .arg(self.artifact(OLD))
            .arg("--socket")
            .arg(self.node_home().join("s"))
            .args(["--", "start", "--home"])
            .arg(self.node_home())
            .arg("--socket")
            .arg(self.node_home().join("s"))
            .output()
            .unwrap()
    }

    /// Adds companions to version 1.0.0, `(name, order, flags)`; all run the binary `side`, a copy of the fake node.
    pub(crate) fn companions(&self, companions: &[(&str, &str, &str)]) {
        let folder = self.home().join("genesis");
        fs::write(folder.join("side"), fake_node()).unwrap();
        fs::set_permissions(folder.join("side"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.join("run-config.toml");
        let mut text = fs::read_to_string(&path).unwrap();
        for (name, order, flags) in companions {
            let home = self.node_home();
            let args = ["companion", home.to_str().unwrap(), name, flags];
            text += &format!(
                "\n[[companion]]\nname = \"{name}\"\nbinary = \"side\"\nargs = {args:?}\norder = \"{order}\"\n"
            );
        }
        fs::write(path, text).unwrap();
    }

    /// Waits for a line of the node's log, and returns how many there are.
    pub(crate) fn wait_line(&self, line: &str) -> usize {
        wait_for(line, || {
            let count = self.node_log().iter().filter(|found| *found == line).count();
            (count > 0).then_some(count)
        })
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.seen_at.clone().unwrap_or_else(|| self.dir.path().join("v"))
    }

    /// The folder of everything that belongs to this host.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// From now on the home is looked at here.
    pub(crate) fn look_at(&mut self, seen: PathBuf) {
        self.seen_at = Some(seen);
    }

    /// From now on visor and its nodes are run by a user whom permissions bind: the present one, or `nobody` in the place of root.
    pub(crate) fn without_privileges(&mut self) {
        let program = self.dir.path().join("visor");
        fs::write(&program, loaded(env!("CARGO_BIN_EXE_visor"))).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        if rustix::process::geteuid().is_root() {
            give_away(self.dir.path());
        }
        self.unprivileged = Some(program);
    }

    pub(crate) fn node_home(&self) -> PathBuf {
        self.dir.path().join("n")
    }

    pub(crate) fn artifact(&self, version: &str) -> PathBuf {
        self.dir.path().join(version).join("fake-node")
    }

    /// A copy of the fake node that is `version`.
    pub(crate) fn binary(&self, version: &str) -> PathBuf {
        self.binary_with(version, b"")
    }

    /// The same, with other bytes in it.
    pub(crate) fn binary_with(&self, version: &str, extra: &[u8]) -> PathBuf {
        let path = self.artifact(version);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(&path).unwrap();
        file.write_all(fake_node()).unwrap();
        file.write_all(extra).unwrap();
        write!(file, "\nFAKE-VERSION:{version}").unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn configure(&self, values: &[(&str, &str, toml::Value)]) {
        let path = self.home().join("config.toml");
        let mut table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        for (section, key, value) in values {
            let section = table.entry(*section).or_insert_with(|| toml::Table::new().into());
            section
                .as_table_mut()
                .unwrap()
                .insert((*key).to_owned(), value.clone());
        }
        fs::write(path, table.to_string()).unwrap();
    }

    /// Changes what the node does from its next block on.
    pub(crate) fn behave(&mut self, changes: Value) {
        for (key, value) in changes.as_object().unwrap() {
            self.behaviour[key] = value.clone();
        }
        let path = self.node_home().join("behaviour.json");
        let part = path.with_extension("part");
        fs::write(&part, self.behaviour.to_string()).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// Announces an upgrade to `NEW` so many blocks from now, with the artifact as it is on disk.
    pub(crate) fn announce(&mut self, blocks: u64) -> u64 {
        self.binary(NEW);
        let height = self.height() + blocks;
        let plan = self.plan(NEW, height);
        let path = self.artifact(NEW);
        if self.hidden {
            fs::remove_file(&path).unwrap();
        } else if self.corrupt {
            let mut other = fs::read(&path).unwrap();
            other[5000] ^= 1;
            fs::write(&path, other).unwrap();
        }
        self.behave(json!({ "upgrade": plan }));
        height
    }

    /// What the node announces of an upgrade, with the artifact as it is on disk.
    pub(crate) fn plan(&self, version: &str, height: u64) -> Value {
        let path = self.artifact(version);
        let bytes = fs::read(&path).unwrap();
        let id = if version == NEW { "ab" } else { "ba" };
        json!({
            "id": id.repeat(32),
            "version": version,
            "height": height,
            "platform": visor::staging::host_platform(),
            "url": format!("file://{}", path.display()),
            "size": bytes.len(),
            "sha256": Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "phase": "locked_in",
        })
    }

    pub(crate) fn height(&self) -> u64 {
        fs::read_to_string(self.node_home().join("height")).map_or(0, |text| text.trim().parse().unwrap())
    }

    /// What the nodes did, one line each.
    pub(crate) fn node_log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.node_home().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The versions in the order of their starts.
    pub(crate) fn starts(&self) -> Vec<String> {
        let log = self.node_log();
        log.iter()
            .filter_map(|line| line.strip_prefix("start "))
            .map(|rest| rest.split(' ').nth(1).unwrap().to_owned())
            .collect()
    }

    pub(crate) fn last_pid(&self) -> i32 {
        let log = self.node_log();
        let start = log
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("start "))
            .unwrap();
        start.split(' ').next().unwrap().parse().unwrap()
    }

    /// While hidden, the artifact cannot be fetched.
    pub(crate) fn hide_artifact(&mut self, hidden: bool) {
        self.hidden = hidden;
        if !hidden {
            self.binary(NEW);
        }
    }

    /// The next artifact that is announced has one byte other than announced.
    pub(crate) fn corrupt_artifact(&mut self) {
        self.corrupt = true;
    }

    /// No process of this host's node is alive.
    pub(crate) fn assert_no_node(&self) {
        let lock = visor::lock::NodeLock::new(self.home().join("node.lock"));
        assert!(lock.prove_gone().unwrap().is_some(), "{:?}", lock.holders());
    }

    /// VIS-03, by the node's own locks.
    pub(crate) fn assert_never_two(&self) {
        let log = self.node_log();
        assert!(!log.iter().any(|line| line.contains("TWO")), "{log:#?}");
    }

    pub(crate) fn current(&self) -> String {
        fs::read_link(self.home().join("current"))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_visor"))
    }

    fn command_of(&self, program: &str) -> Command {
        let mut command = match &self.unprivileged {
            Some(program) => Command::new(program),
            None => Command::new(program),
        };
        if self.unprivileged.is_some() && rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .args(["run", "--home"])
            .arg(self.dir.path().join("v"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) -> Visor {
        let command = self.command();
        self.launch(command)
    }

    /// With something changed about the command, such as its environment.
    pub(crate) fn start_with(&mut self, change: impl FnOnce(&mut Command)) -> Visor {
        let mut command = self.command();
        change(&mut command);
        self.launch(command)
    }

    /// A visor that kills itself: these are the variables of `visor-faulty`. Without any it is as good as `visor`.
    pub(crate) fn start_faulty(&mut self, variables: &[(&str, &str)]) -> Visor {
        let mut command = self.command_of(env!("CARGO_BIN_EXE_visor-faulty"));
        command.envs(variables.iter().copied());
        self.launch(command)
    }

    pub(crate) fn launch(&mut self, command: Command) -> Visor {
        self.visors += 1;
        let log = self.dir.path().join(format!("visor-{}.log", self.visors));
        Visor::launch(command, log)
    }

    /// `visor status --json`, whatever its exit code.
    pub(crate) fn status(&self) -> (Option<i32>, Value) {
        status(&self.home())
    }

    /// What the operator of a host does that was away over a whole upgrade: waits until visor says so, puts the version that the chain
    /// runs in place, and names it.
    pub(crate) fn name_the_upgrade(&self, height: u64) {
        wait_for("the request for a version", || {
            let problems = self.ask()?.problems;
            problems
                .iter()
                .any(|text| text.contains("no upgrade is known"))
                .then_some(())
        });
        let artifact = self.artifact(NEW);
        for arguments in [
            ["stage", NEW, "--binary", artifact.to_str().unwrap()].as_slice(),
            &["upgrade-at", &height.to_string(), NEW],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_visor"))
                .args(arguments)
                .arg("--home")
                .arg(self.home())
                .output()
                .unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        }
    }

    /// The status of a running visor, asked for without a process of its own. Nothing when none answers.
    pub(crate) fn ask(&self) -> Option<pb::Status> {
        ask(&self.home())
    }

    /// Waits until a running visor's status satisfies the condition.
    pub(crate) fn wait_status(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let (code, status) = self.status();
            if code == Some(0) && condition(&status) {
                return status;
            }
            assert!(matches!(code, Some(0 | 4 | 3)), "status ended with {code:?}");
            last = status;
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!(
            "waited {PATIENCE:?} for: {what}; last status {last:#}; node {:#?}",
            self.node_log()
        );
    }
}

impl Host {
    /// SIGKILL for every process that holds this home's own lock: the node, and whatever else it has started.
    pub(crate) fn kill_node(&self) {
        let lock = visor::lock::NodeLock::new(self.home().join("node.lock"));
        for holder in lock.holders() {
            let _ = rustix::process::kill_process(holder.pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Host {
    /// Ends what a failed test left behind.
    fn drop(&mut self) {
        self.kill_node();
    }
}

/// `visor status --json` of a home, whatever its exit code.
pub(crate) fn status(home: &Path) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(["status", "--json", "--home"])
        .arg(home)
        .output()
        .unwrap();
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
    )
}

/// The status of the visor that runs in a home, asked for without a process of its own. Nothing when none answers.
pub(crate) fn ask(home: &Path) -> Option<pb::Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asked = async {
            let mut client = visor::rpc::connect(&home.join("visor.sock")).await.ok()?;
            Some(
                client
                    .get_status(pb::GetStatusRequest {})
                    .await
                    .ok()?
                    .into_inner(),
            )
        };
        tokio::time::timeout(Duration::from_secs(1), asked).await.ok()?
    })
}

/// Gives a folder and everything in it to `nobody`.
fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

fn fake_node() -> &'static [u8] {
    static LOADED: OnceLock<Vec<u8>> = OnceLock::new();
    LOADED.get_or_init(|| loaded(env!("CARGO_BIN_EXE_fake-node")))
}

/// A program without what is never loaded of it: debugging information is three quarters of a program that the tests copy and hash
/// hundreds of times.
pub(crate) fn loaded(program: &str) -> Vec<u8> {
    let mut bytes = fs::read(program).unwrap();
    cut_to_segments(&mut bytes);
    bytes
}

/// Cuts a 64-bit little-endian ELF file after its last segment; anything else stays as it is.
fn cut_to_segments(bytes: &mut Vec<u8>) {
    const SECTIONS_OFFSET: std::ops::Range<usize> = 40..48;
    const SECTIONS_COUNT_AND_NAMES: std::ops::Range<usize> = 60..64;
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return;
    }
    let number = |at: usize, width: usize| -> usize {
        let field = bytes[at..at + width].iter().rev();
        field.fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let end = (0..count)
        .map(|index| first + index * size)
        .map(|at| number(at + 8, 8) + number(at + 32, 8))
        .max()
        .unwrap();
    bytes.truncate(end);
    bytes[SECTIONS_OFFSET].fill(0);
    bytes[SECTIONS_COUNT_AND_NAMES].fill(0);
}

impl Visor {
    /// Its output goes to the file.
    pub(crate) fn launch(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        // A program that was written a moment ago is busy until every child that another test forks meanwhile has come to its exec.
        let child = wait_for("the program to be free", || match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            spawned => Some(spawned.unwrap()),
        });
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash would be.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// How it has ended; nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let child = &mut self.child;
        wait_for(&format!("visor to end ({})", log.display()), || {
            child.try_wait().unwrap()
        })
    }
}

/// A visor that a test has started, by whichever name.
pub(crate) trait Living {
    /// How it has ended; nothing while it runs.
    fn ended(&mut self) -> Option<ExitStatus>;
    fn terminate(&self);
    fn log(&self) -> String;
}

impl Living for Visor {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.ended()
    }

    fn terminate(&self) {
        self.terminate();
    }

    fn log(&self) -> String {
        self.log()
    }
}

impl Drop for Visor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The only place where a failed test can say what visor saw.
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
