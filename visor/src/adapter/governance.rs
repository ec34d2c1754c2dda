//! The native chain: reports of the node over `node.v1` on its UNIX socket.
//!
//! One task per running node. It waits for the socket by inotify, because how soon the first report comes is how long the
//! upgrade took; where inotify cannot tell (the file is there, nobody listens yet) it tries again after growing delays.
//!
//! VIS-12: with a pinned genesis the task asks for the certificate of every accepted upgrade before it passes the report on,
//! and what is not proven is left out of it, with the reason beside it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use governance::{MAX_CERTIFICATE_BYTES, MAX_LIVE_PROPOSALS, ProposalId, Upgrade};
use hyper_util::rt::TokioIo;
use proto::pb;
use proto::pb::governance::v1::ProposalPhase;
use proto::pb::node::v1::node_service_client::NodeServiceClient;
use proto::pb::node::v1::{AnnouncedUpgrade, GetCertificateRequest, NodeReport, WatchReportsRequest};
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

use crate::certificate::{Notary, Verdict, Verdicts};
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
/// How soon a certificate is asked for again that was not there or proved nothing, while the node reports nothing new.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The largest certificate.
const MAX_ANSWER: usize = MAX_CERTIFICATE_BYTES + 1024;
/// A report with the most proposals and artifacts that the chain's limits allow stays far below this.
const MAX_REPORT: usize = 4 << 20;

/// What the node's exit codes mean; `governance/node` documents them.
pub const EXIT_CODES: ExitCodes = ExitCodes {
    newer_required: 10,
    older_required: 11,
};

/// An upgrade that the chain is said to have accepted, and that is not believed (VIS-12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As the node announces it.
    pub plan: UpgradePlan,
    /// Why it is not believed.
    pub reason: String,
}

/// A report in the planner's words, and what was left out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// What is believed.
    pub report: Report,
    /// What is not.
    pub refusals: Vec<Refusal>,
}

/// A report in the planner's words. Entries that no honest node sends are left out: their names would become paths.
///
/// With `verdicts` an upgrade is believed only when it is proven: one that is still voted on is no accepted plan and is
/// left out silently, one that is said to be accepted is refused.
#[must_use]
pub fn translate(report: &NodeReport, verdicts: Option<&Verdicts>) -> Option<Translated> {
    let mut halt = match &report.halt {
        Some(halt) => Some(plan(&halt.proposal_id, &halt.version, halt.height)?),
        None => None,
    };
    let mut upgrades: Vec<_> = report.upgrades.iter().filter_map(announced).collect();
    let mut refusals = Vec::new();
    if let Some(verdicts) = verdicts {
        let mut believed = |plan: &UpgradePlan, said: Option<&AnnouncedUpgrade>| {
            let reason = match doubt(plan, said, verdicts) {
                Some(reason) => reason,
                None => return true,
            };
            if !refusals.iter().any(|refusal: &Refusal| refusal.plan == *plan) {
                let plan = plan.clone();
                refusals.push(Refusal { plan, reason });
            }
            false
        };
        upgrades.retain(|upgrade: &Announced| {
            let said = report
                .upgrades
                .iter()
                .find(|said| hex::encode(&said.proposal_id) == upgrade.plan.id.0);
            upgrade.standing >= Standing::Approved && believed(&upgrade.plan, said)
        });
        halt = halt.filter(|plan| believed(plan, None));
    }
    Some(Translated {
        report: Report {
            version: version(&report.version)?,
            height: Height(report.height),
            upgrades,
            halt,
        },
        refusals,
    })
}

/// Why a plan is not believed; `None`: it is proven, and what the node says of it is what was proven.
fn doubt(plan: &UpgradePlan, said: Option<&AnnouncedUpgrade>, verdicts: &Verdicts) -> Option<String> {
    let id: Option<ProposalId> = plan.id.0.parse().ok();
    let proven = match id.and_then(|id| verdicts.get(&id)) {
        Some(Verdict::Proven(upgrade)) => upgrade,
        Some(Verdict::Refused(reason)) => return Some(reason.clone()),
        None => return Some("its certificate has not been asked for yet".to_owned()),
    };
    let differs = |what: &str, proven: &dyn std::fmt::Display, said: &dyn std::fmt::Display| {
        Some(format!(
            "the certificate proves {what} {proven}, the node says {said}"
        ))
    };
    if proven.version.to_string() != plan.version.0 {
        return differs("version", &proven.version, &plan.version);
    }
    if proven.height.0 != plan.height.0 {
        return differs("height", &proven.height, &plan.height);
    }
    match said.and_then(|said| said.upgrade.clone()).map(Upgrade::try_from) {
        None => None,
        Some(Ok(said)) if said == **proven => None,
        Some(_) => Some("the certificate proves other artifacts than the node says".to_owned()),
    }
}

