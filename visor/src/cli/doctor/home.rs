//! Checks of the home: its files, its configuration, its journal, and where it lies.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proto::pb::visor::v1::Status;
use rustix::fs::Access;

use super::file::{file_system, may};
use super::{Findings, Patient};
use crate::adapter;
use crate::cli::chain;
use crate::config::Config;
use crate::home::{Home, check_socket_path};
use crate::journal::Entry;

/// Where a lock is no lock of the kernel's, or is not inherited by the node (VIS-03).
const WITHOUT_LOCKS: [&str; 6] = ["afs", "cifs", "nfs", "nfs4", "smb3", "smbfs"];
/// Where that depends on what is behind it.
const UNCERTAIN_LOCKS: [&str; 5] = ["9p", "ceph", "fuse", "vboxsf", "virtiofs"];
/// What a reboot empties.
const VOLATILE: [&str; 2] = ["ramfs", "tmpfs"];

pub(super) fn config(home: &Home, status: Option<&Status>, findings: &mut Findings) -> Option<Config> {
    let read = adapter::of_home(home).read_config();
    match &read {
        Ok(_) => findings.ok("config.file", home.config().display().to_string()),
        Err(error) => findings.fail(
            "config.file",
            chain(error),
            "repair it; `visor config check` says whether it can be used. A visor that is started now ends with 3",
        ),
    }
    match status {
        None => findings.skip("config.in_force", "no visor runs"),
        Some(status) if status.config_problem.is_empty() => {
            findings.ok("config.in_force", "the running visor reports no problem with it");
        }
        Some(status) => findings.warn(
            "config.in_force",
            format!(
                "the running visor goes by an earlier configuration: {}",
                status.config_problem
            ),
            "repair config.toml; visor takes it over by itself",
        ),
    }
    read.ok()
}

pub(super) fn journal(home: &Home, read: Result<&[Entry], String>, findings: &mut Findings) {
    let path = home.journal();
    match read {
        Err(reason) => findings.fail(
            "journal",
            reason,
            "`visor journal dump` shows what stands before the damage; then \"The journal is damaged\" in the runbook",
        ),
        Ok(_) if !path.exists() => findings.ok("journal", "none yet: no visor has run here"),
        // Opened as for an append, and closed: that changes nothing.
        Ok(entries) => match OpenOptions::new().append(true).open(&path) {
            Ok(_) => findings.ok("journal", format!("{} records, all clean, writable", entries.len())),
            Err(error) => findings.fail(
                "journal",
                format!("{} cannot be written: {error}", path.display()),
                "make it writable for visor's user; without its journal visor does nothing",
            ),
        },
    }
}

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    let home = &patient.home;
    owner(home, findings);
    place(home, findings);
    sockets(patient, findings);
    folder(home, findings);
    staging(home, findings);
}

fn owner(home: &Home, findings: &mut Findings) {
    let ours = rustix::process::geteuid().as_raw();
    let strange = [
        home.root().to_path_buf(),
        home.config(),
        home.journal(),
        home.staging(),
        home.visor_lock(),
        home.node_lock(),
        home.socket(),
    ]
    .into_iter()
    .find_map(|path| {
        let owner = fs::symlink_metadata(&path).ok()?.uid();
        (owner != ours).then_some((path, owner))
    });
    match strange {
        None => findings.ok("home.owner", format!("everything belongs to this user ({ours})")),
        // Root may do everything, so this is a question of who runs visor.
        Some((path, owner)) => findings.warn(
            "home.owner",
            format!(
                "{} belongs to user {owner}, and this is user {ours}",
                path.display()
            ),
            "run `visor doctor` as the user that runs visor; if you do, `chown -R` the home to that user",
        ),
    }
}

fn place(home: &Home, findings: &mut Findings) {
    match file_system(home.root()) {
        None => findings.skip("home.file_system", "its kind cannot be told"),
        Some(kind) if WITHOUT_LOCKS.contains(&kind.as_str()) => findings.fail(
            "home.file_system",
            format!("the home lies on {kind}, where the lock that rules out two nodes does not hold"),
            "move the home to a local disk",
        ),
        Some(kind) if UNCERTAIN_LOCKS.contains(&kind.split('.').next().unwrap_or_default()) => findings.warn(
            "home.file_system",
            format!("the home lies on {kind}: whether the lock that rules out two nodes holds there depends on what is behind it"),
            "move the home to a local disk",
        ),
        Some(kind) if VOLATILE.contains(&kind.as_str()) => findings.warn(
            "home.file_system",
            format!("the home lies on {kind} and is lost when the host restarts"),
            "move the home to a disk",
        ),
        Some(kind) => findings.ok("home.file_system", kind),
    }
}

fn sockets(patient: &Patient, findings: &mut Findings) {
    // Visor's own was checked when the home was opened, the present node's when its run configuration was read.
    let node = patient.current.as_ref().map(|(_, run)| &run.node.socket);
    let too_long = node.and_then(|socket| check_socket_path(socket, "node.socket").err());
    match (too_long, node) {
        (Some(error), _) => findings.fail("home.sockets", error.to_string(), "choose a shorter path"),
        (None, Some(node)) => findings.ok(
            "home.sockets",
            format!("{} and {}", patient.home.socket().display(), node.display()),
        ),
        (None, None) => findings.ok("home.sockets", patient.home.socket().display().to_string()),
    }
}

fn folder(home: &Home, findings: &mut Findings) {
    writable(
        "home.folder",
        home.root(),
        "versions and `current` change in it",
        findings,
    );
}

fn staging(home: &Home, findings: &mut Findings) {
    let path = home.staging();
    if !path.exists() {
        return match may(home.root(), Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => findings.ok("staging.folder", "is made when it is needed"),
            Err(error) => findings.fail(
                "staging.folder",
                format!("{} does not exist and cannot be made: {error}", path.display()),
                "make it, and make it writable for visor's user",
            ),
        };
    }
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if device(&path) != device(home.root()) {
        return findings.fail(
            "staging.folder",
            format!("{} lies on another file system than the home", path.display()),
            "put it on the home's: a version folder is renamed from there into its place",
        );
    }
    writable("staging.folder", &path, "artifacts are fetched into it", findings);
}

pub(super) fn writable(name: &'static str, path: &Path, why: &str, findings: &mut Findings) {
    match may(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => findings.ok(name, path.display().to_string()),
        Err(error) => findings.fail(
            name,
            format!("{} cannot be written: {error}", path.display()),
            format!("make it writable for visor's user: {why}"),
        ),
    }
}
