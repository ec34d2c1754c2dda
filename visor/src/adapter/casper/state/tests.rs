use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const RUN: &str = "mode = 'RunNodeAsValidator'
version = '1.5.8'
binary_path = '/var/lib/casper/bin/1_5_8/casper-node'
config_path = '/etc/casper/1_5_8/config.toml'
";
const MIGRATE: &str = "mode = 'MigrateData'

[old_info]
version = '1.5.8'
binary_path = '/var/lib/casper/bin/1_5_8/casper-node'
config_path = '/etc/casper/1_5_8/config.toml'

[new_info]
version = '2.0.0-rc.1+b.2'
binary_path = '/var/lib/casper/bin/2_0_0-rc_1+b_2/casper-node'
config_path = '/etc/casper/2_0_0-rc_1+b_2/config.toml'
";

fn info(version: &str, folder: &str) -> NodeInfo {
    NodeInfo {
        version: Version::parse(version).unwrap(),
        binary: PathBuf::from(format!("/var/lib/casper/bin/{folder}/casper-node")),
        config: PathBuf::from(format!("/etc/casper/{folder}/config.toml")),
    }
}

fn run() -> State {
    State::Run(info("1.5.8", "1_5_8"))
}

fn migrate() -> State {
    State::Migrate {
        old: info("1.5.8", "1_5_8"),
        new: info("2.0.0-rc.1+b.2", "2_0_0-rc_1+b_2"),
    }
}

struct Root {
    dir: tempfile::TempDir,
    file: StateFile,
}

fn root() -> Root {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("casper-visor");
    fs::create_dir(&own).unwrap();
    let file = StateFile::new(dir.path(), &own);
    Root { dir, file }
}

