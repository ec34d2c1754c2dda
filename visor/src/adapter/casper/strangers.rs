//! Nodes of this host that visor has not started: one that the launcher left when it was killed, or that somebody runs by hand (W12, W13).
//!
//! Visor's own nodes hold its lock, and are adopted. These hold nothing, so that the only sign of them is what they run.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::Settings;
use crate::lock::{Holder, NodeLock};

/// The program's name in every version's folder.
const PROGRAM: &str = "casper-node";

/// A node that is not visor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// Its process.
    pub(crate) pid: i32,
    /// What it runs.
    pub(crate) program: PathBuf,
}

/// The first node that runs a binary of these folders with a configuration of these folders, and is not visor's. Several networks may
/// share the binaries: the configuration tells them apart.
pub(crate) fn find(settings: &Settings, lock: &NodeLock) -> Option<Stranger> {
    let bin_root = settings.bin_root.canonicalize().ok()?;
    let config_root = settings.config_root.canonicalize().ok()?;
    // First: a node of visor's that ends in between is then not there to be seen, and not a node without the lock.
    let own: Vec<Pid> = lock.holders().iter().map(|holder| holder.pid).collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| !own.contains(pid))
        .filter_map(Holder::read)
        .find_map(|process| {
            let program = process.program()?;
            let is_node = program.starts_with(&bin_root) && program.file_name()? == PROGRAM;
            let pid = process.pid.as_raw_nonzero().get();
            (is_node && names_a_file_below(pid, &config_root)).then_some(Stranger { pid, program })
        })
}

/// Whether a word of a process's command line is a file below the folder.
fn names_a_file_below(pid: i32, folder: &Path) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    words
        .split(|byte| *byte == 0)
        .skip(1)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter(|word| !word.is_empty())
        .filter_map(|word| directory.join(word).canonicalize().ok())
        .any(|path| path.starts_with(folder))
}
