//! The node is not trusted with what is signed.

use crate::chain::{CHAIN, Chain, Lie};
use crate::wallet::Wallet;

async fn chain_with_two_proposals() -> (Chain, Wallet) {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    for version in ["1.1.0", "1.2.0"] {
        wallet
            .yes(&[
                "propose",
                "--version",
                version,
                "--height",
                "100",
                "--artifact",
                "linux/amd64=/bin/true",
            ])
            .await
            .ok();
    }
    chain.advance(1);
    (chain, wallet)
}

#[tokio::test]
async fn a_vote_never_goes_to_other_binaries_than_the_id_says() {
    let (chain, wallet) = chain_with_two_proposals().await;
    let id = chain.proposals()[0].id.to_string();
    for lie in [Lie::OtherBinaries, Lie::OtherProposal] {
        chain.lie(lie);
        for name in [id.as_str(), &id[..8], &chain.proposals()[0].name()] {
            for command in [
                &["vote", "approve", name][..],
                &["withdraw", name],
                &["propose-cancel", name],
            ] {
                wallet
                    .yes(command)
                    .await
                    .fails(1, &["another proposal or a false id", "do not trust this node"]);
            }
        }
    }
    assert_eq!(chain.pending(), 0);
}

#[tokio::test]
async fn a_pinned_chain_is_kept_to() {
    let (chain, mut wallet) = chain_with_two_proposals().await;
    wallet
        .global
        .extend(["--chain-id".to_owned(), "another-chain".to_owned()]);
    for command in [
        &["status"][..],
        &["proposals"],
        &["validators"],
        &["--yes", "vote", "approve", "v1.1.0@100"],
    ] {
        wallet
            .run(command)
            .await
            .fails(1, &["another-chain", CHAIN, "--chain-id"]);
    }
    assert_eq!(chain.pending(), 0);
    wallet.global.pop();
    wallet.global.push(CHAIN.to_owned());
    wallet.run(&["status"]).await.ok();
}

#[tokio::test]
async fn a_node_cannot_choose_what_too_few_digits_mean() {
    let (chain, wallet) = chain_with_two_proposals().await;
    chain.lie(Lie::OtherProposal);
    for name in ["", "a", "0123456"] {
        wallet.yes(&["vote", "approve", name]).await.fails(1, &["wallet"]);
    }
    assert_eq!(chain.pending(), 0);
}
