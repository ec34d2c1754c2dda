//! The status as OpenMetrics text. Nothing is counted here: every number is the snapshot's, so that it cannot differ from `visor status`.
//!
//! What is not known has no sample, never a 0 that could be taken for a value.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use proto::pb::visor::v1::{LastBackup, LastUpgrade, Phase, Status, UpgradeStatus};
use tokio::sync::watch;

use crate::block_rate::{blocks_to_upgrade, time_to_upgrade};
use crate::status::{phase_name, standing_name};

/// One page of metrics.
///
/// # Errors
/// None: writing to a string does not fail.
pub(super) fn text(status: &watch::Receiver<Status>) -> Result<String, fmt::Error> {
    // Made for every page: it is small, and nothing is kept while nobody asks.
    let mut registry = Registry::with_prefix("visor");
    registry.register_collector(Box::new(Snapshot {
        status: status.borrow().clone(),
        now_unix_ms: now_unix_ms(),
    }));
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

fn now_unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Snapshot {
    status: Status,
    now_unix_ms: u64,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let mut page = Page { encoder };
        page.visor(status)?;
        page.node(status)?;
        page.chain(status, self.now_unix_ms)?;
        if let Some(upgrade) = &status.upgrade {
            page.upgrade(upgrade)?;
        }
        if let Some(upgrade) = &status.last_upgrade {
            page.last_upgrade(upgrade)?;
        }
        if let Some(backup) = &status.last_backup {
            page.last_backup(backup)?;
        }
        Ok(())
    }
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn visor(&mut self, status: &Status) -> fmt::Result {
        let labels = [("version", status.visor_version.as_str())];
        self.info("build", "Version of visor itself", &labels)?;
        if status.started_unix_ms > 0 {
            let started = Duration::from_millis(status.started_unix_ms);
            self.seconds("start_time", "When visor began, in seconds since 1970", started)?;
        }
        let mut phases = self.encoder.encode_descriptor(
            "phase",
            "1 for what the host is doing, 0 for everything else",
            None,
            MetricType::Gauge,
        )?;
        let known = (1..).map_while(|number| Phase::try_from(number).ok());
        for phase in known {
            let now = f64::from(u8::from(status.phase == i32::from(phase)));
            phases
                .encode_family(&[("phase", phase_name(phase))])?
                .encode_gauge(&now)?;
        }
        self.gauge(
            "problems",
            "What needs the operator's attention; `visor status` says what it is",
            whole(u64::try_from(status.problems.len()).unwrap_or(u64::MAX)),
        )?;
        self.flag(
            "config_in_force",
            "1 while the newest config.toml is in force, 0 when it was rejected and the one before still is",
            status.config_problem.is_empty(),
        )?;
        self.flag(
            "journal_failed",
            "1 when records cannot be written: visor does nothing more and the node is left as it is",
            status.journal_failed,
        )?;
        self.flag(
            "certificates_required",
            "1 when a genesis is pinned and upgrades count only with a certificate",
            !status.pinned_chain.is_empty(),
        )?;
        self.flag(
            "paused",
            "1 while no upgrade begins until `visor resume`",
            status.paused,
        )
    }

    fn node(&mut self, status: &Status) -> fmt::Result {
        if !status.current_version.is_empty() {
            let labels = [("version", status.current_version.as_str())];
            self.info("current", "The version that `current` leads to", &labels)?;
        }
        self.flag(
            "node_up",
            "1 while the node's process runs",
            status.node.is_some(),
        )?;
        self.flag(
            "node_connected",
            "1 while the node reports to visor",
            status.node_connected,
        )?;
        self.flag(
            "node_held",
            "1 while the node is kept stopped until `visor start-node`",
            status.node_held,
        )?;
        self.gauge(
            "companions_up",
            "Processes that run beside the node",
            whole(u64::try_from(status.companions.len()).unwrap_or(u64::MAX)),
        )?;
        self.encoder
            .encode_descriptor(
                "node_restarts",
                "Starts of the node since visor began that followed a failure",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<[(&str, &str); 0], _, f64>(&status.restarts_total, None)?;
        self.gauge(
            "node_failures",
            "Failures of the node in a row, since it was last healthy",
            whole(status.restarts.into()),
        )
    }

    fn chain(&mut self, status: &Status, now_unix_ms: u64) -> fmt::Result {
        if status.node_height > 0 {
            self.gauge(
                "node_height",
                "Latest block that the node reported",
                whole(status.node_height),
            )?;
        }
        if status.block_interval_us > 0 {
            let interval = Duration::from_micros(status.block_interval_us);
            self.seconds("block_interval", "Mean time between the latest blocks", interval)?;
        }
        self.gauge(
            "upgrades_known",
            "Upgrades that are known and still to come",
            whole(u64::try_from(status.upgrades.len()).unwrap_or(u64::MAX)),
        )?;
        self.gauge(
            "skipped_heights",
            "Heights whose upgrades are not carried out",
            whole(u64::try_from(status.skipped_heights.len()).unwrap_or(u64::MAX)),
        )?;
        if let Some(blocks) = blocks_to_upgrade(status) {
            self.gauge(
                "upgrade_remaining_blocks",
                "Blocks until the next upgrade; 0 once its height is reached",
                whole(blocks),
            )?;
        }
        if let Some(left) = time_to_upgrade(status, now_unix_ms) {
            self.seconds(
                "upgrade_remaining",
                "Time until the next upgrade at the present pace of the chain",
                left,
            )?;
        }
        Ok(())
    }

    fn upgrade(&mut self, upgrade: &UpgradeStatus) -> fmt::Result {
        let standing = standing_name(upgrade.standing());
        let labels = [
            ("version", upgrade.version.as_str()),
            ("standing", standing.as_str()),
        ];
        self.info("upgrade", "The upgrade under way, or the next to come", &labels)?;
        self.gauge(
            "upgrade_height",
            "Height of the next upgrade: the last block of the running version",
            whole(upgrade.height),
        )?;
        self.flag(
            "upgrade_approved",
            "1 when the chain has approved the next upgrade, or the operator has ordered it",
            upgrade.approved,
        )?;
        self.flag(
            "upgrade_staged",
            "1 when the next upgrade can be carried out at once",
            upgrade.staged,
        )?;
        self.flag(
            "upgrade_verified",
            "1 when it is staged and its bytes have the SHA-256 that was voted on; an upgrade of the operator's own has none",
            upgrade.staged && !upgrade.artifact_sha256.is_empty(),
        )?;
        self.flag(
            "upgrade_staging_failing",
            "1 when the last attempt to stage the next upgrade failed",
            !upgrade.staging_problem.is_empty(),
        )?;
        self.flag(
            "upgrade_skipped",
            "1 when the next upgrade is not to be carried out",
            upgrade.skipped,
        )
    }

    fn last_upgrade(&mut self, upgrade: &LastUpgrade) -> fmt::Result {
        let labels = [("from", upgrade.from.as_str()), ("to", upgrade.to.as_str())];
        self.info("last_upgrade", "The last upgrade that was completed", &labels)?;
        self.gauge(
            "last_upgrade_height",
            "Height of the last upgrade",
            whole(upgrade.height),
        )?;
        self.seconds(
            "last_upgrade_stop",
            "Last upgrade: report of the halt to old process gone",
            Duration::from_millis(upgrade.stop_ms),
        )?;
        self.seconds(
            "last_upgrade_node_down",
            "Last upgrade: old process gone to first report of the new one",
            Duration::from_millis(upgrade.node_down_ms),
        )?;
        self.seconds(
            "last_upgrade_exit_to_exec",
            "Last upgrade: visor's own share of it, exit seen to exec done",
            Duration::from_micros(upgrade.exit_to_exec_us),
        )?;
        self.gauge(
            "last_upgrade_failures",
            "Last upgrade: failed starts of the new version before it was healthy",
            whole(upgrade.restarts.into()),
        )
    }

    fn last_backup(&mut self, backup: &LastBackup) -> fmt::Result {
        let labels = [("version", backup.version.as_str())];
        self.info(
            "last_backup",
            "The version whose data the last backup holds",
            &labels,
        )?;
        self.gauge(
            "last_backup_height",
            "Height of the last backup",
            whole(backup.height),
        )?;
        self.seconds(
            "last_backup_node_down",
            "Last backup: the time that the node was down for it",
            Duration::from_millis(backup.node_down_ms),
        )?;
        self.encoder
            .encode_descriptor(
                "last_backup",
                "Last backup: its size",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&whole(backup.bytes))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) -> fmt::Result {
        self.gauge(name, help, f64::from(u8::from(value)))
    }

    fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        self.encoder
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&value.as_secs_f64())
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.encoder
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&labels)
    }
}

