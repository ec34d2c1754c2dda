//! The files and commands of Vega's visor, taken over as they are.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use visor::lock::NodeLock;

use super::log::Role;
use super::scene::{Host, Kind, V79, V80};
use crate::scene::Visor;

/// A link to visor by the name of the program that it replaces.
fn vegavisor(folder: &Path) -> PathBuf {
    let link = folder.join("vegavisor");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_visor"), &link).unwrap();
    }
    link
}

fn run(program: impl AsRef<Path>, arguments: &[&str]) -> Output {
    Command::new(program.as_ref())
        .args(arguments)
        .env("VISOR_HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The path of the version that `current` leads to, as it is written.
fn link(host: &Host) -> PathBuf {
    fs::read_link(host.home().join("current")).unwrap()
}

#[test]
fn w_59_both_names_of_the_program_make_the_same_home() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let (our_name, their_name) = (ours.to_str().unwrap(), theirs.to_str().unwrap());
    let made = run(
        env!("CARGO_BIN_EXE_visor"),
        &["init", "--vega", "--home", our_name, "--with-data-node"],
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    let link = vegavisor(dir.path());
    let made = run(&link, &["init", "--home", their_name, "--with-data-node"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    for file in ["config.toml", "genesis/run-config.toml", "vX.X.X/run-config.toml"] {
        let content = fs::read_to_string(ours.join(file)).unwrap();
        assert_eq!(content, fs::read_to_string(theirs.join(file)).unwrap());
        assert_eq!(mode(&theirs.join(file)), 0o600, "{file}");
        // The example can be run: no path has a sub-command in it.
        let parsed: toml::Table = content.parse().unwrap();
        for section in ["vega", "data_node"] {
            let Some(section) = parsed.get(section) else {
                continue;
            };
            assert_eq!(section["binary"]["path"].as_str(), Some("vega"));
        }
    }
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 3);
    let again = run(&link, &["init", "--home", their_name]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"));
    let again = run(
        env!("CARGO_BIN_EXE_visor"),
        &["init", "--vega", "--home", our_name],
    );
    assert_eq!(again.status.code(), Some(3), "{}", text(&again.stderr));
}

#[test]
fn by_the_name_of_vegas_visor_there_are_its_three_commands_and_1_for_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let link = vegavisor(dir.path());
    let json = run(&link, &["version", "--output", "json"]);
    let line = text(&json.stdout);
    assert!(line.starts_with("{\"version\":\"v"), "{line}");
    let answer: Value = serde_json::from_str(&line).unwrap();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["hash", "version"]);
    assert!(text(&run(&link, &["version"]).stdout).starts_with("visor v"));
    assert_eq!(run(&link, &["--help"]).status.code(), Some(0));
    assert_eq!(run(&link, &[]).status.code(), Some(0));

    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    let plain = dir.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("config.toml"), "").unwrap();
    for (arguments, part) in [
        // No environment variable stands for it.
        (&["run"][..], "--home"),
        (&["run", "--home", missing], "`vegavisor init --home"),
        (
            &["run", "--home", dir.path().to_str().unwrap()],
            "Vega's config.toml",
        ),
        (
            &["run", "--home", plain.to_str().unwrap()],
            "expected Vega's files",
        ),
        (&["status", "--home", missing], "status"),
        (&["version", "--output", "xml"], "xml"),
        (&["init"], "--home"),
        (&["run", "--casper"], "--casper"),
    ] {
        let failed = run(&link, arguments);
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
        let said = text(&failed.stderr);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn by_the_name_of_vegas_visor_a_home_runs_and_sigterm_ends_it() {
    let mut host = Host::new(Kind::OneBinary);
    let program = vegavisor(host.root());
    // The mode of execution is added, as it was.
    let binary = host.home().join("genesis/vega");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o644)).unwrap();
    let command = host.command_of(&program);
    let visor = host.launch(command);
    host.wait_height(3);
    assert_eq!(mode(&binary), 0o755);
    assert_eq!(link(&host), Path::new("genesis"));
    host.stop(visor);
    assert_eq!(host.log().versions(), [V79]);
}

#[test]
fn a_home_begins_at_genesis_only_when_nothing_has_run_in_it() {
    let mut host = Host::taken_over(Kind::Core);
    let visor = host.start();
    host.wait_height(2);
    host.stop(visor);
    // The link of the tool before is left as it is until the next switch.
    assert!(link(&host).is_absolute());

    // W-43: the crash between removing the link and making it.
    fs::remove_file(host.home().join("current")).unwrap();
    let visor = host.start();
    host.wait_said(Role::Core, "start ", 2);
    host.stop(visor);
    assert_eq!(host.log().versions(), [V79, V79]);
    // W-60: the new link does not depend on where the home lies.
    assert_eq!(link(&host), Path::new(V79));
}

#[test]
fn w_43_a_dangling_link_starts_nothing_and_says_what_is_missing() {
    let mut host = Host::taken_over(Kind::Core);
    let current = host.home().join("current");
    fs::remove_file(&current).unwrap();
    symlink(host.home().join(V80), &current).unwrap();
    let mut visor = host.start();
    assert_ne!(visor.wait_exit().code(), Some(0));
    let said = visor.log();
    assert!(said.contains(&format!("use version {V80}")), "{said}");
    assert_eq!(host.log().versions(), Vec::<String>::new());
    assert_eq!(link(&host), host.home().join(V80));
}

#[test]
fn w_44_a_real_folder_named_current_is_refused_and_kept() {
    let mut host = Host::new(Kind::Core);
    let current = host.home().join("current");
    fs::create_dir(&current).unwrap();
    fs::write(current.join("precious"), "data").unwrap();
    let mut visor = host.start();
    assert_eq!(visor.wait_exit().code(), Some(3), "{}", visor.log());
    assert!(
        visor.log().contains("expected a symbolic link"),
        "{}",
        visor.log()
    );
    assert_eq!(fs::read(current.join("precious")).unwrap(), b"data");
    assert_eq!(host.log().versions(), Vec::<String>::new());
}

#[test]
fn w_60_a_home_may_be_moved() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_height(2);
    host.stop(visor);
    let moved = host.root().join("moved");
    fs::rename(host.home(), &moved).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_visor"));
    command.args(["run", "--home"]).arg(&moved);
    let visor = Visor::launch(command, host.root().join("moved.log"));
    host.wait_said(Role::Core, "start ", 2);
    visor.terminate();
    let mut visor = visor;
    assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
    assert_eq!(
        fs::read_link(moved.join("current")).unwrap(),
        Path::new("genesis")
    );
}

