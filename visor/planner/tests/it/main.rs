//! The planner against a simulated host.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that fails ends its test, with the place in the backtrace"
)]

mod clock;
mod crash_points;
mod golden;
mod properties;
mod scenarios;
mod status;
mod steps;
mod world;

/// A file that no `mod` names would never run.
#[test]
fn every_file_is_listed() {
    fn look(folder: &std::path::Path, list: &std::path::Path) {
        let listed = std::fs::read_to_string(list).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                path == list || listed.contains(&format!("mod {module};")),
                "{} is not listed",
                path.display()
            );
            if path.is_dir() {
                look(&path, &path.join("mod.rs"));
            }
        }
    }
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it"));
    look(folder, &folder.join("main.rs"));
}
