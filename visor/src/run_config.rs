//! `run-config.toml` of a version folder: which binary the version is and how it is started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, parse};
use crate::home::{check_socket_path, write_durably};

/// The file's name in a version folder.
pub const FILE_NAME: &str = "run-config.toml";

/// How one version is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version's name, for example `v1.0.0`.
    pub name: String,
    /// The node.
    pub node: NodeRun,
}

/// How the node is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRun {
    /// Its binary, relative to the version folder, or absolute.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Absolute path of the UNIX socket on which it serves `node.v1`.
    pub socket: PathBuf,
}

impl RunConfig {
    /// Reads and checks the file in a version folder.
    ///
    /// # Errors
    /// When it cannot be read or used; the text says where and what is expected.
    pub fn read(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE_NAME);
        let text = fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let config: Self = parse(&path, &text)?;
        if config.version().is_none() {
            return Err(ConfigError::OutOfRange {
                path,
                key: "name",
                expected: "a version such as \"v1.2.0\"",
                found: format!("{:?}", config.name),
            });
        }
        if !config.node.socket.is_absolute() {
            return Err(ConfigError::OutOfRange {
                path,
                key: "node.socket",
                expected: "an absolute path",
                found: config.node.socket.display().to_string(),
            });
        }
        check_socket_path(&config.node.socket, "node.socket").map_err(|error| ConfigError::Invalid {
            path,
            message: error.to_string(),
        })?;
        Ok(config)
    }

    /// The version in the name, without the leading `v`; nothing when the name is none.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        Some(self.name.strip_prefix('v').unwrap_or(&self.name)).filter(|version| is_version(version))
    }

    /// The binary of the version in `folder`.
    #[must_use]
    pub fn program(&self, folder: &Path) -> PathBuf {
        folder.join(&self.node.binary)
    }

    /// Writes the file into a version folder, durably.
    ///
    /// # Errors
    /// The system's answer.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        write_durably(&folder.join(FILE_NAME), text.as_bytes(), 0o644)
    }
}

/// Whether a text has the form of a release, `1.2.3` or `1.2.3-rc.1`. Such a text is safe as part of a folder's name.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        && text.len() <= 100
        && text.bytes().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> RunConfig {
        RunConfig {
            name: name.to_owned(),
            node: NodeRun {
                binary: PathBuf::from("governance"),
                args: vec!["start".to_owned(), "--home".to_owned(), "/a \"b\"".to_owned()],
                socket: PathBuf::from("/run/node.sock"),
            },
        }
    }

    #[test]
    fn a_written_file_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        sample("v1.2.0").write(dir.path()).unwrap();
        assert_eq!(RunConfig::read(dir.path()).unwrap(), sample("v1.2.0"));
    }

    #[test]
    fn a_name_is_a_version_or_refused() {
        for (name, version) in [
            ("v1.2.3", Some("1.2.3")),
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3-rc.1+b", Some("1.2.3-rc.1+b")),
            ("v1.2", None),
            ("v1.2.3.4", None),
            ("genesis", None),
            ("", None),
        ] {
            assert_eq!(sample(name).version(), version, "{name}");
        }
    }

    #[test]
    fn a_relative_or_too_long_socket_and_an_unknown_key_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = sample("v1.2.0");
        config.node.socket = PathBuf::from("node.sock");
        config.write(dir.path()).unwrap();
        assert!(
            RunConfig::read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("absolute path")
        );
        config.node.socket = PathBuf::from(format!("/{}", "x".repeat(200)));
        config.write(dir.path()).unwrap();
        assert!(
            RunConfig::read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("at most 107")
        );
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, "name = \"v1.0.0\"\n[node]\nbinery = \"x\"\n").unwrap();
        let error = RunConfig::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("binery") && error.contains("socket"),
            "{error}"
        );
    }
}
