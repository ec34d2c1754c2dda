//! The operator's command line, as the tests use it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::scene::Host;

pub(crate) const REFUSED: Option<i32> = Some(9);
pub(crate) const UNREACHABLE: Option<i32> = Some(4);

/// Runs `visor ARGUMENTS --home HOME` without a terminal.
pub(crate) fn visor(host: &Host, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .arg("--home")
        .arg(host.home())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The same with `--json`: the exit code and the object.
pub(crate) fn json_of(host: &Host, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = visor(host, &[arguments, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{arguments:?}: {error}; {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), value)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `visor doctor` says of one check.
pub(crate) fn verdict<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} in {report:#}"));
    (
        found["verdict"].as_str().unwrap(),
        found["found"].as_str().unwrap(),
    )
}

/// Asserts that `visor doctor` fails because of this check, and names what it found.
pub(crate) fn assert_fails(host: &Host, arguments: &[&str], check: &str, part: &str) {
    let (code, report) = json_of(host, &[&["doctor"], arguments].concat());
    let (found, text) = verdict(&report, check);
    assert_eq!(found, "fail", "{check}: {report:#}");
    assert!(text.contains(part), "{part:?} in {text:?}");
    assert_eq!((code, &report["ready"]), (Some(10), &json!(false)));
}

pub(crate) fn assert_warns(host: &Host, arguments: &[&str], check: &str, part: &str) {
    let (code, report) = json_of(host, &[&["doctor"], arguments].concat());
    let (found, text) = verdict(&report, check);
    assert_eq!(found, "warn", "{check}: {report:#}");
    assert!(text.contains(part), "{part:?} in {text:?}");
    assert_eq!((code, &report["ready"]), (Some(0), &json!(true)), "{report:#}");
}

/// A new file in its place: the old one may be running.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let part = path.with_extension("part");
    fs::write(&part, bytes).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(part, path).unwrap();
}

/// Asserts that an order is accepted, and returns what visor says.
pub(crate) fn accepted(host: &Host, arguments: &[&str]) -> String {
    let (code, answer) = json_of(host, arguments);
    assert_eq!(
        (code, &answer["accepted"]),
        (Some(0), &json!(true)),
        "{arguments:?}: {answer}"
    );
    answer["message"].as_str().unwrap().to_owned()
}

pub(crate) fn refused(host: &Host, arguments: &[&str], part: &str) {
    let output = visor(host, arguments);
    assert_eq!(
        output.status.code(),
        REFUSED,
        "{arguments:?}: {}",
        stderr(&output)
    );
    let text = stderr(&output);
    assert!(
        text.starts_with("visor: failed to ") && text.contains(part),
        "{part:?} in {text}"
    );
    let (code, answer) = json_of(host, arguments);
    assert_eq!((code, &answer["accepted"]), (REFUSED, &json!(false)));
}

pub(crate) fn events(host: &Host) -> Vec<String> {
    let (_, history) = json_of(host, &["history"]);
    let events = history["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect()
}
