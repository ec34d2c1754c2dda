use std::ffi::OsString;

use rustix::process::Pid;

use super::layout::tests::Host as Files;
use super::*;
use crate::cli::chain;
use crate::lock::Holder;

pub(super) fn open(files: &Files) -> Casper {
    Casper::open(files.settings.clone()).unwrap()
}

pub(super) fn state(files: &Files) -> String {
    fs::read_to_string(files.settings.config_root.join(state::FILE_NAME)).unwrap_or_default()
}

pub(super) fn write(files: &Files, text: &str) {
    fs::write(files.settings.config_root.join(state::FILE_NAME), text).unwrap();
}

pub(super) fn run_state(files: &Files, version: &str) -> String {
    let info = files.info(version);
    format!(
        "mode = 'RunNodeAsValidator'\nversion = '{version}'\nbinary_path = '{}'\nconfig_path = '{}'\n",
        info.binary.display(),
        info.config.display()
    )
}

pub(super) fn current(casper: &Casper) -> Option<String> {
    casper.current().unwrap().version
}

fn words(launch: &Launch) -> Vec<String> {
    let [program] = launch.programs.as_slice() else {
        panic!("one program, found {}", launch.programs.len());
    };
    assert!(launch.inherit_input);
    let mut words = vec![program.path.display().to_string()];
    words.extend(program.arguments.iter().cloned());
    words
}

fn start(version: &str) -> Start {
    Start {
        version: version.to_owned(),
        after_halt: None,
        unseen_halt: None,
    }
}