/// Prometheus knows only this kind of number.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which no height or size reaches"
)]
fn whole(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proto::pb::visor::v1::{CompanionProcess, NodeProcess, Standing};

    use super::*;

    /// A host about which everything is known.
    fn full() -> Status {
        let upgrade = UpgradeStatus {
            version: "1.2.0".to_owned(),
            height: 1_000,
            staged: true,
            approved: true,
            standing: Standing::LockedIn.into(),
            artifact_sha256: "ab".repeat(32),
            ..UpgradeStatus::default()
        };
        Status {
            visor_version: "0.1.0".to_owned(),
            phase: Phase::Staged.into(),
            current_version: "1.1.0".to_owned(),
            node: Some(NodeProcess::default()),
            node_height: 900,
            node_connected: true,
            upgrade: Some(upgrade.clone()),
            upgrades: vec![upgrade],
            restarts: 1,
            restarts_total: 7,
            last_upgrade: Some(LastUpgrade {
                from: "1.0.0".to_owned(),
                to: "1.1.0".to_owned(),
                height: 500,
                node_down_ms: 1_250,
                exit_to_exec_us: 900,
                restarts: 2,
                stop_ms: 40,
            }),
            companions: vec![CompanionProcess::default(); 2],
            last_backup: Some(LastBackup {
                version: "1.0.0".to_owned(),
                height: 500,
                node_down_ms: 300,
                bytes: 4_096,
                path: String::new(),
            }),
            started_unix_ms: 1_700_000_000_500,
            block_interval_us: 6_000_000,
            height_seen_unix_ms: now_unix_ms() + 3_600_000,
            ..Status::default()
        }
    }

    fn page(status: Status) -> String {
        text(&watch::Sender::new(status).subscribe()).unwrap()
    }

    fn names(page: &str) -> BTreeSet<&str> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.split(['{', ' ']).next().unwrap())
            .collect()
    }

    /// Every name of a metric in a text, in its order.
    fn mentioned(text: &str) -> impl Iterator<Item = &str> {
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .filter(|word| word.starts_with("visor_"))
    }

    #[test]
    fn the_status_is_served_whole() {
        let page = page(full());
        for line in [
            "visor_build_info{version=\"0.1.0\"} 1",
            "visor_start_time_seconds 1700000000.5",
            "visor_phase{phase=\"staged\"} 1.0",
            "visor_phase{phase=\"failed\"} 0.0",
            "visor_phase{phase=\"backing_up\"} 0.0",
            "visor_current_info{version=\"1.1.0\"} 1",
            "visor_node_up 1.0",
            "visor_node_height 900.0",
            "visor_node_restarts_total 7",
            "visor_node_failures 1.0",
            "visor_companions_up 2.0",
            "visor_block_interval_seconds 6.0",
            "visor_upgrade_info{version=\"1.2.0\",standing=\"locked_in\"} 1",
            "visor_upgrade_height 1000.0",
            "visor_upgrade_remaining_blocks 100.0",
            "visor_upgrade_remaining_seconds 600.0",
            "visor_upgrade_staged 1.0",
            "visor_upgrade_verified 1.0",
            "visor_last_upgrade_info{from=\"1.0.0\",to=\"1.1.0\"} 1",
            "visor_last_upgrade_node_down_seconds 1.25",
            "visor_last_upgrade_stop_seconds 0.04",
            "visor_last_upgrade_exit_to_exec_seconds 0.0009",
            "visor_last_backup_node_down_seconds 0.3",
            "visor_last_backup_bytes 4096.0",
            "visor_config_in_force 1.0",
            "visor_paused 0.0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        let phases = page.lines().filter(|line| line.starts_with("visor_phase{"));
        assert_eq!(phases.filter(|line| line.ends_with(" 1.0")).count(), 1);
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_has_help_and_type_and_says_what_cannot_be_known_with_silence() {
        for status in [full(), Status::default()] {
            let page = page(status);
            for name in names(&page) {
                let family = name
                    .strip_suffix("_total")
                    .or_else(|| name.strip_suffix("_info"))
                    .unwrap_or(name);
                for kind in ["HELP", "TYPE"] {
                    let start = format!("# {kind} {family} ");
                    assert_eq!(
                        page.lines().filter(|line| line.starts_with(&start)).count(),
                        1,
                        "{start} in\n{page}"
                    );
                }
            }
        }
        let empty = page(Status::default());
        for unknown in ["node_height", "upgrade_", "interval", "start_time", "last_"] {
            assert!(
                !names(&empty).iter().any(|name| name.contains(unknown)),
                "{unknown}"
            );
        }
        let paceless = page(Status {
            block_interval_us: 0,
            ..full()
        });
        assert!(!names(&paceless).contains("visor_upgrade_remaining_seconds"));
        // A node may report anything.
        let absurd = Status {
            node_height: u64::MAX,
            ..full()
        };
        assert!(page(absurd).ends_with("# EOF\n"));
    }

    #[test]
    fn dashboard_alerts_and_documentation_name_only_what_is_served() {
        let page = page(full());
        let served = names(&page);
        let dashboard: serde_json::Value =
            serde_json::from_str(include_str!("../../contrib/grafana-dashboard.json")).unwrap();
        let mut expressions = Vec::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
            assert!(
                panel["type"] == "row" || !targets.is_empty(),
                "{}",
                panel["title"]
            );
            for target in targets {
                expressions.push(target["expr"].as_str().unwrap());
            }
        }
        assert!(expressions.len() > 10);
        for expression in &expressions {
            assert!(mentioned(expression).next().is_some(), "{expression}");
        }
        let rules = include_str!("../../contrib/alerts.yml");
        let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
        for alert in &alerts {
            for key in [
                "expr: ",
                "labels:",
                "severity: ",
                "annotations:",
                "summary: ",
                "description: ",
            ] {
                assert!(alert.contains(key), "{key} in {alert}");
            }
        }
        assert!(alerts.len() >= 8);
        let page = include_str!("../../OBSERVABILITY.md");
        let all = [&expressions.join(" "), rules, page];
        for name in all.into_iter().flat_map(mentioned) {
            assert!(served.contains(name), "{name} is not served");
        }
        let documented: BTreeSet<&str> = mentioned(page).collect();
        assert_eq!(documented, served, "the page names every metric");
    }
}
