//! Checks of a Vega home: its two kinds of files, the programs that they name, the admin socket, and the folder of the next upgrade.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Findings, Patient};
use crate::adapter::vega::{self, RunConfig, Vega};
use crate::adapter::{Adapter as _, AdapterError};
use crate::cli::chain;
use crate::machine::{Made, made_for};
use crate::process::Role;
use crate::staging::{host_platform, probe_exact_version};

pub(super) async fn check(patient: &Patient, findings: &mut Findings) {
    let vega = Vega::look(patient.home.clone());
    // So that the map of now is gone by; what is wrong with the file has its own line.
    let _ = vega.read_config();
    unknown_keys(patient, findings);
    current(patient, &vega, findings).await;
    node(patient, findings);
    super::upgrade::known(patient, findings);
    match patient.next() {
        Some(next) => {
            super::upgrade::staged(patient, next, findings);
            next_folder(patient, &vega, &next.version, findings).await;
        }
        None => {
            findings.skip("upgrade.staged", "no upgrade is known");
            findings.skip("upgrade.folder", "no upgrade is known");
        }
    }
    auto_install(patient, &vega, findings);
}

fn unknown_keys(patient: &Patient, findings: &mut Findings) {
    match vega::check_config(&patient.home.config(), None) {
        Err(_) => findings.skip("config.unknown_keys", "config.toml cannot be used"),
        Ok(unknown) if unknown.is_empty() => findings.ok("config.unknown_keys", "none"),
        Ok(unknown) => findings.warn(
            "config.unknown_keys",
            format!("config.toml has keys that count for nothing: {unknown:?}"),
            "correct their names, or remove them",
        ),
    }
}

async fn current(patient: &Patient, vega: &Vega, findings: &mut Findings) {
    let advice = "point `current` to the folder of the version that the chain runs: `ln -sfn FOLDER current` in the home";
    let version = match vega.current() {
        Err(error) => return findings.fail("current.link", chain(&error), advice),
        Ok(current) => match current.version {
            Some(version) => version,
            None => {
                return findings.fail(
                    "current.link",
                    format!("{} does not exist", patient.home.current().display()),
                    advice,
                );
            }
        },
    };
    let (folder, run) = match vega.read(&version) {
        Ok(found) => found,
        Err(error @ AdapterError::NoFolder { .. }) => {
            return findings.fail("current.link", chain(&error), advice);
        }
        Err(error) => {
            findings.ok("current.link", format!("leads to {version}"));
            return findings.fail(
                "current.run_config",
                chain(&error),
                "repair it: the node cannot be started without it",
            );
        }
    };
    findings.ok("current.link", format!("leads to {version}"));
    run_config(&folder, findings);
    let limit = patient.config().staging.version_timeout;
    programs(&folder, &run, &version, limit, findings).await;
    socket(patient, &run, findings);
}

fn run_config(folder: &Path, findings: &mut Findings) {
    let (run, unknown) = match RunConfig::read_all(folder) {
        Ok(found) => found,
        Err(error) => return findings.fail("current.run_config", chain(&error), "repair it"),
    };
    if run.pins_height() {
        findings.warn(
            "current.run_config",
            "vega.binary.args say at which snapshot to begin: every start but an upgrade's first begins there again",
            "remove --snapshot.load-from-block-height from it once the node has started",
        );
    } else if unknown.is_empty() {
        findings.ok("current.run_config", folder.display().to_string());
    } else {
        findings.warn(
            "current.run_config",
            format!("it has keys that count for nothing: {unknown:?}"),
            "correct their names, or remove them",
        );
    }
}

async fn programs(folder: &Path, run: &RunConfig, version: &str, limit: Duration, findings: &mut Findings) {
    if run.data_node.is_none() {
        findings.skip("current.companions", "the run configuration names no data node");
    }
    for (role, program) in run.programs(folder) {
        let name = match role {
            Role::Node => "current.binary",
            Role::Companion(_) => "current.companions",
        };
        match program_problem(&program, version, limit).await {
            Some(problem) => findings.fail(
                name,
                problem,
                "put the right binary there: the node cannot be started again without it",
            ),
            None => findings.ok(name, program.display().to_string()),
        }
    }
}

/// Why a program could not be started as this version; nothing when it could.
async fn program_problem(program: &Path, version: &str, limit: Duration) -> Option<String> {
    let shown = program.display();
    match fs::metadata(program) {
        Ok(metadata) if metadata.is_file() => {
            if metadata.permissions().mode() & 0o111 == 0 {
                // A start adds the mode; here nothing is changed.
                return None;
            }
        }
        Ok(_) => return Some(format!("{shown} is no file")),
        Err(error) => return Some(format!("{shown}: {error}")),
    }
    if let Ok(Made::ForAnother(machine)) = made_for(program) {
        return Some(format!(
            "{shown} is made for another machine (ELF {machine}), not for {}",
            host_platform()
        ));
    }
    match probe_exact_version(program, limit).await {
        Err(error) => Some(chain(&error)),
        // A folder that no release is known for has no version that could be compared.
        Ok(found) if vega::is_release_tag(version) && found != version => Some(format!(
            "{shown} says that it is {found}, expected exactly {version}"
        )),
        Ok(_) => None,
    }
}

