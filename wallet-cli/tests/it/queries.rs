//! What the wallet shows, to a person and to a program.

use serde_json::Value;

use crate::chain::{CHAIN, Chain, Lie, public_key};
use crate::wallet::{Wallet, path};

/// A chain with one upgrade, approved by 1 and 2, rejected by 3.
async fn chain_with_a_proposal() -> (Chain, Wallet) {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node", b"bytes");
    let artifact = format!("linux/amd64={}", path(&binary));
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "50",
            "--artifact",
            &artifact,
            "--description",
            "two\nlines\u{202e}",
        ])
        .await
        .ok();
    chain.advance(1);
    for (seed, choice) in [(2, "approve"), (3, "reject")] {
        Wallet::with_key(&chain.url, seed)
            .await
            .yes(&["vote", choice, "1.1.0@50"])
            .await
            .ok();
    }
    chain.advance(7);
    (chain, wallet)
}

#[tokio::test]
async fn a_person_reads_tables() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let id = chain.proposals()[0].id.to_string();
    let listed = wallet.run(&["proposals"]).await.ok();
    let expected = format!(
        "PROPOSAL   ID                PHASE   APPROVE  REJECT  TOTAL  VOTES UNTIL\nv1.1.0@50  {}  voting        2       1      4           47\n",
        &id[..16]
    );
    assert_eq!(listed, expected);

    let shown = wallet.run(&["proposal", &id]).await.ok();
    for expected in [
        "proposal  v1.1.0@50\n",
        "height    50 is the last block of the old version (in 40 blocks, about 20 s from now)\n",
        "votes     count until block 47 (in 37 blocks, about 18 s from now)\n",
        "tally     2 of 4 approve, 3 needed; 1 reject\n",
        "proposer  validator-1 in block 3\n",
        "text      two\n          lines\\u{202e}\n",
        "hosts     power 0 of 4 has verified it, 0 more has staged it\n",
        "VALIDATOR    POWER  VOTE     BLOCK  HOST\n",
        "validator-3      1  reject       4  -\n",
    ] {
        assert!(shown.contains(expected), "{expected:?} should be in\n{shown}");
    }

    let validators = wallet.run(&["validators"]).await.ok();
    assert_eq!(validators.lines().count(), 5, "{validators}");
    assert!(validators.contains(&public_key(4).to_string()), "{validators}");

    let status = wallet.run(&["status"]).await.ok();
    for expected in [
        CHAIN,
        &format!("host-0 at {}", chain.url),
        "none approved",
        "propose 6 blocks ahead",
        "above 2/3",
    ] {
        assert!(status.contains(expected), "{expected} should be in\n{status}");
    }
    let plan = wallet.run(&["plan"]).await;
    assert!(
        plan.stdout.is_empty() && plan.stderr.contains("No upgrade is approved"),
        "{plan:?}"
    );

    Wallet::with_key(&chain.url, 4)
        .await
        .yes(&["vote", "approve", "v1.1.0@50"])
        .await
        .ok();
    chain.advance(1);
    let plan = wallet.run(&["plan"]).await.ok();
    assert!(plan.contains("v1.1.0@50") && plan.contains("approved"), "{plan}");
    let status = wallet.run(&["status"]).await.ok();
    assert!(
        status.contains("to 1.1.0; 50 is the last block before it (in 39 blocks, about 19 s from now)"),
        "{status}"
    );
}

#[tokio::test]
async fn a_program_reads_objects() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let proposal = &chain.proposals()[0];

    let listed = wallet.json(&["proposals"]).await.object();
    assert_eq!(listed["chain_id"], CHAIN);
    assert_eq!(listed["height"], chain.height());
    let one = wallet.json(&["proposal", "v1.1.0@50"]).await.object();
    let mut without_lists = one["proposal"].clone();
    without_lists["ballots"] = Value::Null;
    without_lists["reports"] = Value::Null;
    assert_eq!(listed["proposals"][0], without_lists);
    let shown = &one["proposal"];
    for (field, expected) in [
        ("id", Value::from(proposal.id.to_string())),
        ("name", "v1.1.0@50".into()),
        ("kind", "upgrade".into()),
        ("version", "1.1.0".into()),
        ("upgrade_height", 50.into()),
        ("description", "two\nlines\u{202e}".into()),
        ("target", Value::Null),
        ("proposer", proposal.proposer.to_string().into()),
        ("submitted_height", 3.into()),
        ("votes_close_height", 47.into()),
        ("phase", "voting".into()),
        ("ended_height", Value::Null),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let tally = serde_json::json!({
        "approving": 2, "rejecting": 1, "total": 4, "needed": 3, "threshold_numerator": 2, "threshold_denominator": 3
    });
    assert_eq!(shown["tally"], tally);
    assert_eq!(shown["ballots"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["artifacts"][0]["platform"], "linux/amd64");
    assert_eq!(shown["artifacts"][0]["size"], 5);
    assert_eq!(shown["artifacts"][0]["sha256"].as_str().map(str::len), Some(64));

    let validators = wallet.json(&["validators"]).await.object();
    assert_eq!(validators["total_power"], 4);
    let own = validators["validators"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|validator| validator["name"] == "validator-1")
        .expect("it is there");
    assert_eq!(own["governance_key"], public_key(1).to_string());
    assert_eq!(own["next_sequence"], 1);

    let status = wallet.json(&["status"]).await.object();
    assert_eq!(status["version"], "1.0.0");
    assert_eq!(status["halt"], Value::Null);
    assert_eq!(status["next_upgrade"], Value::Null);
    assert_eq!(status["parameters"]["min_lead_blocks"], 6);
    assert_eq!(wallet.json(&["plan"]).await.object()["plan"], Value::Null);

    Wallet::with_key(&chain.url, 4)
        .await
        .yes(&["vote", "approve", "v1.1.0@50"])
        .await
        .ok();
    chain.advance(40);
    let plan = wallet.json(&["plan"]).await.object();
    assert_eq!(plan["plan"]["phase"], "locked_in");
    let status = wallet.json(&["status"]).await.object();
    assert_eq!(
        status["next_upgrade"],
        serde_json::json!({"height": 50, "version": "1.1.0"})
    );
    assert_eq!(status["halt"]["height"], 50);
    assert_eq!(status["next_block_version"], "1.1.0");
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.2.0",
            "--height",
            "90",
            "--artifact",
            "linux/amd64=/bin/true",
        ])
        .await
        .fails(1, &["GOV-09.halted", "1.1.0"]);
    wallet
        .yes(&["vote", "reject", "v1.1.0@50"])
        .await
        .fails(1, &["GOV-09.halted"]);
}

#[tokio::test]
async fn what_a_node_says_cannot_play_tricks_on_the_terminal() {
    let chain = Chain::paused().await;
    chain.lie(Lie::TerminalTricks);
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let status = wallet.run(&["status"]).await.ok();
    assert!(
        status.contains("\\u{1b}[2Jhost") && !status.contains('\u{1b}'),
        "{status:?}"
    );
}
