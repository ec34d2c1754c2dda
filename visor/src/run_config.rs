//! `run-config.toml` of a version folder: which binary the version is and how it is started, with its companions.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, parse};
use crate::home::{check_socket_path, write_durably};
use crate::process::{Launch, Program, Role};

/// The file's name in a version folder.
pub const FILE_NAME: &str = "run-config.toml";

/// A version as people write it: with a `v` in front. A name that is no number (`genesis`, a tag that has its `v`) stays as it is.
pub(crate) fn tag(version: &str) -> String {
    if version.starts_with(|first: char| first.is_ascii_digit()) {
        format!("v{version}")
    } else {
        version.to_owned()
    }
}

/// How one version is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version's name, for example `v1.0.0`.
    pub name: String,
    /// The node.
    pub node: NodeRun,
    /// The other processes of the host, which start and stop with the node.
    #[serde(rename = "companion", default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<CompanionRun>,
}

/// How a companion is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompanionRun {
    /// What it is called in messages and in the status.
    pub name: String,
    /// Its binary, relative to the version folder and inside it, or absolute.
    pub binary: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// When it starts; among those of the same order the file's order counts. They stop in the reverse order.
    pub order: Order,
    /// Between SIGTERM and SIGKILL; `stop.grace` of `config.toml` when absent.
    #[serde(
        default,
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub stop_grace: Option<Duration>,
}

/// When a companion starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Before the node.
    BeforeNode,
    /// After the node.
    AfterNode,
}

/// A binary that a start would not find.
#[derive(Debug, thiserror::Error)]
#[error(
    "use {program} for {role}: expected an executable file, found {found}. Put it there, or correct {FILE_NAME} in the \
     version's folder", program = program.display()
)]
pub struct ProgramMissing {
    role: Role,
    program: PathBuf,
    found: String,
}

impl ProgramMissing {
    /// `found` is what stands in its place, for the operator.
    pub(crate) fn new(role: Role, program: PathBuf, found: String) -> Self {
        Self { role, program, found }
    }
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
            path: path.clone(),
            message: error.to_string(),
        })?;
        config.check_companions(&path)?;
        Ok(config)
    }

    fn check_companions(&self, path: &Path) -> Result<(), ConfigError> {
        let refused = |key, expected, found: &dyn std::fmt::Debug| ConfigError::OutOfRange {
            path: path.to_path_buf(),
            key,
            expected,
            found: format!("{found:?}"),
        };
        let mut names = BTreeSet::new();
        for companion in &self.companions {
            let name = &companion.name;
            let readable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if name.is_empty() || name.len() > 64 || name == "node" || !name.bytes().all(readable) {
                let expected = "1 to 64 letters, digits, dots, hyphens and underscores, and not \"node\"";
                return Err(refused("companion.name", expected, name));
            }
            if !names.insert(name) {
                return Err(refused(
                    "companion.name",
                    "a name of its own for each companion",
                    name,
                ));
            }
            let binary = &companion.binary;
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if binary.as_os_str().is_empty() || !(binary.is_absolute() || binary.components().all(inside)) {
                let expected = "a path in the version folder, or an absolute one";
                return Err(refused("companion.binary", expected, binary));
            }
        }
        Ok(())
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

    /// Everything that is started for the version in `folder`, in the order of the starts.
    #[must_use]
    pub fn launch(&self, folder: &Path, output: Option<PathBuf>) -> Launch {
        let companions = |order| {
            let chosen = self
                .companions
                .iter()
                .filter(move |companion| companion.order == order);
            chosen.map(|companion| Program {
                role: Role::Companion(companion.name.clone()),
                path: folder.join(&companion.binary),
                arguments: companion.args.clone(),
                grace: companion.stop_grace,
            })
        };
        let node = Program {
            role: Role::Node,
            path: self.program(folder),
            arguments: self.node.args.clone(),
            grace: None,
        };
        let before = companions(Order::BeforeNode).chain([node]);
        Launch {
            programs: before.chain(companions(Order::AfterNode)).collect(),
            output,
            inherit_input: false,
        }
    }

    /// Checks that every binary of the version in `folder` is there and executable (VIS-05).
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check_programs(&self, folder: &Path) -> Result<(), ProgramMissing> {
        check_program(Role::Node, folder.join(&self.node.binary))?;
        self.check_companion_programs(folder)
    }

    /// The same for the companions alone.
    ///
    /// # Errors
    /// Names the first that is not there.
    pub fn check_companion_programs(&self, folder: &Path) -> Result<(), ProgramMissing> {
        self.companions.iter().try_for_each(|companion| {
            check_program(
                Role::Companion(companion.name.clone()),
                folder.join(&companion.binary),
            )
        })
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

fn check_program(role: Role, program: PathBuf) -> Result<(), ProgramMissing> {
    let found = match fs::metadata(&program) {
        Ok(metadata) if !metadata.is_file() => "no file".to_owned(),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            format!("a file of mode {:o}", metadata.permissions().mode() & 0o7777)
        }
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ProgramMissing { role, program, found })
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
            companions: vec![
                companion("data-node", Order::BeforeNode),
                CompanionRun {
                    stop_grace: Some(Duration::from_secs(90)),
                    ..companion("exporter", Order::AfterNode)
                },
            ],
        }
    }

    fn companion(name: &str, order: Order) -> CompanionRun {
        CompanionRun {
            name: name.to_owned(),
            binary: PathBuf::from(name),
            args: vec!["run".to_owned()],
            order,
            stop_grace: None,
        }
    }

    #[test]
    fn companions_are_read_with_little_and_senseless_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |companion: &str| {
            let node = "name = \"v1.0.0\"\n[node]\nbinary = \"n\"\nargs = []\nsocket = \"/s\"\n";
            fs::write(dir.path().join(FILE_NAME), format!("{node}{companion}")).unwrap();
            RunConfig::read(dir.path())
        };
        let one = "[[companion]]\nname = \"a\"\nbinary = \"a\"\norder = \"after_node\"\n";
        let config = read(one).unwrap();
        let expected = CompanionRun {
            args: Vec::new(),
            ..companion("a", Order::AfterNode)
        };
        assert_eq!(config.companions, [expected]);
        for (refused, because) in [
            (one.to_owned() + one, "a name of its own"),
            (one.replace("\"a\"\nb", "\"node\"\nb"), "not \"node\""),
            (one.replace("\"a\"\nb", "\"\"\nb"), "1 to 64"),
            (one.replace("\"a\"\no", "\"../a\"\no"), "in the version folder"),
            (one.replace("after_node", "with_node"), "before_node"),
            (one.replace("order", "ordre"), "ordre"),
        ] {
            let error = crate::cli::chain(&read(&refused).unwrap_err());
            assert!(error.contains(because), "{because}: {error}");
        }
    }

    #[test]
    fn vis_05_a_binary_that_is_missing_or_not_executable_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = sample("v1.0.0");
        let executable = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let problem = || config.check_programs(dir.path()).unwrap_err().to_string();
        assert!(problem().contains("the node: expected an executable file, found nothing"));
        executable("governance", 0o755);
        executable("data-node", 0o644);
        assert!(
            problem()
                .contains("the companion data-node: expected an executable file, found a file of mode 644")
        );
        executable("data-node", 0o755);
        fs::create_dir(dir.path().join("exporter")).unwrap();
        assert!(problem().contains("exporter: expected an executable file, found no file"));
        fs::remove_dir(dir.path().join("exporter")).unwrap();
        executable("exporter", 0o755);
        config.check_programs(dir.path()).unwrap();
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
