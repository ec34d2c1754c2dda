//! `config.toml` of a home: one struct, every key documented in the file that `visor init` writes ([`TEMPLATE`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use visor_planner::{BackupPolicy, Conventions, HookPolicies};

use crate::adapter::casper::StatusAddress;

mod address;
mod change;
mod sections;

pub use address::WebAddress;
pub use change::Change;
use sections::millis;
pub use sections::{
    Backup, Casper, EventKind, Failure, Governance, Hook, Hooks, Http, Log, LogFormat, NodeConfig, Notify,
    Probation, Reporter, Retry, Severity, Staging, StopConfig, Upgrade,
};

/// The file that `visor init` writes: every key with its default and its meaning.
pub const TEMPLATE: &str = include_str!("config.toml");

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, has an unknown key, or a value of the wrong kind. The text has the line, the key and what is known.
    #[error("read {path}: {message}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, key and expectation.
        message: String,
    },
    /// A value that makes no sense.
    #[error("read {path}: {key}: expected {expected}, found {found}", path = path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Section and key.
        key: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was found.
        found: String,
    },
}

impl ConfigError {
    fn out_of_range(path: &Path, key: &'static str, expected: &'static str, found: String) -> Self {
        Self::OutOfRange {
            path: path.to_path_buf(),
            key,
            expected,
            found,
        }
    }
}

/// Everything that an operator can set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Restarts of a node that crashed.
    pub restart: Retry,
    /// Starts of the node before it has reported for the first time since visor began.
    pub first_start: Retry,
    /// Starts of a new version until its probation has passed.
    pub start_after_upgrade: Retry,
    /// How the node is stopped.
    pub stop: StopConfig,
    /// What a new version must show.
    pub probation: Probation,
    /// Fetching and checking of artifacts.
    pub staging: Staging,
    /// The node's process.
    pub node: NodeConfig,
    /// What happens around an upgrade.
    pub upgrade: Upgrade,
    /// Copies of the node's data.
    pub backup: Backup,
    /// Programs of the operator around an upgrade.
    pub hooks: Hooks,
    /// Where the operator is told what happens.
    pub notify: Notify,
    /// Metrics and health.
    pub http: Http,
    /// Readiness reports to the chain.
    pub reporter: Reporter,
    /// Whom visor believes.
    pub governance: Governance,
    /// A host of `casper-node-launcher`.
    pub casper: Casper,
    /// Visor's own log.
    pub log: Log,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read or means nothing; the text says where and what is expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let config: Self = parse(path, &text)?;
        config.check(path)?;
        Ok(config)
    }

    /// The part that the planner decides by, in its units.
    #[must_use]
    pub fn planner(&self, conventions: Conventions) -> visor_planner::Config {
        visor_planner::Config {
            restart: self.restart.policy(),
            first_start: self.first_start.policy(),
            start_after_upgrade: self.start_after_upgrade.policy(),
            start_timeout: millis(self.probation.start_timeout),
            progress_timeout: millis(self.probation.progress_timeout),
            conventions,
            on_failure: self.upgrade.on_failure(),
            backup: self.backup_policy(),
            hooks: HookPolicies {
                before_stop: self.hooks.before_stop.policy(),
                before_start: self.hooks.before_start.policy(),
                after_success: self.hooks.after_success.policy(),
                retry_delay: millis(self.hooks.retry_delay),
            },
        }
    }

    fn backup_policy(&self) -> BackupPolicy {
        if self.backup.paths.is_empty() {
            return BackupPolicy::Off;
        }
        BackupPolicy::On {
            required: self.backup.on_failure == Severity::Block,
            first_pass_blocks: self.backup.first_pass_blocks,
            retry_delay: millis(self.backup.retry_delay),
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse = |key, expected, found| Err(ConfigError::out_of_range(path, key, expected, found));
        let retries = [
            (
                &self.restart,
                "restart.multiplier",
                "restart.jitter",
                "restart.max_delay",
            ),
            (
                &self.first_start,
                "first_start.multiplier",
                "first_start.jitter",
                "first_start.max_delay",
            ),
            (
                &self.start_after_upgrade,
                "start_after_upgrade.multiplier",
                "start_after_upgrade.jitter",
                "start_after_upgrade.max_delay",
            ),
        ];
        for (retry, multiplier, jitter, max_delay) in retries {
            if !(1.0..=100.0).contains(&retry.multiplier) {
                return refuse(multiplier, "a number from 1 to 100", retry.multiplier.to_string());
            }
            if !(0.0..=1.0).contains(&retry.jitter) {
                return refuse(jitter, "a number from 0 to 1", retry.jitter.to_string());
            }
            if retry.max_delay < retry.initial_delay {
                return refuse(
                    max_delay,
                    "at least initial_delay",
                    format!("{:?}", retry.max_delay),
                );
            }
        }
        if self.staging.retry_initial.is_zero() {
            return refuse("staging.retry_initial", "more than zero", "0s".to_owned());
        }
        if self.staging.retry_max < self.staging.retry_initial {
            return refuse(
                "staging.retry_max",
                "at least retry_initial",
                format!("{:?}", self.staging.retry_max),
            );
        }
        self.check_upgrade(path)?;
        if self
            .log
            .level
            .parse::<tracing_subscriber::filter::Targets>()
            .is_err()
        {
            return refuse(
                "log.level",
                "a level such as \"info\", or filters such as \"visor=debug\"",
                self.log.level.clone(),
            );
        }
        Ok(())
    }
}

