//! Which version's unit runs: the processes that hold the lock, matched with the run configurations of the home (VIS-04).

use std::path::PathBuf;

use crate::home::{GENESIS, Home};
use crate::process::{Launch, Main, Program, Recognised, Role, recognise};
use crate::run_config::RunConfig;
use crate::swap;

/// A unit that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Of the folder that the node's program belongs to, where that can be told.
    pub(crate) version: Option<String>,
    /// Whose run configuration tells how to talk to it: the same, else that of `current`.
    pub(crate) watched: Option<String>,
    pub(crate) unit: Recognised,
}

/// Finds the version whose run configuration explains the running processes best. Between equals, `current`.
pub(crate) fn identify(home: &Home, mains: &[Main]) -> Option<Running> {
    let current = swap::current(home).ok().flatten();
    let mut folders: Vec<String> = current.iter().cloned().collect();
    folders.push(GENESIS.to_owned());
    folders.extend(home.version_folders());
    let mut best: Option<(usize, usize, String, Recognised)> = None;
    for folder in folders {
        let path = home.folder(&folder);
        let Ok(run) = RunConfig::read(&path) else {
            continue;
        };
        let unit = recognise(&run.launch(&path, None), mains);
        let better = |(exact, found, ..): &(usize, usize, String, Recognised)| {
            (unit.exact, unit.processes.len()) > (*exact, *found)
        };
        if !unit.processes.is_empty() && best.as_ref().is_none_or(better) {
            best = Some((unit.exact, unit.processes.len(), folder, unit));
        }
    }
    let version_of = |folder: &String| home.version_of(folder);
    if let Some((_, _, folder, unit)) = best {
        let version = version_of(&folder);
        return Some(Running {
            watched: version.clone().or_else(|| current.as_ref().and_then(version_of)),
            version,
            unit,
        });
    }
    // Nobody knows the program: a wrapper, or a folder whose run configuration was changed since. The oldest is the node.
    let main = mains.first()?;
    let version = home.folder_of(&main.program).as_ref().and_then(version_of);
    let watched = version.clone().or_else(|| current.as_ref().and_then(version_of));
    Some(Running {
        unit: alone(home, watched.as_deref(), main),
        version,
        watched,
    })
}

/// The node of a program that no run configuration names, and everything else of its version missing.
fn alone(home: &Home, version: Option<&str>, main: &Main) -> Recognised {
    let missing = version
        .and_then(|version| home.folder_of_version(version))
        .and_then(|folder| RunConfig::read(&home.folder(&folder)).ok())
        .map(|run| run.launch(&PathBuf::new(), None))
        .unwrap_or(Launch {
            programs: Vec::new(),
            output: None,
        });
    let missing = missing.programs.into_iter().map(|program| program.role);
    let node = Program {
        role: Role::Node,
        path: main.program.clone(),
        arguments: Vec::new(),
        grace: None,
    };
    Recognised {
        processes: vec![(node, main.clone())],
        missing: missing.filter(|role| *role != Role::Node).collect(),
        exact: 0,
    }
}
