//! The real binary: offline, and against a chain with the real rules behind a real socket.

mod artifacts;
mod certificates;
mod chain;
mod changes;
mod confirming;
mod node;
mod offline;
mod paging;
mod queries;
mod readiness;
mod refusals;
mod trust;
mod voting;
mod waiting;
mod wallet;

#[test]
fn every_file_here_is_listed() {
    let listed = include_str!("main.rs");
    for entry in
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).expect("the folder of the tests")
    {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a readable name");
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || listed.contains(&format!("mod {module};")),
            "{name} is not listed in main.rs, so it is not run"
        );
    }
}
