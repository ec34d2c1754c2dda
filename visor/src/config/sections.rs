//! The sections of `config.toml`, one struct each.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use visor_planner::{HookPolicy, Millis, OnFailure, RetryPolicy};

use super::WebAddress;

/// Exponential back-off with a limit.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How many starts may follow a failed one.
    pub max_retries: u32,
    /// Before the first retry.
    #[serde(with = "humantime_serde")]
    pub initial_delay: Duration,
    /// The longest delay.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
    /// Each delay is this many times the one before.
    pub multiplier: f64,
    /// Each delay is changed at random by up to this share, up or down.
    pub jitter: f64,
    /// A node that ran this long counts as healthy: the count of retries starts again.
    #[serde(with = "humantime_serde")]
    pub healthy_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 5,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            multiplier: 2.0,
            jitter: 0.2,
            healthy_after: Duration::from_secs(300),
        }
    }
}

/// How the node is stopped.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopConfig {
    /// Between the decision and SIGTERM.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// Between SIGTERM and SIGKILL.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for StopConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            grace: Duration::from_secs(15),
        }
    }
}

/// What a new version must show before it counts as good.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probation {
    /// Until its first report.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// Until it reports a height above H.
    #[serde(with = "humantime_serde")]
    pub progress_timeout: Duration,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(120),
            progress_timeout: Duration::from_secs(1800),
        }
    }
}

/// Fetching and checking of artifacts.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staging {
    /// Whole time of one fetch.
    #[serde(with = "humantime_serde")]
    pub fetch_timeout: Duration,
    /// Before the first retry of a failed staging.
    #[serde(with = "humantime_serde")]
    pub retry_initial: Duration,
    /// The longest delay between retries.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// Larger artifacts are refused without fetching them, in bytes.
    pub max_artifact_size: u64,
    /// How long the staged binary may take to say its version.
    #[serde(with = "humantime_serde")]
    pub version_timeout: Duration,
}

impl Default for Staging {
    fn default() -> Self {
        Self {
            fetch_timeout: Duration::from_secs(1800),
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            max_artifact_size: 4 << 30,
            version_timeout: Duration::from_secs(10),
        }
    }
}

/// The node's process.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Where the node's output is appended to; visor's own output when empty.
    pub log_file: PathBuf,
}

/// Whom visor believes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Governance {
    /// The genesis that the operator trusts; the node's word counts when empty.
    pub genesis: PathBuf,
}

/// A host of the launcher's.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Casper {
    /// Where the node tells its status; it is not asked when empty.
    pub status_url: String,
    /// Run when a node asks to be stopped for good; absolute. The launcher's place is not moved with its configuration root.
    pub shutdown_script: PathBuf,
    /// How long it may take; for ever when zero.
    #[serde(with = "humantime_serde")]
    pub shutdown_script_timeout: Duration,
}

impl Default for Casper {
    fn default() -> Self {
        Self {
            status_url: "http://127.0.0.1:8888/status".to_owned(),
            shutdown_script: PathBuf::from("/etc/casper/casper_shutdown_script"),
            shutdown_script_timeout: Duration::ZERO,
        }
    }
}

/// Visor's own log.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// What happens around an upgrade.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrade {
    /// When the new version's retries are used up (VIS-11).
    pub on_failure: Failure,
    /// Arguments with which the new version's binary prints the highest height that this host has signed for, while the node is down. Empty:
    /// nothing proves that, and every rollback is refused.
    pub signed_height_args: Vec<String>,
}

/// What visor does when the new version's retries are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// Stop safely and say why.
    #[default]
    Stop,
    /// Restore the backup and start the previous version.
    Rollback,
}

/// Copies of the node's data, made at every upgrade.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Absolute paths of files and folders. Empty: no backup.
    pub paths: Vec<PathBuf>,
    /// Where the copies go, relative to the home, or absolute.
    pub folder: PathBuf,
    /// How many copies are kept.
    pub keep: u32,
    /// What a backup that fails means for the upgrade.
    pub on_failure: Severity,
    /// The first pass begins so many blocks before the upgrade height.
    pub first_pass_blocks: u64,
    /// So many bytes must stay free on the file system of the copies.
    pub reserve: u64,
    /// Before a failed pass is tried again.
    #[serde(with = "humantime_serde")]
    pub retry_delay: Duration,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            folder: PathBuf::from("backups"),
            keep: 2,
            on_failure: Severity::Block,
            first_pass_blocks: 100,
            reserve: 1 << 30,
            retry_delay: Duration::from_secs(10),
        }
    }
}

