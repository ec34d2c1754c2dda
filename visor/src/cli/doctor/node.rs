//! Checks of what runs: visor, and the node behind its socket.

use std::path::Path;
use std::time::Duration;

use proto::pb::node::v1::node_service_client::NodeServiceClient;
use proto::pb::node::v1::{GetReportRequest, NodeReport};
use proto::pb::visor::v1::{Phase, Status};

use super::{Findings, Patient};
use crate::adapter::governance;
use crate::cli::chain;
use crate::cli::client::run_command;

/// A node answers at once; this is for a machine under load.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    visor_running(patient, findings);
    if patient.offline {
        return findings.skip("node.report", "left out (--offline)");
    }
    let (Some((_, run)), Some(report)) = (&patient.current, &patient.report) else {
        return findings.skip("node.report", "`current` names no node");
    };
    let held = patient.status.as_ref().is_some_and(|status| status.node_held);
    match report {
        Err(_) if held => findings.warn(
            "node.report",
            "the node is kept stopped",
            "`visor start-node` starts it again",
        ),
        Err(reason) => findings.fail(
            "node.report",
            reason,
            "look at the node's own log; what it does not report, visor does not know",
        ),
        Ok(report) if Some(report.version.as_str()) != run.version() => findings.fail(
            "node.report",
            format!(
                "the node reports version {}, `current` is {}",
                report.version,
                run.version().unwrap_or_default()
            ),
            "find out which of the two the chain runs, and start that; `ln -sfn` moves `current` while no visor runs",
        ),
        Ok(report) => findings.ok(
            "node.report",
            format!("{} at height {}", report.version, report.height),
        ),
    }
}

/// Whether a visor runs, and how it is.
pub(super) fn visor_running(patient: &Patient, findings: &mut Findings) {
    if patient.offline {
        return findings.skip("visor.running", "left out (--offline)");
    }
    match &patient.status {
        None => findings.fail(
            "visor.running",
            format!("no visor answers at {}", patient.home.socket().display()),
            format!(
                "start it: {}; without it nothing is staged and nothing upgraded",
                run_command(&patient.home)
            ),
        ),
        Some(status) => visor(status, findings),
    }
}

fn visor(status: &Status, findings: &mut Findings) {
    if status.phase() == Phase::Failed {
        findings.fail(
            "visor.running",
            format!("visor has given up: {}", status.problems.join("; ")),
            "repair what it says, then start visor again",
        );
    } else if status.journal_failed {
        findings.fail(
            "visor.running",
            format!("the journal cannot be written: {}", status.problems.join("; ")),
            "make room or repair the disk, then start visor again: it adopts the node",
        );
    } else if !status.problems.is_empty() {
        findings.warn(
            "visor.running",
            status.problems.join("; "),
            "see the runbook; what would stop the upgrade has a line of its own here",
        );
    } else if status.paused {
        findings.warn(
            "visor.running",
            "paused: no upgrade begins",
            "`visor resume` before the height",
        );
    } else {
        findings.ok(
            "visor.running",
            format!("version {}, pid {}", status.visor_version, status.visor_pid),
        );
    }
}

/// What the node behind a socket says of itself.
pub(super) async fn report(socket: &Path) -> Result<NodeReport, String> {
    let asked = async {
        let channel = governance::connect(socket).await.map_err(|error| chain(&error))?;
        let mut client = NodeServiceClient::new(channel).max_decoding_message_size(governance::MAX_REPORT);
        let answer = client.get_report(GetReportRequest {}).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| status.message().to_owned())
    };
    let answered = tokio::time::timeout(ANSWER, asked).await;
    answered
        .unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")))
        .map_err(|reason| format!("the node gives no report at {}: {reason}", socket.display()))
}
