//! A casper-node for visor's tests: the same two commands, the same exit codes, the same look at the chainspecs above its own, and it
//! misbehaves as the file `behaviour.json` beside its configuration says (read again in every era).
//!
//! Its version is the text after the last `FAKE-VERSION:` at the very end of its own file. Its configuration names the folder of its
//! data (`[storage] path`) and, if it serves one, the address of its status page (`[rest_server] address`). There lie `era`, the last
//! era that is complete, `written-by`, the version that wrote the data last, `exclusive`, the lock that a node and a migration hold for
//! life, and `log`: one JSON object per line that is not empty (one cut off is that of a node that was killed there), each with `event`, `pid`, `version` and `us` (microseconds since the host started).
//! What must never happen has an event of its own: `double` (another one, or what it left, is alive), `early` (a version before its
//! activation) and `old` (a version after a newer one has written).

mod fake;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketType};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fake::{lock, monotonic_us, trailer as version};

const DOUBLE: u8 = 99;
const NOT_USABLE: u8 = 1;
const UPGRADE: u8 = 0;
const TERMINATED: u8 = 143;
/// One that nobody ends must not outlive the tests.
const LONGEST_LIFE: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Behaviour {
    /// Milliseconds of an era; 20 when 0.
    era_ms: u64,
    /// No era ends.
    paused: bool,
    /// The code that it exits with at its start; a negative one: this signal kills it.
    exit_at_start: Option<i32>,
    /// The same at the end of this era.
    exit_at_era: Option<u64>,
    exit_code: i32,
    /// What SIGTERM does: `143` as a real node (also when empty), `0`, `ignore`.
    sigterm: String,
    /// Starts a helper that outlives it: in its group, or in a session of its own.
    helper: bool,
    helper_setsid: bool,
    helper_ignores_sigterm: bool,
    /// Milliseconds that a migration to this version takes.
    migrate_ms: u64,
    /// The code that it exits with; a negative one: this signal kills it.
    migrate_exit: i32,
    migrate_ignores_sigterm: bool,
    /// It runs whatever its folder is called and its chainspec says, and makes no eras.
    careless: bool,
}

#[derive(Debug, Deserialize)]
struct Config {
    storage: Storage,
    rest_server: Option<RestServer>,
}

