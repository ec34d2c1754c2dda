//! `run-config.toml` of a version folder as Vega Visor reads it: the core, how it is asked, and the data node beside it, if there is one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::args;
use super::table::{Table, read_text};
use crate::config::ConfigError;
use crate::home::check_socket_path;
use crate::process::{Launch, Program, Role};
use crate::run_config::ProgramMissing;

pub(crate) use crate::run_config::FILE_NAME;

/// What the data node is called in messages and in the status.
pub(crate) const DATA_NODE: &str = "data-node";

/// Where the core answers unless its own configuration says otherwise.
const HTTP_PATH: &str = "/rpc";

/// The core's default socket lies in the folder for temporary files.
pub(super) fn default_socket() -> PathBuf {
    std::env::temp_dir().join("vega.sock")
}

/// How one version is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunConfig {
    /// A label.
    pub(crate) name: String,
    /// The core.
    pub(crate) vega: Binary,
    /// How the core is asked.
    pub(crate) rpc: Rpc,
    /// Its presence turns on everything about data nodes.
    pub(crate) data_node: Option<Binary>,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Absolute, or relative to the version folder.
    pub(crate) path: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

/// The core's admin service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rpc {
    /// Its UNIX socket, absolute.
    pub(crate) socket_path: PathBuf,
    /// Its path behind the socket.
    pub(crate) http_path: String,
}

impl RunConfig {
    /// Reads and checks the file in a version folder.
    ///
    /// # Errors
    /// When it cannot be read or used; the text says where and what is expected.
    pub(crate) fn read(folder: &Path) -> Result<Self, ConfigError> {
        Ok(Self::read_all(folder)?.0)
    }

    /// The same, with the keys that nobody knows.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_all(folder: &Path) -> Result<(Self, BTreeSet<String>), ConfigError> {
        let path = folder.join(FILE_NAME);
        parse(&path, &read_text(&path)?)
    }

    /// The core's arguments say at which snapshot it is to begin.
    pub(crate) fn pins_height(&self) -> bool {
        args::value(&self.vega.args, args::SNAPSHOT_HEIGHT).is_some()
    }

    /// The core's program, of the version in `folder`.
    pub(crate) fn program(&self, folder: &Path) -> PathBuf {
        folder.join(&self.vega.path)
    }

    /// The programs of the version in `folder`: the core's, and the data node's.
    pub(crate) fn programs(&self, folder: &Path) -> Vec<(Role, PathBuf)> {
        let data_node = self.data_node.iter().map(|data_node| {
            (
                Role::Companion(DATA_NODE.to_owned()),
                folder.join(&data_node.path),
            )
        });
        let mut programs = vec![(Role::Node, self.program(folder))];
        programs.extend(data_node);
        programs
    }

    /// Everything that is started for the version in `folder`. The data node comes first, because the core's admin service waits until
    /// the data node listens; they are stopped the other way round, so that the data node gets all that the core has to say (W-25).
    pub(crate) fn launch(&self, folder: &Path, height: Option<u64>, output: Option<PathBuf>) -> Launch {
        let core = Program {
            role: Role::Node,
            path: self.program(folder),
            arguments: match height {
                Some(height) => args::with_snapshot_height(&self.vega.args, height),
                None => self.vega.args.clone(),
            },
            grace: None,
        };
        let data_node = self.data_node.iter().map(|data_node| Program {
            role: Role::Companion(DATA_NODE.to_owned()),
            path: folder.join(&data_node.path),
            arguments: data_node.args.clone(),
            grace: None,
        });
        Launch {
            programs: data_node.chain([core]).collect(),
            output,
            inherit_input: false,
        }
    }

    /// Checks that every program of the version in `folder` is there, and could be executed once its missing mode is added; nothing is
    /// changed.
    ///
    /// # Errors
    /// Names the first that is not.
    pub(crate) fn check_programs(&self, folder: &Path) -> Result<(), ProgramMissing> {
        self.programs(folder)
            .into_iter()
            .try_for_each(|(role, program)| mode_of(&role, &program).map(drop))
    }

    /// The same, and adds the mode of execution where it is missing, as Vega Visor does.
    ///
    /// # Errors
    /// Names the first program that is not there or cannot be made executable.
    pub(crate) fn make_executable(&self, folder: &Path) -> Result<(), ProgramMissing> {
        for (role, program) in self.programs(folder) {
            let mode = mode_of(&role, &program)?;
            if mode & 0o111 != 0 {
                continue;
            }
            // Whoever may read it may execute it; its owner in any case.
            let wanted = mode | 0o100 | ((mode & 0o444) >> 2);
            fs::set_permissions(&program, Permissions::from_mode(wanted)).map_err(|error| {
                let found = format!("a file of mode {mode:o} that cannot be made executable ({error})");
                ProgramMissing::new(role.clone(), program.clone(), found)
            })?;
            tracing::info!(program.path = %program.display(), "made the program executable");
        }
        Ok(())
    }

    /// As the file has it.
    pub(crate) fn to_text(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let mut file = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(file, "name = {}", text(&self.name));
        let mut binary = |section: &str, binary: &Binary| {
            let path = text(&binary.path.to_string_lossy());
            let args: Vec<String> = binary.args.iter().map(|argument| text(argument)).collect();
            let _ = write!(
                file,
                "\n[{section}.binary]\npath = {path}\nargs = [{}]\n",
                args.join(", ")
            );
        };
        binary("vega", &self.vega);
        if let Some(data_node) = &self.data_node {
            binary("data_node", data_node);
        }
        let _ = write!(
            file,
            "\n[vega.rpc]\nsocketPath = {}\nhttpPath = {}\n",
            text(&self.rpc.socket_path.to_string_lossy()),
            text(&self.rpc.http_path)
        );
        file
    }
}

