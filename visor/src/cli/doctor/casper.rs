//! Checks of a launcher's host: its state file, what it names, what lies in the two folders of versions, and what the node says of it.

use semver::Version;

use super::{Findings, Patient};
use crate::adapter::Adapter as _;
use crate::adapter::casper::{Casper, StatusAddress};
use crate::cli::chain;

pub(super) async fn check(patient: &Patient, casper: &Casper, findings: &mut Findings) {
    let current = current(casper, findings);
    let next = current
        .as_ref()
        .and_then(|version| casper.installed_after(version));
    super::node::visor_running(patient, findings);
    node(patient, next.as_ref().map(|next| next.version.as_str()), findings).await;
    super::upgrade::known(patient, findings);
    let advice = "finish or repeat its staging, or take it away from both folders, before its era";
    match &next {
        None => findings.skip("upgrade.folder", "no higher version is installed"),
        Some(next) if next.complete => {
            findings.ok(
                "upgrade.folder",
                format!("{} is complete and runs here", next.version),
            );
        }
        Some(next) => findings.fail(
            "upgrade.folder",
            format!("{}: {}", next.version, next.problem),
            advice,
        ),
    }
    let others = casper
        .installed()
        .into_iter()
        .filter(|found| !found.complete && Some(&found.version) != next.as_ref().map(|next| &next.version));
    let others: Vec<String> = others
        .map(|found| format!("{}: {}", found.version, found.problem))
        .collect();
    if others.is_empty() {
        findings.ok("versions", "no other is half there");
    } else {
        findings.warn(
            "versions",
            others.join("; "),
            "they block nothing; complete them or take them away",
        );
    }
}

/// The version that is to run, when that can be told.
fn current(casper: &Casper, findings: &mut Findings) -> Option<Version> {
    let version = match casper.current() {
        Err(error) => {
            findings.fail(
                "current.link",
                chain(&error),
                "no version is run before that is mended: restore the state file, or start with --force-version",
            );
            return None;
        }
        Ok(current) => current.version,
    };
    let Some(version) = version else {
        findings.warn(
            "current.link",
            "there is no state file; the version that the journal names counts",
            "start visor, and it is written again",
        );
        return None;
    };
    findings.ok("current.link", format!("the state file names {version}"));
    match casper.check(&version) {
        Ok(files) => findings.ok("current.binary", files),
        Err(problem) => findings.fail(
            "current.binary",
            problem,
            "put it back: the node cannot be started again without it",
        ),
    }
    Version::parse(&version).ok()
}

/// Asks the node itself, because what counts is whether it has found what is staged.
async fn node(patient: &Patient, next: Option<&str>, findings: &mut Findings) {
    let name = "node.report";
    if patient.offline {
        return findings.skip(name, "left out (--offline)");
    }
    if patient.status.as_ref().is_some_and(|status| status.node_held) {
        return findings.warn(
            name,
            "the node is kept stopped",
            "`visor start-node` starts it again",
        );
    }
    let url = patient.config().casper.status_url;
    let Some(address) = StatusAddress::parse(&url) else {
        return findings.skip(name, "the node's status is not asked for (casper.status_url)");
    };
    match address.ask().await {
        Err(error) => findings.fail(
            name,
            chain(&error),
            "look at the node's own log, and whether casper.status_url is the address of its REST server",
        ),
        Ok(answer) => {
            let announced = answer
                .next_upgrade
                .as_ref()
                .map(|next| next.protocol_version.as_str());
            let era = answer.last_added_block_info.map_or(0, |block| block.era_id);
            if announced == next {
                let announced = announced.unwrap_or("nothing");
                findings.ok(name, format!("era {era}, and it stops for {announced}"));
            } else {
                findings.warn(
                    name,
                    format!(
                        "the next version here is {}, and the node stops for {}",
                        next.unwrap_or("none"),
                        announced.unwrap_or("none")
                    ),
                    "a node looks every 30 s; when it stays so, look at the chain specification of the version and at the node's log",
                );
            }
        }
    }
}
