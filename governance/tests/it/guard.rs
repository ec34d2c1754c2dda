//! What the compiler does not check about the crate itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every file of this folder is part of this binary: a test that is not compiled is not run.
#[test]
fn every_test_file_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let listed: BTreeSet<String> = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(|name| format!("{name}.rs"))
        .chain(["main.rs".to_owned()])
        .collect();
    let present: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, listed);
}

/// The attributes that make the crate pure.
#[test]
fn the_crate_stays_pure() {
    let library = include_str!("../../src/lib.rs");
    for attribute in [
        "#![no_std]",
        "#![forbid(unsafe_code)]",
        "clippy::indexing_slicing",
        "clippy::arithmetic_side_effects",
    ] {
        assert!(library.contains(attribute), "lib.rs lacks {attribute}");
    }
    assert!(!library.contains("extern crate std"), "lib.rs links std");
}

/// bincode is used in one module.
#[test]
fn only_encoding_uses_bincode() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "encoding.rs" {
            assert!(
                !fs::read_to_string(&path).unwrap().contains("bincode::"),
                "{} uses bincode",
                path.display()
            );
        }
    }
}

/// Every code of a rejection, and every rule of this crate, stands in the README.
#[test]
fn the_readme_lists_every_code() {
    let readme = include_str!("../../README.md");
    let quoted = include_str!("../../src/error.rs").split('"');
    let codes: Vec<&str> = quoted
        .filter(|text| text.starts_with("GOV-") && !text.contains(' '))
        .collect();
    assert!(codes.len() > 30, "found only {codes:?}");
    assert_eq!(
        codes.len(),
        codes.iter().collect::<BTreeSet<_>>().len(),
        "a code is used twice"
    );
    for code in codes {
        assert!(readme.contains(&format!("`{code}`")), "README.md lacks {code}");
    }
}