#[derive(Debug, Deserialize)]
struct Storage {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct RestServer {
    address: SocketAddr,
}

/// The first era of a version, and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chainspec {
    version: [u32; 3],
    activation: u64,
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--version"] => {
            writeln!(io::stdout(), "Casper node {}", version()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["validator", config] => Node::open(Path::new(config))?.validate(),
        ["migrate-data", "--old-config", old, "--new-config", new] => {
            fs::read(old).with_context(|| format!("the old configuration {old}"))?;
            Node::open(Path::new(new))?.migrate()
        }
        ["helper", storage, setsid, ignore] => helper(Path::new(storage), setsid == "true", ignore == "true"),
        _ => bail!("unknown arguments {arguments:?}"),
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = version
        .split(['.', '_'])
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Of the folder of a version; nothing when a real node would not see an upgrade in it.
fn chainspec(folder: &Path) -> Option<Chainspec> {
    let named = numbers(folder.file_name()?.to_str()?)?;
    let text = fs::read_to_string(folder.join("chainspec.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let protocol = table.get("protocol")?.as_table()?;
    let version = numbers(protocol.get("version")?.as_str()?)?;
    let activation = protocol.get("activation_point")?;
    let activation = match activation.as_integer() {
        Some(era) => u64::try_from(era).ok()?,
        None => activation.as_str().map(|_| 0)?,
    };
    (version == named).then_some(Chainspec { version, activation })
}

struct Node {
    folder: PathBuf,
    storage: PathBuf,
    address: Option<SocketAddr>,
    version: String,
    began: Instant,
}

impl Node {
    fn open(config: &Path) -> Result<Self> {
        // A name without a folder is in the working directory, as for any program.
        let folder = config
            .parent()
            .context("the configuration's folder")?
            .to_path_buf();
        let text = fs::read_to_string(config).with_context(|| config.display().to_string())?;
        let config: Config = toml::from_str(&text)?;
        Ok(Self {
            folder,
            storage: config.storage.path,
            address: config.rest_server.map(|server| server.address),
            version: version()?,
            began: Instant::now(),
        })
    }

    fn behaviour(&self) -> Result<Behaviour> {
        match fs::read(self.folder.join("behaviour.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Behaviour::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn log(&self, event: &str, mut what: Value) -> Result<()> {
        what["event"] = event.into();
        what["pid"] = std::process::id().into();
        what["version"] = self.version.clone().into();
        what["us"] = monotonic_us().into();
        append(&self.storage, &what)
    }

    fn era(&self) -> Result<u64> {
        match fs::read_to_string(self.storage.join("era")) {
            Ok(text) => Ok(text.trim().parse()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let part = self.storage.join(format!("{name}.part"));
        fs::write(&part, text)?;
        Ok(fs::rename(part, self.storage.join(name))?)
    }

    fn own(&self) -> Option<Chainspec> {
        chainspec(&self.folder)
    }

    /// The smallest version above this one, if a node of this version sees it.
    fn next(&self) -> Option<Chainspec> {
        let own = numbers(&self.version)?;
        let root = self.folder.parent()?;
        let mut above: Vec<_> = fs::read_dir(root)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter_map(|path| Some((numbers(path.file_name()?.to_str()?)?, path)))
            .filter(|(version, _)| *version > own)
            .collect();
        above.sort();
        chainspec(&above.first()?.1)
    }

    /// The first line, then the lock that is held for life; nothing when another has it.
    fn begin(&self, mode: &str) -> Result<Option<File>> {
        let environment: serde_json::Map<String, Value> = std::env::vars()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let descriptor = |number: u32| {
            fs::read_link(format!("/proc/self/fd/{number}"))
                .map_or_else(|_| "closed".to_owned(), |path| path.display().to_string())
        };
        self.log(
            "start",
            json!({
                "mode": mode,
                "args": std::env::args().collect::<Vec<_>>(),
                "cwd": std::env::current_dir().unwrap_or_default(),
                "env": environment,
                "stdin": descriptor(0),
                "stdout": descriptor(1),
                "stderr": descriptor(2),
                "era": self.era()?,
            }),
        )?;
        let Some(exclusive) = lock(
            &self.storage,
            "exclusive",
            FlockOperation::NonBlockingLockExclusive,
        )?
        else {
            self.log("double", json!({ "with": "node" }))?;
            return Ok(None);
        };
        if lock(&self.storage, "helpers", FlockOperation::NonBlockingLockExclusive)?.is_none() {
            self.log("double", json!({ "with": "helper" }))?;
            return Ok(None);
        }
        Ok(Some(exclusive))
    }

    /// The last line, while the lock is held.
    fn end(&self, code: i32) -> Result<ExitCode> {
        self.log("exit", json!({ "code": code }))?;
        if code < 0 {
            let signal =
                rustix::process::Signal::from_named_raw(-code).context("a signal that has a name")?;
            rustix::process::kill_process(rustix::process::getpid(), signal)?;
            std::thread::sleep(LONGEST_LIFE);
        }
        Ok(ExitCode::from(u8::try_from(code)?))
    }

    /// A code that a test left here for one life.
    fn once(&self, name: &str) -> Result<Option<i32>> {
        let path = self.folder.join(name);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        fs::remove_file(path)?;
        Ok(Some(text.trim().parse()?))
    }

    fn migrate(&self) -> Result<ExitCode> {
        let Some(_exclusive) = self.begin("migrate-data")? else {
            return Ok(ExitCode::from(DOUBLE));
        };
        let behaviour = self.behaviour()?;
        let runtime = runtime()?;
        runtime.block_on(async {
            let _ignored = match behaviour.migrate_ignores_sigterm {
                true => Some(signal(SignalKind::terminate())?),
                false => None,
            };
            tokio::time::sleep(Duration::from_millis(behaviour.migrate_ms)).await;
            anyhow::Ok(())
        })?;
        let code = self.once("migrate-exit-once")?.unwrap_or(behaviour.migrate_exit);
        if code == 0 {
            self.log("migrated", json!({}))?;
        }
        self.end(code)
    }

    fn validate(&self) -> Result<ExitCode> {
        let Some(_exclusive) = self.begin("validator")? else {
            return Ok(ExitCode::from(DOUBLE));
        };
        let runtime = runtime()?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let _server = self.serve()?;
            let code = self.run(&mut terminate).await?;
            self.end(code)
        })
    }

    async fn run(&self, terminate: &mut Signal) -> Result<i32> {
        let behaviour = self.behaviour()?;
        if let Some(code) = self.once("exit-once")?.or(behaviour.exit_at_start) {
            return Ok(code);
        }
        if behaviour.careless {
            loop {
                let told = tokio::time::timeout(Duration::from_millis(10), terminate.recv()).await;
                if told.is_ok() || self.began.elapsed() > LONGEST_LIFE {
                    return Ok(TERMINATED.into());
                }
                if let Some(code) = self.once("exit-once")? {
                    return Ok(code);
                }
            }
        }
        let Some(own) = self
            .own()
            .filter(|own| Some(own.version) == numbers(&self.version))
        else {
            return Ok(NOT_USABLE.into());
        };
        if self.next().is_some_and(|next| next.activation == own.activation) {
            return Ok(UPGRADE.into());
        }
        self.look_at_data(&own)?;
        if behaviour.helper {
            Command::new(std::env::current_exe()?)
                .arg("helper")
                .arg(&self.storage)
                .args([
                    behaviour.helper_setsid.to_string(),
                    behaviour.helper_ignores_sigterm.to_string(),
                ])
                .spawn()?;
        }
        loop {
            let behaviour = self.behaviour()?;
            let era = self.era()?;
            if self.next().is_some_and(|next| next.activation <= era + 1) {
                return Ok(UPGRADE.into());
            }
            if behaviour.exit_at_era.is_some_and(|at| at <= era) {
                return Ok(behaviour.exit_code);
            }
            let pause = match behaviour.era_ms {
                0 => 20,
                other => other,
            };
            if let Ok(_told) = tokio::time::timeout(Duration::from_millis(pause), terminate.recv()).await {
                match behaviour.sigterm.as_str() {
                    "ignore" => self.log("ignored", json!({}))?,
                    "0" => return Ok(0),
                    _ => return Ok(TERMINATED.into()),
                }
            }
            if let Some(code) = self.once("exit-once")? {
                return Ok(code);
            }
            if self.began.elapsed() > LONGEST_LIFE {
                bail!("nobody has ended this node");
            }
            if !behaviour.paused {
                self.write("era", &(era + 1).to_string())?;
            }
        }
    }

    /// What the data says about who may write to it now.
    fn look_at_data(&self, own: &Chainspec) -> Result<()> {
        let era = self.era()?;
        if era + 1 < own.activation {
            self.log("early", json!({ "era": era, "activation": own.activation }))?;
        }
        let written_by = fs::read_to_string(self.storage.join("written-by")).unwrap_or_default();
        if numbers(&written_by).is_some_and(|written_by| written_by > own.version) {
            self.log("old", json!({ "written_by": written_by }))?;
        }
        self.write("written-by", &self.version)
    }

    /// The status page, as long as this node lives.
    fn serve(&self) -> Result<Option<tokio::task::JoinHandle<()>>> {
        let Some(address) = self.address else {
            return Ok(None);
        };
        let listener = tokio::net::TcpListener::from_std(listen(address)?)?;
        let page = Self {
            folder: self.folder.clone(),
            storage: self.storage.clone(),
            address: None,
            version: self.version.clone(),
            began: self.began,
        };
        Ok(Some(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let body = page.status().to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })))
    }

    fn status(&self) -> Value {
        let era = self.era().unwrap_or_default();
        let next = self.next().map(|next| {
            json!({
                "activation_point": next.activation,
                "protocol_version": next.version.map(|number| number.to_string()).join("."),
            })
        });
        json!({
            "api_version": self.version,
            "protocol_version": self.version,
            "build_version": format!("{}-fake", self.version),
            "chainspec_name": "fake",
            "starting_state_root_hash": "0".repeat(64),
            "peers": [],
            "last_added_block_info": {
                "hash": "0".repeat(64),
                "timestamp": "2024-01-01T00:00:00.000Z",
                "era_id": era,
                "height": era * 10,
                "state_root_hash": "0".repeat(64),
                "creator": "01".to_owned() + &"0".repeat(64),
            },
            "next_upgrade": next,
            "reactor_state": "Validate",
            "uptime": format!("{}s", self.began.elapsed().as_secs()),
        })
    }
}

/// A test keeps the port for its host by a socket of its own that is bound to it and does not listen.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

fn append(storage: &Path, line: &Value) -> Result<()> {
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(storage.join("log"))?;
    // A node that is killed in the middle of its line spoils no other.
    Ok(log.write_all(format!("\n{line}\n").as_bytes())?)
}

fn helper(storage: &Path, setsid: bool, ignore: bool) -> Result<ExitCode> {
    if setsid {
        rustix::process::setsid()?;
    }
    let _held = lock(storage, "helpers", FlockOperation::NonBlockingLockShared)?;
    append(
        storage,
        &json!({ "event": "helper", "pid": std::process::id(), "us": monotonic_us() }),
    )?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            let told = tokio::time::timeout(LONGEST_LIFE, terminate.recv()).await;
            if told.is_err() || !ignore {
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
}
