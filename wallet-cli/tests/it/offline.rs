//! Commands that need no node, and command lines that mean nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use governance::{PublicKey, SigningKey, ValidatorId};

use crate::wallet::{Wallet, object, path};

#[tokio::test]
async fn a_created_key_is_shown_without_its_secret() {
    let wallet = Wallet::new();
    let created = wallet.json(&["keys", "create", "alice"]).await.object();
    let file = wallet.home().join("keys/alice.json");
    assert_eq!(created["file"], path(&file));
    assert_eq!(
        fs::metadata(&file).expect("the file").permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(
        fs::metadata(wallet.home())
            .expect("the home")
            .permissions()
            .mode()
            & 0o7777,
        0o700
    );

    let kept: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("the file")).expect("JSON");
    let secret = kept["secret_key"].as_str().expect("a secret");
    assert_eq!(kept["public_key"], created["public_key"]);
    let key: PublicKey = created["public_key"]
        .as_str()
        .expect("a key")
        .parse()
        .expect("a key");
    assert_eq!(created["validator_id"], ValidatorId::at_entry(&key).to_string());

    for args in [
        &["keys", "show"][..],
        &["keys", "show", "alice"],
        &["keys", "list"],
        &["--json", "keys", "list"],
    ] {
        let run = wallet.run(args).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains(&key.to_string()), "{run:?}");
        assert!(
            !run.stdout.contains(secret) && !run.stderr.contains(secret),
            "{run:?}"
        );
    }
    wallet.run(&["keys", "create", "alice"]).await.fails(
        3,
        &["the key alice exists already", path(&file), "never overwrites"],
    );
}

