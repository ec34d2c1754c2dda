//! The planner's notices in the log, for people and for their alarms: WARN is worth waking someone, ERROR means that visor
//! has stopped doing something.

use visor_planner::Notice;

pub(crate) fn tell(notice: &Notice) {
    match notice {
        Notice::UpgradeSeen { version, height } => {
            tracing::info!(upgrade.version = %version, upgrade.height = height.0, "an upgrade is known; staging it");
        }
        Notice::UpgradeStaged { version } => {
            tracing::info!(upgrade.version = %version, "the upgrade is staged: fetched, verified and ready");
        }
        Notice::StagingFailed { version, reason } => {
            tracing::warn!(upgrade.version = %version, upgrade.problem = %reason, "staging failed; it is tried again");
        }
        Notice::Halted {
            height,
            version,
            staged: true,
        } => {
            tracing::info!(upgrade.version = %version, upgrade.height = height.0, "the node has halted; upgrading it");
        }
        Notice::Halted {
            height,
            version,
            staged: false,
        } => {
            tracing::warn!(
                upgrade.version = %version,
                upgrade.height = height.0,
                "the node has halted and its new version is not staged; waiting for it"
            );
        }
        Notice::Upgraded { from, to } => {
            tracing::info!(upgrade.from = %from, upgrade.to = %to, "the upgrade is complete");
        }
        Notice::Retrying {
            reason,
            retry,
            of,
            after,
        } => {
            tracing::warn!(
                node.problem = %reason,
                restart.retry = retry,
                restart.of = of,
                restart.after_ms = after.0,
                "the node failed and is started again"
            );
        }
        Notice::NoProgress { version, height } => {
            tracing::warn!(
                upgrade.version = %version,
                upgrade.height = height.0,
                "the new version runs and has executed no block; it may be waiting for other validators"
            );
        }
        Notice::GaveUp { reason } => {
            tracing::error!(node.problem = %reason, "giving up; the node is stopped and stays so until visor is started again");
        }
        Notice::JournalFailed { reason } => {
            tracing::error!(
                journal.problem = %reason,
                "the journal cannot be written; nothing more is done and the node is left as it is"
            );
        }
    }
}
