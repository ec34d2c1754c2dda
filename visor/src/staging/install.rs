//! From an accepted plan to a complete version folder.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

use super::companions;
use super::digest::{DigestError, file_digest};
use super::fetch::{FetchError, fetch};
use crate::config::{ConfigError, Staging};
use crate::fault;
use crate::home::{Home, sync_directory, write_durably};
use crate::process::{ProbeError, run_probe};
use crate::run_config::{ProgramMissing, RunConfig};

/// An answer to `version --output json` is one short line; this is far more.
const MAX_VERSION_OUTPUT: u64 = 64 << 10;
/// A file that was just written can look busy while another thread forks; that lasts for a moment only.
const BUSY_RETRIES: u32 = 50;

/// The ids of the upgrades that the chain still votes on or has decided on, hexadecimal. Shared with the loop, which learns them.
pub type LiveUpgrades = Arc<Mutex<BTreeSet<String>>>;

/// The file in a version folder made by staging that names the proposal it was made for.
const STAGED_FOR: &str = "staged-for";

/// What is to be staged, as the accepted plan has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The proposal's id, hexadecimal: it names the folder in `staging/`.
    pub id: String,
    /// The version without a leading `v`.
    pub version: String,
    /// The binary for this host; `None`: the operator puts the version's folder in place.
    pub artifact: Option<Artifact>,
}

