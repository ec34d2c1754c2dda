//! The compiler's referee: which of our crates may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Crate -> the crates of ours that it may use. Another edge needs a change of the design first.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("governance", &[]),
    ("visor-planner", &[]),
    ("proto", &["governance"]),
    ("governance-node", &["governance", "proto"]),
    ("visor", &["visor-planner", "proto", "governance"]),
    ("wallet-cli", &["governance", "proto"]),
    (
        "e2e",
        &[
            "governance",
            "visor-planner",
            "proto",
            "governance-node",
            "visor",
            "wallet-cli",
        ],
    ),
];

/// What a pure crate may not even link: runtimes, clocks, randomness, logging.
const NOT_IN_PURE: [&str; 8] = [
    "tokio",
    "async-std",
    "tracing",
    "log",
    "rand",
    "getrandom",
    "chrono",
    "time",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .expect("cargo metadata")
}

#[test]
fn crates_depend_on_each_other_only_as_designed() {
    let metadata = metadata();
    let ours: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    assert_eq!(
        ours.iter().map(String::as_str).collect::<Vec<_>>(),
        allowed.keys().copied().collect::<Vec<_>>(),
        "crates of the workspace"
    );
    for package in metadata.workspace_packages() {
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| ours.contains(&dependency.name))
        {
            assert!(
                allowed[package.name.as_str()].contains(&dependency.name.as_str()),
                "`{}` may not depend on `{}`; allowed: {:?}",
                package.name,
                dependency.name,
                allowed[package.name.as_str()]
            );
        }
    }
}

#[test]
fn pure_crates_link_no_runtime_clock_randomness_or_log() {
    let metadata = metadata();
    for package in metadata
        .workspace_packages()
        .iter()
        .filter(|package| matches!(package.name.as_str(), "governance" | "visor-planner"))
    {
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            assert!(
                !NOT_IN_PURE.contains(&dependency.name.as_str()),
                "`{}` depends on `{}`",
                package.name,
                dependency.name
            );
        }
        let lib = package
            .targets
            .iter()
            .find(|target| target.is_lib())
            .expect("a library");
        let source = std::fs::read_to_string(&lib.src_path).expect("lib.rs");
        assert!(source.contains("#![no_std]"), "`{}` must be no_std", package.name);
        assert!(
            source.contains("#![forbid(unsafe_code)]"),
            "`{}` must forbid unsafe code",
            package.name
        );
    }
}
