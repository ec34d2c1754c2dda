//! Which backups stay.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use super::error::{BackupError, failed};
use super::manifest::{MANIFEST, Manifest, RECORD, is_finished};
use super::plan::Plan;
use super::tree;

/// Put before the name of a backup that is being removed: from then on it is none.
const REMOVING: &str = ".removing-";

/// After a finished backup: removes the oldest finished ones beyond `keep`, what other upgrades never finished, and what an
/// earlier removal left. Never the plan's own, and nothing that no backup made.
pub(super) fn retire(plan: &Plan) {
    if let Err(error) = remove_old(plan) {
        let error = crate::cli::chain(&error);
        tracing::warn!(backup.folder = %plan.folder.display(), error, "cannot remove old backups; tried again after the next one");
    }
}

fn remove_old(plan: &Plan) -> Result<(), BackupError> {
    let read = failed("read", &plan.folder);
    let folder = tree::open_path(&plan.folder).map_err(&read)?;
    let mut finished = Vec::new();
    let mut old = Vec::new();
    for name in tree::names(&folder).map_err(&read)? {
        if name.as_encoded_bytes().starts_with(REMOVING.as_bytes()) {
            tree::remove(&folder, &name).map_err(failed("remove", plan.folder.join(&name)))?;
        } else if name != *plan.name && is_ours(&folder, &name) {
            let path = plan.folder.join(&name);
            if !is_finished(&path) {
                old.push(name);
            } else if let Some(created) = Manifest::created(&path) {
                finished.push((created, name));
            } else {
                tracing::warn!(backup.path = %path.display(), "a backup whose manifest cannot be read is left as it is");
            }
        }
    }
    finished.sort();
    // One of those to keep is the plan's own.
    let others = usize::try_from(plan.keep.max(1) - 1).unwrap_or(usize::MAX);
    let beyond = finished.len().saturating_sub(others);
    old.extend(finished.into_iter().take(beyond).map(|(_created, name)| name));
    for name in old {
        let path = plan.folder.join(&name);
        let mut aside = OsString::from(REMOVING);
        aside.push(&name);
        tree::rename(&folder, &name, &folder, &aside)
            .and_then(|()| tree::sync_folder(&folder))
            .and_then(|()| tree::remove(&folder, &aside))
            .map_err(failed("remove", &path))?;
        tracing::info!(backup.path = %path.display(), "an old backup was removed");
    }
    Ok(())
}

/// A folder that a pass made.
fn is_ours(folder: &OwnedFd, name: &OsStr) -> bool {
    tree::open_folder(folder, name).is_ok_and(|place| {
        [RECORD, MANIFEST]
            .iter()
            .any(|file| tree::look(&place, OsStr::new(file)).is_ok_and(|found| found.is_some()))
    })
}
