//! What is seen of one run of a node: the versions that are staged beside it, and what it says of itself at `/status`.
//!
//! The chain's decision is in the staged chain specifications: the node reads them itself, and stops before the era that the next one names.
//! So they make the report, and `/status` adds how far the chain is, and whether the node has seen what lies there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::pb::visor::v1 as pb;
use semver::Version;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use visor_planner::{self as planner, Announced, ArtifactFact, Height, NodeReport, Standing};

use super::host::{Host, plan};
use super::layout::Installed;
use super::status::{Address, Answer, StatusError};
use super::watch::FolderWatch;
use crate::adapter::{LinkEvent, LinkTo, Translated};
use crate::cli::chain;
use crate::reconnect::Delays;

/// Between two questions, far from any upgrade.
const SELDOM: Duration = Duration::from_secs(10);
/// Once the era before an upgrade has begun: it is what the operator watches.
const OFTEN: Duration = Duration::from_secs(1);
/// A node that has just been started answers some time later.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// An address at which nobody ever answers must not keep what is staged from being checked.
const WITHOUT_ANSWER: Duration = Duration::from_secs(10);
/// One question that finds no answer may be the node's load.
const MISSES: u32 = 2;
/// A node looks for new versions every 30 s. One that has not found a version after three looks does not find it.
const FOUND_WITHIN: Duration = Duration::from_secs(90);

/// Follows one run until the daemon does not listen any more.
pub(super) async fn follow(host: Arc<Host>, version: Version, to: LinkTo) {
    // The configuration was checked when it was read.
    let address = Address::parse(&to.config.casper.status_url);
    // The link to the run before gives it back when it is gone.
    let mut watch = host.watch.lock().await;
    if watch.is_none() {
        *watch = FolderWatch::new(&host.settings)
            .inspect_err(|error| {
                tracing::warn!(%error, "the versions on this host are not watched; they are looked at with every question for the node's status");
            })
            .ok();
    }
    let mut run = Run::new(Arc::clone(&host), version, to.run, to.events, address.is_some());
    // Nothing is seen twice: the watch has begun before.
    run.look();
    run.make_ready();
    let mut next = address.as_ref().map(|_| Instant::now());
    let mut patience = Some(
        Instant::now()
            + if address.is_some() {
                WITHOUT_ANSWER
            } else {
                Duration::ZERO
            },
    );
    loop {
        let told = tokio::select! {
            () = changed(&mut watch) => {
                run.look();
                run.make_ready();
                run.tell().await
            }
            answer = asked(address.as_ref(), next) => {
                if watch.is_none() {
                    run.look();
                }
                next = Some(Instant::now() + run.answered(answer));
                run.tell().await
            }
            () = at(patience) => {
                patience = None;
                run.is_patient = false;
                run.tell().await
            }
        };
        if told.is_err() {
            return;
        }
    }
}

