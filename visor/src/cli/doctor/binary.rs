//! Checks of the version that runs.

use super::file::not_a_program;
use super::{Findings, Patient};
use crate::cli::chain;
use crate::run_config::RunConfig;
use crate::staging::probe_version;
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
