//! Proposing, voting, withdrawing, cancelling: what the wallet sends is what the chain then holds.

use governance::{Choice, Digest, Phase, Subject};

use crate::chain::Chain;
use crate::wallet::{Wallet, path};

#[tokio::test]
async fn a_proposal_is_made_approved_and_planned() {
    let chain = Chain::running().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node-1.1.0", b"the new binary");
    let artifact = format!("linux/amd64={}", path(&binary));
    let sent = wallet
        .json(&[
            "propose",
            "--version",
            "v1.1.0",
            "--height",
            "100000",
            "--artifact",
            &artifact,
            "--description",
            "see https://example.org/1.1.0",
            "--wait",
        ])
        .await
        .object();
    assert_eq!(sent["name"], "v1.1.0@100000");
    assert!(
        sent["committed_height"].as_u64().is_some_and(|height| height > 2),
        "{sent}"
    );
    assert_eq!(sent["transaction_id"].as_str().map(str::len), Some(64));
    assert_eq!(sent["proposal"]["tally"]["approving"], 1, "GOV-05");
    assert_eq!(sent["proposal"]["tally"]["needed"], 3);

    let proposals = chain.proposals();
    let [proposal] = proposals.as_slice() else {
        panic!("{proposals:?}")
    };
    assert_eq!(sent["proposal_id"], proposal.id.to_string());
    let Subject::Upgrade(upgrade) = &proposal.subject else {
        panic!("{proposal:?}")
    };
    assert_eq!(upgrade.version.to_string(), "1.1.0");
    assert_eq!(upgrade.description, "see https://example.org/1.1.0");
    let [artifact] = upgrade.artifacts.as_slice() else {
        panic!("{upgrade:?}")
    };
    assert_eq!(artifact.url, format!("file://{}", path(&binary)));
    assert_eq!(artifact.size, 14);
    assert_eq!(artifact.sha256, Digest::of(b"the new binary"));

    // By name, by the first digits, by the whole id.
    let id = proposal.id;
    let digits = id.to_string()[..8].to_owned();
    for (seed, name) in [(2, "v1.1.0@100000".to_owned()), (3, digits), (4, id.to_string())] {
        let wallet = Wallet::with_key(&chain.url, seed).await;
        let voted = wallet.json(&["vote", "approve", &name, "--wait"]).await.object();
        assert_eq!(voted["proposal_id"], id.to_string());
        assert_eq!(voted["choice"], "approve");
        assert!(voted["committed_height"].is_u64(), "{voted}");
        assert_eq!(chain.choice_of(seed, id), Some(Choice::Approve));
    }
    assert_eq!(chain.proposals()[0].phase, Phase::Approved);

    // A changed mind, and a vote taken back.
    let rejected = wallet
        .json(&["vote", "reject", "v1.1.0@100000", "--wait"])
        .await
        .object();
    assert_eq!(rejected["proposal"]["tally"]["rejecting"], 1);
    assert_eq!(chain.choice_of(1, id), Some(Choice::Reject));
    let withdrawn = wallet
        .json(&["withdraw", "v1.1.0@100000", "--wait"])
        .await
        .object();
    assert_eq!(withdrawn["proposal"]["tally"]["rejecting"], 0);
    assert_eq!(chain.choice_of(1, id), None);
}

#[tokio::test]
async fn a_locked_in_upgrade_is_cancelled() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node", b"bytes");
    let artifact = format!("linux/amd64={}", path(&binary));
    let height = (chain.height() + 20).to_string();
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            &height,
            "--artifact",
            &artifact,
        ])
        .await
        .ok();
    chain.advance(1);
    let name = format!("v1.1.0@{height}");
    for seed in [2, 3] {
        Wallet::with_key(&chain.url, seed)
            .await
            .yes(&["vote", "approve", &name])
            .await
            .ok();
    }
    wallet
        .yes(&["propose-cancel", &name])
        .await
        .fails(1, &["rejected (GOV-11)", "not locked in"]);
    chain.advance(16);
    assert_eq!(chain.proposals()[0].phase, Phase::LockedIn);
    wallet
        .yes(&["vote", "reject", &name])
        .await
        .fails(1, &["rejected (GOV-10)", "wallet propose-cancel"]);

    let target = chain.proposals()[0].id;
    let sent = wallet.json(&["propose-cancel", &name]).await.object();
    assert_eq!(sent["committed_height"], serde_json::Value::Null);
    assert_eq!(sent["name"], format!("cancel@{}", &target.to_string()[..16]));
    chain.advance(1);
    let cancel = chain
        .proposals()
        .into_iter()
        .find(|proposal| proposal.upgrade().is_none())
        .expect("a cancel");
    assert_eq!(sent["proposal_id"], cancel.id.to_string());
    let cancel_name = sent["name"].as_str().expect("a name");
    let shown = wallet.json(&["proposal", cancel_name]).await.object();
    assert_eq!(shown["proposal"]["kind"], "cancel");
    assert_eq!(shown["proposal"]["target"], target.to_string());
    for seed in [2, 3] {
        Wallet::with_key(&chain.url, seed)
            .await
            .yes(&["vote", "approve", cancel_name])
            .await
            .ok();
    }
    chain.advance(1);
    assert!(chain.proposals().is_empty(), "cancelled");
    let all = wallet.json(&["proposals", "--all"]).await.object();
    let phases: Vec<_> = all["proposals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["phase"])
        .collect();
    assert_eq!(phases, ["cancelled", "executed"], "in order of submission");
}

#[tokio::test]
async fn quick_transactions_of_one_key_queue_up() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node", b"bytes");
    let artifact = format!("linux/amd64={}", path(&binary));
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        wallet
            .yes(&[
                "propose",
                "--version",
                version,
                "--height",
                "90",
                "--artifact",
                &artifact,
            ])
            .await
            .ok();
    }
    assert_eq!(chain.pending(), 3);
    chain.advance(1);
    assert_eq!(chain.proposals().len(), 3);
    // Sent twice in the same block, it is the same transaction twice or one behind the other: the vote is cast.
    for _ in 0..2 {
        wallet.yes(&["vote", "reject", "v1.1.0@90"]).await.ok();
    }
    chain.advance(1);
    let first = chain
        .proposals()
        .into_iter()
        .find(|proposal| proposal.name() == "v1.1.0@90")
        .expect("it is live");
    assert_eq!(chain.choice_of(1, first.id), Some(Choice::Reject));
}

#[tokio::test]
async fn an_approval_that_moves_is_announced() {
    let chain = Chain::running().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node", b"bytes");
    let artifact = format!("linux/amd64={}", path(&binary));
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "90000",
            "--artifact",
            &artifact,
            "--wait",
        ])
        .await
        .ok();
    let run = wallet
        .yes(&[
            "propose",
            "--version",
            "1.2.0",
            "--height",
            "90000",
            "--artifact",
            &artifact,
            "--wait",
        ])
        .await;
    assert!(
        run.stderr
            .contains("your approval of v1.1.0@90000 moves to this proposal"),
        "{run:?}"
    );
    run.ok();
    let run = wallet.yes(&["vote", "approve", "v1.1.0@90000", "--wait"]).await;
    assert!(
        run.stderr.contains("your approval of v1.2.0@90000 moves"),
        "{run:?}"
    );
    let said = run.ok();
    assert!(said.contains("1 of 4 approve, 3 needed; 0 reject"), "{said}");
}
