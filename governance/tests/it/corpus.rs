//! What fuzzers start from and what they have found, through the very functions that they run.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/certificate.rs"]
mod certificate;
#[path = "../../fuzz/src/prepared.rs"]
mod prepared;
#[path = "../../fuzz/src/rows.rs"]
mod rows;
#[path = "../../fuzz/src/transaction.rs"]
mod transaction;

type Seeds = Vec<(String, Vec<u8>)>;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

#[track_caller]
fn replay(target: &str, run: fn(&[u8]), seeds: &Seeds) {
    for (name, bytes) in seeds {
        let file = folder(target).join(name);
        assert!(
            fs::read(&file).is_ok_and(|found| found == *bytes),
            "{} is out of date: cargo test -p governance write_the_seeds -- --ignored",
            file.display()
        );
    }
    for entry in fs::read_dir(folder(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
    }
}

#[test]
fn gov_14_the_corpus_of_transactions_breaks_nothing() {
    replay("transaction", transaction::run, &transaction::seeds());
}

#[test]
fn gov_14_the_corpus_of_certificates_breaks_nothing() {
    replay("certificate", certificate::run, &certificate::seeds());
}

#[test]
fn gov_14_the_corpus_of_rows_breaks_nothing() {
    replay("rows", rows::run, &rows::seeds());
}

/// The seeds are worth starting from: each gets through to the end of what its target does.
#[test]
fn the_seeds_are_accepted() {
    for (name, bytes) in transaction::seeds() {
        governance::SignedTransaction::from_canonical(&bytes).expect(&name);
    }
    let prepared = &*prepared::PREPARED;
    assert_eq!((prepared.certificates.len(), prepared.executed.len()), (4, 3));
    assert_eq!(
        (
            prepared.state.live_proposals().len(),
            prepared.state.ended_proposals().len()
        ),
        (4, 4)
    );
    for certificate in &prepared.certificates {
        let chain = governance::CertificateChain::new(prepared.executed.iter().cloned(), certificate.clone());
        chain.verify(&prepared::genesis()).unwrap();
    }
    assert!(!prepared.archive.is_empty());
}

#[test]
#[ignore = "writes into the sources; to be run after a format has changed"]
fn write_the_seeds() {
    for (target, seeds) in [
        ("transaction", transaction::seeds()),
        ("certificate", certificate::seeds()),
        ("rows", rows::seeds()),
    ] {
        fs::create_dir_all(folder(target)).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder(target).join(name), bytes).unwrap();
        }
    }
}
