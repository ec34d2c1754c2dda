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