#[test]
fn casper_w17_the_recorded_files_are_run_or_none() {
    let files = Files::with(&[("1.0.0", 0), ("1.1.0", 10)]);
    let elsewhere = files.root().join("tested-node");
    fs::copy(files.info("1.0.0").binary, &elsewhere).unwrap();
    let recorded = run_state(&files, "1.0.0").replace(
        &files.info("1.0.0").binary.display().to_string(),
        &elsewhere.display().to_string(),
    );
    write(&files, &recorded);
    let casper = open(&files);
    let config = Config::default();
    let launch = casper.launch(&start("1.0.0"), &[], &config).unwrap();
    let at = files.info("1.0.0").config.display().to_string();
    assert_eq!(
        words(&launch),
        [elsewhere.display().to_string(), VALIDATOR.to_owned(), at]
    );
    assert_eq!(casper.program("1.0.0").as_deref(), Some(elsewhere.as_path()));
    fs::remove_file(&elsewhere).unwrap();
    let error = chain(&casper.launch(&start("1.0.0"), &[], &config).unwrap_err());
    for part in [
        "tested-node is missing",
        "launcher-state.toml names this file",
        "no other version is run",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // The version is another's.
    write(
        &files,
        &run_state(&files, "1.0.0").replace("version = '1.0.0'", "version = '1.1.0'"),
    );
    let error = chain(&casper.current().unwrap_err());
    assert!(
        error.contains("names version 1.1.0, but binary_path is"),
        "{error}"
    );
}

#[test]
fn casper_2_7_an_upgrade_writes_the_launchers_states_in_order() {
    let files = Files::with(&[("1.0.0", 0), ("1.1.0", 10)]);
    let casper = open(&files);
    casper.settle().unwrap();
    casper.force("1.0.0").unwrap();
    let config = Config::default();
    let plan = casper.neighbour("1.0.0", Neighbour::Next).unwrap();
    assert_eq!(
        (plan.id.0.as_str(), plan.version.0.as_str(), plan.height.0),
        ("1.1.0@era-10", "1.1.0", 9)
    );
    let launch = casper.begin_migration("1.0.0", "1.1.0", &config).unwrap();
    let path = |version: &str| files.info(version).config.display().to_string();
    assert_eq!(
        words(&launch)[1..],
        [
            MIGRATE,
            "--old-config",
            &path("1.0.0"),
            "--new-config",
            &path("1.1.0")
        ]
    );
    assert_eq!(
        words(&launch)[0],
        files.info("1.1.0").binary.display().to_string()
    );
    let half = |version: &str| run_state(&files, version).split_once('\n').unwrap().1.to_owned();
    let expected = format!(
        "mode = 'MigrateData'\n\n[old_info]\n{}\n[new_info]\n{}",
        half("1.0.0"),
        half("1.1.0")
    );
    assert_eq!(state(&files), expected);
    let found = casper.current().unwrap();
    assert_eq!(found.version.as_deref(), Some("1.0.0"));
    let migrating = found.migrating.unwrap();
    assert_eq!((migrating.from.0.as_str(), migrating.plan), ("1.0.0", plan));
    let switch = casper.prepare_switch("1.1.0").unwrap();
    assert_eq!(state(&files), expected);
    switch.switch().unwrap();
    casper.sync_switch().unwrap();
    assert_eq!(state(&files), run_state(&files, "1.1.0"));
}

#[test]
fn casper_w2_nothing_is_written_for_a_version_that_cannot_be_run() {
    let files = Files::with(&[("1.0.0", 0), ("1.1.0", 10)]);
    let casper = open(&files);
    casper.force("1.0.0").unwrap();
    fs::remove_file(files.info("1.1.0").binary).unwrap();
    assert!(
        casper
            .begin_migration("1.0.0", "1.1.0", &Config::default())
            .is_err()
    );
    assert!(casper.prepare_switch("1.1.0").is_err());
    assert_eq!(state(&files), run_state(&files, "1.0.0"));
}

fn main(words: &[&str]) -> Main {
    let pid = Pid::from_raw(50).unwrap();
    Main {
        holder: Holder {
            pid,
            group: 50,
            session: 7,
            start_time: 5,
        },
        program: PathBuf::from("/bin/sh"),
        command_line: words.iter().map(OsString::from).collect(),
    }
}

#[test]
fn vis_04_a_node_and_a_migration_are_told_apart_by_their_command_lines() {
    let files = Files::with(&[("1.0.0", 0), ("2.0.0", 20)]);
    let casper = open(&files);
    casper.force("1.0.0").unwrap();
    let path = |path: &Path| path.display().to_string();
    let (old, new) = (files.info("1.0.0"), files.info("2.0.0"));
    let validator = |info: &NodeInfo| main(&["/bin/sh", &path(&info.binary), VALIDATOR, &path(&info.config)]);
    let found = casper.identify(&[validator(&new)]).unwrap();
    assert_eq!(
        (found.version.as_deref(), found.is_migration),
        (Some("2.0.0"), false)
    );
    let found = casper.identify(&[validator(&old)]).unwrap();
    assert_eq!(found.version.as_deref(), Some("1.0.0"));
    let words = [
        "/bin/sh",
        &path(&new.binary),
        MIGRATE,
        "--old-config",
        &path(&old.config),
        "--new-config",
        &path(&new.config),
    ];
    let found = casper.identify(&[main(&words)]).unwrap();
    assert_eq!(
        (found.version.as_deref(), found.is_migration),
        (Some("2.0.0"), true)
    );
    // A program that nobody knows: of the version that is to run.
    let found = casper
        .identify(&[main(&["/usr/bin/casper-node", "validator"])])
        .unwrap();
    assert_eq!((found.version, found.watched.as_deref()), (None, Some("1.0.0")));
    assert_eq!(casper.identify(&[]), None);
}

#[test]
fn the_configuration_is_that_of_the_own_folder_and_may_be_missing() {
    let files = Files::new();
    let mut casper = open(&files);
    let config = casper.read_config().unwrap();
    assert_eq!((config.stop.grace, config.restart.max_retries), (GRACE, 5));
    let [path] = casper.config_files().try_into().unwrap();
    fs::write(&path, "[stop]\ndelay = \"1s\"\n[node]\nlog_file = \"node.log\"\n").unwrap();
    let config = casper.read_config().unwrap();
    assert_eq!(config.stop.grace, GRACE);
    assert_eq!(config.node.log_file, files.settings.own_folder().join("node.log"));
    fs::write(&path, "[stop]\ngrace = \"15s\"\n").unwrap();
    assert_eq!(casper.read_config().unwrap().stop.grace, Duration::from_secs(15));
    fs::write(&path, "[stop]\ngrase = \"15s\"\n").unwrap();
    assert!(casper.read_config().is_err());
    fs::remove_file(&path).unwrap();
    let settings = Settings {
        single_attempt: true,
        ..files.settings.clone()
    };
    casper = Casper::at(settings);
    let config = casper.read_config().unwrap();
    let retries = [config.restart, config.first_start, config.start_after_upgrade];
    assert!(retries.iter().all(|retry| retry.max_retries == 0));
}
