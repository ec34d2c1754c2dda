//! What a program file is to this host, by its header alone: it is not run.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::staging::host_platform;

/// What a file is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// An ELF program for this machine.
    ForThisHost,
    /// The same, but so many bytes are missing at its end.
    CutOff(u64),
    /// For another machine; the number is ELF's.
    ForAnother(u16),
    /// A script, or something of another kind.
    Unknown,
}

/// Reads the header of an executable.
pub(crate) fn made_for(program: &Path) -> io::Result<Made> {
    let file = File::open(program)?;
    let mut header = Vec::with_capacity(64);
    (&file).take(64).read_to_end(&mut header)?;
    Ok(match (machine(&header), host_machine()) {
        (Some(machine), Some(ours)) if machine == ours => {
            match missing_bytes(&header, file.metadata()?.len()) {
                0 => Made::ForThisHost,
                missing => Made::CutOff(missing),
            }
        }
        (Some(machine), Some(_)) => Made::ForAnother(machine),
        (Some(_) | None, Some(_) | None) => Made::Unknown,
    })
}

/// How many bytes are missing at the end of a 64-bit ELF program, as its header tells; 0: none, or that cannot be told.
fn missing_bytes(header: &[u8], size: u64) -> u64 {
    let Some(header): Option<&[u8; 64]> = header.first_chunk() else {
        return 0;
    };
    if header[..6] != *b"\x7fELF\x02\x01" {
        return 0;
    }
    // The table of sections is the last thing that a linker writes: where it begins, the size of an entry, and how many there are.
    let begin: [u8; 8] = header[40..48].try_into().unwrap_or_default();
    let (entry, count) = ([header[58], header[59]], [header[60], header[61]]);
    let table = u64::from(u16::from_le_bytes(entry)) * u64::from(u16::from_le_bytes(count));
    u64::from_le_bytes(begin)
        .saturating_add(table)
        .saturating_sub(size)
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
    use std::fs;

    use super::*;

    #[test]
    fn a_binary_for_another_machine_is_told_from_one_for_this() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(18, 0);
        header.extend_from_slice(&8_u16.to_le_bytes());
        fs::write(&path, &header).unwrap();
        assert_eq!(made_for(&path).unwrap(), Made::ForAnother(8));
        assert_eq!(
            made_for(&std::env::current_exe().unwrap()).unwrap(),
            Made::ForThisHost
        );
        for other in [&b"#!/bin/sh"[..], b"", b"\x7fELF"] {
            fs::write(&path, other).unwrap();
            assert_eq!(made_for(&path).unwrap(), Made::Unknown);
        }
    }

    #[test]
    fn a_program_that_was_cut_off_is_told_from_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let whole = std::env::current_exe().unwrap();
        assert_eq!(made_for(&whole).unwrap(), Made::ForThisHost);
        let mut begin = Vec::new();
        let limit = 4096;
        File::open(&whole)
            .unwrap()
            .take(limit)
            .read_to_end(&mut begin)
            .unwrap();
        fs::write(&path, &begin).unwrap();
        let size = fs::metadata(&whole).unwrap().len();
        let Made::CutOff(missing) = made_for(&path).unwrap() else {
            panic!("expected to miss some bytes");
        };
        assert!(missing > 0 && missing <= size - limit, "{missing}");
    }
}