impl Config {
    /// What could make an upgrade fail at its height is refused when the file is read.
    fn check_upgrade(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse = |key, expected, found| Err(ConfigError::out_of_range(path, key, expected, found));
        if let Some(relative) = self.backup.paths.iter().find(|path| !path.is_absolute()) {
            return refuse("backup.paths", "absolute paths", relative.display().to_string());
        }
        if self.backup.keep == 0 {
            return refuse("backup.keep", "at least 1", "0".to_owned());
        }
        if self.upgrade.on_failure == Failure::Rollback {
            if self.backup.paths.is_empty() {
                return refuse(
                    "upgrade.on_failure",
                    "\"stop\", or backup.paths to roll back to",
                    "\"rollback\" without a backup".to_owned(),
                );
            }
            if self.upgrade.signed_height_args.is_empty() {
                return refuse(
                    "upgrade.on_failure",
                    "\"stop\", or upgrade.signed_height_args, without which every rollback is refused",
                    "\"rollback\" without it".to_owned(),
                );
            }
        }
        let hooks = [
            ("hooks.before_stop.command", &self.hooks.before_stop.command),
            ("hooks.before_start.command", &self.hooks.before_start.command),
            ("hooks.after_success.command", &self.hooks.after_success.command),
            ("notify.command", &self.notify.command),
        ];
        for (key, command) in hooks {
            if let Some(program) = command.first().filter(|program| !program.starts_with('/')) {
                return refuse(
                    key,
                    "the absolute path of a program, then its arguments",
                    format!("{program:?}"),
                );
            }
        }
        let webhook = &self.notify.webhook;
        let usable = reqwest::Url::parse(webhook.reveal())
            .is_ok_and(|address| matches!(address.scheme(), "http" | "https") && address.has_host());
        if !webhook.is_empty() && !usable {
            return refuse(
                "notify.webhook",
                "an http:// or https:// address",
                format!("{webhook:?}"),
            );
        }
        if self.notify.timeout.is_zero() {
            return refuse("notify.timeout", "more than zero", "0s".to_owned());
        }
        if self.notify.retry_initial.is_zero() {
            return refuse("notify.retry_initial", "more than zero", "0s".to_owned());
        }
        if self.notify.retry_max < self.notify.retry_initial {
            return refuse(
                "notify.retry_max",
                "at least retry_initial",
                format!("{:?}", self.notify.retry_max),
            );
        }
        if self.notify.max_attempts == 0 {
            return refuse("notify.max_attempts", "at least 1", "0".to_owned());
        }
        let status = &self.casper.status_url;
        if !status.is_empty() && StatusAddress::parse(status).is_none() {
            return refuse(
                "casper.status_url",
                "an http:// address such as \"http://127.0.0.1:8888/status\", or nothing",
                format!("{status:?}"),
            );
        }
        let script = &self.casper.shutdown_script;
        if !script.is_absolute() {
            return refuse(
                "casper.shutdown_script",
                "the absolute path of a program",
                format!("{script:?}"),
            );
        }
        let node = &self.reporter.node;
        if !self.reporter.key.as_os_str().is_empty() && !node.starts_with("http://") {
            return refuse(
                "reporter.node",
                "an http:// address, since reporter.key is set",
                format!("{node:?}"),
            );
        }
        Ok(())
    }
}