/// The mode of a program that is there.
fn mode_of(role: &Role, program: &Path) -> Result<u32, ProgramMissing> {
    let found = match fs::metadata(program) {
        Ok(metadata) if metadata.is_file() => return Ok(metadata.permissions().mode() & 0o7777),
        Ok(_) => "no file".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ProgramMissing::new(role.clone(), program.to_path_buf(), found))
}

/// Whether a text is a run configuration of Vega's form.
pub(super) fn is_of_vega(path: &Path) -> bool {
    let Ok(text) = read_text(path) else {
        return false;
    };
    Table::parse(path, &text).is_ok_and(|table| table.has("vega"))
}

fn parse(path: &Path, text: &str) -> Result<(RunConfig, BTreeSet<String>), ConfigError> {
    let mut table = Table::parse(path, text)?;
    let mut unknown = BTreeSet::new();
    let name = table.text("name")?.unwrap_or_default();
    let mut vega = table.table("vega")?;
    let core = binary(path, "vega", &mut vega, &mut unknown)?;
    let mut rpc = vega.table("rpc")?;
    let socket = rpc.text("socketPath")?.filter(|path| !path.is_empty());
    // A relative one has always been relative to the folder in which visor was started.
    let socket_path = std::path::absolute(socket.map_or_else(default_socket, PathBuf::from));
    let socket_path = socket_path.map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    check_socket_path(&socket_path, "vega.rpc.socketPath").map_err(|error| ConfigError::Invalid {
        path: path.to_path_buf(),
        message: error.to_string(),
    })?;
    let http_path = rpc.meant("httpPath", http_path)?.flatten();
    let http_path = http_path.unwrap_or_else(|| HTTP_PATH.to_owned());
    rpc.end(&mut unknown);
    vega.end(&mut unknown);
    let data_node = match table.table_if_any("data_node")? {
        Some(mut data_node) => {
            let found = binary(path, "data_node", &mut data_node, &mut unknown)?;
            data_node.end(&mut unknown);
            Some(found)
        }
        None => None,
    };
    table.end(&mut unknown);
    let config = RunConfig {
        name,
        vega: core,
        rpc: Rpc {
            socket_path,
            http_path,
        },
        data_node,
    };
    Ok((config, unknown))
}

fn http_path(text: &str) -> Result<Option<String>, &'static str> {
    match text {
        "" => Ok(None),
        text if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err("a path such as \"/rpc\""),
    }
}

fn binary(
    path: &Path,
    section: &str,
    table: &mut Table<'_>,
    unknown: &mut BTreeSet<String>,
) -> Result<Binary, ConfigError> {
    let mut binary = table.table("binary")?;
    let program = binary.text("path")?.unwrap_or_default();
    let args = binary.texts("args")?;
    binary.end(unknown);
    if program.is_empty() {
        return Err(ConfigError::Invalid {
            path: path.to_path_buf(),
            message: format!(
                "{section}.binary.path: expected the path of a program, absolute or relative to this folder, found nothing"
            ),
        });
    }
    Ok(Binary {
        path: PathBuf::from(program),
        args,
    })
}

#[cfg(test)]
mod tests;