#[tokio::test]
async fn keys_are_imported_from_files_and_from_standard_input() {
    let wallet = Wallet::new();
    let seed = "2a".repeat(32);
    let expected = PublicKey::from(&SigningKey::from_bytes(&[0x2a; 32])).to_string();
    let file = wallet.write("seed.txt", format!("{seed}\n").as_bytes());
    let imported = wallet
        .json(&["keys", "import", "a", "--file", path(&file)])
        .await
        .object();
    assert_eq!(imported["public_key"], expected.as_str());
    let own = wallet.home().join("keys/a.json");
    let again = wallet
        .json(&["keys", "import", "b", "--file", path(&own)])
        .await
        .object();
    assert_eq!(again["public_key"], expected.as_str());

    let mut child = wallet
        .command(&["--json", "keys", "import", "c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the wallet runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(seed.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let piped = object(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(piped["public_key"], expected.as_str());

    let bad = wallet.write("bad.txt", b"not a key, but perhaps a secret");
    let run = wallet.run(&["keys", "import", "d", "--file", path(&bad)]).await;
    let run = run.fails(3, &[path(&bad), "64 hexadecimal digits"]);
    assert!(!run.stderr.contains("perhaps a secret"), "{run:?}");
    wallet
        .run(&["keys", "import", "d", "--file", "missing"])
        .await
        .fails(3, &["failed to open missing", "No such file"]);
    wallet
        .run(&["keys", "import", "d"])
        .await
        .fails(3, &["standard input"]);
    assert!(!wallet.home().join("keys/d.json").exists());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_used() {
    let wallet = Wallet::new();
    wallet.run(&["keys", "create", "alice"]).await.ok();
    let file = wallet.home().join("keys/alice.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
    let command = format!("chmod 600 {}", path(&file));
    wallet
        .run(&["keys", "show"])
        .await
        .fails(3, &["mode 0644", &command]);
    let listed = wallet.json(&["keys", "list"]).await.object();
    assert_eq!(listed["keys"][0]["public_key"], serde_json::Value::Null);
    assert!(
        listed["keys"][0]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("0644")),
        "{listed}"
    );
}

#[tokio::test]
async fn the_key_must_be_clear() {
    let wallet = Wallet::new();
    wallet
        .run(&["keys", "show"])
        .await
        .fails(3, &["there is no key in", "wallet keys create"]);
    wallet.run(&["keys", "list"]).await.ok();
    wallet.run(&["keys", "create", "alice"]).await.ok();
    wallet.run(&["keys", "create", "bob"]).await.ok();
    wallet
        .run(&["keys", "show"])
        .await
        .fails(3, &["several keys", "alice, bob", "--key"]);
    let shown = wallet.run(&["--key", "bob", "keys", "show"]).await.ok();
    assert!(shown.contains("bob"), "{shown}");
    let mut from_environment = wallet.command(&["keys", "show"]);
    from_environment.env("WALLET_KEY", "alice");
    let shown = crate::wallet::finish(from_environment).await.ok();
    assert!(shown.contains("alice"), "{shown}");
    wallet
        .run(&["keys", "show", "carol"])
        .await
        .fails(3, &["no key carol", "wallet keys list"]);
}

#[tokio::test]
async fn the_home_follows_flag_environment_and_default() {
    let wallet = Wallet::new();
    let program = env!("CARGO_BIN_EXE_wallet");
    let folder = tempfile::tempdir().expect("a folder");
    for (variables, expected) in [
        (vec![("HOME", "h")], "h/.config/visor-wallet"),
        (vec![("HOME", "h"), ("XDG_CONFIG_HOME", "x")], "x/visor-wallet"),
        (vec![("HOME", "h"), ("WALLET_HOME", "w")], "w"),
    ] {
        let mut command = std::process::Command::new(program);
        command
            .env_clear()
            .args(["keys", "create", "k"])
            .stdin(Stdio::null());
        for (name, value) in variables {
            command.env(name, folder.path().join(value));
        }
        crate::wallet::finish(command).await.ok();
        assert!(
            folder.path().join(expected).join("keys/k.json").exists(),
            "{expected}"
        );
    }
    assert!(!wallet.home().exists());
}

#[tokio::test]
async fn what_makes_no_sense_is_a_usage_error() {
    let wallet = Wallet::new();
    let artifact = "linux/amd64=/bin/true";
    for (args, words) in [
        (&["unknown"][..], &["unrecognized subcommand"][..]),
        (
            &["keys", "create", "../a"],
            &["expected 1 to 64 of the characters"],
        ),
        (
            &["vote", "maybe", "v1.1.0@30"],
            &["possible values: approve, reject"],
        ),
        (&["vote", "approve"], &["<ID>"]),
        (
            &[
                "propose",
                "--version",
                "one",
                "--height",
                "9",
                "--artifact",
                artifact,
            ],
            &["one", "1.2.3"],
        ),
        (
            &[
                "propose",
                "--version",
                "1.1.0+b",
                "--height",
                "9",
                "--artifact",
                artifact,
            ],
            &["build metadata"],
        ),
        (
            &[
                "propose",
                "--version",
                "1.1.0",
                "--height",
                "-1",
                "--artifact",
                artifact,
            ],
            &["--height"],
        ),
        (
            &[
                "propose",
                "--version",
                "1.1.0",
                "--height",
                "0",
                "--artifact",
                artifact,
            ],
            &["0 is not in"],
        ),
        (
            &["propose", "--version", "1.1.0", "--height", "9"],
            &["--artifact"],
        ),
        (
            &[
                "propose",
                "--version",
                "1.1.0",
                "--height",
                "9",
                "--artifact",
                "linux=/a",
            ],
            &["linux", "os/arch"],
        ),
        (&["--chain-id", "a b", "status"], &["chain id"]),
        (&["--node", "127.0.0.1:1", "status"], &["http://HOST:PORT"]),
        (
            &["--node", "https://127.0.0.1:1", "status"],
            &["http://HOST:PORT", "tunnel"],
        ),
        (&["transaction", "abc"], &["64 hexadecimal digits"]),
        (
            &["vote", "approve", "x", "--wait-timeout", "soon"],
            &["--wait-timeout", "like 500ms"],
        ),
    ] {
        wallet.run(args).await.fails(2, words);
    }
    let run = wallet.run(&["--help"]).await;
    assert!(run.stderr.is_empty(), "{run:?}");
    assert!(run.ok().contains("propose-cancel"));
    assert!(wallet.run(&["--version"]).await.ok().starts_with("wallet "));
}

#[tokio::test]
async fn without_a_terminal_and_without_yes_nothing_is_signed() {
    let wallet = Wallet::new();
    for args in [
        &["vote", "approve", "v1.1.0@30"][..],
        &["withdraw", "v1.1.0@30"],
        &["propose-cancel", "v1.1.0@30"],
        &[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "9",
            "--artifact",
            "linux/amd64=/bin/true",
        ],
    ] {
        wallet.run(args).await.fails(2, &["no terminal", "--yes"]);
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_exit_4() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://{address}");
    let wallet = Wallet::with_key(&url, 1).await;
    for args in [
        &["status"][..],
        &["proposals"],
        &["--yes", "vote", "approve", "v1.1.0@30"],
    ] {
        wallet
            .run(args)
            .await
            .fails(4, &["no node answers at", &url, "--node"]);
    }
    let run = wallet.json(&["status"]).await.fails(4, &["no node answers"]);
    let failure = object(&run.stdout);
    assert_eq!(failure["error"]["kind"], "unreachable");
    assert_eq!(failure["error"]["code"], serde_json::Value::Null);
}

#[tokio::test]
async fn something_else_at_the_address_is_no_node() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let web = axum::Router::new().fallback(|| async { "a web page" });
    let server = tokio::spawn(async move { axum::serve(listener, web).await });
    let wallet = Wallet::with_key(&format!("http://{address}"), 1).await;
    let run = wallet.run(&["status"]).await;
    server.abort();
    run.fails(
        1,
        &[&address.to_string(), "is no governance node", "[rpc] listen"],
    );
}
