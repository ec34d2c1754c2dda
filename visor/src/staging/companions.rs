//! The companions of a staged version: those of the running version, with binaries that are in place before the height.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::install::{StagingError, io_error};
use crate::home::sync_directory;
use crate::run_config::RunConfig;

/// Copies the companions' binaries that lie in the running version's folder `from` into `work`, where the node's accepted
/// binary lies already, durably. The operator put them there, and the accepted plan says nothing of them (VIS-06).
///
/// `old` is the running version's configuration, `new` that of the next. A companion that runs the node's own binary gets the
/// accepted one.
pub(super) fn install(
    from: &Path,
    old: &RunConfig,
    work: &Path,
    new: &mut RunConfig,
) -> Result<(), StagingError> {
    for companion in &mut new.companions {
        if companion.binary == old.node.binary {
            companion.binary.clone_from(&new.node.binary);
        }
        let target = work.join(&companion.binary);
        if companion.binary.is_absolute() || target.exists() {
            continue;
        }
        let folder = target.parent().unwrap_or(work);
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let source = from.join(&companion.binary);
        fs::copy(&source, &target).map_err(io_error("copy the companion's binary", &source))?;
        fs::set_permissions(&target, Permissions::from_mode(0o755))
            .map_err(io_error("make executable", &target))?;
        File::open(&target)
            .and_then(|file| file.sync_all())
            .map_err(io_error("sync", &target))?;
        sync_directory(folder).map_err(io_error("sync", folder))?;
    }
    Ok(new.check_companion_programs(work)?)
}
