//! What the fake nodes have in common.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

const TRAILER: &[u8] = b"\nFAKE-VERSION:";
/// Of the end of the file; no trailer is longer.
const END: u64 = 96;

/// What stands after the last `FAKE-VERSION:` at the very end of the program's own file, so that two versions are two different files of
/// the same program.
pub(crate) fn trailer() -> Result<String> {
    let mut file = File::open(std::env::current_exe()?)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let at = end
        .windows(TRAILER.len())
        .rposition(|window| window == TRAILER)
        .context("no version at the end of the file")?;
    Ok(String::from_utf8(end[at + TRAILER.len()..].to_vec())?
        .trim()
        .to_owned())
}

/// Microseconds since the host started.
pub(crate) fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// A lock on this file of the folder, for life; nothing when another has it.
pub(crate) fn lock(folder: &Path, name: &str, operation: FlockOperation) -> Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(folder.join(name))?;
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
