//! New files that are either there, whole and durable, or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Creates `directory/name` with `mode`, durably, and never in place of another file.
///
/// The content is synced under a temporary name before it gets its own by a hard link, which fails with
/// [`io::ErrorKind::AlreadyExists`] when the name is taken: no look before, so no race. A crash in between leaves at most
/// a hidden `.tmp` file with that mode.
pub(crate) fn create(directory: &Path, name: impl AsRef<Path>, content: &[u8], mode: u32) -> io::Result<()> {
    let name = name.as_ref();
    let temporary = directory.join(format!(".{}.{:016x}.tmp", name.display(), random()?));
    let written =
        write(&temporary, content, mode).and_then(|()| fs::hard_link(&temporary, directory.join(name)));
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    File::open(directory)?.sync_all()
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(u64::from_ne_bytes(bytes))
}
