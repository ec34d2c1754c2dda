//! Whether this host can carry out the next upgrade.

use proto::pb::visor::v1::{Phase, Status};

/// Why it cannot, one line each; empty when it can.
pub(super) fn not_ready(status: &Status) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut not = |reason: &str| reasons.push(reason.to_owned());
    if status.journal_failed {
        not("the journal cannot be written: visor does nothing more, the node is left as it is");
    }
    match Phase::try_from(status.phase).unwrap_or(Phase::Unspecified) {
        Phase::Failed if !status.journal_failed => {
            not("visor has given up: the node is stopped and stays so")
        }
        Phase::Stopping => not("visor is stopping"),
        Phase::Unspecified => not("visor has only begun"),
        Phase::Failed
        | Phase::Running
        | Phase::Staging
        | Phase::Staged
        | Phase::Halting
        | Phase::BackingUp
        | Phase::Swapping
        | Phase::Migrating
        | Phase::Starting
        | Phase::Probation
        | Phase::Retrying
        | Phase::RollingBack
        | Phase::RolledBack
        // Told below.
        | Phase::Held => {}
    }
    if status.node_held {
        not("the node is kept stopped until `visor start-node`");
    } else if !status.node_connected {
        not("the node is not connected");
    }
    if status.paused {
        not("upgrades are paused until `visor resume`");
    }
    if let Some(upgrade) = &status.upgrade
        // One that is still voted on may never come.
        && upgrade.approved
        && !upgrade.skipped
        && !upgrade.staged
    {
        let problem = if upgrade.staging_problem.is_empty() {
            "not yet"
        } else {
            &upgrade.staging_problem
        };
        reasons.push(format!(
            "{} for height {} is not staged: {problem}",
            upgrade.version, upgrade.height
        ));
    }
    if !status.config_problem.is_empty() {
        reasons.push(format!("config.toml is not in force: {}", status.config_problem));
    }
    for reason in &mut reasons {
        // One line each, whatever they quote.
        *reason = reason.replace(['\n', '\r'], " ");
    }
    reasons
}

#[cfg(test)]
mod tests {
    use proto::pb::visor::v1::UpgradeStatus;

    use super::*;

    fn ready() -> Status {
        Status {
            phase: Phase::Staged.into(),
            node_connected: true,
            upgrade: Some(UpgradeStatus {
                version: "1.1.0".to_owned(),
                height: 100,
                approved: true,
                staged: true,
                ..UpgradeStatus::default()
            }),
            ..Status::default()
        }
    }

    fn assert_reason(change: impl FnOnce(&mut Status), expected: &str) {
        let mut status = ready();
        change(&mut status);
        assert_eq!(not_ready(&status), [expected]);
    }

    #[test]
    fn every_reason_has_its_line() {
        assert_eq!(not_ready(&ready()), [""; 0]);
        assert_reason(
            |status| status.node_connected = false,
            "the node is not connected",
        );
        assert_reason(
            |status| {
                status.node_connected = false;
                status.node_held = true;
            },
            "the node is kept stopped until `visor start-node`",
        );
        assert_reason(
            |status| status.paused = true,
            "upgrades are paused until `visor resume`",
        );
        assert_reason(
            |status| status.phase = Phase::Failed.into(),
            "visor has given up: the node is stopped and stays so",
        );
        assert_reason(
            |status| {
                status.phase = Phase::Failed.into();
                status.journal_failed = true;
            },
            "the journal cannot be written: visor does nothing more, the node is left as it is",
        );
        assert_reason(
            |status| status.phase = Phase::Stopping.into(),
            "visor is stopping",
        );
        assert_reason(
            |status| status.config_problem = "line 2\nunknown key".to_owned(),
            "config.toml is not in force: line 2 unknown key",
        );
        let unstaged = |status: &mut Status| {
            let upgrade = status.upgrade.as_mut().unwrap();
            upgrade.staged = false;
        };
        assert_reason(unstaged, "1.1.0 for height 100 is not staged: not yet");
        assert_reason(
            |status| {
                unstaged(status);
                status.upgrade.as_mut().unwrap().staging_problem = "404".to_owned();
            },
            "1.1.0 for height 100 is not staged: 404",
        );
    }

    #[test]
    fn what_is_only_voted_on_or_skipped_needs_no_staging() {
        for (approved, skipped) in [(false, false), (true, true)] {
            let mut status = ready();
            let upgrade = status.upgrade.as_mut().unwrap();
            (upgrade.staged, upgrade.approved, upgrade.skipped) = (false, approved, skipped);
            assert_eq!(not_ready(&status), [""; 0]);
        }
        let mut status = ready();
        status.upgrade = None;
        assert_eq!(not_ready(&status), [""; 0]);
    }
}