/// One platform's binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// Why a version could not be staged.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// Larger than the operator allows.
    #[error(
        "stage version {version}: the artifact has {size} bytes, at most {limit} are allowed (staging.max_artifact_size)"
    )]
    TooLarge {
        /// The version.
        version: String,
        /// By the plan.
        size: u64,
        /// By the configuration.
        limit: u64,
    },
    /// The folder of the version exists and holds other bytes.
    #[error(
        "stage version {version}: the folder {folder} exists and is not the accepted version. Nothing in it was changed; look at \
         it, move it away, and staging goes on by itself", folder = folder.display()
    )]
    OtherContents {
        /// The version.
        version: String,
        /// Its folder.
        folder: PathBuf,
        /// How it differs.
        #[source]
        source: Box<StagingError>,
    },
    /// It could not be fetched, or is not what was accepted.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file is not what was accepted.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The binary does not say that it is the version.
    #[error(transparent)]
    Version(#[from] VersionProbeError),
    /// A run configuration cannot be used.
    #[error(transparent)]
    RunConfig(#[from] ConfigError),
    /// The operator has ordered the upgrade and not put its version in place.
    #[error(
        "find version {version}: expected the folder {folder} with its binary and run-config.toml; put it there with `visor stage {version} --binary PATH`",
        folder = folder.display()
    )]
    NotInPlace {
        /// The version.
        version: String,
        /// Where it belongs.
        folder: PathBuf,
    },
    /// A companion would not be found.
    #[error(transparent)]
    Program(#[from] ProgramMissing),
    /// The folder is named for one version, and its run configuration for another.
    #[error("use {folder}: expected run-config.toml with the name \"v{expected}\", found \"{found}\"", folder = folder.display())]
    OtherName {
        /// The folder.
        folder: PathBuf,
        /// The version.
        expected: String,
        /// In the file.
        found: String,
    },
    /// An operation failed.
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

/// Why a binary's version is unknown or wrong.
#[derive(Debug, thiserror::Error)]
pub enum VersionProbeError {
    /// It gave no answer.
    #[error("ask {program} for its version (`version --output json`)", program = program.display())]
    Probe {
        /// The binary.
        program: PathBuf,
        /// What went wrong.
        #[source]
        source: ProbeError,
    },
    /// Its answer is no JSON object with a version.
    #[error("ask {program} for its version: expected an answer like {{\"version\":\"1.2.0\"}}, found {found:?}", program = program.display())]
    Answer {
        /// The binary.
        program: PathBuf,
        /// The beginning of the answer.
        found: String,
    },
    /// It is another version.
    #[error("use {program}: expected version {expected}, it says that it is {found}", program = program.display())]
    Other {
        /// The binary.
        program: PathBuf,
        /// By the plan.
        expected: String,
        /// By the binary.
        found: String,
    },
}

pub(super) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> StagingError + 'a {
    move |source| StagingError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

/// Makes the version folder of an accepted plan, or finds it made (VIS-02).
///
/// # Errors
/// When it is not there and could not be made; the text is for the operator.
pub async fn stage(
    home: &Home,
    limits: &Staging,
    order: &Order,
    current: &str,
    live: &LiveUpgrades,
) -> Result<(), StagingError> {
    let Some(artifact) = &order.artifact else {
        return find_in_place(home, limits, &order.version).await;
    };
    if artifact.size > limits.max_artifact_size {
        return Err(StagingError::TooLarge {
            version: order.version.clone(),
            size: artifact.size,
            limit: limits.max_artifact_size,
        });
    }
    let folder = home.folder(&Home::folder_name(&order.version));
    if fs::symlink_metadata(&folder).is_ok() {
        fault::point("staging-folder-found");
        match verify_folder(&folder, &order.version, Some(artifact), limits).await {
            Ok(()) => return Ok(()),
            Err(_) if is_dead(&folder, live) && home.folder(current) != folder => discard(home, &folder)?,
            Err(source) => {
                return Err(StagingError::OtherContents {
                    version: order.version.clone(),
                    folder,
                    source: Box::new(source),
                });
            }
        }
    }
    let work = home.staging().join(&order.id);
    let fetched = async |part: &Path| {
        fetch(
            &artifact.url,
            part,
            artifact.size,
            &artifact.sha256,
            limits.fetch_timeout,
        )
        .await
    };
    build(
        home,
        limits,
        &work,
        fetched,
        &order.version,
        current,
        Some(&order.id),
    )
    .await
}

/// Makes a version folder in `work` from the bytes that `bring` puts into a file, checked, and renames it into place. It
/// gets the run configuration of the folder `current`.
pub(super) async fn build(
    home: &Home,
    limits: &Staging,
    work: &Path,
    bring: impl AsyncFnOnce(&Path) -> Result<(), FetchError>,
    version: &str,
    current: &str,
    staged_for: Option<&str>,
) -> Result<(), StagingError> {
    let folder = home.folder(&Home::folder_name(version));
    let running = RunConfig::read(&home.folder(current))?;
    // Before the fetch: the operator should not wait for it to hear of this.
    running.check_companion_programs(&home.folder(current))?;
    let mut run = running.clone();
    let binary = PathBuf::from(run.node.binary.file_name().unwrap_or_else(|| "node".as_ref()));
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", work)(error));
        }
        _ => {}
    }
    fs::create_dir_all(work).map_err(io_error("create", work))?;
    fault::point("staging-begun");
    let made = async {
        let part = work.join("artifact.part");
        bring(&part).await?;
        // From here on the bytes are the accepted ones.
        fault::point("staging-fetched");
        let program = work.join(&binary);
        fs::set_permissions(&part, Permissions::from_mode(0o755))
            .map_err(io_error("make executable", &part))?;
        fault::point("staging-executable");
        fs::rename(&part, &program).map_err(io_error("rename", &part))?;
        fault::point("staging-named");
        expect_version(&program, version, limits.version_timeout).await?;
        fault::point("staging-probed");
        run.name = format!("v{version}");
        run.node.binary = binary;
        companions::install(&home.folder(current), &running, work, &mut run)?;
        fault::point("staging-companions");
        run.write(work)
            .map_err(io_error("write the run configuration in", work))?;
        if let Some(id) = staged_for {
            let mark = work.join(STAGED_FOR);
            write_durably(&mark, id.as_bytes(), 0o644).map_err(io_error("write", &mark))?;
        }
        fault::point("staging-marked");
        // The mode was set after the content was synced.
        File::open(&program)
            .and_then(|file| file.sync_all())
            .map_err(io_error("sync", &program))?;
        sync_directory(work).map_err(io_error("sync", work))?;
        fault::point("staging-synced");
        fs::rename(work, &folder).map_err(io_error("create", &folder))?;
        fault::point("staging-installed");
        sync_directory(home.root()).map_err(io_error("sync", home.root()))
    };
    let result = made.await;
    if result.is_err() {
        // Best effort: the next attempt removes it again before it begins.
        let _ = fs::remove_dir_all(work);
    }
    result
}

