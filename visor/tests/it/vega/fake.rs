//! The fake itself, without a visor: that it is what it claims to be.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::log::Role;
use super::scene::{Host, Kind, V79, V80};

/// Its processes, as somebody starts them who has no visor.
struct ByHand {
    children: Vec<Child>,
}

impl ByHand {
    fn start(host: &Host, folder: &str, load: Option<u64>) -> Self {
        let folder = host.home().join(folder);
        let mut children = Vec::new();
        let mut core = Command::new(folder.join("vega"));
        core.args(["start", "--home"]).arg(host.world().join("core"));
        if let Some(height) = load {
            core.arg(format!("--snapshot.load-from-block-height={height}"));
        }
        children.push(core);
        if host.binaries().len() == 2 {
            let mut data = Command::new(folder.join("data-node"));
            data.args(["start", "--home"]).arg(host.world().join("data"));
            children.push(data);
        }
        let children = children
            .iter_mut()
            .map(|command| command.stdin(Stdio::null()).spawn().unwrap())
            .collect();
        Self { children }
    }

    fn terminate(mut self) -> Vec<Option<i32>> {
        let codes = self.children.iter_mut().map(|child| {
            rustix::process::kill_process(
                rustix::process::Pid::from_child(child),
                rustix::process::Signal::TERM,
            )
            .unwrap();
            child.wait().unwrap().code()
        });
        codes.collect()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends text, and returns the answer's first line and body.
fn exchange(host: &Host, head: &str, body: &str) -> (String, String) {
    let mut stream = host.wait("the admin socket", || {
        UnixStream::connect(host.admin_socket()).ok()
    });
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

const POST: &str = "POST /rpc HTTP/1.1\r\nHost: unix\r\nContent-Type: application/json";

fn call(host: &Host) -> Value {
    let request = json!({ "method": "protocolupgrade.UpgradeStatus", "params": [null], "id": 55 });
    let (head, body) = exchange(host, POST, &request.to_string());
    assert_eq!(head, "HTTP/1.1 200 OK");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["id"], &answer["error"]), (&json!(55), &Value::Null));
    answer["result"].clone()
}

#[test]
fn the_fake_core_halts_in_memory_only() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    host.behave(json!({ "paused": true }));
    let first = ByHand::start(&host, "genesis", None);
    assert_eq!(
        call(&host),
        json!({ "AcceptedReleaseInfo": null, "ReadyToUpgrade": false })
    );
    host.behave(json!({ "paused": false }));
    host.wait_height(3);
    assert_eq!(
        call(&host),
        json!({ "AcceptedReleaseInfo": { "VegaReleaseTag": "", "UpgradeBlockHeight": 0 }, "ReadyToUpgrade": false })
    );
    let height = host.accept(V80, 15);
    let release = json!({ "VegaReleaseTag": V80, "UpgradeBlockHeight": height });
    host.wait("the acceptance", || {
        (call(&host)["AcceptedReleaseInfo"] == release).then_some(())
    });
    host.wait("ready", || (call(&host)["ReadyToUpgrade"] == true).then_some(()));
    assert_eq!(host.height(), height + 1, "stored and not executed");
    assert_eq!(first.terminate(), [None], "it kills itself");

    host.behave(json!({ "paused": true, "stall": [V80] }));
    let new = ByHand::start(&host, V80, Some(height));
    host.wait_said(Role::Core, &format!("loaded {height} {V80}"), 1);
    // The block that was stored is executed at once, and the release is not shown any more.
    host.wait("no release", || {
        (call(&host)["AcceptedReleaseInfo"]["VegaReleaseTag"] == "").then_some(())
    });
    host.log().assert_sane();
    assert_eq!(new.terminate(), [Some(0)]);

    host.behave(json!({ "paused": false }));
    let old = ByHand::start(&host, "genesis", None);
    host.wait_said(Role::Core, &format!("past {height} {V79}"), 1);
    host.wait_height(height + 5);
    drop(old);
}