/// Whoever may replace the socket could order an upgrade while the core is down (W-53).
fn socket(patient: &Patient, run: &RunConfig, findings: &mut Findings) {
    let path = &run.rpc.socket_path;
    let shown = path.display();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let Ok(found) = fs::metadata(folder) else {
        return findings.fail(
            "node.socket",
            format!(
                "{} does not exist, so the core cannot make {shown}",
                folder.display()
            ),
            "make it, or correct vega.rpc.socketPath and the core's [Admin.Server] SocketPath",
        );
    };
    let ours = rustix::process::geteuid().as_raw();
    if let Ok(socket) = fs::symlink_metadata(path) {
        if !socket.file_type().is_socket() {
            return findings.fail("node.socket", format!("{shown} is no socket"), "move it away");
        }
        if socket.uid() != ours && socket.uid() != 0 {
            return findings.fail(
                "node.socket",
                format!(
                    "{shown} belongs to user {}, and this is user {ours}",
                    socket.uid()
                ),
                "find out who made it; run `visor doctor` as the user that runs visor",
            );
        }
    } else if patient
        .status
        .as_ref()
        .is_some_and(|status| status.node_connected)
    {
        return findings.fail(
            "node.socket",
            format!("{shown} is gone, although the node runs"),
            "somebody removed it; visor will not see the next upgrade until the node is restarted",
        );
    }
    if found.mode() & 0o002 != 0 {
        return findings.warn(
            "node.socket",
            format!("{shown} lies in {}, into which everybody may write", folder.display()),
            "move it to a folder of the node's user: [Admin.Server] SocketPath of the core, vega.rpc.socketPath here",
        );
    }
    findings.ok("node.socket", shown.to_string());
}

fn node(patient: &Patient, findings: &mut Findings) {
    super::node::visor_running(patient, findings);
    if patient.offline {
        return findings.skip("node.report", "left out (--offline)");
    }
    match &patient.status {
        None => findings.skip("node.report", "no visor runs"),
        Some(status) if status.node_held => findings.warn(
            "node.report",
            "the node is kept stopped",
            "`visor start-node` starts it again",
        ),
        Some(status) if !status.node_connected => findings.fail(
            "node.report",
            "the core's admin service gives no answer",
            "look at the core's own log, and whether vega.rpc.socketPath is its [Admin.Server] SocketPath",
        ),
        Some(status) => findings.ok("node.report", format!("version {}", status.current_version)),
    }
}

async fn next_folder(patient: &Patient, vega: &Vega, version: &str, findings: &mut Findings) {
    let name = "upgrade.folder";
    let install = vega.settings().auto_install.clone();
    let (folder, run) = match vega.read(version) {
        Ok(found) => found,
        Err(error @ AdapterError::NoFolder { .. }) if !install.enabled => {
            return findings.fail(
                name,
                format!("{}, and autoInstall is off", chain(&error)),
                "make the folder with the binaries and a run-config.toml before the height, or turn autoInstall on",
            );
        }
        Err(AdapterError::NoFolder { expected, .. }) => {
            return findings.skip(
                name,
                format!(
                    "{expected} is not there yet; it is made from {}/{}",
                    install.repository_owner, install.repository
                ),
            );
        }
        Err(error) => return findings.fail(name, chain(&error), "repair it before the height"),
    };
    let limit = patient.config().staging.version_timeout;
    for (_, program) in run.programs(&folder) {
        if let Some(problem) = program_problem(&program, version, limit).await {
            return findings.fail(name, problem, "put the right binary there before the height");
        }
    }
    findings.ok(name, format!("{} is complete and runs here", folder.display()));
}

fn auto_install(patient: &Patient, vega: &Vega, findings: &mut Findings) {
    let name = "auto_install";
    let install = vega.settings().auto_install.clone();
    if !install.enabled {
        return findings.ok(name, "off: you make the folder of each new version");
    }
    let token = match install.token.read(patient.home.root()) {
        Ok(token) => token,
        Err(error) => {
            return findings.fail(name, chain(&error), "repair it, or remove autoInstall.tokenFile");
        }
    };
    let config: PathBuf = patient.home.config();
    let is_readable = fs::metadata(&config).is_ok_and(|metadata| metadata.mode() & 0o044 != 0);
    if install.token.is_in_config() && is_readable {
        return findings.warn(
            name,
            format!(
                "{} holds a token, and others than its owner may read it",
                config.display()
            ),
            "`chmod 600` it, or use autoInstall.tokenFile",
        );
    }
    if token.is_some() && install.base_url.reveal().starts_with("http://") {
        return findings.warn(
            name,
            format!("the token goes to {} in clear text", install.base_url),
            "use an https:// address",
        );
    }
    findings.ok(
        name,
        format!(
            "{} of {}/{} at {}",
            install.asset.name, install.repository_owner, install.repository, install.base_url
        ),
    );
}
