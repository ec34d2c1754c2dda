//! Homes of Vega's visor under ours, with a core and a data node that are real processes.

mod answers;
mod crash_points;
mod fake;
mod fetched;
mod files;
mod halt;
mod install;
mod install_download;
mod install_kills;
mod install_scene;
mod kills;
mod log;
mod proof;
mod releases;
mod reload;
mod restarts;
mod scene;
mod stories;
mod unseen;

#[test]
fn every_file_is_listed() {
    let listed = include_str!("mod.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/vega")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(
            module == "mod" || listed.contains(&format!("mod {module};")),
            "{name} is not listed in mod.rs"
        );
    }
}
