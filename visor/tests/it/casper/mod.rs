//! Visor in the place of casper-node-launcher, over real processes and the launcher's own files.

mod cli;
mod crash_points;
mod discovery;
mod doctor;
mod faults;
mod kills;
mod launcher;
mod proof;
mod scene;
mod seen;
mod stories;
mod takeover;

#[test]
fn every_file_is_listed() {
    let listed = include_str!("mod.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/casper")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(
            module == "mod" || listed.contains(&format!("mod {module};")),
            "{name} is not listed in mod.rs"
        );
    }
}
