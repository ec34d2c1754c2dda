use std::fs;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::adapter::Adapter as _;
use crate::adapter::Link;
use crate::adapter::casper::Casper;
use crate::adapter::casper::layout::tests::Host as Files;
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(30);

fn casper(files: &Files) -> Casper {
    Casper::open(files.settings.clone()).unwrap()
}

struct Follower {
    _link: Link,
    events: mpsc::Receiver<(u64, LinkEvent)>,
}

impl Follower {
    fn new(casper: &Casper, version: &str, status_url: &str) -> Self {
        let (sender, events) = mpsc::channel(16);
        let mut config = Config::default();
        config.casper.status_url = status_url.to_owned();
        let link = casper.open_link(LinkTo {
            version: version.to_owned(),
            after_halt: None,
            first: true,
            run: 7,
            events: sender,
            config,
        });
        Self {
            _link: link.unwrap(),
            events,
        }
    }

    async fn next(&mut self) -> LinkEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        let (run, event) = event.unwrap().unwrap();
        assert_eq!(run, 7);
        event
    }

    /// The next report: era, and each upgrade with its standing.
    async fn report(&mut self) -> (u64, Vec<(String, Standing)>) {
        loop {
            if let LinkEvent::Reported(Translated { report, refusals }) = self.next().await {
                assert!(refusals.is_empty() && report.halt.is_none());
                let upgrades = report.upgrades.into_iter();
                let upgrades = upgrades
                    .map(|found| (format!("{} {}", found.plan.id, found.plan.height), found.standing));
                return (report.height.0, upgrades.collect());
            }
        }
    }

    async fn lost(&mut self) {
        while !matches!(self.next().await, LinkEvent::Lost) {}
    }

    /// The next word of what is installed: version and problem.
    async fn installed(&mut self) -> Vec<(String, String)> {
        loop {
            if let LinkEvent::Installed(installed) = self.next().await {
                let installed = installed.into_iter();
                return installed.map(|found| (found.version, found.problem)).collect();
            }
        }
    }
}

/// Answers with what is in it; while it is empty, with an error.
fn serve(listener: TcpListener) -> Arc<Mutex<String>> {
    let body = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&body);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = told.lock().unwrap().clone();
            let line = if body.is_empty() { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    body
}

fn status(era: u64, next: &str) -> String {
    format!(
        r#"{{"api_version":"1.0.0","last_added_block_info":{{"era_id":{era},"height":1}},"next_upgrade":{next}}}"#
    )
}

#[tokio::test]
async fn casper_w40_what_is_staged_is_reported_also_where_nobody_is_asked() {
    let files = Files::with(&[("1.0.0", 0), ("1.5.0", 50), ("2.0.0", 100)]);
    let mut follower = Follower::new(&casper(&files), "1.0.0", "");
    let upgrade = |text: &str, standing| (text.to_owned(), standing);
    let (era, upgrades) = follower.report().await;
    let expected = [
        upgrade("1.5.0@era-50 49", Standing::LockedIn),
        upgrade("2.0.0@era-100 99", Standing::Approved),
    ];
    assert_eq!((era, upgrades.as_slice()), (0, &expected[..]));
    // Removed, moved to another era, and one more that is only half there.
    fs::remove_dir_all(files.settings.config_root.join("1_5_0")).unwrap();
    let (_, upgrades) = follower.report().await;
    assert_eq!(upgrades, [upgrade("2.0.0@era-100 99", Standing::LockedIn)]);
    files.chainspec("2.0.0", "120");
    let (_, upgrades) = follower.report().await;
    assert_eq!(upgrades, [upgrade("2.0.0@era-120 119", Standing::LockedIn)]);
    files.chainspec("3.0.0", "200");
    let installed = follower.installed().await;
    assert!(
        installed[3].0 == "3.0.0" && installed[3].1.contains("casper-node is missing"),
        "{installed:?}"
    );
    let (_, upgrades) = follower.report().await;
    assert_eq!(upgrades[1], upgrade("3.0.0@era-200 199", Standing::Approved));
    // W40: what the node cannot read hides what comes after it.
    files.chainspec("2.0.0", "'x'");
    let (_, upgrades) = follower.report().await;
    assert_eq!(upgrades, [upgrade("3.0.0@era-200 199", Standing::Approved)]);
}

#[tokio::test]
async fn the_era_comes_from_the_nodes_status_and_its_silence_is_told() {
    let files = Files::with(&[("1.0.0", 0), ("2.0.0", 100)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/status", listener.local_addr().unwrap());
    let body = serve(listener);
    let casper = casper(&files);
    let mut follower = Follower::new(&casper, "1.0.0", &url);
    assert_eq!(follower.installed().await.len(), 2);
    // It is near, so that it is asked every second.
    *body.lock().unwrap() = status(99, r#"{"activation_point":100,"protocol_version":"2.0.0"}"#);
    let (era, upgrades) = follower.report().await;
    assert_eq!((era, upgrades.len()), (99, 1));
    body.lock().unwrap().clear();
    follower.lost().await;
    *body.lock().unwrap() = status(100, "null");
    assert_eq!(follower.report().await.0, 100);
    drop(follower);
    // The next run begins with what was known.
    assert_eq!(
        Follower::new(&casper, "2.0.0", "").report().await,
        (100, Vec::new())
    );
}

#[tokio::test]
async fn casper_w39_an_address_that_never_answers_keeps_no_upgrade_from_being_checked() {
    let files = Files::with(&[("1.0.0", 0), ("2.0.0", 100)]);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/status", closed.local_addr().unwrap());
    drop(closed);
    let mut follower = Follower::new(&casper(&files), "1.0.0", &url);
    assert_eq!(follower.report().await.1.len(), 1);
    // And it is not said that the node answers.
    assert!(matches!(follower.next().await, LinkEvent::Lost));
}

#[test]
fn casper_w43_a_version_that_the_node_does_not_find_is_a_problem_after_a_while() {
    let files = Files::with(&[("1.0.0", 0), ("2.0.0", 100)]);
    let casper = casper(&files);
    let (events, _told) = mpsc::channel(1);
    let mut run = Run::new(Arc::clone(&casper.host), Version::new(1, 0, 0), 1, events, true);
    run.look();
    run.connected = true;
    let problem = |run: &Run| run.shown()[1].problem.clone();
    let says =
        |run: &mut Run, next: &str| run.answer = Some(serde_json::from_str(&status(10, next)).unwrap());
    says(&mut run, "null");
    assert_eq!(problem(&run), "", "it was staged just now");
    let long_ago = Instant::now().checked_sub(2 * FOUND_WITHIN).unwrap();
    run.staged_since.insert(Version::new(2, 0, 0), long_ago);
    run.look();
    assert!(
        problem(&run).contains("announces no upgrade"),
        "{}",
        problem(&run)
    );
    says(&mut run, r#"{"activation_point":90,"protocol_version":"2.0.0"}"#);
    assert!(
        problem(&run).contains("announces 2.0.0 at 90"),
        "{}",
        problem(&run)
    );
    says(&mut run, r#"{"activation_point":100,"protocol_version":"2.0.0"}"#);
    assert_eq!(problem(&run), "");
    run.connected = false;
    says(&mut run, "null");
    assert_eq!(problem(&run), "", "nobody answers");
}
