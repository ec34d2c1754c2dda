//! Checks of the host: its clock, its limits, its service manager.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Findings, Patient};
use crate::cli::text::{now, time};
use crate::process::run_probe;

/// A clock that is corrected goes back by less than this.
const CORRECTION_MS: u64 = 5_000;
/// What every system grants; a node with its peers, its store and its sockets needs some hundred.
const OPEN_FILES: u64 = 1024;
/// The service manager answers at once, or is not there.
const ANSWER: Duration = Duration::from_secs(3);

pub(super) async fn check(patient: &Patient, findings: &mut Findings) {
    clock(patient, findings).await;
    open_files(patient, findings);
    service(patient, findings);
}

async fn clock(patient: &Patient, findings: &mut Findings) {
    let now = now();
    let last = patient.entries.last().map_or(0, |entry| entry.unix_ms);
    if now.saturating_add(CORRECTION_MS) < last {
        return findings.fail(
            "host.clock",
            format!("it is {}, and the journal was last written at {}", time(now), time(last)),
            "set the clock: with a wrong one secure connections fail, and with them the fetch of the artifact",
        );
    }
    match synchronised().await {
        Some(true) => findings.ok("host.clock", format!("{}, synchronised", time(now))),
        Some(false) => findings.warn(
            "host.clock",
            format!("{}, not synchronised", time(now)),
            "enable a time service; a validator with a wrong clock makes and accepts wrong blocks",
        ),
        None => findings.ok(
            "host.clock",
            format!(
                "{}, not before the journal's end; whether it is synchronised cannot be told",
                time(now)
            ),
        ),
    }
}

/// What the system's time service says; nothing when none can be asked.
async fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let program = ["/usr/bin/timedatectl", "/bin/timedatectl"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())?;
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    let answer = run_probe(program, &arguments, ANSWER, 1024).await.ok()?;
    match answer.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// The node inherits visor's limits.
fn open_files(patient: &Patient, findings: &mut Findings) {
    let visor = patient.status.as_ref().map(|status| status.visor_pid);
    let limits = match visor {
        Some(pid) => fs::read_to_string(format!("/proc/{pid}/limits")),
        None => fs::read_to_string("/proc/self/limits"),
    };
    let whose = if visor.is_some() {
        "visor's"
    } else {
        "this session's"
    };
    match limits.ok().as_deref().and_then(soft_open_files) {
        None => findings.skip("host.open_files", "the limit cannot be told"),
        Some(limit) if limit < OPEN_FILES => findings.warn(
            "host.open_files",
            format!("{whose} limit is {limit}"),
            format!("raise it to {OPEN_FILES} at least (LimitNOFILE= in the unit); the node inherits it"),
        ),
        Some(limit) => findings.ok("host.open_files", format!("{whose} limit is {limit}")),
    }
}

fn soft_open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// A hint at most: visor runs well under anything.
fn service(patient: &Patient, findings: &mut Findings) {
    let Some(status) = &patient.status else {
        return findings.skip("host.service", "no visor runs");
    };
    let Ok(environment) = fs::read(format!("/proc/{}/environ", status.visor_pid)) else {
        return findings.skip("host.service", "what runs visor cannot be told");
    };
    let is_set = |name: &str| {
        let mut entries = environment.split(|byte| *byte == 0);
        entries.any(|entry| entry.starts_with(name.as_bytes()) && entry.get(name.len()) == Some(&b'='))
    };
    match (
        is_set("INVOCATION_ID"),
        is_set("NOTIFY_SOCKET"),
        is_set("WATCHDOG_USEC"),
    ) {
        (false, false, _) => findings.ok("host.service", "visor was not started by systemd"),
        (_, true, true) => findings.ok("host.service", "systemd, with notification and watchdog"),
        (_, true, false) => findings.ok(
            "host.service",
            "systemd, with notification; WatchdogSec= is not set",
        ),
        (true, false, _) => findings.warn(
            "host.service",
            "systemd, without notification",
            "set Type=notify and NotifyAccess=main in the unit, so that systemd knows when visor is ready",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_as_the_kernel_writes_it() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_open_files(limits), Some(1024));
        assert_eq!(
            soft_open_files("Max open files unlimited unlimited files"),
            Some(u64::MAX)
        );
        assert_eq!(soft_open_files(""), None);
    }
}
