//! The program itself, as a process: a home laid out by its own commands, started, asked and stopped.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use governance::SigningKey;
use hyper_util::rt::TokioIo;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::node::v1::node_service_client::NodeServiceClient;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::network::PATIENCE;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_governance");

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_remove("GOVERNANCE_LOG")
        .output()
        .unwrap()
}

/// Runs a command that must fail with this code and say each of these words.
pub(crate) fn refused(arguments: &[&str], code: u8, words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(i32::from(code)),
        "{arguments:?}: {said}"
    );
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say `{word}`: {said}");
    }
}

/// One node with a home of its own; by default the only validator of its chain.
pub(crate) struct Single {
    pub(crate) home: TempDir,
    pub(crate) consensus_key: String,
    pub(crate) p2p: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) process: Option<Child>,
}

impl Drop for Single {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprint_log(&self.log());
        }
    }
}

/// What the node said, for the reader of a failed test.
fn eprint_log(log: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(log.as_bytes());
}

impl Single {
    pub(crate) fn lay_out() -> Self {
        let mut octets = [0; 3];
        getrandom::fill(&mut octets).unwrap();
        let ip = IpAddr::V4(Ipv4Addr::new(
            127,
            octets[0].max(1),
            octets[1],
            octets[2].clamp(1, 254),
        ));
        // The ports of the defaults: nobody else uses this address. A port found by binding it here would for a moment
        // stay taken by every process that another test is just starting.
        let [p2p, rpc, http] = [26656, 26657, 26658].map(|port| SocketAddr::new(ip, port));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("node");
        let path = path.to_str().unwrap();
        let made = run(&["init", "--home", path, "--moniker", "single", "--output", "json"]);
        assert!(made.status.success(), "{made:?}");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let config = format!("{path}/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text = text
            .replace("127.0.0.1", &ip.to_string())
            .replace("block_interval = \"500ms\"", "block_interval = \"50ms\"");
        fs::write(&config, text).unwrap();
        let single = Self {
            home,
            consensus_key: made["consensus_key"].as_str().unwrap().to_owned(),
            p2p,
            rpc,
            http,
            process: None,
        };
        single.write_genesis("single-1", "1.0.0", &[&single.validator()]);
        single
    }

    /// This node as `governance genesis` wants it.
    pub(crate) fn validator(&self) -> String {
        format!("single:1:{}:{}", public(&governance_key()), self.consensus_key)
    }

    /// Replaces the genesis.
    pub(crate) fn write_genesis(&self, chain: &str, version: &str, validators: &[&str]) {
        let file = format!("{}/genesis.json", self.path());
        let _ = fs::remove_file(&file);
        let mut arguments = vec![
            "genesis",
            "--chain-id",
            chain,
            "--initial-version",
            version,
            "--min-lead-blocks",
            "8",
            "--lock-in-blocks",
            "3",
            "--output-file",
            &file,
        ];
        for validator in validators {
            arguments.extend(["--validator", validator]);
        }
        let made = run(&arguments);
        assert!(made.status.success(), "{made:?}");
    }

    pub(crate) fn path(&self) -> String {
        self.home.path().join("node").to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("node").join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.file("visor-link.sock")
    }

    /// What the node has written to standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("log"))
            .unwrap();
        let process = Command::new(PROGRAM)
            .args(["start", "--home", &self.path()])
            .env_remove("GOVERNANCE_LOG")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal that ends the process, and returns the exit code.
    pub(crate) fn signal(&mut self, signal: Signal) -> Option<i32> {
        let process = self.process.as_mut().unwrap();
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match process.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "{signal:?} does not stop the node"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.process = None;
        status.code()
    }

    pub(crate) async fn client(&self) -> GovernanceServiceClient<Channel> {
        let url = format!("http://{}", self.rpc);
        until(|| GovernanceServiceClient::connect(url.clone())).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.rpc)).unwrap();
        until(|| endpoint.connect()).await
    }

    /// The node's link to visor.
    pub(crate) async fn link(&self) -> NodeServiceClient<Channel> {
        let endpoint = Endpoint::from_static("http://node.invalid");
        let channel = until(|| {
            let socket = self.socket();
            endpoint.connect_with_connector(tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
        })
        .await;
        NodeServiceClient::new(channel)
    }
}

pub(crate) fn governance_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// The public half in hexadecimal.
pub(crate) fn public(key: &SigningKey) -> String {
    hex::encode(key.verifying_key().to_bytes())
}

/// Replaces text that must be in the file.
pub(crate) fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Tries until it succeeds.
pub(crate) async fn until<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
