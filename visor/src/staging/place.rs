//! A version folder by hand: for hosts that fetch nothing, and for upgrades of the operator's own.

use std::fs;
use std::path::{Path, PathBuf};

use super::fetch::fetch_file;
use super::install::{Artifact, StagingError, build, verify_folder};
use crate::config::Staging;
use crate::home::Home;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// The folder was made.
    Created(PathBuf),
    /// It was there, with exactly these bytes.
    Found(PathBuf),
}

/// Makes the folder of `version` from the binary at `source`, which must be the `artifact`'s bytes, with the run
/// configuration of the folder `current`. A folder that exists is left as it is.
///
/// # Errors
/// When the binary is not what it has to be, or another folder of that name exists; the text is for the operator.
pub async fn place(
    home: &Home,
    limits: &Staging,
    version: &str,
    source: &Path,
    artifact: &Artifact,
    current: &str,
) -> Result<Placed, StagingError> {
    let folder = home.folder(&Home::folder_name(version));
    if fs::symlink_metadata(&folder).is_ok() {
        return match verify_folder(&folder, version, Some(artifact), limits).await {
            Ok(()) => Ok(Placed::Found(folder)),
            Err(source) => Err(StagingError::OtherContents {
                version: version.to_owned(),
                folder,
                source: Box::new(source),
            }),
        };
    }
    // Beside whatever a running visor stages, and beside another `visor stage`.
    let work = home
        .staging()
        .join(format!("by-hand-{version}-{}", std::process::id()));
    let origin = source.display().to_string();
    let copied = async |part: &Path| fetch_file(source, &origin, part, artifact.size, &artifact.sha256);
    // No proposal's name is left in it: a folder that a person made is never taken away by staging.
    build(home, limits, &work, copied, version, current, None).await?;
    Ok(Placed::Created(folder))
}
