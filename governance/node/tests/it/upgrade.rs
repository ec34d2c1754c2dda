//! Blocks, gossip, catching up, the halt and the next version.

use std::time::{Duration, Instant};

use governance::{Action, BlockRefusal, Choice, Height, Phase, Subject};
use governance_node::{StartError, SubmitError, TransactionStatus};

use crate::network::{NEW, Network, OLD, PATIENCE, chain_id, upgrade};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_network_decides_halts_and_goes_on_with_the_next_version() {
    let mut network = Network::new(4);
    let began = Instant::now();
    network.start_all(&OLD);
    network.wait_for_block(1).await;
    println!("first block after {:?}", began.elapsed());
    let record = network.wait_for_block(5).await;
    let first = network.handle(0).block(Height(2)).unwrap().unwrap();
    let interval =
        (record.committed_at_unix_ms - first.committed_at_unix_ms) / (record.height.0 - first.height.0);
    println!("block interval {interval} ms");

    // Submitted at one node, proposed by whoever is next, seen by all.
    let height = network.handle(0).snapshot().height.0 + 10;
    let plan = upgrade(height);
    let id = Subject::Upgrade(plan.clone()).id(&chain_id());
    let proposal = network.sign(0, 0, Action::ProposeUpgrade(plan));
    let transaction = network.handle(0).submit(proposal.clone()).await.unwrap();
    assert!(matches!(
        network.handle(0).submit(proposal).await,
        Err(SubmitError::AlreadyKnown(_))
    ));
    for host in 0..4 {
        let status = network
            .handle(host)
            .transaction(transaction, PATIENCE)
            .await
            .unwrap();
        assert!(
            matches!(status, TransactionStatus::Committed { rejection: None, .. }),
            "{status:?}"
        );
    }
    for validator in [1, 2] {
        let host = usize::from(validator);
        network
            .wait_for_height(host, network.handle(0).snapshot().height.0)
            .await;
        let vote = network.sign(
            validator,
            host,
            Action::Vote {
                proposal: id,
                choice: Choice::Approve,
            },
        );
        let transaction = network.handle(host).submit(vote).await.unwrap();
        let status = network
            .handle(3)
            .transaction(transaction, PATIENCE)
            .await
            .unwrap();
        assert!(
            matches!(status, TransactionStatus::Committed { rejection: None, .. }),
            "{status:?}"
        );
    }
    assert!(
        network
            .handle(3)
            .snapshot()
            .state
            .proposal(&id)
            .is_some_and(|proposal| proposal.phase == Phase::Approved)
    );

    // A new version is too early, also on a host that is down.
    network.stop(3).await;
    let refused = network.start(3, NEW);
    assert!(matches!(
        refused,
        Err(StartError::Version(BlockRefusal::OlderVersionRequired { .. }))
    ));

    let last = network.wait_for_block(height).await;
    for host in 0..3 {
        let halt = network.handle(host).snapshot().state.halt().unwrap();
        assert_eq!((halt.height, halt.version), (Height(height), NEW));
        let vote = network.sign(0, host, Action::Withdraw { proposal: id });
        assert!(matches!(
            network.handle(host).submit(vote).await,
            Err(SubmitError::Halted(_))
        ));
    }

    // Halted nodes serve blocks to the one that was away; it halts as they did.
    let began = Instant::now();
    network.start(3, OLD).unwrap();
    network.wait_for_height(3, height).await;
    println!("caught up {} blocks in {:?}", height, began.elapsed());
    assert_eq!(network.handle(3).snapshot().state_root, last.state_root);
    assert!((0..4).all(|host| network.handle(host).snapshot().height == Height(height)));

    // The old version has nothing left to do, the new one goes on.
    network.stop_all().await;
    let refused = network.start(0, OLD);
    assert!(matches!(
        refused,
        Err(StartError::Version(BlockRefusal::NewerVersionRequired { .. }))
    ));
    let began = Instant::now();
    network.start_all(&NEW);
    let first = network.wait_for_block(height + 1).await;
    println!(
        "first block of the new version {:?} after the start",
        began.elapsed()
    );
    assert_eq!(first.version, NEW);
    network.wait_for_block(height + 5).await;
    for host in 0..4 {
        let snapshot = network.handle(host).snapshot();
        assert!(
            snapshot
                .state
                .proposal(&id)
                .is_some_and(|proposal| proposal.phase == Phase::Executed)
        );
    }
    network.stop_all().await;
}

/// The headline number: from the last block of the old version to the first of the new one, when the hosts restart
/// within 100 ms of each other, each after 50 ms without a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_restart_one_by_one_lose_no_round() {
    let mut network = Network::new(4);
    network.start_all(&OLD);
    let (id, height) = network.approve_upgrade().await;
    let last = network.wait_for_block(height).await;
    for host in 0..4 {
        network.stop(host).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        network.start(host, NEW).unwrap();
    }
    let first = network.wait_for_block(height + 1).await;
    let gap = first.committed_at_unix_ms - last.committed_at_unix_ms;
    println!("network gap {gap} ms");
    assert!(
        network
            .handle(0)
            .snapshot()
            .state
            .proposal(&id)
            .is_some_and(|proposal| proposal.phase == Phase::Executed)
    );
    network.stop_all().await;
}

