//! The program itself: its commands, exit codes, sockets and answers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use governance::SigningKey;
use governance_node::exit_code;
use hyper_util::rt::TokioIo;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::node::v1::WatchReportsRequest;
use proto::pb::node::v1::node_service_client::NodeServiceClient;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

use crate::network::PATIENCE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_governance");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_remove("GOVERNANCE_LOG")
        .output()
        .unwrap()
}

/// Runs a command that must fail with this code and say each of these words.
fn refused(arguments: &[&str], code: u8, words: &[&str]) {
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

/// A network of one validator.
struct Single {
    home: TempDir,
    rpc: SocketAddr,
    http: SocketAddr,
    process: Option<Child>,
}

impl Drop for Single {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Single {
    fn lay_out() -> Self {
        let mut octets = [0; 3];
        getrandom::fill(&mut octets).unwrap();
        let ip = IpAddr::V4(Ipv4Addr::new(
            127,
            octets[0].max(1),
            octets[1],
            octets[2].clamp(1, 254),
        ));
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
        let [p2p, rpc, http] = [0, 1, 2].map(|index: usize| listeners[index].local_addr().unwrap());
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("node");
        let path = path.to_str().unwrap();
        let made = run(&["init", "--home", path, "--moniker", "single", "--output", "json"]);
        assert!(made.status.success(), "{made:?}");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let governance_key = hex::encode(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let validator = format!(
            "single:1:{governance_key}:{}",
            made["consensus_key"].as_str().unwrap()
        );
        let genesis = format!("{path}/genesis.json");
        let made = run(&[
            "genesis",
            "--chain-id",
            "single-1",
            "--initial-version",
            "1.0.0",
            "--validator",
            &validator,
            "--min-lead-blocks",
            "8",
            "--lock-in-blocks",
            "3",
            "--output-file",
            &genesis,
        ]);
        assert!(made.status.success(), "{made:?}");
        let config = format!("{path}/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text = text
            .replace("127.0.0.1:26656", &p2p.to_string())
            .replace("127.0.0.1:26657", &rpc.to_string())
            .replace("127.0.0.1:26658", &http.to_string())
            .replace("block_interval = \"500ms\"", "block_interval = \"50ms\"");
        fs::write(&config, text).unwrap();
        Self {
            home,
            rpc,
            http,
            process: None,
        }
    }

    fn path(&self) -> String {
        self.home.path().join("node").to_str().unwrap().to_owned()
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("node/visor-link.sock")
    }

    fn start(&mut self) {
        let process = Command::new(PROGRAM)
            .args(["start", "--home", &self.path()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// SIGTERM; the exit code.
    fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        process.wait().unwrap().code()
    }

    async fn client(&self) -> GovernanceServiceClient<Channel> {
        let url = format!("http://{}", self.rpc);
        until(|| GovernanceServiceClient::connect(url.clone())).await
    }
}

/// Tries until it succeeds.
async fn until<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn version_names_the_release_and_the_digest_of_the_binary() {
    let output = run(&["version", "--output", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["version"], "1.0.0");
    let bytes = fs::read(PROGRAM).unwrap();
    assert_eq!(value["hash"], governance::Digest::of(&bytes).to_string());
}

#[test]
fn a_home_is_made_once_and_its_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("node");
    let path = home.to_str().unwrap();
    assert!(run(&["init", "--home", path]).status.success());
    for key in ["consensus", "network"] {
        let mode = fs::metadata(home.join(format!("keys/{key}.json")))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = fs::read(home.join("keys/consensus.json")).unwrap();
    refused(&["init", "--home", path], exit_code::CONFIG, &["already", path]);
    assert_eq!(fs::read(home.join("keys/consensus.json")).unwrap(), before);
}

#[test]
fn what_is_wrong_with_a_home_is_said_and_nothing_is_started() {
    let single = Single::lay_out();
    let path = single.path();
    let elsewhere = single.home.path().join("empty");
    refused(
        &["start", "--home", elsewhere.to_str().unwrap()],
        exit_code::CONFIG,
        &["governance init", "config.toml"],
    );

    let config = Path::new(&path).join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("[mempool]", "[mempool]\nsize = 3")).unwrap();
    refused(
        &["start", "--home", &path],
        exit_code::CONFIG,
        &["config.toml", "size", "transactions"],
    );
    fs::write(&config, good.replace("visor-link.sock", &"s".repeat(120))).unwrap();
    refused(
        &["start", "--home", &path],
        exit_code::CONFIG,
        &["107", "[visor] socket"],
    );
    fs::write(&config, &good).unwrap();

    let genesis = Path::new(&path).join("genesis.json");
    let text = fs::read_to_string(&genesis).unwrap();
    fs::remove_file(&genesis).unwrap();
    refused(
        &["start", "--home", &path],
        exit_code::CONFIG,
        &["genesis.json", "governance genesis"],
    );
    fs::write(
        &genesis,
        text.replace("\"threshold_numerator\": 2", "\"threshold_numerator\": 1"),
    )
    .unwrap();
    refused(
        &["start", "--home", &path],
        exit_code::CONFIG,
        &["genesis.json", "1/3", "2/3"],
    );
    fs::write(&genesis, &text).unwrap();

    let key = Path::new(&path).join("keys/consensus.json");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        &["start", "--home", &path],
        exit_code::CONFIG,
        &["chmod 600", "consensus.json"],
    );
    assert!(!single.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_everything_and_stops_on_request() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let mut blocks = client
        .stream_events(pb::StreamEventsRequest { from_height: 1 })
        .await
        .unwrap()
        .into_inner();
    for height in 1..=5 {
        assert_eq!(blocks.message().await.unwrap().unwrap().height, height);
    }
    // Resumed in the middle, without gap or repeat, across the border between store and live.
    let mut resumed = client
        .stream_events(pb::StreamEventsRequest { from_height: 3 })
        .await
        .unwrap()
        .into_inner();
    for height in 3..=12 {
        assert_eq!(resumed.message().await.unwrap().unwrap().height, height);
    }

    let answer = http_get(single.http, "/status").await.unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&body["chain_id"], &body["version"]),
        (&"single-1".into(), &"1.0.0".into())
    );
    assert!(
        body["next_upgrade"].is_null() && body["height"].as_u64() >= Some(12),
        "{body}"
    );
    assert!(
        http_get(single.http, "/healthz")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );

    let channel = Endpoint::from_shared(format!("http://{}", single.rpc))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let health = tonic_health::pb::health_client::HealthClient::new(channel.clone())
        .check(tonic_health::pb::HealthCheckRequest {
            service: "governance.v1.GovernanceService".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        health.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );

    assert_eq!(
        fs::metadata(single.socket()).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let socket = single.socket();
    let link = Endpoint::from_static("http://node.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .unwrap();
    let mut reports = NodeServiceClient::new(link)
        .watch_reports(WatchReportsRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = reports.message().await.unwrap().unwrap();
    let second = reports.message().await.unwrap().unwrap();
    assert!(second.height > first.height && first.halt.is_none());
    assert_eq!(
        (first.version.as_str(), first.pid),
        ("1.0.0", single.process.as_ref().unwrap().id())
    );

    // A second node in the same home is refused while the first one lives.
    refused(
        &["start", "--home", &single.path()],
        exit_code::STORE,
        &["chain.redb"],
    );
    assert_eq!(single.stop(), Some(0));
    assert!(!single.socket().exists());
    refused(
        &["status", "--home", &single.path()],
        exit_code::UNREACHABLE,
        &["no node answers", "governance start"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_goes_on_from_its_last_commit() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let mut blocks = client
        .stream_events(pb::StreamEventsRequest { from_height: 1 })
        .await
        .unwrap()
        .into_inner();
    let mut roots = Vec::new();
    for _ in 0..8 {
        roots.push(blocks.message().await.unwrap().unwrap().state_root);
    }
    let mut process = single.process.take().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(single.socket().exists(), "a killed node leaves its socket behind");
    single.start();
    let mut client = single.client().await;
    let mut blocks = client
        .stream_events(pb::StreamEventsRequest { from_height: 1 })
        .await
        .unwrap()
        .into_inner();
    for root in &roots {
        assert_eq!(blocks.message().await.unwrap().unwrap().state_root, *root);
    }
    for _ in 0..5 {
        blocks.message().await.unwrap().unwrap();
    }
    assert_eq!(single.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_transactions_carry_the_code_of_the_rule() {
    use governance::{Action, Height, ProposalId, Transaction};
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let transaction = |chain: &str, sequence| Transaction {
        chain_id: chain.parse().unwrap(),
        sequence,
        last_valid_height: Height(1_000_000),
        action: Action::Withdraw {
            proposal: ProposalId([9; 32]),
        },
    };
    let member = SigningKey::from_bytes(&[1; 32]);
    let stranger = SigningKey::from_bytes(&[2; 32]);
    for (signed, code) in [
        (transaction("single-1", 0).sign(&stranger), "GOV-01"),
        (transaction("other-1", 0).sign(&member), "GOV-13.chain"),
        (transaction("single-1", 7).sign(&member), "GOV-13.gap"),
        (transaction("single-1", 0).sign(&member), "GOV-06.unknown"),
    ] {
        let request = pb::SubmitTransactionRequest {
            transaction: Some((&signed).into()),
        };
        let status = client.submit_transaction(request).await.unwrap_err();
        assert_eq!(
            status.metadata().get("rejection-code").unwrap().to_str().unwrap(),
            code,
            "{status:?}"
        );
    }
    let empty = client
        .submit_transaction(pb::SubmitTransactionRequest { transaction: None })
        .await
        .unwrap_err();
    assert_eq!(empty.code(), tonic::Code::InvalidArgument);
    assert_eq!(single.stop(), Some(0));
}