#[test]
fn the_fake_core_answers_as_the_original_does() {
    let mut host = Host::new(Kind::Core);
    host.behave(json!({ "paused": true }));
    let _core = ByHand::start(&host, "genesis", None);
    let good =
        json!({ "method": "protocolupgrade.UpgradeStatus", "params": [], "id": "text", "jsonrpc": "2.0" })
            .to_string();
    let (head, body) = exchange(&host, POST, &good);
    assert_eq!(head, "HTTP/1.1 200 OK");
    let result = r#"{"AcceptedReleaseInfo":null,"ReadyToUpgrade":false}"#;
    assert_eq!(
        body,
        format!("{{\"result\":{result},\"error\":null,\"id\":\"text\"}}\n")
    );
    let no_id = json!({ "method": "protocolupgrade.UpgradeStatus", "params": [null] }).to_string();
    assert_eq!(
        exchange(&host, POST, &no_id),
        ("HTTP/1.1 200 OK".to_owned(), String::new())
    );
    let status = |head: &str, body: &str| {
        let (line, _) = exchange(&host, head, body);
        line.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&POST.replace("/rpc", "/other"), &good), "404");
    assert_eq!(status(&POST.replace("POST", "GET"), &good), "405");
    assert_eq!(status("POST /rpc HTTP/1.1", &good), "415");
    assert_eq!(status(POST, "{"), "400");
    assert_eq!(status(POST, &good.replace("[]", "{}")), "400");
    assert_eq!(
        status(POST, &good.replace("UpgradeStatus", "upgradeStatus")),
        "400"
    );
}

#[test]
fn the_fake_pair_halts_together_and_aligns() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({ "segment_lag": 3 }));
    let height = host.accept(V80, 25);
    let pair = ByHand::start(&host, "genesis", None);
    host.wait_said(Role::Core, "ready", 1);
    host.wait_said(Role::DataNode, "ready", 1);
    let ends = pair.terminate();
    assert_eq!(ends, [None, Some(0)]);
    let segment = || {
        let output = Command::new(host.home().join("genesis/data-node"))
            .args([
                "network-history",
                "latest-history-segment",
                "--output=json",
                "--home",
            ])
            .arg(host.world().join("data"))
            .args(["--output", "json"])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(segment()["LatestSegment"]["to_height"], height);

    let mut pair = ByHand::start(&host, V80, Some(height));
    host.wait_height(height + 8);
    host.log().assert_sane();
    // A data node whose end was not orderly is behind the core's newest snapshot, if it ends before it has caught up.
    for _ in 0..10 {
        host.wait("a snapshot ahead of the segments", || {
            let segment = segment()["LatestSegment"]["to_height"].as_u64().unwrap();
            (host.height() / 10 * 10 > segment).then_some(())
        });
        drop(pair);
        let height = host.height();
        pair = ByHand::start(&host, V80, None);
        let gap = || host.log().lines.iter().any(|line| line.contains("gap:"));
        host.wait("a gap or blocks", || {
            (gap() || host.height() > height + 2).then_some(())
        });
        if gap() {
            break;
        }
    }
    host.wait_said(Role::DataNode, "gap:", 1);
    drop(pair);
    assert!(host.log().lines.iter().all(|line| !line.contains("DOUBLE")));
}

#[test]
fn the_fake_core_cannot_run_twice_or_beside_another_version() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.behave(json!({ "paused": true }));
    let _first = ByHand::start(&host, "genesis", None);
    host.wait_said(Role::DataNode, "loaded", 1);
    host.wait_said(Role::Core, "loaded", 1);
    let mut second = ByHand::start(&host, V80, None);
    for child in &mut second.children {
        assert_eq!(child.wait().unwrap().code(), Some(99));
    }
    assert_eq!(
        host.log()
            .lines
            .iter()
            .filter(|line| line.contains("DOUBLE"))
            .count(),
        2
    );
}
