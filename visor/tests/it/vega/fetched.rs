//! A version that is fetched from a releases API, long before the core is stopped for it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::log::Role;
use super::scene::{Host, Kind, V79, V80, write_program};

const ASSET: &str = "vega-linux";

/// A releases API with one release, whose asset is the program itself.
struct Releases {
    address: String,
    served: Arc<Mutex<Served>>,
}

#[derive(Default)]
struct Served {
    asset: Vec<u8>,
    /// While off, every request is refused.
    is_up: bool,
    requests: Vec<String>,
}

impl Releases {
    fn new(asset: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new(Served {
            asset,
            is_up: true,
            requests: Vec::new(),
        }));
        let (of_thread, base) = (Arc::clone(&served), address.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, base) = (Arc::clone(&of_thread), base.clone());
                std::thread::spawn(move || answer(&stream, &served, &base));
            }
        });
        Self { address, served }
    }

    fn set(&self, change: impl FnOnce(&mut Served)) {
        change(&mut self.served.lock().unwrap());
    }

    fn requests(&self) -> Vec<String> {
        self.served.lock().unwrap().requests.clone()
    }
}

fn answer(stream: &TcpStream, served: &Mutex<Served>, base: &str) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut range = None;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) <= 2 {
                break;
            }
            let header = header.to_ascii_lowercase();
            if let Some(bytes) = header.trim().strip_prefix("range: bytes=") {
                range = bytes.trim_end_matches('-').parse::<usize>().ok();
            }
        }
        let path = first.split(' ').nth(1).unwrap_or("").to_owned();
        let (status, body) = {
            let mut served = served.lock().unwrap();
            served.requests.push(path.clone());
            reply(&served, &path, range, base)
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() {
            return;
        }
    }
}

fn reply(served: &Served, path: &str, range: Option<usize>, base: &str) -> (&'static str, Vec<u8>) {
    if !served.is_up {
        return ("503 Service Unavailable", b"{}".to_vec());
    }
    let api = "/repos/owner/repository/releases";
    let asset = json!({
        "id": 5, "name": ASSET, "size": served.asset.len(), "state": "uploaded",
        "content_type": "application/octet-stream",
        "url": format!("{base}{api}/assets/5"), "browser_download_url": format!("{base}{api}/assets/5"),
    });
    let release = json!({ "id": 3, "tag_name": V80, "assets": [asset], "draft": false, "prerelease": false });
    let other = json!({ "id": 2, "tag_name": V79, "assets": [], "draft": false, "prerelease": false });
    let body = |value: Value| ("200 OK", value.to_string().into_bytes());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let first_page = !query.contains("page=") || query.contains("&page=1") || query.starts_with("page=1");
    match path.strip_prefix(api).unwrap_or("elsewhere") {
        "" | "/3/assets" if !first_page => body(json!([])),
        "" => body(json!([other, release])),
        "/3/assets" => body(json!([asset])),
        "/tags/v0.80.0" => body(release),
        "/assets/5" => match range {
            Some(from) if from < served.asset.len() => ("206 Partial Content", served.asset[from..].to_vec()),
            _ => ("200 OK", served.asset.clone()),
        },
        _ => ("404 Not Found", b"{}".to_vec()),
    }
}

fn program(host: &Host, version: &str) -> Vec<u8> {
    let path = host.root().join(format!("asset-{version}"));
    write_program(&path, version);
    fs::read(path).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn install_from(host: &Host, releases: &Releases, sha256: &str) {
    host.with_keys(&format!(
        "[autoInstall]\nenabled = true\nrepositoryOwner = \"owner\"\nrepository = \"repository\"\n\
         baseURL = {:?}\nsha256 = {{ \"v0.80.0\" = {sha256:?} }}\n[autoInstall.asset]\nname = {ASSET:?}\n",
        releases.address
    ));
}

fn told(status: &Value) -> String {
    format!("{} {}", status["upgrade"]["staging_problem"], status["problems"])
}

#[test]
fn w_45_a_release_is_fetched_before_the_core_is_stopped() {
    let mut host = Host::new(Kind::OneBinary);
    let asset = program(&host, V80);
    let releases = Releases::new(asset.clone());
    install_from(&host, &releases, &digest(&asset));
    host.behave(json!({ "block_ms": 40 }));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, 60);
    host.wait("the folder", || {
        host.home()
            .join(V80)
            .join("run-config.toml")
            .exists()
            .then_some(())
    });
    assert!(host.height() < height, "long before the height");
    let asked = releases.requests().len();
    host.behave(json!({ "block_ms": 5 }));
    host.wait_upgraded(V80);
    assert_eq!(releases.requests().len(), asked, "and nothing after it");
    let log = host.log();
    for role in Role::BOTH {
        let starts = log.starts(role);
        let versions: Vec<&str> = starts.iter().map(|start| start.version.as_str()).collect();
        assert_eq!(versions, [V79, V80]);
    }
    host.stop(visor);
}

#[test]
fn w_45_while_the_release_cannot_be_had_the_core_stays_halted_and_goes_on_by_itself() {
    let mut host = Host::new(Kind::OneBinary);
    let asset = program(&host, V80);
    let releases = Releases::new(asset.clone());
    releases.set(|served| served.is_up = false);
    install_from(&host, &releases, &digest(&asset));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, 25);
    host.wait_said(Role::Core, "ready", 1);
    host.wait_status("the failure to be told", |status| told(status).contains("503"));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(host.log().versions(), [V79]);
    assert_eq!(host.log().ends(Role::Core), [""; 0]);
    releases.set(|served| served.is_up = true);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    host.stop(visor);
}

#[test]
fn w_48_a_tampered_release_never_runs() {
    let mut host = Host::new(Kind::OneBinary);
    let asset = program(&host, V80);
    let mut tampered = asset.clone();
    tampered[5_000] ^= 1;
    let releases = Releases::new(tampered);
    install_from(&host, &releases, &digest(&asset));
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, 25);
    host.wait_status("the digest to be told", |status| {
        told(status).contains(&digest(&asset)[..8])
    });
    host.wait_said(Role::Core, "ready", 1);
    assert!(!host.home().join(V80).exists());
    assert_eq!(host.log().versions(), [V79]);
    releases.set(|served| served.asset.clone_from(&asset));
    host.wait_upgraded(V80);
    host.stop(visor);
}
