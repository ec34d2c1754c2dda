//! Every wrong input has its own message and changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use crate::scene::Host;

fn visor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(arguments)
        .output()
        .unwrap()
}

fn assert_refused(output: &Output, code: i32, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn a_home_that_is_not_initialised_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    for command in ["run", "status"] {
        assert_refused(
            &visor(&[command, "--home", home]),
            3,
            &[home, "not initialised", "visor init"],
        );
        let missing = format!("{home}/missing");
        assert_refused(
            &visor(&[command, "--home", &missing]),
            3,
            &[&missing, "visor init"],
        );
    }
    assert_eq!(fs::read_dir(home).unwrap().count(), 0);
}

#[test]
fn an_initialised_home_is_not_initialised_again() {
    let host = Host::new();
    assert_refused(&host.init(), 3, &["initialised already", "Nothing was changed"]);
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_known_keys() {
    let host = Host::new();
    let path = host.home().join("config.toml");
    fs::write(&path, "[stop]\ngraze = \"1s\"\n").unwrap();
    let output = host.command().output().unwrap();
    assert_refused(&output, 3, &[path.to_str().unwrap(), "line 2", "graze", "grace"]);
    assert!(!host.home().join("journal").exists());
}

#[test]
fn a_home_too_deep_for_its_socket_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("x".repeat(120));
    let binary = Host::new();
    let output = visor(&[
        "init",
        "--home",
        home.to_str().unwrap(),
        "--binary",
        binary.artifact("1.0.0").to_str().unwrap(),
    ]);
    assert_refused(&output, 3, &["at most 107 bytes", "found", "shorter"]);
    assert!(!home.exists());
}

#[test]
fn a_program_without_a_version_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("v");
    let output = visor(&["init", "--home", home.to_str().unwrap(), "--binary", "/bin/true"]);
    assert_refused(&output, 3, &["/bin/true", "version"]);
    let output = visor(&["init", "--home", home.to_str().unwrap(), "--binary", "/nowhere"]);
    assert_refused(&output, 3, &["/nowhere", "nothing"]);
    assert!(!home.exists());
}

#[test]
fn vis_07_a_current_that_is_no_link_is_refused_and_kept() {
    let host = Host::new();
    let current = host.home().join("current");
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    fs::write(current.join("precious"), "data").unwrap();
    assert_refused(&host.command().output().unwrap(), 3, &["symbolic link", "folder"]);
    assert!(current.join("precious").exists());
}

#[test]
fn vis_07_a_lost_current_never_means_genesis() {
    let host = Host::new();
    let current = host.home().join("current");
    fs::remove_file(&current).unwrap();
    assert_refused(&host.command().output().unwrap(), 3, &["current"]);
    symlink("v9.9.9", &current).unwrap();
    assert_refused(&host.command().output().unwrap(), 3, &["current"]);
    assert_eq!(host.starts(), [] as [&str; 0]);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    assert_refused(&visor(&["run"]), 2, &["--home"]);
    assert_refused(&visor(&["fly"]), 2, &["fly"]);
    assert_eq!(visor(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_version_is_told_to_people_and_to_scripts() {
    let output = visor(&["version", "--output", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["schema"], 1);
    assert!(
        String::from_utf8(visor(&["version"]).stdout)
            .unwrap()
            .starts_with("visor ")
    );
}