async fn changed(watch: &mut Option<FolderWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Asks when it is time. Begun anew when something else comes first, which happens seldom.
async fn asked(address: Option<&Address>, due: Option<Instant>) -> Result<Answer, StatusError> {
    at(due).await;
    match address {
        Some(address) => address.ask().await,
        None => std::future::pending().await,
    }
}

/// The daemon does not listen any more.
struct Closed;

/// One run of a node, as it is known.
struct Run {
    host: Arc<Host>,
    version: Version,
    run: u64,
    events: mpsc::Sender<(u64, LinkEvent)>,
    installed: Vec<Installed>,
    /// When each version above the running one was first seen.
    staged_since: BTreeMap<Version, Instant>,
    /// The last one.
    answer: Option<Answer>,
    /// Questions in a row that found no answer.
    misses: u32,
    /// The node answers, and the planner knows.
    connected: bool,
    /// What was said last.
    reported: Option<NodeReport>,
    shown: Vec<pb::InstalledVersion>,
    /// That another version answers has been said.
    warned: bool,
    /// There is an address to ask at.
    asks: bool,
    /// The first answer may still come soon.
    is_patient: bool,
    delays: Delays,
}

impl Run {
    fn new(
        host: Arc<Host>,
        version: Version,
        run: u64,
        events: mpsc::Sender<(u64, LinkEvent)>,
        asks: bool,
    ) -> Self {
        Self {
            host,
            version,
            run,
            events,
            installed: Vec::new(),
            staged_since: BTreeMap::new(),
            answer: None,
            misses: 0,
            connected: false,
            reported: None,
            shown: Vec::new(),
            warned: false,
            asks,
            is_patient: true,
            delays: Delays::new(FIRST_DELAY, SELDOM),
        }
    }

    fn look(&mut self) {
        match self.host.survey() {
            Ok(installed) => {
                let above = installed.iter().filter(|found| found.version > self.version);
                let before = std::mem::take(&mut self.staged_since);
                self.staged_since = above
                    .map(|found| {
                        let since = before.get(&found.version).copied();
                        (found.version.clone(), since.unwrap_or_else(Instant::now))
                    })
                    .collect();
                self.installed = installed;
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the versions on this host cannot be looked at; what was seen last counts");
            }
        }
    }

    /// Begins to make durable what the upgrade from this version will write, off the loop. Without it the upgrade writes it in its own time.
    fn make_ready(&self) {
        let (host, version) = (Arc::clone(&self.host), self.version.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = host.make_ready(&version) {
                tracing::warn!(error = %chain(&error), "what the next upgrade will write cannot be made ready");
            }
        });
    }

    /// Takes an answer in, and says when to ask again.
    fn answered(&mut self, answer: Result<Answer, StatusError>) -> Duration {
        match answer {
            Ok(answer) => {
                self.misses = 0;
                self.delays.reset();
                if let Some(block) = answer.last_added_block_info {
                    self.host.set_era(block.era_id);
                }
                self.compare(&answer);
                self.answer = Some(answer);
                if self.is_near() { OFTEN } else { SELDOM }
            }
            Err(error) => {
                self.misses = self.misses.saturating_add(1);
                tracing::debug!(error = %chain(&error), "the node does not tell its status");
                if self.connected {
                    OFTEN
                } else {
                    self.delays.next_delay()
                }
            }
        }
    }

    /// Another node may answer at that address.
    fn compare(&mut self, answer: &Answer) {
        let says = Version::parse(&answer.api_version).ok();
        if let Some(says) = says.filter(|says| *says != self.version)
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!(
                node.version = %self.version,
                node.says = %says,
                "the node's status is that of another version; is casper.status_url the address of this node?"
            );
        }
    }

    /// The era before an upgrade runs, or a later one.
    fn is_near(&self) -> bool {
        let era = self.host.era();
        self.staged()
            .filter_map(Installed::era)
            .any(|activation| era.saturating_add(1) >= activation)
    }

    /// The versions above the running one, ascending.
    fn staged(&self) -> impl Iterator<Item = &Installed> {
        self.installed.iter().filter(|found| found.version > self.version)
    }

    /// What the operator is shown of each version.
    fn shown(&self) -> Vec<pb::InstalledVersion> {
        let unseen = self.unseen();
        let shown = self.installed.iter().map(|found| {
            let mut shown = found.shown();
            if let Some((version, problem)) = &unseen
                && **version == found.version
            {
                if !shown.problem.is_empty() {
                    shown.problem.push_str("; ");
                }
                shown.problem.push_str(problem);
            }
            shown
        });
        shown.collect()
    }

    /// The next version, when the node should have found it long ago and has not.
    fn unseen(&self) -> Option<(&Version, String)> {
        let answer = self.answer.as_ref().filter(|_| self.connected)?;
        let next = self.staged().find(|found| found.in_config)?;
        let era = next.era()?;
        let since = self.staged_since.get(&next.version)?.elapsed();
        let says = answer.next_upgrade.as_ref();
        let is_found = says.is_some_and(|says| {
            says.protocol_version == next.version.to_string() && says.activation_point.as_u64() == Some(era)
        });
        if is_found || since < FOUND_WITHIN {
            return None;
        }
        let says = says.map_or_else(
            || "no upgrade".to_owned(),
            |says| format!("{} at {}", says.protocol_version, says.activation_point),
        );
        Some((
            &next.version,
            format!(
                "the node has not found it in {} s and announces {says}, so that it would not stop for it",
                since.as_secs()
            ),
        ))
    }

    /// Says what is new.
    async fn tell(&mut self) -> Result<(), Closed> {
        if self.misses == 0 && self.answer.is_some() {
            if !std::mem::replace(&mut self.connected, true) {
                // It has to be told that the node answers, whatever it says.
                self.reported = None;
            }
        } else if self.misses >= MISSES && std::mem::take(&mut self.connected) {
            self.send(LinkEvent::Lost).await?;
        }
        let shown = self.shown();
        if shown != self.shown {
            self.shown.clone_from(&shown);
            self.send(LinkEvent::Installed(shown)).await?;
        }
        let report = self.report_now();
        if (!self.connected && self.is_patient) || self.reported.as_ref() == Some(&report) {
            return Ok(());
        }
        self.reported = Some(report.clone());
        let refusals = Vec::new();
        self.send(LinkEvent::Reported(Translated { report, refusals }))
            .await?;
        if self.asks && !self.connected {
            // What is staged is known all the same; that the node answers is not claimed.
            self.send(LinkEvent::Lost).await?;
        }
        Ok(())
    }

    fn report_now(&self) -> NodeReport {
        // The node looks at the smallest version above its own and at no other: for that one it stops. Those after it have their turn.
        let next = self
            .staged()
            .find(|found| found.in_config)
            .map(|found| &found.version);
        // Without an era in its chain specification a version is no upgrade: no node ever stops for it.
        let upgrades = self
            .staged()
            .filter(|found| found.in_config && found.era().is_some());
        let upgrades = upgrades.map(|found| Announced {
            plan: plan(&found.version, found.era()),
            standing: if Some(&found.version) == next {
                Standing::LockedIn
            } else {
                Standing::Approved
            },
            artifact: ArtifactFact::InPlace,
        });
        NodeReport {
            version: planner::Version(self.version.to_string()),
            height: Height(self.host.era()),
            upgrades: upgrades.collect(),
            halt: None,
        }
    }

    async fn send(&self, event: LinkEvent) -> Result<(), Closed> {
        self.events.send((self.run, event)).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
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
}
