//! The planner's status in the words of `visor.v1`.

use proto::pb::visor::v1 as pb;
use visor_planner::{Phase, Standing, Status, UpgradeStatus};

pub(crate) fn of(status: &Status) -> pb::Status {
    pb::Status {
        visor_version: env!("CARGO_PKG_VERSION").to_owned(),
        visor_pid: std::process::id(),
        phase: phase(status.phase).into(),
        current_version: status.current.0.clone(),
        node: status.node.map(|(pid, adopted)| pb::NodeProcess { pid, adopted }),
        node_height: status.height.0,
        node_version: status
            .node_version
            .as_ref()
            .map(|version| version.0.clone())
            .unwrap_or_default(),
        upgrade: status.upgrade.as_ref().map(upgrade),
        upgrades: status.upgrades.iter().map(upgrade).collect(),
        restarts: status.restarts,
        last_upgrade: status.last_upgrade.as_ref().map(|upgrade| pb::LastUpgrade {
            from: upgrade.from.0.clone(),
            to: upgrade.to.0.clone(),
            height: upgrade.height.0,
            node_down_ms: upgrade.node_down_ms,
            exit_to_exec_us: upgrade.exit_to_exec_us,
            restarts: upgrade.restarts,
            stop_ms: upgrade.stop_ms,
        }),
        problems: status.problems.clone(),
        node_connected: status.connected,
        paused: status.paused,
        node_held: status.held,
        skipped_heights: status.skipped.iter().map(|height| height.0).collect(),
        last_backup: status.last_backup.as_ref().map(|last| pb::LastBackup {
            version: last.version.0.clone(),
            height: last.height.0,
            node_down_ms: last.backup.took_ms,
            bytes: last.backup.bytes,
            path: last.backup.path.clone(),
        }),
        restarts_total: status.restarts_total,
        // The daemon's own.
        pinned_chain: String::new(),
        chain_system: String::new(),
        position_unit: String::new(),
        installed_versions: Vec::new(),
        config_problem: String::new(),
        companions: Vec::new(),
        started_unix_ms: 0,
        block_interval_us: 0,
        height_seen_unix_ms: 0,
        journal_failed: false,
    }
}

fn upgrade(upgrade: &UpgradeStatus) -> pb::UpgradeStatus {
    let standing = match upgrade.standing {
        Standing::Proposed => pb::Standing::Proposed,
        Standing::Approved => pb::Standing::Approved,
        Standing::LockedIn => pb::Standing::LockedIn,
        Standing::Manual => pb::Standing::Manual,
    };
    let artifact = upgrade.artifact.as_ref();
    pb::UpgradeStatus {
        proposal_id: upgrade.id.0.clone(),
        version: upgrade.version.0.clone(),
        height: upgrade.height.0,
        staged: upgrade.staged,
        staging_problem: upgrade.staging_problem.clone(),
        approved: upgrade.approved,
        standing: standing.into(),
        skipped: upgrade.skipped,
        artifact_url: artifact.map(|artifact| artifact.url.clone()).unwrap_or_default(),
        artifact_size: artifact.map_or(0, |artifact| artifact.size),
        artifact_sha256: artifact
            .map(|artifact| artifact.sha256.clone())
            .unwrap_or_default(),
    }
}

fn phase(phase: Phase) -> pb::Phase {
    match phase {
        Phase::Running => pb::Phase::Running,
        Phase::Staging => pb::Phase::Staging,
        Phase::Staged => pb::Phase::Staged,
        Phase::Halting => pb::Phase::Halting,
        Phase::BackingUp => pb::Phase::BackingUp,
        Phase::Migrating => pb::Phase::Migrating,
        Phase::Starting => pb::Phase::Starting,
        Phase::Probation => pb::Phase::Probation,
        Phase::Retrying => pb::Phase::Retrying,
        Phase::RollingBack => pb::Phase::RollingBack,
        Phase::RolledBack => pb::Phase::RolledBack,
        Phase::Held => pb::Phase::Held,
        Phase::Failed => pb::Phase::Failed,
        Phase::Stopping => pb::Phase::Stopping,
    }
}

/// `PHASE_BACKING_UP` becomes `backing_up`.
pub(crate) fn phase_name(phase: pb::Phase) -> String {
    let name = phase.as_str_name();
    name.strip_prefix("PHASE_").unwrap_or(name).to_lowercase()
}

/// `STANDING_LOCKED_IN` becomes `locked_in`.
pub(crate) fn standing_name(standing: pb::Standing) -> String {
    let name = standing.as_str_name();
    name.strip_prefix("STANDING_").unwrap_or(name).to_lowercase()
}
