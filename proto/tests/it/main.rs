//! Every message survives the way to the wire and back, and no bytes from outside make the conversion panic.

mod arbitrary;
mod bad_messages;
mod corpus;
mod random_bytes;
mod round_trip;

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
