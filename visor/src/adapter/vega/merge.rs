//! Vega Visor's configuration in visor's own terms, with what only visor knows from `visor.toml` beside it.
//!
//! Each key has one place. What Vega Visor's file says is refused in `visor.toml`, where it would count for nothing, and so is what means
//! nothing on this chain.

use std::path::Path;
use std::time::Duration;

use super::config::{POLL, Settings};
use super::table::{Table, read_text};
use crate::config::{Config, ConfigError, Retry};

/// Visor's own configuration in a Vega home; it need not exist.
pub(crate) const FILE_NAME: &str = "visor.toml";

/// Keys of `visor.toml` that Vega Visor's file has, under another name.
const ELSEWHERE: [(&str, &str, &str); 9] = [
    ("restart", "max_retries", "maxNumberOfRestarts"),
    ("restart", "initial_delay", "restartsDelaySeconds"),
    ("first_start", "max_retries", "maxNumberOfRestarts"),
    ("first_start", "initial_delay", "restartsDelaySeconds"),
    ("start_after_upgrade", "max_retries", "maxNumberOfRestarts"),
    ("start_after_upgrade", "initial_delay", "restartsDelaySeconds"),
    ("stop", "delay", "stopDelaySeconds"),
    ("stop", "grace", "stopSignalTimeoutSeconds"),
    ("probation", "start_timeout", "maxNumberOfFirstConnectionRetries"),
];

/// Sections that mean nothing here.
const SENSELESS: [(&str, &str); 3] = [
    ("casper", "it is no host of Casper"),
    ("governance", "a Vega chain gives no certificates"),
    ("reporter", "a Vega chain takes no readiness reports"),
];

/// The whole configuration of a Vega home.
///
/// # Errors
/// When `visor.toml` is there and cannot be used; the text says where and why.
pub(crate) fn merge(settings: &Settings, visor: &Path) -> Result<Config, ConfigError> {
    let mut config = if visor.exists() {
        check_places(visor, &read_text(visor)?)?;
        Config::read(visor)?
    } else {
        Config::default()
    };
    for retry in [
        &mut config.restart,
        &mut config.first_start,
        &mut config.start_after_upgrade,
    ] {
        *retry = Retry {
            max_retries: settings.restarts,
            initial_delay: settings.restarts_delay,
            max_delay: retry.max_delay.max(settings.restarts_delay),
            ..retry.clone()
        };
    }
    config.stop.delay = settings.stop_delay;
    config.stop.grace = settings.stop_signal_timeout;
    config.probation.start_timeout = patience(settings.first_connection_retries);
    Ok(config)
}

/// How long Vega Visor went on asking a node that gave no answer: with N retries, question N + 1 was its last.
pub(crate) fn patience(retries: u32) -> Duration {
    POLL.saturating_mul(retries.saturating_add(1))
}

fn check_places(path: &Path, text: &str) -> Result<(), ConfigError> {
    let mut table = Table::parse(path, text)?;
    for (section, why) in SENSELESS {
        if let Some(line) = table.line_of(section) {
            return Err(refused(
                path,
                format!("line {line}: [{section}] means nothing in a Vega home: {why}. Remove it"),
            ));
        }
    }
    let sections = [
        "restart",
        "first_start",
        "start_after_upgrade",
        "stop",
        "probation",
    ];
    for section in sections {
        let found = table.table(section)?;
        for (_, key, theirs) in ELSEWHERE.iter().filter(|(of, ..)| *of == section) {
            if let Some(line) = found.line_of(key) {
                let problem = format!(
                    "line {line}: {section}.{key}: in a Vega home this is {theirs} of config.toml. Set it there, and remove it here"
                );
                return Err(refused(path, problem));
            }
        }
    }
    Ok(())
}

fn refused(path: &Path, message: String) -> ConfigError {
    ConfigError::Invalid {
        path: path.to_path_buf(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn their_keys_become_ours_and_the_back_off_begins_with_their_delay() {
        let dir = tempfile::tempdir().unwrap();
        let config = merge(&Settings::default(), &dir.path().join(FILE_NAME)).unwrap();
        for retry in [&config.restart, &config.first_start, &config.start_after_upgrade] {
            assert_eq!(
                (retry.max_retries, retry.initial_delay),
                (3, Duration::from_secs(5))
            );
            assert_eq!(retry.max_delay, Duration::from_secs(60));
        }
        assert_eq!(config.stop.grace, Duration::from_secs(15));
        assert_eq!(config.probation.start_timeout, Duration::from_secs(350_002));

        let settings = Settings {
            restarts: 7,
            restarts_delay: Duration::from_secs(90),
            stop_delay: Duration::from_secs(1),
            stop_signal_timeout: Duration::ZERO,
            first_connection_retries: u32::MAX,
            ..Settings::default()
        };
        let config = merge(&settings, &dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(config.restart.max_delay, Duration::from_secs(90));
        assert_eq!(config.stop.delay, Duration::from_secs(1));
        assert_eq!(config.stop.grace, Duration::ZERO);
        assert_eq!(config.start_after_upgrade.max_retries, 7);
    }

    #[test]
    fn visor_toml_adds_what_their_file_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let text = "[restart]\nmultiplier = 3.0\nmax_delay = \"10m\"\n[http]\nlisten = \"127.0.0.1:1\"\n[probation]\nprogress_timeout = \"1h\"";
        fs::write(&path, text).unwrap();
        let config = merge(&Settings::default(), &path).unwrap();
        assert_eq!(config.restart.max_delay, Duration::from_secs(600));
        assert_eq!(config.restart.initial_delay, Duration::from_secs(5));
        assert_eq!(config.probation.progress_timeout, Duration::from_secs(3600));
        assert!(config.http.listen.is_some());
    }

    #[test]
    fn visor_toml_is_strict_and_says_where_a_key_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        for (text, parts) in [
            (
                "[log]\nlevel = \"info\"\n[stop]\ngrace = \"1s\"",
                ["line 4", "stop.grace", "stopSignalTimeoutSeconds of config.toml"],
            ),
            (
                "[first_start]\nmax_retries = 1",
                ["line 2", "first_start.max_retries", "maxNumberOfRestarts"],
            ),
            (
                "probation = { start_timeout = \"1s\" }",
                [
                    "line 1",
                    "probation.start_timeout",
                    "maxNumberOfFirstConnectionRetries",
                ],
            ),
            ("[reporter]\nkey = \"k\"", ["line 1", "[reporter]", "readiness"]),
            (
                "[restart]\nmultiplyer = 3.0",
                ["line 2", "multiplyer", "multiplier"],
            ),
            ("[backup]\nkeep = 0", ["visor.toml", "backup.keep", "at least 1"]),
        ] {
            fs::write(&path, text).unwrap();
            let error = merge(&Settings::default(), &path).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part} in {error}");
            }
        }
    }
}
