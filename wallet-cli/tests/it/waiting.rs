//! `--wait`: until the transaction is in a block, and what is said when it is not.

use governance::{Action, Choice, Rejection};

use crate::chain::Chain;
use crate::wallet::Wallet;

/// A paused chain with one proposal in a block.
async fn chain_with_a_proposal() -> (Chain, Wallet) {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "100",
            "--artifact",
            "linux/amd64=/bin/true",
        ])
        .await
        .ok();
    chain.advance(1);
    (chain, wallet)
}

#[tokio::test]
async fn it_returns_when_the_block_is_there_and_not_before() {
    let (chain, _) = chain_with_a_proposal().await;
    let voter = Wallet::with_key(&chain.url, 2).await;
    let voting = tokio::spawn(async move { voter.json(&["vote", "approve", "v1.1.0@100", "--wait"]).await });
    chain.until("the vote", |chain| chain.pending() == 1).await;
    assert!(!voting.is_finished());
    chain.advance(1);
    let voted = voting.await.expect("it runs").object();
    assert_eq!(voted["committed_height"], chain.height());
    assert_eq!(voted["proposal"]["tally"]["approving"], 2);
}

#[tokio::test]
async fn it_gives_up_in_time() {
    let (_chain, wallet) = chain_with_a_proposal().await;
    let run = wallet
        .json(&[
            "vote",
            "reject",
            "v1.1.0@100",
            "--wait",
            "--wait-timeout",
            "100ms",
        ])
        .await;
    let run = run.fails(
        1,
        &[
            "is in no block after 100ms",
            "may still be carried out",
            "wallet transaction",
        ],
    );
    assert!(run.stdout.contains("\"kind\":\"failed\""), "{run:?}");
}

#[tokio::test]
async fn a_rejection_in_the_block_is_a_failure_with_the_rules_code() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let id = chain.proposals()[0].id;
    let voting = tokio::spawn(async move { wallet.json(&["vote", "reject", "v1.1.0@100", "--wait"]).await });
    chain.until("the vote", |chain| chain.pending() == 1).await;
    // Another wallet with the same key was faster.
    chain.act(
        1,
        Action::Vote {
            proposal: id,
            choice: Choice::Approve,
        },
    );
    chain.advance(1);
    let run = voting.await.expect("it runs");
    let run = run.fails(1, &["rejected (GOV-13.replay)", "run the command again"]);
    assert!(run.stdout.contains("\"code\":\"GOV-13.replay\""), "{run:?}");
    assert_eq!(chain.choice_of(1, id), Some(Choice::Approve));
}

#[tokio::test]
async fn a_transaction_that_leaves_the_pool_is_a_failure_with_the_rules_code() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let voting = tokio::spawn(async move { wallet.yes(&["vote", "reject", "v1.1.0@100", "--wait"]).await });
    chain.until("the vote", |chain| chain.pending() == 1).await;
    chain.drop_pending(&Rejection::TooManyLive);
    voting
        .await
        .expect("it runs")
        .fails(1, &["rejected (GOV-14.live)"]);
}

#[tokio::test]
async fn it_waits_for_a_node_that_restarts() {
    let (mut chain, _) = chain_with_a_proposal().await;
    let voter = Wallet::with_key(&chain.url, 2).await;
    let voting = tokio::spawn(async move { voter.json(&["vote", "approve", "v1.1.0@100", "--wait"]).await });
    chain.until("the vote", |chain| chain.pending() == 1).await;
    chain.kill_node().await;
    chain.advance(1);
    assert!(!voting.is_finished());
    chain.start_node().await;
    let voted = voting.await.expect("it runs").object();
    assert_eq!(voted["committed_height"], chain.height());
}

#[tokio::test]
async fn a_node_that_stays_away_is_exit_4_and_the_transaction_is_named() {
    let (mut chain, wallet) = chain_with_a_proposal().await;
    let voting = tokio::spawn(async move {
        wallet
            .yes(&["vote", "reject", "v1.1.0@100", "--wait", "--wait-timeout", "1s"])
            .await
    });
    chain.until("the vote", |chain| chain.pending() == 1).await;
    chain.kill_node().await;
    voting.await.expect("it runs").fails(
        4,
        &[
            "no node answers",
            "the transaction was sent; `wallet transaction ",
        ],
    );
}

#[tokio::test]
async fn the_fate_of_a_transaction_can_be_asked_for_later() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let run = wallet.yes(&["vote", "reject", "v1.1.0@100"]).await;
    assert!(run.stderr.contains("not in a block yet"), "{run:?}");
    let said = run.ok();
    let id = said
        .lines()
        .find_map(|line| line.strip_prefix("transaction  "))
        .expect("the transaction's id")
        .to_owned();
    let fate = wallet.json(&["transaction", &id]).await.object();
    assert_eq!(fate["outcome"], "pending");
    let waiting = tokio::spawn({
        let id = id.clone();
        async move { wallet.json(&["transaction", &id, "--wait-timeout", "20s"]).await }
    });
    chain.advance(1);
    let fate = waiting.await.expect("it runs").object();
    assert_eq!(fate["outcome"], "committed");
    assert_eq!(fate["height"], chain.height());
    assert_eq!(fate["rejection"], serde_json::Value::Null);

    let wallet = Wallet::with_key(&chain.url, 2).await;
    let said = wallet.run(&["transaction", &id]).await.ok();
    assert!(
        said.contains(&format!("carried out in block {}", chain.height())),
        "{said}"
    );
    let unknown = wallet.json(&["transaction", &"00".repeat(32)]).await.object();
    assert_eq!(unknown["outcome"], "unknown");
}

#[tokio::test]
async fn a_transaction_is_valid_for_as_long_as_told() {
    let (chain, wallet) = chain_with_a_proposal().await;
    let id = chain.proposals()[0].id;
    wallet
        .yes(&["vote", "reject", "v1.1.0@100", "--valid-for", "1"])
        .await
        .ok();
    chain.advance(1);
    assert_eq!(chain.choice_of(1, id), Some(Choice::Reject));
    wallet
        .yes(&["vote", "reject", "v1.1.0@100", "--valid-for", "0"])
        .await
        .fails(2, &["--valid-for"]);
}
