//! The folder of a version that is there: whoever put it there, it is checked whole before anything counts on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::before_start::{Seen, Versions};
use super::super::run_config::{FILE_NAME, RunConfig};
use crate::config::ConfigError;
use crate::home::sync_directory;
use crate::run_config::ProgramMissing;
use crate::staging::{VersionProbeError, probe_exact_version};

/// Why a folder is not the version.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is something else.
    #[error("expected a folder, found {found}")]
    NoFolder {
        /// What it is.
        found: &'static str,
    },
    /// What the tool before left when its installation failed (W-46), or a person who has not finished.
    #[error(
        "expected {FILE_NAME} and its binaries in it, found {found} and no {FILE_NAME}. When an installation that failed left it, remove the \
         folder, and it is installed anew where auto-install is on; when you are putting it there, finish it, {FILE_NAME} last"
    )]
    Half {
        /// What is in it.
        found: String,
    },
    /// Its run configuration cannot be used.
    #[error(transparent)]
    RunConfig(#[from] ConfigError),
    /// A binary is not there, or cannot be executed.
    #[error(transparent)]
    Program(#[from] ProgramMissing),
    /// A binary does not say that it is the version.
    #[error(transparent)]
    Version(#[from] VersionProbeError),
    /// A file could not be read or synced.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Checks the folder of a release: its run configuration, its binaries, and that each of them says that it is exactly this release. What
/// is found is durable afterwards.
pub(super) async fn verify(
    folder: &Path,
    tag: &str,
    limit: Duration,
    known: &Versions,
) -> Result<(), FolderError> {
    let metadata = fs::metadata(folder).map_err(io_error("look at", folder))?;
    if !metadata.is_dir() {
        return Err(FolderError::NoFolder { found: "a file" });
    }
    if let Err(error) = fs::symlink_metadata(folder.join(FILE_NAME))
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(FolderError::Half {
            found: contents(folder)?,
        });
    }
    let run = RunConfig::read(folder)?;
    let mut programs: Vec<PathBuf> = programs(&run, folder);
    run.make_executable(folder)?;
    programs.dedup();
    for program in &programs {
        expect_exactly(program, tag, limit, known).await?;
    }
    // Nobody may have synced a folder made by hand.
    let above = folder.parent().unwrap_or(folder);
    let file = folder.join(FILE_NAME);
    for path in programs
        .iter()
        .map(PathBuf::as_path)
        .chain([file.as_path(), folder, above])
    {
        sync_directory(path).map_err(io_error("sync", path))?;
    }
    Ok(())
}

/// Every binary of the version once.
pub(super) fn programs(run: &RunConfig, folder: &Path) -> Vec<PathBuf> {
    run.programs(folder)
        .into_iter()
        .map(|(_, program)| program)
        .collect()
}

/// Byte for byte, the `v` included: a start refuses everything else.
pub(super) async fn expect_exactly(
    program: &Path,
    tag: &str,
    limit: Duration,
    known: &Versions,
) -> Result<(), VersionProbeError> {
    let seen = Seen::of(program);
    let found = probe_exact_version(program, limit).await?;
    known.learn(program, seen, &found);
    if found != tag {
        return Err(VersionProbeError::Other {
            program: program.to_path_buf(),
            expected: tag.to_owned(),
            found,
        });
    }
    Ok(())
}

fn contents(folder: &Path) -> Result<String, FolderError> {
    let entries = fs::read_dir(folder).map_err(io_error("read", folder))?;
    let mut names: Vec<String> = entries
        .take(1000)
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    Ok(match names.is_empty() {
        true => "nothing".to_owned(),
        false => super::releases::listed(&names),
    })
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}
