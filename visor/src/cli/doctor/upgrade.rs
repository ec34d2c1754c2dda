//! Checks of the next upgrade: known, staged, whole, made for this host, proven, and room for what it needs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proto::pb::node::v1::node_service_client::NodeServiceClient;

use super::file::{free, nearest};
use super::home::writable;
use super::{Findings, Patient};
use crate::adapter::governance;
use crate::backup;
use crate::certificate::{Notary, Pin, Verdict};
use crate::cli::chain;
use crate::cli::known::Known;
use crate::config::Failure;
use crate::home::Home;
use crate::machine::{Made, made_for};
use crate::run_config::RunConfig;
use crate::staging::{Artifact, host_platform, verify_folder};

pub(super) async fn check(patient: &Patient, findings: &mut Findings) {
    known(patient, findings);
    match patient.next() {
        Some(next) => {
            staged(patient, next, findings);
            folder(patient, next, findings).await;
        }
        None => {
            findings.skip("upgrade.staged", "no upgrade is known");
            findings.skip("upgrade.folder", "no upgrade is known");
        }
    }
    certificate(patient, findings).await;
}

/// What every upgrade needs, of whichever chain system.
pub(super) fn check_room(patient: &Patient, findings: &mut Findings) {
    staging_space(patient, findings);
    backup_room(patient, findings);
    rollback(patient, findings);
}

pub(super) fn known(patient: &Patient, findings: &mut Findings) {
    match patient.next() {
        None if patient.upgrades.is_empty() => findings.ok("upgrade.known", "no upgrade is known"),
        None => findings.warn(
            "upgrade.known",
            format!("every known upgrade is skipped ({})", patient.upgrades.len()),
            "`visor skip --undo HEIGHT` before the height, unless this host is to stay behind",
        ),
        Some(next) => findings.ok(
            "upgrade.known",
            format!("{} at height {}", next.version, next.height),
        ),
    }
}

pub(super) fn staged(patient: &Patient, next: &Known, findings: &mut Findings) {
    if next.staged {
        findings.ok("upgrade.staged", next.version.clone());
    } else if !next.staging_problem.is_empty() {
        findings.fail(
            "upgrade.staged",
            format!("{} is not staged: {}", next.version, next.staging_problem),
            if patient.is_vega {
                "repair that; visor looks again by itself, and at once after `visor stage`".to_owned()
            } else {
                format!(
                    "repair that, then `visor stage`; or put it in place by hand: `visor stage {} --binary PATH`",
                    next.version
                )
            },
        );
    } else if patient.status.is_some() {
        findings.warn(
            "upgrade.staged",
            format!("{} is not staged yet", next.version),
            "wait for it, and look again before the height",
        );
    } else {
        findings.fail(
            "upgrade.staged",
            format!(
                "{} is not staged, and no visor runs that would do it",
                next.version
            ),
            "start visor",
        );
    }
}

async fn folder(patient: &Patient, next: &Known, findings: &mut Findings) {
    let home = &patient.home;
    let path = home.folder(&Home::folder_name(&next.version));
    if fs::symlink_metadata(&path).is_err() {
        return findings.skip("upgrade.folder", format!("{} is not there yet", path.display()));
    }
    let advice = "look at it, move it away, and visor stages it again by itself";
    if let Ok(run) = RunConfig::read(&path) {
        let program = run.program(&path);
        if let Ok(Made::ForAnother(machine)) = made_for(&program) {
            return findings.fail(
                "upgrade.folder",
                format!(
                    "{} is made for another machine (ELF {machine}), not for {}",
                    program.display(),
                    host_platform()
                ),
                advice,
            );
        }
    }
    let artifact = next.artifact.as_ref().and_then(|binary| {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&binary.sha256, &mut sha256).ok()?;
        Some(Artifact {
            url: binary.url.clone(),
            size: binary.size,
            sha256,
        })
    });
    let limits = patient.config().staging;
    match verify_folder(&path, &next.version, artifact.as_ref(), &limits).await {
        Err(error) => findings.fail("upgrade.folder", chain(&error), advice),
        Ok(()) if artifact.is_some() => findings.ok(
            "upgrade.folder",
            format!(
                "{} has the accepted size and SHA-256, and runs here",
                path.display()
            ),
        ),
        Ok(()) => findings.ok(
            "upgrade.folder",
            format!(
                "{} runs here; its bytes can be compared with nothing",
                path.display()
            ),
        ),
    }
}

