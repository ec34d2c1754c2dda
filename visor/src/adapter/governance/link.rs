//! The native chain: reports of the node over `node.v1` on its UNIX socket.
//!
//! One task per running node. It waits for the socket by inotify, because how soon the first report comes is how long the
//! upgrade took; where inotify cannot tell (the file is there, nobody listens yet) it tries again after growing delays.
//!
//! VIS-12: with a pinned genesis the task asks for the certificate of every accepted upgrade before it passes the report on,
//! and what is not proven is left out of it, with the reason beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use governance::{MAX_CERTIFICATE_BYTES, ProposalId};
use hyper_util::rt::TokioIo;
use proto::pb::node::v1::node_service_client::NodeServiceClient;
use proto::pb::node::v1::{GetCertificateRequest, NodeReport, WatchReportsRequest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::translate::{accepted, translate};
use crate::adapter::LinkEvent;
use crate::adapter::appearance::Appearance;
use crate::certificate::{Notary, Verdict, Verdicts};
use crate::reconnect::Delays;

/// Shorter than anything an operator notices, longer than a failed connect costs.
const FIRST_DELAY: Duration = Duration::from_millis(2);
/// A node that is up answers at once; one that is replaying its log is found soon after it has finished.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// A node that accepts and then says nothing is tried again after this.
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// How soon a certificate is asked for again that was not there or proved nothing, while the node reports nothing new.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The largest certificate.
pub(crate) const MAX_ANSWER: usize = MAX_CERTIFICATE_BYTES + 1024;
/// A report with the most proposals and artifacts that the chain's limits allow stays far below this.
pub(crate) const MAX_REPORT: usize = 4 << 20;

/// Connects as soon as the node listens, and again when the connection ends. Every event carries `run`.
pub(super) async fn follow(
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

/// A connection to the node behind this socket.
pub(crate) async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
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
        let event = match translate(&report, verdicts.as_ref()) {
            Some(translated) => LinkEvent::Reported(translated),
            None => LinkEvent::Nonsense(format!("version {:?}", report.version)),
        };
        events.send((run, event)).await.map_err(|_| Closed)?;
    }
}

/// Asks for the certificates that have not been proven yet, and judges them off the loop: with thousands of validators it
/// takes a while.
pub(crate) async fn judge(
    report: &NodeReport,
    notary: &Arc<Notary>,
    client: &mut NodeServiceClient<Channel>,
) -> Verdicts {
    let ids = accepted(report);
    notary.keep(&ids);
    let mut verdicts = Verdicts::new();
    // For all of them together: a node that gives none must not keep its reports back for long.
    let deadline = tokio::time::Instant::now() + FIRST_REPORT;
    for id in ids {
        let verdict = match notary.proven(&id) {
            Some(proven) => proven,
            None => match certificate(id, client, deadline).await {
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

async fn certificate(
    id: ProposalId,
    client: &mut NodeServiceClient<Channel>,
    deadline: tokio::time::Instant,
) -> Result<Vec<u8>, String> {
    let request = GetCertificateRequest {
        proposal_id: id.0.to_vec(),
    };
    match tokio::time::timeout_at(deadline, client.get_certificate(request)).await {
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
