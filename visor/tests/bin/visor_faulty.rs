//! Visor as it is, except that it kills itself where a test wants it to.
//!
//! `VISOR_FAULT_POINT=17` kills it at the 17th place that it passes, `VISOR_FAULT_POINT=name:2` when it passes that place for the
//! second time. `VISOR_FAULT_COUNT=FILE` writes a line for each place that is passed.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use visor::fault::{Kill, arm};

fn main() -> Result<ExitCode> {
    let kill = match std::env::var("VISOR_FAULT_POINT") {
        Ok(text) => Some(kill(&text).context("VISOR_FAULT_POINT: expected N or NAME:N")?),
        Err(_) => None,
    };
    let trace = match std::env::var_os("VISOR_FAULT_COUNT") {
        Some(path) => Some(File::create(path).context("VISOR_FAULT_COUNT")?),
        None => None,
    };
    if kill.is_some() || trace.is_some() {
        arm(kill, trace);
    }
    Ok(ExitCode::from(visor::cli::main(std::env::args_os())))
}

fn kill(text: &str) -> Result<Kill> {
    Ok(match text.rsplit_once(':') {
        Some((name, number)) => Kill::Named(name.to_owned(), number.parse()?),
        None => Kill::Numbered(text.parse()?),
    })
}
