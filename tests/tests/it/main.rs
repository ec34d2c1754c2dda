//! Stories over real processes. They run one at a time, because each is a whole network on few cores.

#![expect(
    clippy::panic,
    reason = "a helper that fails ends its story, with what was seen instead"
)]

mod arrows;
mod bad_input;
mod connections;
mod disk;
mod double_signer;
mod durable;
mod floods;
mod hostile;
mod malformed;
mod nodes;
mod python;
mod readiness;
mod story;
mod upgrade;
mod validators;
mod visor_faults;

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