/// A host that does not upgrade stays at H, serves what it has, disturbs nobody, and goes on when it upgrades later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_host_that_stays_behind_halts_safely_and_joins_later() {
    let mut network = Network::new(4);
    network.start_all(&OLD);
    let (_, height) = network.approve_upgrade().await;
    let last = network.wait_for_block(height).await;
    for host in 0..3 {
        network.stop(host).await;
        network.start(host, NEW).unwrap();
    }
    network.wait_for_height(0, height + 6).await;
    let behind = network.handle(3).snapshot();
    assert_eq!(
        (behind.height, behind.state_root),
        (Height(height), last.state_root)
    );
    let first = network.handle(0).block(Height(height + 1)).unwrap().unwrap();
    println!(
        "network gap with one host left behind {} ms",
        first.committed_at_unix_ms - last.committed_at_unix_ms
    );

    network.stop(3).await;
    network.start(3, NEW).unwrap();
    let now = network.handle(0).snapshot().height.0;
    network.wait_for_block(now + 2).await;
    network.stop_all().await;
}

/// A host that was away for the whole upgrade executes the old blocks with the old version and the new ones with the new.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_host_that_was_away_takes_both_versions_in_turn() {
    let mut network = Network::new(4);
    network.start_all(&OLD);
    let (_, height) = network.approve_upgrade().await;
    network.stop(3).await;
    network.wait_for_block(height).await;
    for host in 0..3 {
        network.stop(host).await;
        network.start(host, NEW).unwrap();
    }
    network.wait_for_height(0, height + 3).await;

    network.start(3, OLD).unwrap();
    network.wait_for_height(3, height).await;
    assert!(network.handle(3).halt().is_some());
    network.stop(3).await;
    network.start(3, NEW).unwrap();
    assert!(network.handle(3).halt().is_none());
    let now = network.handle(0).snapshot().height.0;
    network.wait_for_block(now + 2).await;
    network.stop_all().await;
}

/// A transaction that nobody could hear when it was submitted is told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_from_before_the_others_came_is_committed() {
    let mut network = Network::new(4);
    network.start(0, OLD).unwrap();
    let proposal = network.sign(0, 0, Action::ProposeUpgrade(upgrade(1_000)));
    let transaction = network.handle(0).submit(proposal).await.unwrap();
    assert_eq!(
        network
            .handle(0)
            .transaction(transaction, Duration::ZERO)
            .await
            .unwrap(),
        TransactionStatus::Pending
    );
    for host in 1..4 {
        network.start(host, OLD).unwrap();
    }
    let status = network
        .handle(3)
        .transaction(transaction, PATIENCE)
        .await
        .unwrap();
    assert!(
        matches!(status, TransactionStatus::Committed { rejection: None, .. }),
        "{status:?}"
    );
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_was_down_catches_up() {
    let mut network = Network::new(4);
    for host in 0..3 {
        network.start(host, OLD).unwrap();
    }
    network.wait_for_block(8).await;
    let began = Instant::now();
    network.start(3, OLD).unwrap();
    network.wait_for_height(3, 8).await;
    println!("caught up 8 blocks in {:?}", began.elapsed());
    let now = network.handle(0).snapshot().height.0;
    network.wait_for_block(now + 3).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    network.stop_all().await;
}

/// The store goes back by one block, as if the node had been killed between decision and commit: what the write-ahead
/// log holds is decided again, the same block and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_block_that_was_decided_and_not_stored_is_decided_again() {
    let mut network = Network::new(1);
    // Between two heights is time enough to copy the store.
    network.options.block_interval = Duration::from_secs(3);
    network.start_all(&OLD);
    network.wait_for_height(0, 1).await;
    let proposal = network.sign(0, 0, Action::ProposeUpgrade(upgrade(1_000)));
    network.handle(0).submit(proposal).await.unwrap();
    let store = network.folder(0).join("chain.redb");
    let copy = network.folder(0).join("copy.redb");
    std::fs::copy(&store, &copy).unwrap();
    let decided = network.wait_for_block(2).await;
    assert_eq!(decided.transactions.len(), 1);
    network.stop(0).await;
    std::fs::rename(&copy, &store).unwrap();

    network.start(0, OLD).unwrap();
    assert_eq!(network.handle(0).snapshot().height, Height(1));
    let again = network.wait_for_block(2).await;
    assert_eq!(
        (again.block, again.state_root),
        (decided.block, decided.state_root)
    );
    assert_eq!(again.events, decided.events);
    network.wait_for_block(3).await;
    network.stop_all().await;
}

/// A node whose key is in no validator set follows the chain, and what is submitted there reaches the proposers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_observer_follows_and_passes_transactions_on() {
    let mut network = Network::with_observers(4, 1);
    network.start_all(&OLD);
    network.wait_for_block(2).await;
    let proposal = network.sign(0, 4, Action::ProposeUpgrade(upgrade(1_000)));
    let transaction = network.handle(4).submit(proposal).await.unwrap();
    for host in [4, 0] {
        let status = network
            .handle(host)
            .transaction(transaction, PATIENCE)
            .await
            .unwrap();
        assert!(
            matches!(status, TransactionStatus::Committed { rejection: None, .. }),
            "{status:?}"
        );
    }
    network.stop_all().await;
}