/// The proposals of a report that need a certificate.
fn accepted(report: &NodeReport) -> Vec<ProposalId> {
    let upgrades = report
        .upgrades
        .iter()
        .filter(|upgrade| matches!(upgrade.phase(), ProposalPhase::Approved | ProposalPhase::LockedIn));
    let named = upgrades.map(|upgrade| upgrade.proposal_id.as_slice());
    let halted = report.halt.iter().map(|halt| halt.proposal_id.as_slice());
    let mut ids: Vec<_> = named
        .chain(halted)
        .filter_map(|id| ProposalId::try_from(id).ok())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(MAX_LIVE_PROPOSALS);
    ids
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
        /// What its certificates prove; absent without a pinned genesis.
        verdicts: Option<Verdicts>,
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
    pub fn open(
        socket: PathBuf,
        run: u64,
        events: mpsc::Sender<(u64, LinkEvent)>,
        notary: Option<Arc<Notary>>,
    ) -> Self {
        Self {
            task: tokio::spawn(follow(socket, run, events, notary)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    socket: PathBuf,
    run: u64,
    events: mpsc::Sender<(u64, LinkEvent)>,
    notary: Option<Arc<Notary>>,
) {
    let mut delays = Delays::new(FIRST_DELAY, LONGEST_DELAY);
    let mut told = false;
    loop {
        // Watching begins before the attempt, so that no creation is missed in between.
        let appearance = Appearance::watch(&socket);
        match connect(&socket).await {
            Ok(channel) => match read(channel, run, &events, notary.as_ref()).await {
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
async fn read(
    channel: Channel,
    run: u64,
    events: &mpsc::Sender<(u64, LinkEvent)>,
    notary: Option<&Arc<Notary>>,
) -> Result<u64, Closed> {
    let mut client = NodeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_REPORT);
    let Ok(Ok(response)) =
        tokio::time::timeout(FIRST_REPORT, client.watch_reports(WatchReportsRequest {})).await
    else {
        return Ok(0);
    };
    let mut certificates = NodeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    let mut stream = response.into_inner();
    let mut count = 0;
    // The last report, while something in it is not proven.
    let mut doubtful: Option<NodeReport> = None;
    loop {
        let next = async {
            if count == 0 {
                // Only the first report is due at once: after it the chain may stand still for as long as it likes.
                tokio::time::timeout(FIRST_REPORT, stream.message()).await.ok()
            } else {
                Some(stream.message().await)
            }
        };
        let report = tokio::select! {
            next = next => match next {
                Some(Ok(Some(report))) => report,
                Some(_) | None => return Ok(count),
            },
            // A halted node reports no more, and may have the certificate later.
            () = tokio::time::sleep(ASK_AGAIN), if doubtful.is_some() => {
                doubtful.take().unwrap_or_default()
            }
        };
        let verdicts = match notary {
            Some(notary) => {
                let verdicts = judge(&report, notary, &mut certificates).await;
                let doubt = verdicts
                    .values()
                    .any(|verdict| matches!(verdict, Verdict::Refused(_)));
                doubtful = doubt.then(|| report.clone());
                Some(verdicts)
            }
            None => None,
        };
        count += 1;
        let event = LinkEvent::Reported {
            report: Box::new(report),
            verdicts,
        };
        events.send((run, event)).await.map_err(|_| Closed)?;
    }
}

/// Asks for the certificates that have not been proven yet, and judges them off the loop: with thousands of validators it
/// takes a while.
async fn judge(
    report: &NodeReport,
    notary: &Arc<Notary>,
    client: &mut NodeServiceClient<Channel>,
) -> Verdicts {
    let ids = accepted(report);
    notary.keep(&ids);
    let mut verdicts = Verdicts::new();
    for id in ids {
        let verdict = match notary.proven(&id) {
            Some(proven) => proven,
            None => match certificate(id, client).await {
                Ok(bytes) => {
                    let notary = Arc::clone(notary);
                    let judged = tokio::task::spawn_blocking(move || notary.judge(id, &bytes)).await;
                    judged.unwrap_or_else(|error| {
                        Verdict::Refused(format!("its certificate could not be verified: {error}"))
                    })
                }
                Err(reason) => Verdict::Refused(reason),
            },
        };
        verdicts.insert(id, verdict);
    }
    verdicts
}

async fn certificate(id: ProposalId, client: &mut NodeServiceClient<Channel>) -> Result<Vec<u8>, String> {
    let request = GetCertificateRequest {
        proposal_id: id.0.to_vec(),
    };
    match tokio::time::timeout(FIRST_REPORT, client.get_certificate(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().certificate),
        Ok(Err(status)) => Err(format!(
            "the node gives no certificate for it: {}",
            status.message()
        )),
        Err(_) => Err(format!(
            "the node gives no certificate for it within {} s",
            FIRST_REPORT.as_secs()
        )),
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
        let translated = translate(&report("1.1.0", &host_platform()), None)
            .unwrap()
            .report;
        assert_eq!(translated.height, Height(7));
        assert_eq!(translated.upgrades[0].standing, Standing::Approved);
        assert_eq!(translated.upgrades[0].plan.id.0, "ab".repeat(32));
        assert!(matches!(
            translated.upgrades[0].artifact,
            ArtifactFact::Available(_)
        ));
        let elsewhere = translate(&report("1.1.0", "plan9/mips"), None).unwrap().report;
        assert!(matches!(
            elsewhere.upgrades[0].artifact,
            ArtifactFact::MissingForPlatform { .. }
        ));
    }

    #[test]
    fn a_version_that_would_lead_out_of_the_home_is_not_believed() {
        for hostile in ["../../etc", "1.1.0/../..", "1.1", "", "1.1.0-a/b"] {
            assert!(
                translate(&report(hostile, &host_platform()), None)
                    .unwrap()
                    .report
                    .upgrades
                    .is_empty(),
                "{hostile}"
            );
        }
        let mut halted = report("1.1.0", &host_platform());
        halted.version = "../x".to_owned();
        assert_eq!(translate(&halted, None), None);
    }
}
