//! Whole nodes, in one test binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test helper that fails ends its test, with the place in the backtrace"
)]

mod commands;
mod corpus;
mod network;
mod program;
mod queries;
mod signed_height;
mod single;
mod snapshot;
mod upgrade;
mod validators;

/// A file that no `mod` names would never run.
#[test]
fn every_file_is_listed() {
    let this = include_str!("main.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(
            module == "main" || this.contains(&format!("mod {module};")),
            "{name} is not listed"
        );
    }
}
