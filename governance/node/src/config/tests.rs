//! What a file may say, and what is said about one that cannot be used.

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    fs::write(&path, text).unwrap();
    Config::read(&path, Path::new("/home")).map_err(|error| crate::cli::chain(&error))
}

#[test]
fn the_written_file_says_what_the_defaults_are() {
    let written: Config = toml::from_str(TEMPLATE).unwrap();
    assert_eq!(written, Config::default());
    assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let error = read("moniker = \"a\"\n[p2p]\nlisen = \"127.0.0.1:1\"\n").unwrap_err();
    for word in ["config.toml", "line 3", "lisen", "listen", "peers"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn bad_values_say_what_was_expected() {
    for (text, words) in [
        ("moniker = \"\"", ["moniker in", "1 to 64 letters"]),
        ("moniker = \"a\\nb\"", ["moniker in", "1 to 64 letters"]),
        ("[p2p]\npeers = [\"nobody\"]", ["nobody", "PEERID@IP:PORT"]),
        (
            "[p2p]\npeers = [\"nobody@127.0.0.1:1\"]",
            ["no peer id", "governance init"],
        ),
        ("[p2p]\nlisten = \"here\"", ["line 2", "socket address"]),
        ("[p2p]\nlisten = \"127.0.0.1:0\"", ["[p2p] listen", "1 to 65535"]),
        (
            "[http]\nlisten = \"127.0.0.1:26657\"",
            ["[rpc] listen and [http] listen", "another port"],
        ),
        (
            "[p2p]\nlisten = \"0.0.0.0:26657\"",
            ["[p2p] listen and [rpc] listen", "another port"],
        ),
        ("[rpc]\n", ["line 1", "missing field `listen`"]),
        (
            "[consensus]\nblock_interval = \"0s\"",
            ["block_interval", "expected 1ms to 1h, found 0s"],
        ),
        (
            "[consensus]\ntimeout_delta = \"2h\"",
            ["timeout_delta", "expected 0s to 1h, found 2h"],
        ),
        ("[consensus]\nblock_interval = \"soon\"", ["line 2", "duration"]),
        ("[consensus]\nblock_interval = 500", ["line 2", "duration"]),
        (
            "[mempool]\nper_sender = 0",
            ["[mempool] per_sender", "at least 1"],
        ),
        ("[mempool]\nbytes = -1", ["line 2", "-1"]),
        ("[log]\nformat = \"xml\"", ["line 2", "`text` or `json`"]),
        ("[p2p", ["config.toml", "line 1"]),
    ] {
        let error = read(text).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(error.contains("config.toml"), "{text}: {error}");
    }
}

#[test]
fn a_socket_path_that_the_kernel_cannot_hold_is_refused() {
    let long = "s".repeat(200);
    let error = read(&format!("[visor]\nsocket = \"{long}\"")).unwrap_err();
    assert!(error.contains("107") && error.contains(&long), "{error}");
}

/// The table in the README says what the file says.
#[test]
fn readme_lists_every_key_with_its_default() {
    let readme = include_str!("../../README.md");
    let table: toml::Table = toml::from_str(TEMPLATE).unwrap();
    let mut keys = 0;
    let mut check = |section: &str, key: &str, value: &toml::Value| {
        let row = format!("| `{section}{key}` | `{value}` |");
        assert!(readme.contains(&row), "README.md should have the row {row}");
        keys += 1;
    };
    for (key, value) in &table {
        match value.as_table() {
            Some(section) => section
                .iter()
                .for_each(|(name, value)| check(&format!("[{key}] "), name, value)),
            None => check("", key, value),
        }
    }
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| `[") || line.starts_with("| `moniker`"));
    assert_eq!(
        rows.count(),
        keys,
        "README.md has a row for a key that is no more"
    );
}
