//! The native chain: reports of the node over `node.v1` on its UNIX socket.
//!
//! One task per running node. It waits for the socket by inotify, because how soon the first report comes is how long the
//! upgrade took; where inotify cannot tell (the file is there, nobody listens yet) it tries again after growing delays.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::pb;
use proto::pb::governance::v1::ProposalPhase;
use proto::pb::node::v1::node_service_client::NodeServiceClient;
use proto::pb::node::v1::{AnnouncedUpgrade, NodeReport, WatchReportsRequest};
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use visor_planner::{
    Announced, Artifact, ArtifactFact, ExitCodes, Height, NodeReport as Report, Standing, UpgradeId,
    UpgradePlan, Version,
};

use crate::readiness::readable;
use crate::reconnect::Delays;
use crate::run_config::is_version;
use crate::staging::host_platform;

/// Shorter than anything an operator notices, longer than a failed connect costs.
const FIRST_DELAY: Duration = Duration::from_millis(2);
/// A node that is up answers at once; one that is replaying its log is found soon after it has finished.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// A node that accepts and then says nothing is tried again after this.
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// A report with the most proposals and artifacts that the chain's limits allow stays far below this.
const MAX_REPORT: usize = 4 << 20;

/// What the node's exit codes mean; `governance/node` documents them.
pub const EXIT_CODES: ExitCodes = ExitCodes {
    newer_required: 10,
    older_required: 11,
};

/// A report in the planner's words. Entries that no honest node sends are left out: their names would become paths.
#[must_use]
pub fn translate(report: &NodeReport) -> Option<Report> {
    let halt = match &report.halt {
        Some(halt) => Some(plan(&halt.proposal_id, &halt.version, halt.height)?),
        None => None,
    };
    Some(Report {
        version: version(&report.version)?,
        height: Height(report.height),
        upgrades: report.upgrades.iter().filter_map(announced).collect(),
        halt,
    })
}

fn version(text: &str) -> Option<Version> {
    is_version(text).then(|| Version(text.to_owned()))
}

fn plan(id: &[u8], named: &str, height: u64) -> Option<UpgradePlan> {
    if id.len() != 32 {
        return None;
    }
    Some(UpgradePlan {
        id: UpgradeId(hex::encode(id)),
        version: version(named)?,
        height: Height(height),
    })
}

fn announced(announced: &AnnouncedUpgrade) -> Option<Announced> {
    let upgrade = announced.upgrade.as_ref()?;
    let standing = match announced.phase() {
        ProposalPhase::Voting => Standing::Proposed,
        ProposalPhase::Approved => Standing::Approved,
        ProposalPhase::LockedIn => Standing::LockedIn,
        ProposalPhase::Unspecified
        | ProposalPhase::Executed
        | ProposalPhase::Rejected
        | ProposalPhase::Expired
        | ProposalPhase::Superseded
        | ProposalPhase::Cancelled => return None,
    };
    Some(Announced {
        plan: plan(&announced.proposal_id, &upgrade.version, upgrade.height)?,
        standing,
        artifact: artifact(&upgrade.artifacts)?,
    })
}

fn artifact(offered: &[pb::governance::v1::Artifact]) -> Option<ArtifactFact> {
    let platform = host_platform();
    let Some(artifact) = offered.iter().find(|artifact| artifact.platform == platform) else {
        let offered = offered.iter().map(|artifact| artifact.platform.clone()).collect();
        return Some(ArtifactFact::MissingForPlatform { platform, offered });
    };
    (artifact.sha256.len() == 32).then(|| {
        ArtifactFact::Available(Artifact {
            url: artifact.url.clone(),
            size: artifact.size,
            sha256: hex::encode(&artifact.sha256),
        })
    })
}

/// What the link to a node saw.
#[derive(Debug)]
pub enum LinkEvent {
    /// The node reported.
    Reported {
        /// What it said.
        report: Box<NodeReport>,
    },
    /// The connection ended after at least one report.
    Lost,
}

/// The link to one run of the node; dropping it closes it.
#[derive(Debug)]
pub struct Link {
    task: JoinHandle<()>,
}

