//! The planner's notices, in the log and as events for whom the operator wants told: WARN is worth waking someone, ERROR means that
//! visor has stopped doing something.

use visor_planner::{Hook, Notice, Version};

use crate::config::EventKind;
use crate::notify::Event;

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
        Notice::Downgraded { from, to } => {
            tracing::warn!(downgrade.from = %from, downgrade.to = %to, "the node asked for the version before it, which is started");
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
        Notice::BackupFailed {
            version,
            reason,
            waits,
        } => {
            tracing::warn!(
                upgrade.version = %version,
                upgrade.waits = waits,
                backup.problem = %reason,
                "a pass of the backup failed"
            );
        }
        Notice::HookFailed {
            hook,
            version,
            reason,
            waits,
        } => {
            tracing::warn!(
                hook.name = hook_name(*hook),
                upgrade.version = %version,
                upgrade.waits = waits,
                hook.problem = %reason,
                "a hook failed"
            );
        }
        Notice::RollingBack { from, to, reason } => {
            tracing::warn!(
                upgrade.from = %from,
                upgrade.to = %to,
                upgrade.problem = %reason,
                "rolling back: the previous version and its data are being restored"
            );
        }
        Notice::RollbackFailed { to, reason } => {
            tracing::error!(upgrade.to = %to, upgrade.problem = %reason, "nothing is rolled back");
        }
        Notice::RolledBack { from, to, height } => {
            tracing::warn!(
                upgrade.from = %from,
                upgrade.to = %to,
                upgrade.height = height.0,
                "rolled back; this height is skipped until the operator wants it after all"
            );
        }
        Notice::NoProgress { version, height } => {
            tracing::warn!(
                upgrade.version = %version,
                upgrade.height = height.0,
                "the new version runs and has executed no block; it may be waiting for other validators"
            );
        }
        Notice::NewerRequired { version } => {
            tracing::error!(
                node.version = %version,
                "the node's state belongs to a newer version and no upgrade is known; waiting for `visor upgrade-at`"
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

/// What is told outside (`notify.events`). `current` is the version that `current` leads to.
pub(crate) fn event(notice: &Notice, current: &Version) -> Event {
    match notice {
        Notice::UpgradeSeen { version, height } => Event::new(
            EventKind::ProposalSeen,
            format!("the upgrade to {version} at height {height} is known and is being staged"),
        )
        .version(version)
        .height(height.0),
        Notice::UpgradeStaged { version } => Event::new(
            EventKind::Staged,
            format!("{version} is staged: fetched, verified and ready"),
        )
        .version(version)
        .staged(true),
        Notice::StagingFailed { version, reason } => Event::new(
            EventKind::StagingFailed,
            format!("staging {version} failed and is tried again: {reason}"),
        )
        .version(version)
        .reason(reason)
        .staged(false),
        Notice::Halted {
            height,
            version,
            staged,
        } => {
            let message = if *staged {
                format!("the node has halted at height {height}; upgrading it to {version}")
            } else {
                format!("the node has halted at height {height} and waits: {version} is not staged")
            };
            Event::new(EventKind::Halted, message)
                .version(version)
                .height(height.0)
                .staged(*staged)
        }
        Notice::Upgraded { from, to } => Event::new(
            EventKind::Upgraded,
            format!("upgraded from {from} to {to}; the new version makes blocks"),
        )
        .version(to)
        .versions(from, to),
        Notice::Downgraded { from, to } => Event::new(
            EventKind::RolledBack,
            format!("{from} asked for the version before it; {to} is started"),
        )
        .version(to)
        .versions(from, to),
        Notice::Retrying {
            reason,
            retry,
            of,
            after,
        } => Event::new(
            EventKind::Retrying,
            format!(
                "the node failed and is started again in {} ms, retry {retry} of {of}: {reason}",
                after.0
            ),
        )
        .version(current)
        .reason(reason)
        .retry(*retry, *of, after.0),
        Notice::NoProgress { version, height } => Event::new(
            EventKind::Failed,
            format!(
                "{version} runs and has executed no block above height {height}; it may be waiting for other validators"
            ),
        )
        .version(version)
        .height(height.0)
        .reason("no block above the upgrade height"),
        Notice::NewerRequired { version } => Event::new(
            EventKind::Failed,
            format!("the node's state belongs to a newer version than {version} and no upgrade is known; visor waits for `visor upgrade-at`"),
        )
        .version(version)
        .reason("newer version required"),
        Notice::GaveUp { reason } => Event::new(
            EventKind::Failed,
            format!("visor gave up, the node is stopped and stays so: {reason}"),
        )
        .version(current)
        .reason(reason),
        Notice::JournalFailed { reason } => Event::new(
            EventKind::Failed,
            format!("the journal cannot be written, visor does nothing more and the node is left as it is: {reason}"),
        )
        .version(current)
        .reason(reason),
        Notice::BackupFailed {
            version,
            reason,
            waits,
        } => {
            let message = if *waits {
                format!("the backup before {version} failed, the upgrade waits while it is tried again: {reason}")
            } else {
                format!("the backup before {version} failed: {reason}")
            };
            Event::new(EventKind::Failed, message)
                .version(version)
                .reason(reason)
        }
        Notice::HookFailed {
            hook,
            version,
            reason,
            waits,
        } => {
            let name = hook_name(*hook);
            let message = if *waits {
                format!("the hook {name} of the upgrade to {version} failed and is run again: {reason}")
            } else {
                format!("the hook {name} of the upgrade to {version} failed: {reason}")
            };
            Event::new(EventKind::Failed, message)
                .version(version)
                .reason(reason)
        }
        Notice::RollingBack { from, to, reason } => Event::new(
            EventKind::Failed,
            format!("rolling back from {from} to {to}: {reason}"),
        )
        .version(from)
        .versions(from, to)
        .reason(reason),
        Notice::RollbackFailed { to, reason } => Event::new(
            EventKind::Failed,
            format!("{to} and its data are not restored: {reason}"),
        )
        .version(to)
        .reason(reason),
        Notice::RolledBack { from, to, height } => Event::new(
            EventKind::RolledBack,
            format!("rolled back from {from} to {to}; height {height} is skipped from now on"),
        )
        .version(to)
        .versions(from, to)
        .height(height.0),
    }
}

/// As in the configuration.
pub(crate) const fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::BeforeStop => "before_stop",
        Hook::BeforeStart => "before_start",
        Hook::AfterSuccess => "after_success",
    }
}