impl Root {
    fn text(&self) -> String {
        fs::read_to_string(self.file.path()).unwrap()
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn casper_2_4_both_shapes_are_written_in_the_launchers_bytes() {
    let root = root();
    assert_eq!(root.file.read().unwrap(), None);
    for (state, text) in [(run(), RUN), (migrate(), MIGRATE), (run(), RUN)] {
        root.file.write(&state).unwrap();
        assert_eq!(root.text(), text);
        assert_eq!(root.file.read().unwrap(), Some(state));
    }
    assert_eq!(root.entries(), [FILE_NAME, "casper-visor"]);
    assert_eq!(
        fs::metadata(root.file.path()).unwrap().permissions().mode() & 0o777,
        0o644
    );
}

#[test]
fn what_another_tool_writes_is_read_however_soon_after() {
    let root = root();
    let (one, other) = (
        RUN.to_owned(),
        RUN.replace("1.5.8", "1.5.9").replace("1_5_8", "1_5_9"),
    );
    let began = std::time::Instant::now();
    // Longer than it takes until a file counts as settled.
    while began.elapsed() < std::time::Duration::from_millis(300) {
        for (text, version) in [(&one, "1.5.8"), (&other, "1.5.9")] {
            fs::write(root.file.path(), text).unwrap();
            for _ in 0..2 {
                let state = root.file.read().unwrap().unwrap();
                assert!(state.infos().all(|info| info.version.to_string() == version));
            }
        }
    }
    // In the end it is kept, and read again all the same when it changes.
    while root.file.last.lock().unwrap().is_none() {
        assert!(root.file.read().unwrap().is_some());
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
    }
    fs::write(root.file.path(), &one).unwrap();
    assert_eq!(root.file.read().unwrap(), Some(run()));
}

#[test]
fn casper_2_4_both_shapes_are_read_however_they_are_written() {
    for (text, state) in [
        (RUN.to_owned(), run()),
        (MIGRATE.to_owned(), migrate()),
        // What `force_run_version` leaves: no newline at the end.
        (RUN.trim_end().to_owned(), run()),
        (RUN.replace('\'', "\""), run()),
        (
            format!("# moved by hand\n{RUN}# and more\nextra = [1, 2]\n[table]\nx = 1\n"),
            run(),
        ),
        (format!("{MIGRATE}[more]\nmode = 'x'\n"), migrate()),
        (RUN.replace('\n', "\r\n"), run()),
        (
            "version='1.5.8'\nconfig_path='/etc/casper/1_5_8/config.toml'\n\
             binary_path='/var/lib/casper/bin/1_5_8/casper-node'\nmode='RunNodeAsValidator'"
                .to_owned(),
            run(),
        ),
    ] {
        assert_eq!(State::parse(&text), Ok(state), "{text}");
    }
}

#[test]
fn casper_w3_what_says_nothing_is_refused_and_left_as_it_is() {
    let root = root();
    for (text, because) in [
        (String::new(), "expected a key mode, found none"),
        ("\0\0\0\0".to_owned(), "TOML parse error"),
        (
            RUN.replace("RunNodeAsValidator", "RunForEver"),
            "found \"RunForEver\"",
        ),
        (RUN.replace("mode", "mood"), "expected a key mode"),
        (RUN.replace("'1.5.8'", "'1.5'"), "version: expected a version"),
        (RUN.replace("'1.5.8'", "158"), "version: expected a string"),
        (RUN.replace("binary_path", "binary"), "expected a key binary_path"),
        (
            MIGRATE.replace("[new_info]", "[newer_info]"),
            "expected a table [new_info], found none",
        ),
        (
            MIGRATE.replace("'1.5.8'", "'x'"),
            "[old_info] version: expected a version",
        ),
        ("#".repeat(70_000), "at most 65536 bytes"),
    ] {
        fs::write(root.file.path(), &text).unwrap();
        let error = root.file.read().unwrap_err().to_string();
        assert!(error.contains(because), "{because}: {error}");
        assert!(error.contains("--force-version"), "{error}");
        assert_eq!(root.text(), text);
    }
    // Cut anywhere, it is refused or still says the same.
    for (text, state) in [(RUN, run()), (MIGRATE, migrate())] {
        for end in 0..text.len() {
            match State::parse(&text[..end]) {
                Ok(found) => assert!(found == state && end == text.len() - 1, "{end}"),
                Err(message) => assert!(!message.is_empty()),
            }
        }
    }
    fs::write(root.file.path(), b"mode = '\xff'").unwrap();
    assert!(root.file.read().unwrap_err().to_string().contains("UTF-8"));
    fs::remove_file(root.file.path()).unwrap();
    fs::create_dir(root.file.path()).unwrap();
    assert!(matches!(root.file.read(), Err(StateError::Io { .. })));
}

#[test]
fn casper_w17_paths_count_as_they_stand_unless_they_are_another_versions() {
    let root = root();
    let elsewhere = RUN
        .replace("/var/lib/casper/bin/1_5_8/", "/opt/tested/")
        .replace("/etc/casper/", "relative/");
    fs::write(root.file.path(), &elsewhere).unwrap();
    let state = root.file.read().unwrap().unwrap();
    let found = state.info(&Version::new(1, 5, 8)).unwrap();
    assert_eq!(found.binary, Path::new("/opt/tested/casper-node"));
    assert_eq!(found.config, Path::new("relative/1_5_8/config.toml"));
    for (text, parts) in [
        (
            RUN.replace("'1.5.8'", "'2.0.0'"),
            ["version 2.0.0", "binary_path", "version 1.5.8"],
        ),
        (
            RUN.replace("casper/1_5_8/config", "casper/1_5_6/config"),
            ["version 1.5.8", "config_path", "version 1.5.6"],
        ),
        (
            MIGRATE.replace("bin/1_5_8", "bin/1.5.7"),
            ["version 1.5.8", "binary_path", "version 1.5.7"],
        ),
    ] {
        fs::write(root.file.path(), text).unwrap();
        let error = root.file.read().unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn casper_w3_contents_that_were_made_ready_are_put_in_place_by_the_rename_alone() {
    let root = root();
    let own = |name: &str| root.dir.path().join("casper-visor").join(name);
    root.file.write(&run()).unwrap();
    root.file.make_ready(&migrate()).unwrap();
    root.file.make_ready(&migrate()).unwrap();
    root.file.make_ready(&State::Run(info("2.0.0", "2_0_0"))).unwrap();
    let ready = root.file.prepare(&migrate()).unwrap();
    assert_eq!(ready.from, own("migrate.ready"));
    assert_eq!(root.text(), RUN, "prepared is not put");
    ready.put().unwrap();
    assert_eq!(root.text(), MIGRATE);
    assert_eq!(
        fs::read_to_string(own("migrate.ready")).unwrap(),
        RUN,
        "they change places"
    );
    // Where there is nothing to change places with they are put there all the same.
    fs::remove_file(root.file.path()).unwrap();
    root.file.make_ready(&migrate()).unwrap();
    root.file.prepare(&migrate()).unwrap().put().unwrap();
    assert_eq!(root.text(), MIGRATE);
    // What was made ready for something else is not taken.
    let ready = root.file.prepare(&run()).unwrap();
    assert!(own("run.ready").exists() && ready.from.starts_with(root.dir.path()));
    // Nor does what a dead visor left stand in the way.
    let ready_again = root.file.prepare(&run()).unwrap();
    ready_again.put().unwrap();
    assert!(ready.put().is_err());
    assert_eq!(root.text(), RUN);
    root.file.sync().unwrap();
}

#[test]
fn the_file_behind_a_link_is_replaced_and_not_the_link() {
    let root = root();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("state.toml");
    fs::write(&target, "").unwrap();
    symlink(&target, root.file.path()).unwrap();
    root.file.write(&run()).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), RUN);
    assert!(fs::symlink_metadata(root.file.path()).unwrap().is_symlink());
}

#[test]
fn any_path_that_is_text_is_read_back_as_it_was_written() {
    for name in [
        "it's",
        "a'''b",
        "end'",
        "q\"x\\y",
        "tab\there",
        "line\nend\r",
        "bell\u{7}\u{7f}\u{85}",
        "é 漢 🦀",
        "",
    ] {
        let state = State::Run(NodeInfo {
            binary: PathBuf::from(name),
            ..info("1.5.8", "1_5_8")
        });
        assert_eq!(State::parse(&state.text().unwrap()), Ok(state), "{name:?}");
    }
    let other = State::Run(NodeInfo {
        config: PathBuf::from(std::ffi::OsStr::from_bytes(b"/\xff")),
        ..info("1.5.8", "1_5_8")
    });
    assert!(matches!(
        root().file.write(&other),
        Err(StateError::NotText { .. })
    ));
}
