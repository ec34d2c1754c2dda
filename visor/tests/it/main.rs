//! Visor over real processes. One binary; a file that is not listed here fails the guard test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic, also in what it calls, and a failed one shows what visor logged"
)]

mod backup;
mod bad_input;
mod by_hand;
mod casper;
mod companions;
mod conditions_disk;
mod conditions_node;
mod conditions_permissions;
mod conditions_plan;
mod crash_points;
mod disk;
mod doctor;
mod durability;
mod fault_tables;
mod history;
mod hook;
mod journal_damage;
mod kills;
mod notify;
mod observe;
mod operate;
mod operator;
mod process;
mod proof;
mod random;
mod re_exec;
mod reload;
mod reporter;
mod reporting_chain;
mod rollback;
mod rollback_kills;
mod scene;
mod staging;
mod stories;
mod trust;
mod vega;
mod webhook;

#[test]
fn every_file_is_listed() {
    let listed = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // A folder is a module as well; its own mod.rs lists its files.
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        assert!(
            module == "main" || listed.contains(&format!("mod {module};")),
            "{name} is not listed in main.rs"
        );
    }
}
