//! Certificates (GOV-17): fetched from a node, verified with none.

use std::io::Read as _;
use std::process::Stdio;

use governance::{
    Action, CertificateChain, Height, Parameters, ParametersChange, Power, ValidatorChange, ValidatorsChange,
};
use serde_json::json;

use crate::chain::{CHAIN, Chain, Lie, genesis, validator_id};
use crate::wallet::{Wallet, finish, path};

/// A chain that has changed its validators at 20 and its parameters at 30, and locked in an upgrade at 60.
async fn chain_with_a_history() -> (Chain, Wallet) {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    chain.act(
        1,
        Action::ProposeValidators(ValidatorsChange {
            height: Height(20),
            changes: vec![ValidatorChange::SetPower {
                validator: validator_id(4),
                power: Power(2),
            }],
            description: String::new(),
        }),
    );
    chain.advance(1);
    chain.approve([2, 3], chain.proposal("validators@20").id);
    chain.act(
        1,
        Action::ProposeParameters(ParametersChange {
            height: Height(30),
            parameters: Parameters {
                min_lead_blocks: 6,
                lock_in_blocks: 4,
                threshold_numerator: 3,
                threshold_denominator: 4,
            },
            description: String::new(),
        }),
    );
    chain.advance(1);
    chain.approve([2, 3, 4], chain.proposal("parameters@30").id);
    chain.advance_to(31);
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "60",
            "--artifact",
            "linux/amd64=/bin/true",
            "--description",
            "the release notes",
        ])
        .await
        .ok();
    chain.advance(1);
    chain.approve([2, 4], chain.proposal("v1.1.0@60").id);
    (chain, wallet)
}

fn write_genesis(wallet: &Wallet, name: &str, change: impl FnOnce(&mut governance::Genesis)) -> String {
    let mut genesis = genesis(4);
    change(&mut genesis);
    let json = serde_json::to_vec(&genesis).expect("JSON");
    path(&wallet.write(name, &json)).to_owned()
}

#[tokio::test]
async fn gov_17_a_certificate_is_verified_across_changes_without_a_node() {
    let (mut chain, wallet) = chain_with_a_history().await;
    let run = wallet
        .run(&["certificate", "v1.1.0@60", "--output", "early"])
        .await;
    assert!(run.stderr.contains("Votes on it count until block 56"), "{run:?}");
    run.ok();
    chain.advance_to(56);
    let saved = wallet
        .json(&["certificate", "v1.1.0@60", "--output", "certificate"])
        .await
        .object();
    let id = chain.proposal("v1.1.0@60").id.to_string();
    assert_eq!(saved["proposal_id"], id);
    assert_eq!(saved["phase"], "locked_in");
    assert_eq!(saved["file"], "certificate");
    // Through a pipe it is the same.
    let mut piped = wallet.command(&["certificate", &id]);
    piped.stdout(Stdio::piped());
    let piped = tokio::process::Command::from(piped)
        .output()
        .await
        .expect("it runs");
    let file = std::fs::read(wallet.home().with_file_name("certificate")).expect("it was written");
    assert_eq!(piped.stdout, file);
    assert_eq!(saved["bytes"], file.len());

    chain.kill_node().await;
    let genesis = write_genesis(&wallet, "genesis.json", |_| ());
    let args = ["verify", "--genesis", &genesis, "certificate"];
    let shown = wallet.run(&args).await.ok();
    for expected in [
        "proven         v1.1.0@60 was accepted\n",
        &format!("chain          {CHAIN}\n"),
        &format!("id             {id}\n"),
        "version        1.1.0\n",
        "height         60 is the last block of the old version\n",
        "artifact       linux/amd64  file:///",
        " bytes, sha256 ",
        "text           the release notes\n",
        "approved       by 3 validators with power 4 of 5 (more than 3/4 is needed)\n",
        "votes          close in block 56\n",
        "since genesis  2 changes of validators or parameters, each proven too\n",
    ] {
        assert!(shown.contains(expected), "{expected:?} should be in\n{shown}");
    }
    let proven = wallet.json(&args).await.object();
    for (field, expected) in [
        ("chain_id", json!(CHAIN)),
        ("proposal_id", json!(id)),
        ("name", json!("v1.1.0@60")),
        ("kind", json!("upgrade")),
        ("version", json!("1.1.0")),
        ("effect_height", json!(60)),
        ("approvals", json!(3)),
        ("changes_since_genesis", json!(2)),
        ("votes_close_height", json!(56)),
    ] {
        assert_eq!(proven[field], expected, "{field}");
    }
    assert_eq!(proven["tally"]["approving"], 4);
    assert_eq!(proven["artifacts"][0]["sha256"].as_str().map(str::len), Some(64));
    // What was only approved when it was fetched is proven in the same way.
    wallet.run(&["verify", "--genesis", &genesis, "early"]).await.ok();
    // From standard input.
    let mut piped = wallet.command(&["verify", "--genesis", &genesis, "-"]);
    piped.stdin(std::fs::File::open(wallet.home().with_file_name("certificate")).expect("it is there"));
    finish(piped).await.ok();
}