impl Link {
    /// Connects as soon as the node listens, and again when the connection ends. Every event carries `run`.
    #[must_use]
    pub fn open(socket: PathBuf, run: u64, events: mpsc::Sender<(u64, LinkEvent)>) -> Self {
        Self {
            task: tokio::spawn(follow(socket, run, events)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(socket: PathBuf, run: u64, events: mpsc::Sender<(u64, LinkEvent)>) {
    let mut delays = Delays::new(FIRST_DELAY, LONGEST_DELAY);
    let mut told = false;
    loop {
        // Watching begins before the attempt, so that no creation is missed in between.
        let appearance = Appearance::watch(&socket);
        match connect(&socket).await {
            Ok(channel) => match read(channel, run, &events).await {
                Ok(0) => {}
                Ok(_) => {
                    delays.reset();
                    told = false;
                    if events.send((run, LinkEvent::Lost)).await.is_err() {
                        return;
                    }
                }
                Err(Closed) => return,
            },
            Err(error) => {
                if !told {
                    tracing::debug!(node.socket = %socket.display(), error = %crate::cli::chain(&error), "the node does not listen yet");
                    told = true;
                }
            }
        }
        let delay = delays.next_delay();
        tokio::select! {
            () = appearance.happened() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// The daemon does not listen any more.
struct Closed;

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    // The address is a formality: the connector goes to the socket whatever it says.
    Endpoint::from_static("http://node.invalid")
        .connect_with_connector(service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
}

/// Passes reports on until the stream ends; says how many there were.
async fn read(channel: Channel, run: u64, events: &mpsc::Sender<(u64, LinkEvent)>) -> Result<u64, Closed> {
    let mut client = NodeServiceClient::new(channel).max_decoding_message_size(MAX_REPORT);
    let Ok(Ok(response)) =
        tokio::time::timeout(FIRST_REPORT, client.watch_reports(WatchReportsRequest {})).await
    else {
        return Ok(0);
    };
    let mut stream = response.into_inner();
    let mut count = 0;
    loop {
        let next = async {
            if count == 0 {
                // Only the first report is due at once: after it the chain may stand still for as long as it likes.
                tokio::time::timeout(FIRST_REPORT, stream.message()).await.ok()
            } else {
                Some(stream.message().await)
            }
        };
        let Some(Ok(Some(report))) = next.await else {
            return Ok(count);
        };
        count += 1;
        let event = LinkEvent::Reported {
            report: Box::new(report),
        };
        events.send((run, event)).await.map_err(|_| Closed)?;
    }
}

/// Becomes ready when something is created in, or moved into, the folder of the socket.
struct Appearance {
    descriptor: Option<AsyncFd<OwnedFd>>,
}

impl Appearance {
    fn watch(socket: &Path) -> Self {
        let descriptor = || -> std::io::Result<AsyncFd<OwnedFd>> {
            let descriptor = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
            let folder = socket.parent().unwrap_or(Path::new("/"));
            let wanted = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&descriptor, folder, wanted)?;
            readable(descriptor)
        };
        // Without inotify (its limit is reached, the folder does not exist yet) the delays alone decide.
        Self {
            descriptor: descriptor().ok(),
        }
    }

    async fn happened(&self) {
        match &self.descriptor {
            Some(descriptor) => {
                let _ = descriptor.readable().await;
                // The file appears at bind, a moment before listen: the next attempt must not come before that.
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: &str, platform: &str) -> NodeReport {
        NodeReport {
            version: "1.0.0".to_owned(),
            height: 7,
            upgrades: vec![AnnouncedUpgrade {
                proposal_id: vec![0xab; 32],
                upgrade: Some(pb::governance::v1::Upgrade {
                    version: version.to_owned(),
                    height: 30,
                    artifacts: vec![pb::governance::v1::Artifact {
                        platform: platform.to_owned(),
                        url: "file:///x".to_owned(),
                        size: 3,
                        sha256: vec![1; 32],
                    }],
                    description: String::new(),
                }),
                phase: ProposalPhase::Approved.into(),
            }],
            ..NodeReport::default()
        }
    }

    #[test]
    fn a_report_is_translated_for_this_platform() {
        let translated = translate(&report("1.1.0", &host_platform())).unwrap();
        assert_eq!(translated.height, Height(7));
        assert_eq!(translated.upgrades[0].standing, Standing::Approved);
        assert_eq!(translated.upgrades[0].plan.id.0, "ab".repeat(32));
        assert!(matches!(
            translated.upgrades[0].artifact,
            ArtifactFact::Available(_)
        ));
        let elsewhere = translate(&report("1.1.0", "plan9/mips")).unwrap();
        assert!(matches!(
            elsewhere.upgrades[0].artifact,
            ArtifactFact::MissingForPlatform { .. }
        ));
    }

    #[test]
    fn a_version_that_would_lead_out_of_the_home_is_not_believed() {
        for hostile in ["../../etc", "1.1.0/../..", "1.1", "", "1.1.0-a/b"] {
            assert!(
                translate(&report(hostile, &host_platform()))
                    .unwrap()
                    .upgrades
                    .is_empty(),
                "{hostile}"
            );
        }
        let mut halted = report("1.1.0", &host_platform());
        halted.version = "../x".to_owned();
        assert_eq!(translate(&halted), None);
    }
}
