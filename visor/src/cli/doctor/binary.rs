//! Checks of the version that runs, and what a binary is made for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::file::not_a_program;
use super::{Findings, Patient};
use crate::cli::chain;
use crate::run_config::RunConfig;
use crate::staging::{host_platform, probe_version};
use crate::swap;

pub(super) async fn check(patient: &Patient, findings: &mut Findings) {
    let home = &patient.home;
    let folder = match swap::current(home) {
        Err(error) => {
            return findings.fail(
                "current.link",
                chain(&error),
                "point `current` to the folder of the version that the chain runs",
            );
        }
        Ok(None) => {
            return findings.fail(
                "current.link",
                format!("{} does not exist", home.current().display()),
                "point it to the folder of the version that the chain runs: `ln -s vX.Y.Z current` in the home",
            );
        }
        Ok(Some(folder)) => folder,
    };
    let path = home.folder(&folder);
    if !path.is_dir() {
        return findings.fail(
            "current.link",
            format!("it leads to {folder}, which is no folder of this home"),
            "point `current` to the folder of the version that the chain runs",
        );
    }
    findings.ok("current.link", format!("leads to {folder}"));
    let run = match RunConfig::read(&path) {
        Ok(run) => run,
        Err(error) => {
            return findings.fail(
                "current.run_config",
                chain(&error),
                "repair it: the next version gets a copy of it",
            );
        }
    };
    findings.ok("current.run_config", run.name.clone());
    match run.check_companion_programs(&path) {
        Err(error) => findings.fail(
            "current.companions",
            chain(&error),
            "the next version gets its companions from here, and is not staged without them",
        ),
        Ok(()) if run.companions.is_empty() => findings.skip("current.companions", "none are configured"),
        Ok(()) => findings.ok(
            "current.companions",
            format!("{} with their programs", run.companions.len()),
        ),
    }
    let limit = patient.config().staging.version_timeout;
    let expected = run.version().unwrap_or_default();
    let program = run.program(&path);
    if let Some(reason) = not_a_program(&program) {
        return findings.fail(
            "current.binary",
            format!("{}: {reason}", program.display()),
            "put the binary back: the node cannot be started again without it",
        );
    }
    match probe_version(&program, limit).await {
        Err(error) => findings.fail(
            "current.binary",
            chain(&error),
            "the node cannot be started again with a binary that does not answer",
        ),
        Ok(found) if found != expected => findings.fail(
            "current.binary",
            format!(
                "{} says that it is {found}, run-config.toml says {expected}",
                program.display()
            ),
            "put the right binary in its place, or correct the name in run-config.toml",
        ),
        Ok(found) => findings.ok("current.binary", format!("{} is {found}", program.display())),
    }
}

/// What a file is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    ForThisHost,
    /// For another machine; the number is ELF's.
    ForAnother(u16),
    /// A script, or something of another kind.
    Unknown,
}

/// Reads the header of an executable.
pub(super) fn made_for(program: &Path) -> std::io::Result<Made> {
    let mut header = Vec::new();
    File::open(program)?.take(20).read_to_end(&mut header)?;
    Ok(
        machine(&header).map_or(Made::Unknown, |machine| match host_machine() {
            Some(ours) if ours == machine => Made::ForThisHost,
            Some(_) => Made::ForAnother(machine),
            None => Made::Unknown,
        }),
    )
}

/// `e_machine` of an ELF header.
fn machine(header: &[u8]) -> Option<u16> {
    let header: &[u8; 20] = header.first_chunk()?;
    if header[..4] != *b"\x7fELF" {
        return None;
    }
    let bytes = [header[18], header[19]];
    match header[5] {
        1 => Some(u16::from_le_bytes(bytes)),
        2 => Some(u16::from_be_bytes(bytes)),
        _ => None,
    }
}

fn host_machine() -> Option<u16> {
    let platform = host_platform();
    let (_, architecture) = platform.split_once('/')?;
    Some(match architecture {
        "386" => 3,
        "ppc64le" | "powerpc64" => 21,
        "s390x" => 22,
        "arm" => 40,
        "amd64" => 62,
        "arm64" => 183,
        "riscv64" => 243,
        "loong64" => 258,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_for_another_machine_is_told_from_one_for_this() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(18, 0);
        header.extend_from_slice(&8_u16.to_le_bytes());
        std::fs::write(&path, &header).unwrap();
        assert_eq!(made_for(&path).unwrap(), Made::ForAnother(8));
        assert_eq!(
            made_for(&std::env::current_exe().unwrap()).unwrap(),
            Made::ForThisHost
        );
        for other in [&b"#!/bin/sh"[..], b"", b"\x7fELF"] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(made_for(&path).unwrap(), Made::Unknown);
        }
    }
}
