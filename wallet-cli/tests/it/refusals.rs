//! What the chain's rules refuse: with the rule's code, exit 1, and nothing changed.

use crate::chain::Chain;
use crate::wallet::{Wallet, object};

const ARTIFACT: &str = "linux/amd64=/bin/true";

async fn propose(wallet: &Wallet, version: &str, height: &str, artifact: &str) -> crate::wallet::Run {
    wallet
        .json(&[
            "propose",
            "--version",
            version,
            "--height",
            height,
            "--artifact",
            artifact,
        ])
        .await
}

#[tokio::test]
async fn proposals_that_break_a_rule_are_refused_before_anything_is_sent() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    for (version, height, artifact, words) in [
        (
            "1.1.0",
            "1",
            ARTIFACT,
            &["rejected (GOV-02)", "1", "earliest is 9", "wallet status"][..],
        ),
        ("1.1.0", "8", ARTIFACT, &["rejected (GOV-02)"]),
        (
            "1.1.0",
            "18446744073709551615",
            ARTIFACT,
            &["rejected (GOV-02.far)"],
        ),
        ("0.9.0", "100", ARTIFACT, &["rejected (GOV-03)", "0.9.0", "1.0.0"]),
        ("1.0.0", "100", ARTIFACT, &["rejected (GOV-03)"]),
        ("1.0.0-rc.1", "100", ARTIFACT, &["rejected (GOV-03)"]),
        // The rules come first: nothing is read for a proposal that cannot be made.
        (
            "1.0.0",
            "100",
            "linux/amd64=/no/such/file",
            &["rejected (GOV-03)"],
        ),
        (
            "1.1.0",
            "100",
            "linux/amd64=/no/such/file",
            &["failed to open /no/such/file", "No such file"],
        ),
        ("1.1.0", "100", "linux/amd64=/tmp", &["no regular file"]),
        ("1.1.0", "100", "linux/amd64=/dev/null", &["no regular file"]),
        (
            "1.1.0",
            "100",
            "linux/amd64=/bin/true,linux/amd64=/bin/false",
            &["GOV-14.platform-twice"],
        ),
    ] {
        propose(&wallet, version, height, artifact).await.fails(1, words);
    }
    let long = "x".repeat(3000);
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "100",
            "--artifact",
            ARTIFACT,
            "--description",
            &long,
        ])
        .await
        .fails(1, &["GOV-14.description-size"]);
    assert_eq!(chain.pending(), 0);
    let run = propose(&wallet, "1.0.0", "100", ARTIFACT).await;
    let failure = object(&run.stdout);
    assert_eq!(failure["error"]["kind"], "rejected");
    assert_eq!(failure["error"]["code"], "GOV-03");
    assert!(
        failure["error"]["hints"][0]
            .as_str()
            .is_some_and(|hint| hint.contains("wallet status")),
        "{failure}"
    );

    // The smallest lead is enough.
    propose(&wallet, "1.1.0", "9", ARTIFACT).await.object();
    assert_eq!(chain.pending(), 1);
    chain.advance(1);
    propose(&wallet, "1.1.0", "9", ARTIFACT)
        .await
        .fails(1, &["GOV-02"]);
}

#[tokio::test]
async fn only_validators_propose_and_vote() {
    let chain = Chain::paused().await;
    let stranger = Wallet::with_key(&chain.url, 9).await;
    propose(&stranger, "1.1.0", "100", ARTIFACT)
        .await
        .fails(1, &["rejected (GOV-01)", "wallet validators"]);
    stranger
        .yes(&["vote", "approve", "v1.1.0@100"])
        .await
        .fails(1, &["rejected (GOV-01)"]);
    assert_eq!(chain.pending(), 0);
}

#[tokio::test]
async fn the_same_content_twice_is_refused() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    propose(&wallet, "1.1.0", "100", ARTIFACT).await.object();
    chain.advance(1);
    propose(&wallet, "1.1.0", "100", ARTIFACT)
        .await
        .fails(1, &["rejected (GOV-04)", "wallet vote approve"]);
}

#[tokio::test]
async fn votes_on_nothing_and_withdrawals_of_nothing_are_refused() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    for name in ["v9.9.9@7", "0123456789abcdef", &"ab".repeat(32), "1.1.0", "abc"] {
        wallet
            .yes(&["vote", "approve", name])
            .await
            .fails(1, &[name, "wallet proposals --all"]);
        wallet.run(&["proposal", name]).await.fails(1, &[name]);
    }
    propose(&wallet, "1.1.0", "100", ARTIFACT).await.object();
    chain.advance(1);
    let other = Wallet::with_key(&chain.url, 2).await;
    other
        .yes(&["withdraw", "v1.1.0@100"])
        .await
        .fails(1, &["rejected (GOV-06.no-ballot)", "wallet proposal ID"]);
    assert_eq!(chain.pending(), 0);
}

#[tokio::test]
async fn a_full_pool_is_told() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    chain.fill_the_pool();
    propose(&wallet, "1.1.0", "100", ARTIFACT)
        .await
        .fails(1, &["no room", "1000 transactions wait", "after a few blocks"]);
}