#[tokio::test]
async fn gov_17_one_changed_byte_anywhere_fails_with_a_reason() {
    let (chain, wallet) = chain_with_a_history().await;
    chain.advance_to(56);
    wallet
        .run(&["certificate", "v1.1.0@60", "--output", "certificate"])
        .await
        .ok();
    let genesis_file = write_genesis(&wallet, "genesis.json", |_| ());
    let genesis = genesis(4);
    let good = std::fs::read(wallet.home().with_file_name("certificate")).expect("it was written");
    let judge = |bytes: &[u8]| CertificateChain::from_bytes(bytes)?.verify(&genesis).map(drop);
    judge(&good).expect("it is good");
    for at in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let error = judge(&bad).expect_err("a changed byte");
            assert!(!error.to_string().is_empty(), "byte {at}");
        }
    }
    for length in [0, 1, 31, good.len() / 2, good.len() - 1] {
        let cut = wallet.write("cut", &good[..length]);
        wallet
            .run(&["verify", "--genesis", &genesis_file, path(&cut)])
            .await
            .fails(5, &["error: "]);
    }
    let longer = wallet.write("longer", &[good.as_slice(), b"\n"].concat());
    wallet
        .run(&["verify", "--genesis", &genesis_file, path(&longer)])
        .await
        .fails(5, &["error: "]);
}

#[tokio::test]
async fn gov_17_the_program_refuses_every_flipped_byte_of_a_small_certificate() {
    let chain = Chain::with_validators(1).await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    wallet
        .yes(&["propose-parameters", "--threshold", "3/4", "--height", "20"])
        .await
        .ok();
    chain.advance(1);
    wallet
        .run(&["certificate", "parameters@20", "--output", "certificate"])
        .await
        .ok();
    let json = serde_json::to_vec(&genesis(1)).expect("JSON");
    let genesis = path(&wallet.write("genesis.json", &json)).to_owned();
    let good = std::fs::read(wallet.home().with_file_name("certificate")).expect("it was written");
    wallet
        .run(&["verify", "--genesis", &genesis, "certificate"])
        .await
        .ok();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let file = wallet.write("bad", &bad);
        let run = wallet.json(&["verify", "--genesis", &genesis, path(&file)]).await;
        let run = run.fails(5, &["error: "]);
        let said = crate::wallet::object(&run.stdout);
        assert_eq!(said["error"]["kind"], "unproven", "byte {at}: {said}");
        assert!(
            said["error"]["message"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{said}"
        );
    }
}

#[tokio::test]
async fn another_genesis_proves_nothing() {
    let (chain, wallet) = chain_with_a_history().await;
    chain.advance_to(56);
    wallet
        .run(&["certificate", "v1.1.0@60", "--output", "certificate"])
        .await
        .ok();
    let foreign = write_genesis(&wallet, "foreign.json", |genesis| {
        genesis.chain_id = "another-chain".parse().expect("a chain id");
    });
    let strangers = write_genesis(&wallet, "strangers.json", |genesis| {
        *genesis = crate::chain::genesis(8);
        genesis.validators.drain(..4);
    });
    let heavy = write_genesis(&wallet, "heavy.json", |genesis| {
        genesis.validators[2].power = Power(100)
    });
    for (file, words) in [
        (&foreign, &["another-chain", CHAIN][..]),
        (&strangers, &["is the governance key of no validator"]),
        (&heavy, &["approved by power"]),
    ] {
        wallet
            .run(&["verify", "--genesis", file, "certificate"])
            .await
            .fails(5, words);
    }
    let broken = write_genesis(&wallet, "broken.json", |genesis| genesis.validators.clear());
    wallet
        .run(&["verify", "--genesis", &broken, "certificate"])
        .await
        .fails(3, &["pinned genesis is not legal"]);
    let text = wallet.write("text.json", b"{}");
    wallet
        .run(&["verify", "--genesis", path(&text), "certificate"])
        .await
        .fails(3, &[path(&text), "is no genesis", "chain_id"]);
    wallet
        .run(&["verify", "--genesis", "missing.json", "certificate"])
        .await
        .fails(3, &["failed to open missing.json"]);
    let good = write_genesis(&wallet, "genesis.json", |_| ());
    wallet
        .run(&["verify", "--genesis", &good, "missing"])
        .await
        .fails(1, &["failed to open missing"]);
    wallet
        .run(&["verify", "--genesis", &good, &good])
        .await
        .fails(5, &["this is no certificate"]);
    wallet
        .run(&[
            "--chain-id",
            "another-chain",
            "verify",
            "--genesis",
            &good,
            "certificate",
        ])
        .await
        .fails(3, &["--chain-id says another-chain"]);
}

#[tokio::test]
async fn a_certificate_goes_nowhere_but_where_it_belongs() {
    let (chain, wallet) = chain_with_a_history().await;
    wallet
        .json(&["certificate", "v1.1.0@60"])
        .await
        .fails(2, &["--output"]);
    wallet
        .run(&["certificate", "v1.1.0@60", "--output", "certificate"])
        .await
        .ok();
    wallet
        .run(&["certificate", "v1.1.0@60", "--output", "certificate"])
        .await
        .fails(1, &["failed to write certificate", "overwrites none"]);
    wallet
        .run(&["certificate", "v1.1.0@60", "--output", "no/such/folder"])
        .await
        .fails(1, &["failed to write no/such/folder"]);
    chain.lie(Lie::OtherCertificate);
    let run = wallet.run(&["certificate", "v1.1.0@60"]).await;
    assert!(run.stdout.is_empty(), "{run:?}");
    run.fails(1, &["answers with that of", "do not trust this node"]);
    chain.lie(Lie::None);
    wallet
        .yes(&["propose-parameters", "--threshold", "2/3", "--height", "59"])
        .await
        .ok();
    chain.advance(1);
    wallet
        .run(&["certificate", "parameters@59"])
        .await
        .fails(1, &["is not approved"]);
}

#[tokio::test]
async fn a_certificate_is_not_written_to_a_terminal() {
    let (_chain, wallet) = chain_with_a_history().await;
    let (_controller, open) = crate::confirming::terminal();
    let mut child = wallet
        .command(&["certificate", "v1.1.0@60"])
        .stdout(open())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the wallet runs");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(2));
    assert!(
        said.contains("standard output is a terminal") && said.contains("--output FILE"),
        "{said}"
    );
}
