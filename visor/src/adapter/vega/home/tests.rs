use std::os::unix::fs::symlink;

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    home: Home,
}

fn place(folders: &[&str]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("home");
    fs::create_dir(&root).unwrap();
    for folder in folders {
        let path = root.join(folder);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(FILE_NAME), "[vega.binary]\npath = \"vega\"\n").unwrap();
    }
    Place {
        home: Home::at(root),
        _dir: dir,
    }
}

fn names(home: &Home, folders: &[(&str, &str)]) -> Names {
    let folders = folders
        .iter()
        .map(|(tag, folder)| ((*tag).to_owned(), (*folder).to_owned()))
        .collect();
    Names::read(home, &folders).unwrap()
}

#[test]
fn a_vega_home_is_known_by_its_files() {
    for (config, run, is_vega) in [
        ("maxNumberOfRestarts = 3\n", "", true),
        ("[AUTOINSTALL]\n", "", true),
        ("stopdelayseconds = -1\n", "", true),
        ("", "[vega.binary]\npath = \"v\"", true),
        ("[autoInst", "[vega]\n", true),
        ("", "", false),
        ("[stop]\ngrace = \"1s\"\n", "", false),
        (
            "[restart]\nmax_retries = 1\n",
            "name = \"v1.0.0\"\n[node]\n",
            false,
        ),
    ] {
        let Place { home, _dir } = place(&[]);
        fs::write(home.config(), config).unwrap();
        fs::create_dir(home.folder(GENESIS)).unwrap();
        fs::write(home.folder(GENESIS).join(FILE_NAME), run).unwrap();
        assert_eq!(is_vega_home(&home), is_vega, "{config:?} {run:?}");
    }
}

#[test]
fn w_60_current_may_be_written_in_every_way() {
    let Place { home, _dir } = place(&["genesis", "v0.80.0"]);
    let root = home.root().to_path_buf();
    assert_eq!(current_folder(&home).unwrap(), None);
    let other = root.parent().unwrap().join("other");
    symlink(&root, &other).unwrap();
    symlink("v0.80.0", root.join("latest")).unwrap();
    for target in [
        PathBuf::from("v0.80.0"),
        PathBuf::from("./v0.80.0"),
        PathBuf::from("v0.80.0/"),
        PathBuf::from("../home/v0.80.0"),
        root.join("v0.80.0"),
        other.join("v0.80.0"),
    ] {
        symlink(&target, home.current()).unwrap();
        let found = current_folder(&home).unwrap();
        assert_eq!(found.as_deref(), Some("v0.80.0"), "{target:?}");
        fs::remove_file(home.current()).unwrap();
    }
}

#[test]
fn w_43_a_dangling_link_names_its_folder_and_never_means_genesis() {
    let Place { home, _dir } = place(&["genesis"]);
    for target in [PathBuf::from("v9.0.0"), home.folder("v9.0.0")] {
        symlink(&target, home.current()).unwrap();
        assert_eq!(current_folder(&home).unwrap().as_deref(), Some("v9.0.0"));
        fs::remove_file(home.current()).unwrap();
    }
}

#[test]
fn w_44_a_real_folder_named_current_is_refused_and_kept() {
    let Place { home, _dir } = place(&["genesis", "current"]);
    fs::write(home.current().join("precious"), "data").unwrap();
    let error = current_folder(&home).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert!(home.current().join("precious").exists());
}

#[test]
fn w_60_a_link_into_the_place_where_the_home_was_is_reported_with_the_way_out() {
    let Place { home, _dir } = place(&["genesis", "v0.80.0"]);
    symlink("/nowhere/home/v0.80.0", home.current()).unwrap();
    let error = current_folder(&home).unwrap_err().to_string();
    for part in ["/nowhere/home/v0.80.0", "moved", "ln -sfn v0.80.0"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    for target in ["/nowhere/v0.81.0", "/", "..", "/tmp"] {
        fs::remove_file(home.current()).unwrap();
        symlink(target, home.current()).unwrap();
        assert!(
            matches!(
                current_folder(&home),
                Err(CurrentError::Swap(SwapError::Elsewhere { .. }))
            ),
            "{target}"
        );
    }
}

#[test]
fn folders_and_versions_are_translated_both_ways() {
    let Place { home, _dir } = place(&[]);
    let map = [
        ("v0.80.0", "eighty"),
        ("vX.X.X", "vX.X.X"),
        ("v0.75.0", "v0.74.0"),
    ];
    let names = names(&home, &map);
    for (version, folder) in [
        ("v0.80.0", "eighty"),
        ("v0.81.0", "v0.81.0"),
        ("genesis", "genesis"),
        ("v0.75.0", "v0.74.0"),
    ] {
        assert_eq!(names.folder_of(version).unwrap(), folder, "{version}");
    }
    for (folder, version) in [
        ("eighty", "v0.80.0"),
        ("v0.81.0", "v0.81.0"),
        ("genesis", "genesis"),
        ("vX.X.X", "vX.X.X"),
        ("v0.74.0", "v0.74.0"),
    ] {
        assert_eq!(names.version_of(folder), version, "{folder}");
    }
}

#[test]
fn w_53_no_version_leads_out_of_the_home() {
    let Place { home, _dir } = place(&[]);
    for version in ["..", "../x", "/etc", "a/b", "", "current"] {
        let error = names(&home, &[]).folder_of(version).unwrap_err().to_string();
        assert!(error.contains("expected a release"), "{error}");
    }
}

#[test]
fn a_folder_keeps_its_name_whatever_becomes_of_the_map() {
    let Place { home, _dir } = place(&["genesis", "eighty"]);
    let mut before = names(&home, &[("v0.80.0", "eighty")]);
    before.keep(&home, "genesis", "genesis").unwrap();
    before.keep(&home, "eighty", "v0.80.0").unwrap();
    let written = fs::read(home.root().join(NAMES)).unwrap();
    // What is so, or cannot be otherwise, is not written.
    before.keep(&home, "eighty", "v0.80.0").unwrap();
    before.keep(&home, "v0.81.0", "v0.81.0").unwrap();
    assert_eq!(fs::read(home.root().join(NAMES)).unwrap(), written);
    // The entry is gone, and genesis has got one.
    let after = names(&home, &[("v0.74.0", "genesis")]);
    assert_eq!(after.version_of("eighty"), "v0.80.0");
    assert_eq!(after.folder_of("v0.80.0").unwrap(), "eighty");
    assert_eq!(after.version_of("genesis"), "genesis");
    assert_eq!(after.folder_of("v0.74.0").unwrap(), "genesis");
    // The operator's newest word says where a version is.
    let moved = names(&home, &[("v0.80.0", "again")]);
    assert_eq!(moved.folder_of("v0.80.0").unwrap(), "again");
}

#[test]
fn only_folders_with_a_run_configuration_are_versions() {
    let Place { home, _dir } = place(&["genesis", "v0.80.0", "eighty"]);
    fs::create_dir(home.folder("data")).unwrap();
    fs::create_dir(home.staging()).unwrap();
    symlink("genesis", home.current()).unwrap();
    assert_eq!(folders(&home), ["eighty", "genesis", "v0.80.0"]);
    assert!(!is_complete(&home, "genesis"));
    fs::write(home.folder("genesis").join("vega"), "").unwrap();
    assert!(is_complete(&home, "genesis"));
}
