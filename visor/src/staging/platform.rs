//! The name of this host's platform.

use std::env::consts::{ARCH, OS};

/// `os/arch` in Go's words, as artifacts are named: `linux/amd64`.
#[must_use]
pub fn host_platform() -> String {
    let os = match OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    format!("{os}/{arch}")
}
