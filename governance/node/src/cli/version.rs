//! `governance version`.

use std::fs::File;
use std::io::{self, Read as _};

use clap::Args;
use governance::ReleaseVersion;
use sha2::{Digest as _, Sha256};

use super::{CommandError, Output, print};

#[derive(Debug, Args)]
pub(super) struct VersionArguments {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(arguments: &VersionArguments, release: &ReleaseVersion) -> Result<(), CommandError> {
    let hash = own_hash()?;
    match arguments.output {
        Output::Json => print(&serde_json::json!({"version": release.to_string(), "hash": hash}).to_string()),
        Output::Human => print(&format!("governance {release} (sha256 {hash})")),
    }
}

/// SHA-256 of the binary that runs, in hexadecimal: the digest that a proposal names.
fn own_hash() -> io::Result<String> {
    let mut file = File::open("/proc/self/exe")?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