/// VIS-12: what is not proven is not carried out.
async fn certificate(patient: &Patient, findings: &mut Findings) {
    let genesis = patient.config().governance.genesis;
    if genesis.as_os_str().is_empty() {
        findings.skip("governance.genesis", "none is pinned: the node's word counts");
        return findings.skip("upgrade.certificate", "no genesis is pinned");
    }
    let pin = match Pin::read(&patient.home.root().join(&genesis)) {
        Ok(pin) => pin,
        Err(error) => {
            findings.fail(
                "governance.genesis",
                chain(&error),
                "put the chain's genesis.json there; a visor that is started now ends with 3",
            );
            return findings.skip("upgrade.certificate", "the pinned genesis cannot be used");
        }
    };
    findings.ok("governance.genesis", format!("the chain {}", pin.chain_id()));
    let (Some((_, run)), Some(Ok(report))) = (&patient.current, &patient.report) else {
        return findings.skip("upgrade.certificate", "there is no node to ask for it");
    };
    // What the running visor does not believe, it does not name: only the node knows of it.
    let channel = match governance::connect(&run.node.socket).await {
        Ok(channel) => channel,
        Err(error) => return findings.skip("upgrade.certificate", chain(&error)),
    };
    let mut client = NodeServiceClient::new(channel).max_decoding_message_size(governance::MAX_ANSWER);
    let verdicts = governance::judge(report, &Arc::new(Notary::new(pin)), &mut client).await;
    let refused = verdicts.iter().find_map(|(id, verdict)| match verdict {
        Verdict::Refused(reason) => Some(format!("proposal {id}: {reason}")),
        Verdict::Proven(_) => None,
    });
    match refused {
        Some(reason) => findings.fail(
            "upgrade.certificate",
            reason,
            "until it is proven nothing is carried out; `wallet certificate` from another node and `visor verify` tell who is wrong",
        ),
        None if verdicts.is_empty() => {
            findings.skip("upgrade.certificate", "the node names no upgrade that the chain has accepted");
        }
        None => findings.ok("upgrade.certificate", "proves that the validators accepted it"),
    }
}

fn staging_space(patient: &Patient, findings: &mut Findings) {
    let artifact = patient
        .next()
        .filter(|next| !next.staged)
        .and_then(|next| next.artifact.as_ref());
    // Without a plan: room for one more of what runs now.
    let present = || {
        let (folder, run) = patient.current.as_ref()?;
        let program = run.program(&patient.home.folder(folder));
        fs::metadata(program).ok().map(|metadata| metadata.len())
    };
    let limit = patient.config().staging.max_artifact_size;
    if let Some(artifact) = artifact.filter(|artifact| artifact.size > limit) {
        return findings.fail(
            "staging.space",
            format!(
                "the artifact has {} bytes, staging.max_artifact_size allows {limit}",
                artifact.size
            ),
            "raise staging.max_artifact_size in config.toml",
        );
    }
    let needed = artifact.map_or_else(|| present().unwrap_or(0), |artifact| artifact.size);
    match free(&nearest(&patient.home.staging())) {
        Err(error) => findings.skip("staging.space", format!("it cannot be told: {error}")),
        Ok(free) if free < needed => findings.fail(
            "staging.space",
            format!("{needed} bytes are needed, {free} are free"),
            "make room on the file system of the home",
        ),
        Ok(free) => findings.ok(
            "staging.space",
            format!("{needed} bytes are needed, {free} are free"),
        ),
    }
}

fn backup_room(patient: &Patient, findings: &mut Findings) {
    let config = patient.config().backup;
    if config.paths.is_empty() {
        findings.skip("backup.folder", "no backup is configured");
        return findings.skip("backup.space", "no backup is configured");
    }
    let folder: PathBuf = patient.home.root().join(&config.folder);
    writable(
        "backup.folder",
        &nearest(&folder),
        "copies of the node's data go into it",
        findings,
    );
    let advice = "make room, or change [backup] in config.toml";
    if let Err(error) = backup::check_paths(&config.paths, &folder, Some(patient.home.root())) {
        return findings.fail("backup.space", chain(&error), advice);
    }
    let plan = backup::Plan {
        name: "doctor".to_owned(),
        sources: config.paths,
        folder,
        keep: config.keep,
        reserve: config.reserve,
    };
    match backup::check_space(&plan) {
        Ok(room) => findings.ok(
            "backup.space",
            format!("{} bytes are needed, {} are free", room.needed, room.free),
        ),
        Err(error) => findings.fail("backup.space", chain(&error), advice),
    }
}

/// A configuration that could not roll back is refused when it is read; this shows which way it goes.
fn rollback(patient: &Patient, findings: &mut Findings) {
    let config = patient.config();
    match config.upgrade.on_failure {
        Failure::Stop => findings.ok(
            "upgrade.on_failure",
            "a new version that does not stay up is stopped, and you are told",
        ),
        Failure::Rollback if config.upgrade.signed_height_args.is_empty() => findings.fail(
            "upgrade.on_failure",
            "rollback without upgrade.signed_height_args is always refused",
            "set it, or on_failure = \"stop\"",
        ),
        Failure::Rollback => findings.ok(
            "upgrade.on_failure",
            "a new version that does not stay up is rolled back, unless this host has signed above the height",
        ),
    }
}
