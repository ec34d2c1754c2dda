use super::*;

const BOTH: &str = "name = \"v0.80.0\"

[vega]
  [vega.binary]
    path = \"vega\"
    args = [\"start\", \"--home\", \"/srv/a \\\"b\\\"\"]
  [vega.rpc]
    socketPath = \"/run/vega.sock\"
    httpPath = \"/admin\"

[data_node]
  [data_node.binary]
    path = \"/opt/vega\"
    args = [\"datanode\", \"start\"]
";

fn parsed(text: &str) -> RunConfig {
    parse(Path::new("f"), text).unwrap().0
}

#[test]
fn it_is_read_with_and_without_a_data_node() {
    let both = parsed(BOTH);
    assert_eq!(both.name, "v0.80.0");
    assert_eq!(both.vega.path, Path::new("vega"));
    assert_eq!(both.vega.args, ["start", "--home", "/srv/a \"b\""]);
    assert_eq!(both.rpc.socket_path, Path::new("/run/vega.sock"));
    assert_eq!(both.rpc.http_path, "/admin");
    assert_eq!(both.data_node.as_ref().unwrap().args, ["datanode", "start"]);
    assert_eq!(parsed(&both.to_text()), both);

    let alone = parsed("[vega.binary]\npath = \"vega\"");
    assert_eq!((alone.name.as_str(), alone.data_node.as_ref()), ("", None));
    assert_eq!(alone.vega.args, Vec::<String>::new());
    assert_eq!(alone.rpc.socket_path, default_socket());
    assert_eq!(alone.rpc.http_path, "/rpc");
    assert_eq!(parsed(&alone.to_text()), alone);
}

#[test]
fn what_could_not_run_is_refused_with_key_and_expectation() {
    for (text, part) in [
        ("name = \"x\"", "vega.binary.path: expected the path of a program"),
        ("[vega.binary]\npath = \"\"", "vega.binary.path"),
        (
            "[vega.binary]\npath = \"v\"\n[data_node]",
            "data_node.binary.path: expected",
        ),
        (
            "[vega.binary]\npath = \"v\"\nargs = \"start\"",
            "line 3: vega.binary.args: expected a list of texts",
        ),
        (
            "[vega.binary]\npath = \"v\"\n[vega.rpc]\nhttpPath = \"rpc\"",
            "line 4: vega.rpc.httpPath",
        ),
        ("vega = 1", "line 1: vega: expected a table"),
    ] {
        let error = parse(Path::new("f"), text).unwrap_err().to_string();
        assert!(error.contains(part), "{part} in {error}");
    }
    let long = format!(
        "[vega.binary]\npath = \"v\"\n[vega.rpc]\nsocketPath = \"/{}\"",
        "x".repeat(200)
    );
    let error = parse(Path::new("f"), &long).unwrap_err().to_string();
    assert!(error.contains("at most 107"), "{error}");
}

#[test]
fn unknown_keys_are_passed_over_and_named() {
    let text = "kind = 1\n[vega.binary]\npath = \"v\"\nmode = 1\n[vega]\nx = 1\n[vega.rpc]\ny = 1";
    let (_, unknown) = parse(Path::new("f"), text).unwrap();
    assert_eq!(
        unknown.into_iter().collect::<Vec<_>>(),
        ["kind", "vega.binary.mode", "vega.rpc.y", "vega.x"]
    );
}

#[test]
fn the_data_node_starts_first_and_both_paths_may_be_relative_or_absolute() {
    let launch = parsed(BOTH).launch(Path::new("/home/v0.80.0"), Some(77), None);
    let found: Vec<(String, &Path, Vec<&str>)> = launch
        .programs
        .iter()
        .map(|program| {
            (
                program.role.to_string(),
                program.path.as_path(),
                program.arguments.iter().map(String::as_str).collect(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "the companion data-node".to_owned(),
                Path::new("/opt/vega"),
                vec!["datanode", "start"]
            ),
            (
                "the node".to_owned(),
                Path::new("/home/v0.80.0/vega"),
                vec!["start", "--home", "/srv/a \"b\"", args::SNAPSHOT_HEIGHT, "77"]
            ),
        ]
    );
}

#[test]
fn programs_are_made_executable_and_both_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let text = BOTH.replace("/opt/vega", "data");
    let run = parsed(&text);
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    let error = run.make_executable(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("the node: expected an executable file, found nothing"),
        "{error}"
    );
    fs::write(dir.path().join("vega"), "").unwrap();
    fs::set_permissions(dir.path().join("vega"), Permissions::from_mode(0o640)).unwrap();
    let error = run.make_executable(dir.path()).unwrap_err().to_string();
    assert!(error.contains("the companion data-node"), "{error}");
    assert_eq!(mode("vega"), 0o750);
    fs::write(dir.path().join("data"), "").unwrap();
    fs::set_permissions(dir.path().join("data"), Permissions::from_mode(0o600)).unwrap();
    run.check_programs(dir.path()).unwrap();
    assert_eq!(mode("data"), 0o600);
    run.make_executable(dir.path()).unwrap();
    assert_eq!(mode("data"), 0o700);
    // One that its owner has made executable for some stays as it is.
    fs::set_permissions(dir.path().join("data"), Permissions::from_mode(0o710)).unwrap();
    run.make_executable(dir.path()).unwrap();
    assert_eq!(mode("data"), 0o710);
}

#[test]
fn a_file_is_of_vega_by_its_section() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for (text, is_of_vega_visor) in [
        (BOTH, true),
        ("[Vega]", true),
        ("name = \"v1.0.0\"\n[node]\n", false),
        ("[vega", false),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(is_of_vega(&path), is_of_vega_visor, "{text}");
    }
}
