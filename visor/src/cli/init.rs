//! `visor init`: a home for the version that runs now.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CommandError, HomeArgument, vegavisor};
use crate::config::TEMPLATE;
use crate::exit_code;
use crate::home::{GENESIS, Home, check_socket_path, sync_directory, write_durably};
use crate::run_config::{NodeRun, RunConfig};
use crate::staging::probe_version;
use crate::swap;

/// A node answers for its version at once; this is for a machine under load.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct InitArguments {
    #[command(flatten)]
    home: HomeArgument,
    /// The node's binary; it is copied into the home
    #[arg(long, value_name = "PATH", required_unless_present = "vega")]
    binary: Option<PathBuf>,
    /// Make a home for Vega, with the files that Vega's own visor makes
    #[arg(long, conflicts_with_all = ["binary", "socket", "node_arguments"])]
    vega: bool,
    /// With examples for a data node
    #[arg(long, requires = "vega")]
    with_data_node: bool,
    /// UNIX socket on which the node serves node.v1 [default: node.sock in the home]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Arguments of the node
    #[arg(last = true, value_name = "NODE_ARGS")]
    node_arguments: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("initialise the home {home}: it is initialised already ({found} exists). Nothing was changed; use it with `visor run`, or choose another folder", home = home.display(), found = found.display())]
    Initialised { home: PathBuf, found: PathBuf },
    #[error("initialise the home: expected a program at {binary}, found {found}", binary = binary.display())]
    NoProgram { binary: PathBuf, found: &'static str },
    #[error("initialise the home: {binary} names its version {found:?}, expected three numbers such as 1.2.0", binary = binary.display())]
    NoVersion { binary: PathBuf, found: String },
    #[error("{operation} {path}", path = path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

pub(super) fn init(arguments: &InitArguments) -> Result<u8, CommandError> {
    let config_error = |error: InitError| CommandError::new(exit_code::CONFIG, error);
    let Some(binary) = arguments.binary.as_deref().filter(|_| !arguments.vega) else {
        return vegavisor::init(&arguments.home.home, arguments.with_data_node);
    };
    let binary = absolute(binary)?;
    match fs::metadata(&binary) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => {
            return Err(config_error(InitError::NoProgram {
                binary,
                found: "a folder",
            }));
        }
        Err(_) => {
            return Err(config_error(InitError::NoProgram {
                binary,
                found: "nothing",
            }));
        }
    }
    let home = Home::at(absolute(&arguments.home.home)?);
    check_socket_path(&home.socket(), "home folder of visor")
        .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    let socket = match &arguments.socket {
        Some(socket) => absolute(socket)?,
        None => home.root().join("node.sock"),
    };
    check_socket_path(&socket, "--socket").map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    for found in [
        home.config(),
        home.current(),
        home.folder(GENESIS),
        home.journal(),
    ] {
        if fs::symlink_metadata(&found).is_ok() {
            return Err(config_error(InitError::Initialised {
                home: home.root().to_path_buf(),
                found,
            }));
        }
    }
    let runtime = super::run::runtime()?;
    let version = runtime
        .block_on(probe_version(&binary, VERSION_LIMIT))
        .map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    let run = RunConfig {
        name: format!("v{version}"),
        node: NodeRun {
            binary: PathBuf::from(binary.file_name().unwrap_or_default()),
            args: arguments.node_arguments.clone(),
            socket,
        },
        companions: Vec::new(),
    };
    if run.version().is_none() {
        return Err(config_error(InitError::NoVersion {
            binary,
            found: version,
        }));
    }
    create(&home, &binary, &run).map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    // Status for people; a closed stderr is nobody's loss.
    let _ = writeln!(
        io::stderr(),
        "Initialised {} with version {version}. Look at {}, then: visor run --home {}",
        home.root().display(),
        home.config().display(),
        home.root().display()
    );
    Ok(exit_code::SUCCESS)
}

/// The configuration comes last: a home without it is not initialised.
fn create(home: &Home, binary: &Path, run: &RunConfig) -> Result<(), InitError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home.root())
        .map_err(at("create", home.root()))?;
    let part = home.root().join("genesis.part");
    match fs::remove_dir_all(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &part)(error)),
        _ => {}
    }
    fs::create_dir(&part).map_err(at("create", &part))?;
    let program = part.join(&run.node.binary);
    fs::copy(binary, &program).map_err(at("copy the binary to", &program))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755)).map_err(at("make executable", &program))?;
    fs::File::open(&program)
        .and_then(|file| file.sync_all())
        .map_err(at("sync", &program))?;
    run.write(&part)
        .map_err(at("write the run configuration in", &part))?;
    let folder = home.folder(GENESIS);
    fs::rename(&part, &folder).map_err(at("create", &folder))?;
    let current = home.current();
    swap::switch(home, GENESIS)
        .map_err(|error| at("create", &current)(io::Error::other(super::chain(&error))))?;
    fs::create_dir_all(home.staging()).map_err(at("create", &home.staging()))?;
    write_durably(&home.config(), TEMPLATE.as_bytes(), 0o644).map_err(at("write", &home.config()))?;
    sync_directory(home.root()).map_err(at("sync", home.root()))
}

fn at<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> InitError + use<'a> {
    move |source| InitError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|source| {
        CommandError::new(
            exit_code::USAGE,
            InitError::Io {
                operation: "find",
                path: path.to_path_buf(),
                source,
            },
        )
    })
}
