//! Staging over real files, a real HTTP server and real binaries.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use visor::config::Staging;
use visor::home::Home;
use visor::run_config::RunConfig;
use visor::staging::{Artifact, LiveUpgrades, Order, StagingError, stage};

use crate::scene::{Host, NEW};

/// The order for a file, as a plan that was voted on would have it.
fn order(file: &Path, url: String) -> Order {
    let bytes = fs::read(file).unwrap();
    Order {
        id: "cd".repeat(32),
        version: NEW.to_owned(),
        artifact: Some(Artifact {
            url,
            size: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
        }),
    }
}

fn file_order(host: &Host) -> Order {
    let file = host.binary(NEW);
    order(&file, format!("file://{}", file.display()))
}

/// Answers one request with these bytes, and says so with another length when `announced` differs.
fn serve_once(status: &'static str, body: Vec<u8>, announced: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {announced}\r\nconnection: close\r\n\r\n");
        // The client may hang up early: that is what some of the tests are about.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body));
    });
    format!("http://{address}/node")
}

async fn run(host: &Host, order: &Order) -> Result<(), StagingError> {
    run_among(host, order, &[]).await
}

/// With these proposals alive beside it.
async fn run_among(host: &Host, order: &Order, live: &[&Order]) -> Result<(), StagingError> {
    let ids = LiveUpgrades::default();
    ids.lock()
        .unwrap()
        .extend(live.iter().map(|order| order.id.clone()));
    stage(
        &Home::at(host.home()),
        &Staging::default(),
        order,
        "genesis",
        &ids,
    )
    .await
}

/// VIS-06: after a refusal nothing executable and nothing half-made is left.
fn assert_nothing_staged(host: &Host) {
    assert!(!host.home().join("v1.1.0").exists());
    assert_eq!(fs::read_dir(host.home().join("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn vis_05_a_file_becomes_a_complete_version_folder_and_twice_is_once() {
    let host = Host::new();
    let order = file_order(&host);
    for _ in 0..2 {
        run(&host, &order).await.unwrap();
        let folder = host.home().join("v1.1.0");
        let config = RunConfig::read(&folder).unwrap();
        assert_eq!(config.name, "v1.1.0");
        let genesis = RunConfig::read(&host.home().join("genesis")).unwrap();
        assert_eq!(config.node.args, genesis.node.args);
        assert_eq!(config.node.socket, genesis.node.socket);
        let program = config.program(&folder);
        assert_eq!(fs::read(&program).unwrap(), fs::read(host.artifact(NEW)).unwrap());
        assert_eq!(
            fs::metadata(&program).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(fs::read_dir(host.home().join("staging")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn vis_05_an_http_server_is_fetched_from() {
    let host = Host::new();
    let file = host.binary(NEW);
    let bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    run(&host, &order(&file, serve_once("200 OK", bytes, length)))
        .await
        .unwrap();
    assert!(host.home().join("v1.1.0/fake-node").exists());
}

#[tokio::test]
async fn vis_06_wrong_bytes_are_refused_and_leave_nothing() {
    let host = Host::new();
    let file = host.binary(NEW);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[1000] ^= 1;
    let short = good[..good.len() - 1].to_vec();
    let mut long = good.clone();
    long.push(0);
    for (bytes, expected) in [(flipped, "SHA-256"), (short, "bytes"), (long, "bytes")] {
        let length = bytes.len();
        let error = run(&host, &order(&file, serve_once("200 OK", bytes, length)))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected) && error.contains("expected"), "{error}");
        assert_nothing_staged(&host);
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_or_says_no_is_named() {
    let host = Host::new();
    let file = host.binary(NEW);
    let good = fs::read(&file).unwrap();
    let half = good[..good.len() / 2].to_vec();
    let url = serve_once("200 OK", half, good.len());
    assert!(matches!(
        run(&host, &order(&file, url)).await,
        Err(StagingError::Fetch(_))
    ));
    assert_nothing_staged(&host);
    let url = serve_once("404 Not Found", Vec::new(), 0);
    let error = run(&host, &order(&file, url)).await.unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
    let error = run(&host, &order(&file, "ftp://example.org/x".to_owned()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("https://"), "{error}");
    assert_nothing_staged(&host);
}

#[tokio::test]
async fn a_binary_that_is_another_version_is_refused() {
    let host = Host::new();
    let file = host.binary("1.2.0");
    let error = run(&host, &order(&file, format!("file://{}", file.display())))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("1.1.0") && error.contains("1.2.0"), "{error}");
    assert_nothing_staged(&host);
}

#[tokio::test]
async fn vis_06_an_existing_folder_is_used_when_equal_and_refused_when_not() {
    let host = Host::new();
    let order = file_order(&host);
    let folder = host.home().join("v1.1.0");
    fs::create_dir(&folder).unwrap();
    let other = host.binary("1.2.0");
    fs::copy(other, folder.join("fake-node")).unwrap();
    let mut config = RunConfig::read(&host.home().join("genesis")).unwrap();
    config.name = "v1.1.0".to_owned();
    config.write(&folder).unwrap();
    let error = run(&host, &order).await.unwrap_err();
    assert!(matches!(error, StagingError::OtherContents { .. }), "{error}");
    fs::remove_file(folder.join("fake-node")).unwrap();
    fs::copy(host.artifact(NEW), folder.join("fake-node")).unwrap();
    run(&host, &order).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_a_dead_proposal_gives_way_and_one_of_a_live_proposal_does_not() {
    let host = Host::new();
    let first = file_order(&host);
    run(&host, &first).await.unwrap();
    // The same version, built again and proposed again.
    let again = host.binary_with(NEW, b"another build");
    let second = Order {
        id: "ef".repeat(32),
        ..order(&again, format!("file://{}", again.display()))
    };
    let error = run_among(&host, &second, &[&first, &second]).await.unwrap_err();
    assert!(matches!(error, StagingError::OtherContents { .. }), "{error}");
    run_among(&host, &second, &[&second]).await.unwrap();
    assert_eq!(
        fs::read(host.home().join("v1.1.0/fake-node")).unwrap(),
        fs::read(&again).unwrap()
    );
    assert_eq!(fs::read_dir(host.home().join("staging")).unwrap().count(), 0);
}