/// The folder of an upgrade that the operator ordered: he puts it in place, and only its version can be checked.
async fn find_in_place(home: &Home, limits: &Staging, version: &str) -> Result<(), StagingError> {
    let folder = home.folder(&Home::folder_name(version));
    if fs::symlink_metadata(&folder).is_err() {
        return Err(StagingError::NotInPlace {
            version: version.to_owned(),
            folder,
        });
    }
    verify_folder(&folder, version, None, limits).await
}

/// A folder that staging made for a proposal that came to nothing. A folder made by hand is never one.
fn is_dead(folder: &Path, live: &LiveUpgrades) -> bool {
    match (fs::read_to_string(folder.join(STAGED_FOR)), live.lock()) {
        (Ok(id), Ok(live)) => !live.contains(id.trim()),
        _ => false,
    }
}

/// Out of sight by one rename first, so that no half-removed folder ever has a version's name.
fn discard(home: &Home, folder: &Path) -> Result<(), StagingError> {
    let away = home.staging().join("discarded");
    match fs::remove_dir_all(&away) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &away)(error));
        }
        _ => {}
    }
    fs::create_dir_all(home.staging()).map_err(io_error("create", &away))?;
    fs::rename(folder, &away).map_err(io_error("move away", folder))?;
    fault::point("staging-discarded");
    fs::remove_dir_all(&away).map_err(io_error("remove", &away))
}

/// A folder that an earlier attempt completed, or that the operator made by hand. Without an artifact only its version is known.
///
/// # Errors
/// When it is not that version; the text says how it differs.
pub async fn verify_folder(
    folder: &Path,
    version: &str,
    artifact: Option<&Artifact>,
    limits: &Staging,
) -> Result<(), StagingError> {
    let run = RunConfig::read(folder)?;
    if run.version() != Some(version) {
        return Err(StagingError::OtherName {
            folder: folder.to_path_buf(),
            expected: version.to_owned(),
            found: run.name,
        });
    }
    run.check_companion_programs(folder)?;
    let program = run.program(folder);
    if let Some(artifact) = artifact {
        file_digest(&program, artifact.size, &artifact.sha256)?;
    }
    expect_version(&program, version, limits.version_timeout).await?;
    // Nobody may have synced a folder made by hand.
    for path in [&program, folder, folder.parent().unwrap_or(folder)] {
        sync_directory(path).map_err(io_error("sync", path))?;
    }
    Ok(())
}

async fn expect_version(program: &Path, expected: &str, limit: Duration) -> Result<(), VersionProbeError> {
    let found = probe_version(program, limit).await?;
    if found != expected {
        return Err(VersionProbeError::Other {
            program: program.to_path_buf(),
            expected: expected.to_owned(),
            found,
        });
    }
    Ok(())
}

/// Asks a binary for its version, without a leading `v`.
///
/// # Errors
/// When it gives no answer, or one that has no version.
pub async fn probe_version(program: &Path, limit: Duration) -> Result<String, VersionProbeError> {
    let version = probe_exact_version(program, limit).await?;
    Ok(version.strip_prefix('v').unwrap_or(&version).to_owned())
}

/// Asks a binary for its version, as it says it.
pub(crate) async fn probe_exact_version(
    program: &Path,
    limit: Duration,
) -> Result<String, VersionProbeError> {
    #[derive(Deserialize)]
    struct Answer {
        version: String,
    }
    let mut attempt = 0;
    let output = loop {
        match run_probe(
            program,
            &["version", "--output", "json"],
            limit,
            MAX_VERSION_OUTPUT,
        )
        .await
        {
            Ok(output) => break output,
            Err(ProbeError::Io { source })
                if source.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_RETRIES =>
            {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(source) => {
                return Err(VersionProbeError::Probe {
                    program: program.to_path_buf(),
                    source,
                });
            }
        }
    };
    match serde_json::from_slice::<Answer>(&output) {
        Ok(answer) => Ok(answer.version),
        Err(_) => Err(VersionProbeError::Answer {
            program: program.to_path_buf(),
            found: String::from_utf8_lossy(&output[..output.len().min(200)]).into_owned(),
        }),
    }
}
