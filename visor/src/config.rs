//! `config.toml` of a home: one struct, every key documented in the file that `visor init` writes ([`TEMPLATE`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use visor_planner::{ExitCodes, Millis, RetryPolicy};

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

/// Everything that an operator can set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Restarts of a node that crashed.
    pub restart: Retry,
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
    /// Whom visor believes.
    pub governance: Governance,
    /// Visor's own log.
    pub log: Log,
}

/// Exponential back-off with a limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Where the node's output is appended to; visor's own output when empty.
    pub log_file: PathBuf,
}

/// Whom visor believes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Governance {
    /// The genesis that the operator trusts; the node's word counts when empty.
    pub genesis: PathBuf,
}

/// Visor's own log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
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
    pub fn planner(&self, exit_codes: ExitCodes) -> visor_planner::Config {
        visor_planner::Config {
            restart: self.restart.policy(),
            start_after_upgrade: self.start_after_upgrade.policy(),
            start_timeout: millis(self.probation.start_timeout),
            progress_timeout: millis(self.probation.progress_timeout),
            exit_codes,
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse = |key, expected, found: String| {
            Err(ConfigError::OutOfRange {
                path: path.to_path_buf(),
                key,
                expected,
                found,
            })
        };
        let retries = [
            (
                &self.restart,
                "restart.multiplier",
                "restart.jitter",
                "restart.max_delay",
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

impl Retry {
    fn policy(&self) -> RetryPolicy {
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

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to lie between 0 and 100 when the file was read"
)]
fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

/// Parses TOML with the place and the known keys in the error.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Invalid {
        path: path.to_path_buf(),
        message: error.to_string().trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_is_the_default_and_names_every_key() {
        let config: Config = parse(Path::new("config.toml"), TEMPLATE).unwrap();
        assert_eq!(config, Config::default());
        // Every key of every section must be missing when it is taken out: nothing in the file is there for show.
        let written: toml::Table = TEMPLATE.parse().unwrap();
        let expected = [
            ("restart", 6),
            ("start_after_upgrade", 6),
            ("stop", 2),
            ("probation", 2),
            ("staging", 5),
            ("node", 1),
            ("governance", 1),
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
}
