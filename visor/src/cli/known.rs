//! The upgrades that a home knows of: from the visor that runs, else from the journal.

use std::collections::BTreeSet;

use proto::pb::visor::v1::{Standing, Status, UpgradeStatus};
use visor_planner::{Record, UpgradePlan};

use crate::adapter;
use crate::home::Home;
use crate::journal::Entry;

/// An upgrade to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Hexadecimal for a proposal; `manual-HEIGHT-VERSION` for the operator's own.
    pub(super) id: String,
    pub(super) version: String,
    pub(super) height: u64,
    pub(super) standing: Standing,
    pub(super) staged: bool,
    /// Why it is not staged yet; empty when no attempt has failed.
    pub(super) staging_problem: String,
    pub(super) skipped: bool,
    pub(super) artifact: Option<Binary>,
}

/// The binary for this host's platform, as the chain has accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) url: String,
    /// Bytes.
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
}

impl Known {
    /// The chain has accepted it, or the operator has ordered it.
    pub(super) fn approved(&self) -> bool {
        match self.standing {
            Standing::Approved | Standing::LockedIn | Standing::Manual => true,
            Standing::Unspecified | Standing::Proposed => false,
        }
    }
}

/// What the heights of a home count, in words.
pub(super) fn unit_of(home: &Home) -> &'static str {
    match adapter::of_home(home).position_unit() {
        "height" => "block",
        unit => unit,
    }
}

/// Every known upgrade, the next one first.
pub(super) fn known(home: &Home, status: Option<&Status>, entries: &[Entry]) -> Vec<Known> {
    let journal = from_journal(home, entries);
    let Some(status) = status else {
        return journal;
    };
    let mut shown = status.upgrades.clone();
    if shown.is_empty() {
        shown.extend(status.upgrade.clone());
    }
    let mut known: Vec<Known> = shown.iter().map(of_status).collect();
    for upgrade in &mut known {
        upgrade.skipped |= status.skipped_heights.contains(&upgrade.height);
        if upgrade.artifact.is_none() {
            let same = journal.iter().find(|other| other.id == upgrade.id);
            upgrade.artifact = same.and_then(|other| other.artifact.clone());
        }
    }
    known.sort_by_key(|upgrade| upgrade.height);
    known
}

fn of_status(upgrade: &UpgradeStatus) -> Known {
    let standing = match Standing::try_from(upgrade.standing) {
        Ok(Standing::Unspecified) | Err(_) if upgrade.approved => Standing::Approved,
        Ok(Standing::Unspecified) | Err(_) => Standing::Proposed,
        Ok(standing) => standing,
    };
    Known {
        id: upgrade.proposal_id.clone(),
        version: upgrade.version.clone(),
        height: upgrade.height,
        standing,
        staged: upgrade.staged,
        staging_problem: upgrade.staging_problem.clone(),
        skipped: upgrade.skipped,
        artifact: (!upgrade.artifact_sha256.is_empty()).then(|| Binary {
            url: upgrade.artifact_url.clone(),
            size: upgrade.artifact_size,
            sha256: upgrade.artifact_sha256.clone(),
        }),
    }
}

/// What was decided on and is not done. The last word on an upgrade is the chain's: one that was cancelled while no visor
/// ran is still named here.
fn from_journal(home: &Home, entries: &[Entry]) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    let mut skipped: BTreeSet<u64> = BTreeSet::new();
    for entry in entries {
        match &entry.record {
            Record::Scheduled { plan, artifact } => {
                // A chain has one upgrade locked in at a time.
                known.retain(|upgrade| upgrade.standing == Standing::Manual);
                let mut upgrade = of_plan(plan);
                upgrade.artifact = artifact.as_ref().map(|artifact| Binary {
                    url: artifact.url.clone(),
                    size: artifact.size,
                    sha256: artifact.sha256.clone(),
                });
                known.push(upgrade);
            }
            Record::Unscheduled { plan, .. } => known.retain(|upgrade| upgrade.id != plan.id.0),
            Record::Halted { plan } | Record::UpgradeIntended { plan, .. } => {
                if !known.iter().any(|upgrade| upgrade.id == plan.id.0) {
                    known.push(of_plan(plan));
                }
            }
            Record::UpgradeCompleted { plan, .. } => {
                known.retain(|upgrade| upgrade.height > plan.height.0);
            }
            Record::ManualPlanned { plan, .. } => {
                let mut upgrade = of_plan(plan);
                upgrade.standing = Standing::Manual;
                known.push(upgrade);
            }
            Record::Skipped { height, .. } => {
                skipped.insert(height.0);
            }
            Record::RolledBack { plan, .. } => {
                skipped.insert(plan.height.0);
            }
            Record::Unskipped { height, .. } => {
                skipped.remove(&height.0);
            }
            Record::BackedUp { .. }
            | Record::NotBackedUp { .. }
            | Record::RollbackIntended { .. }
            | Record::RollbackAllowed { .. }
            | Record::RollbackRefused { .. }
            | Record::Restored { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::NodeHeld { .. }
            | Record::NodeReleased { .. }
            | Record::SuccessHookEnded { .. }
            | Record::Staged { .. }
            | Record::StartIntended { .. }
            | Record::NodeStarted { .. }
            | Record::NodeFailed { .. }
            | Record::Healthy { .. }
            | Record::GaveUp { .. }
            | Record::Migrated { .. }
            | Record::Downgraded { .. }
            | Record::Forced { .. }
            | Record::ShutDown { .. }
            | Record::Stopped { .. } => {}
        }
    }
    let adapter = adapter::of_home(home);
    let staged = |version: &str| {
        entries
            .iter()
            .any(|entry| matches!(&entry.record, Record::Staged { version: named, .. } if named.0 == version))
            && adapter.program(version).is_some_and(|program| program.is_file())
    };
    for upgrade in &mut known {
        upgrade.staged = staged(&upgrade.version);
        upgrade.skipped = skipped.contains(&upgrade.height);
    }
    known.sort_by_key(|upgrade| upgrade.height);
    known
}

fn of_plan(plan: &UpgradePlan) -> Known {
    Known {
        id: plan.id.0.clone(),
        version: plan.version.0.clone(),
        height: plan.height.0,
        standing: Standing::LockedIn,
        staged: false,
        staging_problem: String::new(),
        skipped: false,
        artifact: None,
    }
}
