//! What runs in a home although no run configuration of it explains it.

use std::path::PathBuf;

use crate::home::Home;
use crate::process::{Main, Program, Recognised, Role};
use crate::run_config::RunConfig;

/// The node of a program that no run configuration names, and everything else of its version missing.
pub(super) fn alone(home: &Home, version: Option<&str>, main: &Main) -> Recognised {
    let missing = version
        .and_then(|version| home.folder_of_version(version))
        .and_then(|folder| RunConfig::read(&home.folder(&folder)).ok())
        .map(|run| run.launch(&PathBuf::new(), None).programs);
    let missing = missing.into_iter().flatten().map(|program| program.role);
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
