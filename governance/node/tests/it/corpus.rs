//! What fuzzers of snapshots start from and what they have found, through the very function that they run
//! (`governance/fuzz/README.md`).

use std::fs;
use std::path::{Path, PathBuf};

use governance_node::{chronicle, snapshot_file};

#[path = "../../../fuzz/src/prepared.rs"]
mod prepared;
#[path = "../../../fuzz/src/snapshot.rs"]
mod snapshot;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/snapshot")
}

#[test]
fn gov_14_the_corpus_breaks_nothing() {
    for (name, bytes) in snapshot::seeds() {
        let file = folder().join(name);
        assert!(
            fs::read(&file).is_ok_and(|found| found == bytes),
            "{} is out of date: cargo test -p governance-node write_the_seeds -- --ignored",
            file.display()
        );
    }
    for entry in fs::read_dir(folder()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        snapshot::run(&fs::read(path).expect("a file of the corpus"));
    }
}

/// The seed is worth starting from: it gets through to the end.
#[test]
fn the_seed_is_accepted() {
    for (_, bytes) in snapshot::seeds() {
        let file = snapshot_file::SnapshotFile::from_content(&bytes).expect("a snapshot");
        let state = file
            .verify(&prepared::genesis())
            .expect("a snapshot of the chain");
        assert_eq!(state, prepared::PREPARED.state);
    }
}

#[test]
#[ignore = "writes into the sources; to be run after a format has changed"]
fn write_the_seeds() {
    fs::create_dir_all(folder()).expect("the corpus");
    for (name, bytes) in snapshot::seeds() {
        fs::write(folder().join(name), bytes).expect("a file of the corpus");
    }
}