/// Parses TOML with the place and the known keys in the error.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Invalid {
        path: path.to_path_buf(),
        message: without_secrets(error.to_string().trim_end()),
    })
}

/// An error shows the line that it is about, and that line may be a webhook's address.
fn without_secrets(message: &str) -> String {
    let harmless = |line: &str| match line.split_once("webhook") {
        Some((before, after)) if after.contains("://") => format!("{before}webhook = …"),
        _ => line.to_owned(),
    };
    message.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_is_the_default_and_names_every_key() {
        let config: Config = parse(Path::new("config.toml"), TEMPLATE).unwrap();
        assert_eq!(config, Config::default());
        let written: toml::Table = TEMPLATE.parse().unwrap();
        let expected = [
            ("restart", 6),
            ("first_start", 6),
            ("upgrade", 2),
            ("backup", 7),
            ("hooks", 4),
            ("notify", 7),
            ("http", 1),
            ("reporter", 2),
            ("start_after_upgrade", 6),
            ("stop", 2),
            ("probation", 2),
            ("staging", 5),
            ("node", 1),
            ("governance", 1),
            ("casper", 3),
            ("log", 2),
        ];
        for (section, keys) in expected {
            assert_eq!(written[section].as_table().unwrap().len(), keys, "{section}");
        }
        assert_eq!(written.len(), expected.len());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "[restart]\nmax_retrys = 3\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        for part in [
            "config.toml",
            "line 2",
            "max_retrys",
            "max_retries",
            "healthy_after",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn senseless_values_are_refused_by_key() {
        for (text, key) in [
            ("[restart]\njitter = 1.5", "restart.jitter"),
            (
                "[start_after_upgrade]\nmultiplier = 0.5",
                "start_after_upgrade.multiplier",
            ),
            ("[restart]\nmax_delay = \"1ms\"", "restart.max_delay"),
            ("[staging]\nretry_initial = \"0s\"", "staging.retry_initial"),
            ("[log]\nlevel = \"=loud=\"", "log.level"),
            ("[upgrade]\non_failure = \"rollback\"", "upgrade.on_failure"),
            (
                "[upgrade]\non_failure = \"rollback\"\n[backup]\npaths = [\"/a\"]",
                "upgrade.on_failure",
            ),
            ("[backup]\npaths = [\"data\"]", "backup.paths"),
            ("[backup]\nkeep = 0", "backup.keep"),
            (
                "[hooks.before_stop]\ncommand = [\"x.sh\"]",
                "hooks.before_stop.command",
            ),
            ("[notify]\nwebhook = \"example.org\"", "notify.webhook"),
            ("[notify]\nwebhook = \"ftp://example.org\"", "notify.webhook"),
            ("[notify]\nmax_attempts = 0", "notify.max_attempts"),
            ("[notify]\ntimeout = \"0s\"", "notify.timeout"),
            ("[notify]\nretry_initial = \"0s\"", "notify.retry_initial"),
            ("[notify]\nretry_max = \"1ms\"", "notify.retry_max"),
            ("[reporter]\nkey = \"k\"", "reporter.node"),
            ("[casper]\nshutdown_script = \"x.sh\"", "casper.shutdown_script"),
            ("[casper]\nstatus_url = \"127.0.0.1:8888\"", "casper.status_url"),
            ("[casper]\nstatus_url = \"https://h/status\"", "casper.status_url"),
        ] {
            let config: Config = parse(Path::new("f"), text).unwrap();
            assert!(
                config
                    .check(Path::new("f"))
                    .unwrap_err()
                    .to_string()
                    .contains(key),
                "{key}"
            );
        }
    }

    #[test]
    fn an_error_never_shows_the_path_of_a_webhook() {
        for text in [
            "[notify]\nwebhook = \"https://example.org/SECRET",
            "[notify]\nwebhook = \"https://example.org/SECRET\" x",
            "[notify]\nwebhooks = \"https://example.org/SECRET\"",
            "[notify]\nwebhook = \"htps://example.org/SECRET\"",
            "[notify]\nwebhook = \"SECRET\"",
        ] {
            let error = parse(Path::new("f"), text).and_then(|config: Config| config.check(Path::new("f")));
            let error = error.unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