#[test]
fn unknown_keys_are_warned_of_once_and_a_negative_number_is_refused_by_line() {
    let mut host = Host::new(Kind::Core);
    let few = fs::read_to_string(host.home().join("config.toml")).unwrap();
    host.configure(&format!("kindOfNode = \"validator\"\n{few}"));
    let visor = host.start();
    host.wait_height(2);
    host.stop(visor);
    let said = fs::read_to_string(host.root().join("visor-1.log")).unwrap();
    assert_eq!(said.matches("kindOfNode").count(), 1, "{said}");
    let checked = host.operator(&["config", "check"]);
    assert!(checked.status.success());
    assert!(text(&checked.stdout).contains("kindOfNode is not known"));

    host.configure(&few.replace("restartsDelaySeconds = 0", "restartsDelaySeconds = -1"));
    let mut visor = host.start();
    assert_eq!(visor.wait_exit().code(), Some(3));
    let line = few
        .lines()
        .position(|line| line.starts_with("restartsDelay"))
        .unwrap()
        + 1;
    let problem =
        format!("line {line}: restartsDelaySeconds: expected a whole number that is not negative, found -1");
    assert!(visor.log().contains(&problem), "{}", visor.log());

    host.configure(&few);
    host.configure_own("[stop]\ngrace = \"1s\"\n");
    let checked = host.operator(&["config", "check"]);
    assert_eq!(checked.status.code(), Some(3));
    let said = text(&checked.stderr);
    assert!(said.contains("stopSignalTimeoutSeconds of config.toml"), "{said}");
}

#[test]
fn a_folder_that_the_operator_calls_otherwise_keeps_its_name_when_the_map_changes() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_height(2);
    host.stop(visor);
    let few = fs::read_to_string(host.home().join("config.toml")).unwrap();
    host.configure(&format!("{few}[upgradeFolders]\n\"{V79}\" = \"genesis\"\n"));
    let visor = host.start();
    host.wait_said(Role::Core, "start ", 2);
    host.stop(visor);
    assert_eq!(host.log().versions(), [V79, V79]);
}

#[test]
fn operator_commands_work_on_a_vega_home_or_say_what_they_cannot_do() {
    let mut host = Host::new(Kind::OneBinary);
    let visor = host.start();
    host.wait_height(2);
    let status = host.wait_status("a status", |status| status["chain_system"] == "vega");
    assert_eq!(status["current_version"], "genesis");
    assert_eq!(status["companions"][0]["name"], "data-node");
    let doctor = host.operator(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    for (check, verdict) in [
        ("config.file", "ok"),
        ("config.unknown_keys", "ok"),
        ("current.link", "ok"),
        ("current.run_config", "ok"),
        ("current.binary", "ok"),
        ("current.companions", "ok"),
        ("visor.running", "ok"),
        ("auto_install", "ok"),
    ] {
        let found = report["checks"].as_array().unwrap().iter();
        let found = found.clone().find(|found| found["check"] == check).unwrap();
        assert_eq!(found["verdict"], verdict, "{check}: {found}");
    }
    let held = host.operator(&["stop-node"]);
    assert!(held.status.success(), "{}", text(&held.stderr));
    let lock = NodeLock::new(host.home().join("node.lock"));
    host.wait("the node's end", || lock.prove_gone().unwrap().map(drop));
    assert!(host.operator(&["start-node"]).status.success());
    host.wait_said(Role::Core, "start ", 2);
    for (arguments, part) in [
        (&["upgrade-at", "77", "0.80.0"][..], "protocol_upgrade_proposal"),
        (&["stage", "0.80.0", "--binary", "/bin/true"], "v0.80.0"),
    ] {
        let refused = host.operator(arguments);
        assert_eq!(
            refused.status.code(),
            Some(9),
            "{arguments:?}: {}",
            text(&refused.stderr)
        );
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
    }
    assert!(host.operator(&["plan"]).status.success());
    host.stop(visor);
    let happened = host.operator(&["history", "--json"]);
    assert!(text(&happened.stdout).contains("node_started"));
    assert!(host.operator(&["journal", "dump", "--verify"]).status.success());
}
