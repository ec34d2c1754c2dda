//! The switch of `current`: one rename of a symbolic link (VIS-07).
//!
//! There is no moment without `current`. The rename is not made durable here: the intent record covers it until
//! [`sync`] ran, which happens after the new version was started.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::adapter::{AdapterError, Switch};
use crate::fault;
use crate::home::{Home, sync_directory};

/// Why `current` could not be read or switched.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Something else than a link stands in its place.
    #[error(
        "use {path}: expected a symbolic link to a version folder, found a {found}. Nothing was removed; move it away and run \
         `ln -s FOLDER {path}`"
    )]
    NotALink {
        /// `current`.
        path: PathBuf,
        /// What was found.
        found: &'static str,
    },
    /// The link leads to no folder of this home.
    #[error(
        "use {path}: it leads to {target}, expected the name of a version folder beside it (for example `v1.1.0`)"
    )]
    Elsewhere {
        /// `current`.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The folder to switch to is missing.
    #[error("switch to {folder}: the folder does not exist")]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// An operation failed.
    #[error("{operation} {path}")]
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

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SwapError + 'a {
    move |source| SwapError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

/// The folder name that `current` leads to; nothing when there is no `current`.
///
/// A link to a folder that does not exist is reported by its name: what to do about it is not decided here, and it never
/// means `genesis`.
///
/// # Errors
/// When something else than a link to a folder of this home stands there.
pub fn current(home: &Home) -> Result<Option<String>, SwapError> {
    let path = home.current();
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("look at", &path)(error)),
    };
    if !metadata.is_symlink() {
        let found = if metadata.is_dir() { "folder" } else { "file" };
        return Err(SwapError::NotALink { path, found });
    }
    let target = fs::read_link(&path).map_err(failed("read the link", &path))?;
    let inside = target.strip_prefix(home.root()).unwrap_or(&target);
    let mut names = inside.components();
    match (names.next(), names.next()) {
        (Some(std::path::Component::Normal(name)), None) => match name.to_str() {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(SwapError::Elsewhere { path, target }),
        },
        _ => Err(SwapError::Elsewhere { path, target }),
    }
}

/// A switch of which only the rename is left to do.
#[derive(Debug)]
pub struct ReadySwitch {
    part: PathBuf,
    path: PathBuf,
}

impl ReadySwitch {
    /// Does it. When this fails, nothing has changed, and [`switch`] says what is wrong.
    ///
    /// # Errors
    /// When `current` is no link any more, or the system refuses.
    pub fn switch(self) -> Result<(), SwapError> {
        fs::rename(&self.part, &self.path).map_err(failed("switch", &self.path))?;
        fault::point("swap-renamed");
        Ok(())
    }
}

impl Switch for ReadySwitch {
    fn switch(self: Box<Self>) -> Result<(), AdapterError> {
        Ok(ReadySwitch::switch(*self)?)
    }
}

/// Makes `current` lead to `folder`. Doing it twice is the same as once (VIS-02).
///
/// # Errors
/// When the folder is missing, `current` is no link, or the system refuses.
pub fn switch(home: &Home, folder: &str) -> Result<(), SwapError> {
    prepare(home, folder)?.switch()
}

/// Does all of a switch but the rename.
///
/// # Errors
/// As [`switch`].
pub fn prepare(home: &Home, folder: &str) -> Result<ReadySwitch, SwapError> {
    let path = home.current();
    if let Ok(metadata) = fs::symlink_metadata(&path)
        && !metadata.is_symlink()
    {
        let found = if metadata.is_dir() { "folder" } else { "file" };
        return Err(SwapError::NotALink { path, found });
    }
    let target = home.folder(folder);
    if !target.is_dir() {
        return Err(SwapError::NoFolder { folder: target });
    }
    let part = home.root().join("current.part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &part)(error)),
        _ => {}
    }
    symlink(folder, &part).map_err(failed("create the link", &part))?;
    fault::point("swap-linked");
    Ok(ReadySwitch { part, path })
}

/// Makes the switch durable.
///
/// # Errors
/// The system's answer.
pub fn sync(home: &Home) -> Result<(), SwapError> {
    sync_directory(home.root()).map_err(failed("sync the folder", home.root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folders: &[&str]) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let home = Home::at(dir.path().to_path_buf());
        (dir, home)
    }

    #[test]
    fn vis_07_the_switch_is_relative_and_repeatable() {
        let (_dir, home) = home(&["genesis", "v1.1.0"]);
        assert_eq!(current(&home).unwrap(), None);
        switch(&home, "genesis").unwrap();
        fs::write(home.root().join("current.part"), "left behind").unwrap();
        for _ in 0..2 {
            switch(&home, "v1.1.0").unwrap();
            assert_eq!(current(&home).unwrap().as_deref(), Some("v1.1.0"));
            assert_eq!(fs::read_link(home.current()).unwrap(), Path::new("v1.1.0"));
        }
        sync(&home).unwrap();
    }

    #[test]
    fn vis_07_a_prepared_switch_is_one_rename_and_never_replaces_a_folder() {
        let (_dir, home) = home(&["genesis", "v1.1.0"]);
        switch(&home, "genesis").unwrap();
        let ready = prepare(&home, "v1.1.0").unwrap();
        assert_eq!(current(&home).unwrap().as_deref(), Some("genesis"));
        ready.switch().unwrap();
        assert_eq!(current(&home).unwrap().as_deref(), Some("v1.1.0"));
        let ready = prepare(&home, "genesis").unwrap();
        fs::remove_file(home.current()).unwrap();
        fs::create_dir(home.current()).unwrap();
        assert!(matches!(ready.switch(), Err(SwapError::Io { .. })));
        assert!(home.current().is_dir());
    }

    #[test]
    fn vis_07_a_real_folder_named_current_is_refused_and_kept() {
        let (_dir, home) = home(&["v1.1.0", "current"]);
        fs::write(home.current().join("precious"), "data").unwrap();
        assert!(matches!(switch(&home, "v1.1.0"), Err(SwapError::NotALink { .. })));
        assert!(matches!(current(&home), Err(SwapError::NotALink { .. })));
        assert!(home.current().join("precious").exists());
    }

    #[test]
    fn vis_07_a_dangling_link_names_its_version_and_a_missing_folder_is_refused() {
        let (_dir, home) = home(&["genesis"]);
        symlink("v9.0.0", home.current()).unwrap();
        assert_eq!(current(&home).unwrap().as_deref(), Some("v9.0.0"));
        assert!(matches!(switch(&home, "v1.1.0"), Err(SwapError::NoFolder { .. })));
        assert_eq!(current(&home).unwrap().as_deref(), Some("v9.0.0"));
    }

    #[test]
    fn a_link_out_of_the_home_is_refused() {
        let (_dir, home) = home(&[]);
        symlink("../elsewhere", home.current()).unwrap();
        assert!(matches!(current(&home), Err(SwapError::Elsewhere { .. })));
    }
}
