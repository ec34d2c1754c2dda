//! Lists longer than a page: whole for the user, and not for a node to play with.

use governance::Action;

use crate::chain::{Chain, Lie};
use crate::wallet::Wallet;

/// Ten validators, all of whom vote on the first of three proposals; the third has ended.
async fn chain_with_long_lists() -> (Chain, Wallet) {
    let chain = Chain::with_validators(10).await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    for threshold in ["3/4", "4/5", "5/6"] {
        wallet
            .yes(&["propose-parameters", "--threshold", threshold, "--height", "30"])
            .await
            .ok();
        chain.advance(1);
    }
    let mut proposals = chain.proposals();
    proposals.sort_by_key(|proposal| proposal.submitted_height);
    chain.approve(2..=10, proposals[0].id);
    for seed in 2..=10 {
        chain.act(
            seed,
            Action::Vote {
                proposal: proposals[2].id,
                choice: governance::Choice::Reject,
            },
        );
    }
    chain.advance(1);
    (chain, wallet)
}

#[tokio::test]
async fn every_list_is_whole_whatever_the_size_of_its_pages() {
    let (chain, wallet) = chain_with_long_lists().await;
    let first = chain.state(|state| {
        let mut live: Vec<_> = state.live_proposals().cloned().collect();
        live.sort_by_key(|proposal| proposal.submitted_height);
        live[0].id
    });
    let first = first.to_string();
    let commands = [
        (&["validators"][..], "validators", 10),
        (&["proposals"], "proposals", 2),
        (&["proposals", "--all"], "proposals", 3),
        (&["ballots", &first], "ballots", 10),
    ];
    for (command, list, length) in commands {
        chain.page_size(1000);
        let whole = wallet.json(command).await.object();
        assert_eq!(whole[list].as_array().map(Vec::len), Some(length), "{command:?}");
        assert_eq!(chain.pages(), 1);
        for size in [1, 2, 3, length] {
            chain.page_size(size);
            assert_eq!(
                wallet.json(command).await.object(),
                whole,
                "{command:?} in pages of {size}"
            );
            assert_eq!(
                chain.pages(),
                length.div_ceil(size),
                "{command:?} in pages of {size}"
            );
        }
    }
    chain.page_size(3);
    let table = wallet.run(&["ballots", &first]).await.ok();
    assert_eq!(table.lines().count(), 11, "{table}");
    assert!(table.contains("proposed") && table.contains("voted"), "{table}");
    let all = wallet.run(&["proposals", "--all"]).await.ok();
    assert!(
        all.contains("rejected        1       4     10"),
        "the final tally stays: {all}"
    );
}

#[tokio::test]
async fn the_votes_on_an_ended_proposal_stay_visible() {
    let (chain, wallet) = chain_with_long_lists().await;
    let all = wallet.json(&["proposals", "--all"]).await.object();
    let ended = &all["proposals"][2];
    assert_eq!(ended["phase"], "rejected");
    chain.advance(5);
    let shown = wallet
        .json(&["ballots", ended["id"].as_str().expect("an id")])
        .await
        .object();
    assert_eq!(shown["phase"], "rejected");
    assert_eq!(
        shown["tally"]["rejecting"], 4,
        "GOV-08: the fifth could change nothing"
    );
    let ballots = shown["ballots"].as_array().expect("a list");
    assert_eq!(ballots.len(), 5);
    assert_eq!(
        ballots
            .iter()
            .filter(|ballot| ballot["by_proposing"] == true)
            .count(),
        1
    );
    assert!(ballots.iter().all(|ballot| ballot["power"] == 1), "{shown}");
}

#[tokio::test]
async fn pages_that_do_not_end_and_false_answers_are_refused() {
    let (chain, wallet) = chain_with_long_lists().await;
    chain.page_size(2);
    chain.lie(Lie::EndlessPages);
    for command in [&["validators"][..], &["proposals", "--all"]] {
        wallet
            .run(command)
            .await
            .fails(1, &["makes no sense", "out of order", "do not trust this node"]);
    }
    chain.lie(Lie::OtherValidator);
    wallet
        .yes(&["propose-parameters", "--threshold", "7/8", "--height", "30"])
        .await
        .fails(1, &["answers with another validator", "do not trust this node"]);
    assert_eq!(chain.pending(), 0);
}