/// Whether a failure stops an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The upgrade waits, and what failed is tried again.
    Block,
    /// The operator is told, and the upgrade goes on.
    Warn,
}

/// Programs of the operator around an upgrade.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// While the halted node still runs.
    pub before_stop: Hook,
    /// While no node runs: all its time is downtime.
    pub before_start: Hook,
    /// When the new version has executed a block.
    pub after_success: Hook,
    /// Before a hook that failed and blocks is run again.
    #[serde(with = "humantime_serde")]
    pub retry_delay: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before_stop: Hook::default(),
            before_start: Hook::default(),
            after_success: Hook::default(),
            retry_delay: Duration::from_secs(10),
        }
    }
}

/// One program of the operator.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// Absolute path and arguments. Empty: no hook.
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What another exit code than 0 means for the upgrade.
    pub on_failure: Severity,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            timeout: Duration::from_secs(60),
            on_failure: Severity::Block,
        }
    }
}

impl Hook {
    pub(super) fn policy(&self) -> HookPolicy {
        if self.command.is_empty() {
            return HookPolicy::Off;
        }
        match self.on_failure {
            Severity::Block => HookPolicy::Block,
            Severity::Warn => HookPolicy::Warn,
        }
    }
}

impl Upgrade {
    pub(super) fn on_failure(&self) -> OnFailure {
        match self.on_failure {
            Failure::Stop => OnFailure::Stop,
            Failure::Rollback => OnFailure::RollBack,
        }
    }
}

/// Where the operator is told what happens.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Address that gets one JSON object per event by POST. Empty: none.
    pub webhook: WebAddress,
    /// Absolute path and arguments of a program that gets the same object on its standard input. Empty: none.
    pub command: Vec<String>,
    /// The events that are told; empty: all.
    pub events: BTreeSet<EventKind>,
    /// How long one attempt may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Attempts per event.
    pub max_attempts: u32,
    /// Before the second attempt; each delay is longer than the one before.
    #[serde(with = "humantime_serde")]
    pub retry_initial: Duration,
    /// The longest delay between attempts.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            webhook: WebAddress::default(),
            command: Vec::new(),
            events: BTreeSet::new(),
            timeout: Duration::from_secs(10),
            max_attempts: 8,
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
        }
    }
}

/// What an operator can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An upgrade is known.
    ProposalSeen,
    /// It is ready to be carried out.
    Staged,
    /// An attempt to stage it failed.
    StagingFailed,
    /// The node has halted at the height.
    Halted,
    /// The new version has executed a block.
    Upgraded,
    /// The node failed and is started again.
    Retrying,
    /// Something needs the operator: visor gave up, or waits for what it cannot do itself.
    Failed,
    /// The previous version and its data are back.
    RolledBack,
}

/// Metrics and health over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port to listen on. Empty: off.
    #[serde(deserialize_with = "address", serialize_with = "shown_address")]
    pub listen: Option<SocketAddr>,
}

/// Readiness reports to the chain (GOV-16).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reporter {
    /// Key file that the validator has authorised, relative to the home, or absolute. Empty: no reports.
    pub key: PathBuf,
    /// Address of a node's gRPC service, such as `http://127.0.0.1:26657`.
    pub node: String,
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "expected an address and a port such as \"127.0.0.1:9300\", found {text:?}"
        ))
    })
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn shown_address<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => to.collect_str(address),
        None => to.serialize_str(""),
    }
}

impl Retry {
    pub(super) fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            max_retries: self.max_retries,
            initial_delay: millis(self.initial_delay),
            max_delay: millis(self.max_delay),
            multiplier_percent: percent(self.multiplier),
            jitter_percent: percent(self.jitter),
            healthy_after: millis(self.healthy_after),
        }
    }
}

pub(super) fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to lie between 0 and 100 when the file was read"
)]
fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}
