//! The tables of faults in VEGA.md and CASPER.md: each fault has a row, and each test that a row names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A test's name, and what its file and the folders above it are called.
struct Named {
    name: String,
    modules: Vec<String>,
}

fn tests_in(folder: &Path, modules: &[String], found: &mut Vec<Named>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let within: Vec<String> = modules.iter().cloned().chain([stem.to_owned()]).collect();
        if path.is_dir() {
            tests_in(&path, &within, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            }
            let function = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
            if let Some((name, _)) = function.and_then(|rest| rest.split_once('('))
                && std::mem::take(&mut is_test)
            {
                let (name, modules) = (name.to_owned(), within.clone());
                found.push(Named { name, modules });
            }
        }
    }
}

fn all_tests() -> Vec<Named> {
    let mut found = Vec::new();
    for folder in ["src", "tests/it"] {
        tests_in(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &[],
            &mut found,
        );
    }
    found
}

/// The rows of the page's tables that begin with the number of a fault.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| line.starts_with("| W"))
}

/// The numbers in the first cell of a row: `W1 text`, `W24, W28 text`, `W29 to W31 text`, `W-04..W-22`.
fn numbers(row: &str) -> Vec<u32> {
    let cell = row.split('|').nth(1).unwrap().replace("..", " to ");
    let mut numbers: Vec<u32> = Vec::new();
    let mut is_range = false;
    for word in cell.split([' ', ',']).filter(|word| !word.is_empty()) {
        let number = word.strip_prefix("W-").or(word.strip_prefix('W'));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            let first = numbers
                .last()
                .filter(|_| is_range)
                .map_or(number, |last| last + 1);
            numbers.extend(first..=number);
        }
        is_range = word == "to";
    }
    numbers
}

fn assert_rows(page: &str, count: u32) {
    let found: BTreeSet<u32> = rows(page).flat_map(numbers).collect();
    let missing: Vec<u32> = (1..=count).filter(|number| !found.contains(number)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

/// `module::name`, `module::beginning_*`, `name` or `beginning_*`.
fn exists(tests: &[Named], quoted: &str) -> bool {
    let (module, name) = quoted.split_once("::").unwrap_or(("", quoted));
    tests.iter().any(|test| {
        let is_named = match name.strip_suffix('*') {
            Some(beginning) => test.name.starts_with(beginning),
            None => test.name == name,
        };
        is_named && (module.is_empty() || test.modules.iter().any(|within| within == module))
    })
}

fn assert_tests(page: &str, is_test: impl Fn(&str) -> bool) {
    let tests = all_tests();
    let mut count = 0;
    for row in rows(page) {
        for quoted in row.split('`').skip(1).step_by(2).filter(|quoted| is_test(quoted)) {
            assert!(exists(&tests, quoted), "no test is called {quoted}: {row}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} names of tests");
}

#[test]
fn each_fault_of_vegas_visor_has_a_row_and_its_tests_exist() {
    let page = include_str!("../../VEGA.md");
    assert_rows(page, 63);
    assert_tests(page, |quoted| quoted.contains("::"));
}

#[test]
fn each_fault_of_caspers_launcher_has_a_row_and_its_tests_exist() {
    let page = include_str!("../../CASPER.md");
    assert_rows(page, 43);
    assert_tests(page, |quoted| quoted.starts_with("casper_"));
}
