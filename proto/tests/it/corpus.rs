//! What fuzzers of messages start from and what they have found, through the very function that they run
//! (`governance/fuzz/README.md`).

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../governance/fuzz/src/grpc.rs"]
#[expect(clippy::panic, reason = "a fuzz target tells what it found by panicking")]
mod grpc;
#[path = "../../../governance/fuzz/src/prepared.rs"]
mod prepared;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../governance/fuzz/corpus/grpc")
}

#[test]
fn gov_14_the_corpus_breaks_nothing() {
    for (name, bytes) in grpc::seeds() {
        let file = folder().join(name);
        assert!(
            fs::read(&file).is_ok_and(|found| found == bytes),
            "{} is out of date: cargo test -p proto write_the_seeds -- --ignored",
            file.display()
        );
    }
    for entry in fs::read_dir(folder()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        grpc::run(&fs::read(path).expect("a file of the corpus"));
    }
}

#[test]
#[ignore = "writes into the sources; to be run after a format has changed"]
fn write_the_seeds() {
    fs::create_dir_all(folder()).expect("the corpus");
    for (name, bytes) in grpc::seeds() {
        fs::write(folder().join(name), bytes).expect("a file of the corpus");
    }
}
