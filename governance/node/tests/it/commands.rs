//! Commands that need no running node, and every start that is refused: exit code, message, and that nothing has changed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use governance::SigningKey;
use governance_node::exit_code;

use crate::single::{PROGRAM, Single, edit, public, refused, run};

#[test]
fn version_names_the_release_and_the_digest_of_the_binary() {
    let output = run(&["version", "--output", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["version"], "1.0.0");
    let bytes = fs::read(PROGRAM).unwrap();
    assert_eq!(value["hash"], governance::Digest::of(&bytes).to_string());
}

#[test]
fn a_wrong_command_line_is_told_what_was_expected() {
    refused(&["start"], exit_code::USAGE, &["--home"]);
    refused(&["strat"], exit_code::USAGE, &["strat", "start"]);
    refused(&["status"], exit_code::USAGE, &["--home", "--node"]);
    refused(
        &["status", "--home", "/nowhere", "--node", "http://127.0.0.1:1"],
        exit_code::USAGE,
        &["cannot be used with"],
    );
    refused(
        &["status", "--node", "not an address"],
        exit_code::USAGE,
        &["not an address", "http://"],
    );
    refused(
        &["init", "--home", "/nowhere", "--moniker", "a\nb"],
        exit_code::USAGE,
        &["1 to 64 letters"],
    );
}

#[test]
fn a_home_is_made_once_and_its_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("node");
    let path = home.to_str().unwrap();
    assert!(run(&["init", "--home", path]).status.success());
    for file in ["config.toml", "keys/consensus.json", "keys/network.json"] {
        let mode = fs::metadata(home.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let before = fs::read(home.join("keys/consensus.json")).unwrap();
    refused(&["init", "--home", path], exit_code::CONFIG, &["already", path]);
    assert_eq!(fs::read(home.join("keys/consensus.json")).unwrap(), before);
}

#[test]
fn an_init_that_was_interrupted_goes_on_with_the_keys_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("node");
    let path = home.to_str().unwrap();
    assert!(run(&["init", "--home", path]).status.success());
    let before = fs::read(home.join("keys/consensus.json")).unwrap();
    fs::remove_file(home.join("config.toml")).unwrap();
    fs::remove_file(home.join("keys/network.json")).unwrap();
    fs::write(home.join("keys/network.json.new"), "half a k").unwrap();
    assert!(run(&["init", "--home", path]).status.success());
    assert_eq!(fs::read(home.join("keys/consensus.json")).unwrap(), before);
    assert!(home.join("config.toml").exists() && home.join("keys/network.json").exists());
}

#[test]
fn a_genesis_is_written_where_it_was_asked_for_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let keys = |seed: u8| public(&SigningKey::from_bytes(&[seed; 32]));
    let (one, two) = (
        format!("alice:10:{}:{}", keys(1), keys(2)),
        format!("bob:1:{}:{}", keys(3), keys(4)),
    );
    let genesis = |extra: &[&str]| {
        Command::new(PROGRAM)
            .args(["genesis", "--chain-id", "c-1", "--initial-version", "v1.0.0"])
            .args(extra)
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let file = [
        "--validator",
        &one,
        "--validator",
        &two,
        "--output-file",
        "genesis.json",
    ];
    let made = genesis(&file);
    assert!(made.status.success(), "{made:?}");
    let written = fs::read_to_string(dir.path().join("genesis.json")).unwrap();
    let printed = genesis(&file[..4]);
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), written);
    let parsed: governance::Genesis = serde_json::from_str(&written).unwrap();
    assert_eq!(parsed.validators.len(), 2);

    let again = genesis(&file);
    assert_eq!(again.status.code(), Some(i32::from(exit_code::CONFIG)));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("exists"),
        "{again:?}"
    );

    for (extra, code, word) in [
        (
            vec!["--validator", "alice:10:ab:cd"],
            exit_code::USAGE,
            "governance key",
        ),
        (vec!["--validator", "alice"], exit_code::USAGE, "NAME:POWER"),
        (
            vec!["--validator", &one, "--validator", &one],
            exit_code::CONFIG,
            "alice",
        ),
        (
            vec!["--validator", &one, "--threshold", "1/2"],
            exit_code::CONFIG,
            "at least 2/3",
        ),
        (
            vec!["--validator", &one, "--threshold", "most"],
            exit_code::USAGE,
            "2/3",
        ),
        (vec![], exit_code::USAGE, "--validator"),
    ] {
        let output = genesis(&extra);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{extra:?}: {said}");
        assert!(said.contains(word), "{extra:?} should say `{word}`: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_home_is_said_and_nothing_is_started() {
    let single = Single::lay_out();
    let path = single.path();
    let start = |words: &[&str]| refused(&["start", "--home", &path], exit_code::CONFIG, words);
    let elsewhere = single.home.path().join("empty");
    for command in ["start", "status"] {
        refused(
            &[command, "--home", elsewhere.to_str().unwrap()],
            exit_code::CONFIG,
            &["governance init", "config.toml"],
        );
    }

    let config = single.file("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    for (from, to, words) in [
        ("[mempool]", "[mempool]\nsize = 3", ["size", "transactions"]),
        ("[visor]", "[vizor]", ["vizor", "visor"]),
        ("visor-link.sock", &*"s".repeat(120), ["107", "[visor] socket"]),
        ("peers = []", "peers = [\"me\"]", ["me", "PEERID@IP:PORT"]),
        ("filter = \"warn", "filter = \"a=b=c", ["[log] filter", "a=b=c"]),
    ] {
        edit(&config, from, to);
        start(&words);
        fs::write(&config, &good).unwrap();
    }

    let genesis = single.file("genesis.json");
    let text = fs::read_to_string(&genesis).unwrap();
    fs::remove_file(&genesis).unwrap();
    start(&["genesis.json", "governance genesis"]);
    fs::write(&genesis, "{}").unwrap();
    start(&["genesis.json", "line 1", "chain_id"]);
    fs::write(&genesis, &text).unwrap();
    edit(
        &genesis,
        "\"threshold_numerator\": 2",
        "\"threshold_numerator\": 1",
    );
    start(&["genesis.json", "1/3", "2/3"]);
    fs::write(&genesis, &text).unwrap();

    let key = single.file("keys/consensus.json");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    start(&["chmod 600", "consensus.json"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let whole = fs::read_to_string(&key).unwrap();
    fs::write(&key, "{}").unwrap();
    start(&["consensus.json", "holds no key", "secret_key"]);
    fs::remove_file(&key).unwrap();
    start(&["consensus.json", "No such file"]);
    fs::write(&key, whole).unwrap();

    assert!(!single.socket().exists());
    assert_eq!(fs::read_dir(single.file("data")).unwrap().count(), 0);
}

#[test]
fn a_start_by_the_wrong_version_says_which_one_is_required() {
    let single = Single::lay_out();
    for (initial, code, word) in [
        ("1.1.0", exit_code::NEWER_VERSION_REQUIRED, "newer version 1.1.0"),
        ("0.9.0", exit_code::OLDER_VERSION_REQUIRED, "older version 0.9.0"),
    ] {
        single.write_genesis("single-1", initial, &[&single.validator()]);
        // The second answer is that of a store that is there already.
        for _ in 0..2 {
            refused(
                &["start", "--home", &single.path()],
                code,
                &["block 1", word, "this is 1.0.0"],
            );
        }
        assert!(!single.socket().exists());
        fs::remove_file(single.file("data/chain.redb")).unwrap();
    }
}

#[test]
fn a_store_that_is_damaged_or_anothers_is_left_as_it_is() {
    let single = Single::lay_out();
    let store = single.file("data/chain.redb");
    fs::write(&store, "no database").unwrap();
    refused(
        &["start", "--home", &single.path()],
        exit_code::STORE,
        &["chain.redb", "damaged", "backup"],
    );
    assert_eq!(fs::read_to_string(&store).unwrap(), "no database");
    fs::remove_file(&store).unwrap();

    // The refused start makes the store of chain single-1.
    single.write_genesis("single-1", "1.1.0", &[&single.validator()]);
    refused(
        &["start", "--home", &single.path()],
        exit_code::NEWER_VERSION_REQUIRED,
        &[],
    );
    single.write_genesis("other-1", "1.1.0", &[&single.validator()]);
    refused(
        &["start", "--home", &single.path()],
        exit_code::CONFIG,
        &["chain.redb", "single-1", "other-1"],
    );
}

#[test]
fn an_address_that_is_taken_is_named_with_its_key() {
    let single = Single::lay_out();
    // In the reverse order of their binding, and none is given free: the address is free only when every process that
    // another test is just starting has closed its copy.
    let mut taken = Vec::new();
    for (address, key) in [
        (single.http, "[http] listen"),
        (single.rpc, "[rpc] listen"),
        (single.p2p, "[p2p] listen"),
    ] {
        taken.push(TcpListener::bind(address).unwrap());
        refused(
            &["start", "--home", &single.path()],
            exit_code::CONFIG,
            &[&address.to_string(), key, "another address"],
        );
        assert!(!single.socket().exists(), "{key}");
    }
}

#[test]
fn whatever_lies_at_the_path_of_the_socket_is_left_unless_nobody_listens() {
    let single = Single::lay_out();
    fs::write(single.socket(), "a letter").unwrap();
    refused(
        &["start", "--home", &single.path()],
        exit_code::CONFIG,
        &["visor-link.sock", "no socket", "[visor] socket"],
    );
    assert_eq!(fs::read_to_string(single.socket()).unwrap(), "a letter");
    fs::remove_file(single.socket()).unwrap();

    let living = UnixListener::bind(single.socket()).unwrap();
    refused(
        &["start", "--home", &single.path()],
        exit_code::CONFIG,
        &["visor-link.sock", "another node"],
    );
    assert!(single.socket().exists());
    drop(living);
}
