//! One consensus key in two processes.

use std::time::{Duration, Instant};

use e2e::Load;

use crate::hostile::MEMORY_LIMIT;
use crate::nodes::{
    assert_memory_below, assert_no_panic, assert_sound, clients, equivocation_reports, goes_on, say, stop,
    validators, wait,
};
use crate::story::{LIMIT, turn};

/// A twin that takes part is reported within seconds.
const REPORTED: Duration = Duration::from_secs(40);
/// On a busy host the twin may stay a step behind the original, and then has nothing of its own to sign.
const NETWORKS: u32 = 4;
/// The node that knows the twin alone.
const BESIDE: usize = 0;

/// An operator starts a copy of a validator's home on a second machine: two processes sign with one key.
#[tokio::test]
async fn a_validator_that_signs_twice_is_reported_and_harms_nobody() {
    let _turn = turn().await;
    for _ in 0..NETWORKS {
        if the_twin_is_reported().await {
            return;
        }
    }
    panic!("nobody reported an equivocation in {NETWORKS} networks");
}

/// False: the twin signed nothing of its own.
async fn the_twin_is_reported() -> bool {
    let (mut network, desks) = validators(4).await;
    for index in [3, BESIDE] {
        let node = network.node(index).expect("a node");
        node.stop().await.expect("it stops in order");
    }
    let mut twin = network.twin(3).await.expect("its twin");
    network
        .part(&twin, 3, BESIDE)
        .expect("one node knows the twin alone");
    for index in [BESIDE, 3] {
        network
            .node(index)
            .expect("a node")
            .start()
            .expect("it starts again");
    }
    twin.start().expect("its twin starts");
    twin.first_status(LIMIT).await.expect("its twin answers");
    // One was down, and may be some blocks behind.
    goes_on(&network, 1).await;

    let proposal = desks[0]
        .propose_far_upgrade(&clients(&network), LIMIT)
        .await
        .expect("a proposal to vote on");
    // One validator's votes enter at the twin alone, so that the two have different blocks in mind.
    let mut entrances = clients(&network);
    entrances[2] = twin.client().expect("a client");
    // The twin may be some blocks behind, and refuses votes on what it has not seen.
    let tip = network.observer().tip();
    let known = Instant::now() + LIMIT;
    while entrances[2].status().await.expect("the twin answers").height < tip {
        assert!(Instant::now() < known, "the twin does not come to height {tip}");
        goes_on(&network, 1).await;
    }
    let mut load = Load::start(desks.clone(), &entrances, proposal);
    let deadline = Instant::now() + REPORTED;
    let honest = 0..3;
    while !honest
        .clone()
        .any(|index| !equivocation_reports(&network.nodes()[index]).is_empty())
    {
        if Instant::now() >= deadline {
            load.finish().await.expect("every vote ends up in a block");
            twin.stop().await.expect("the twin stops in order");
            stop(network).await;
            return false;
        }
        load.check().await.expect("the load goes on");
        goes_on(&network, 1).await;
    }
    goes_on(&network, 5).await;
    let votes = load.finish().await.expect("every vote ends up in a block");
    say(&format!(
        "{} votes by height {}; {}",
        votes.len(),
        network.observer().tip(),
        equivocation_reports(&network.nodes()[0])
            .last()
            .cloned()
            .unwrap_or_default()
    ));
    assert_memory_below(&network, MEMORY_LIMIT);

    // The twin has the same chain.
    let client = twin.client().expect("a client");
    let height = client.status().await.expect("it answers").height;
    let views = network.observer().views();
    for block in client.blocks(1, height).await.expect("its blocks") {
        for view in &views {
            if let Some(seen) = view.blocks.get(&block.height) {
                assert_eq!(
                    seen.state_root, block.state_root,
                    "block {} of the twin",
                    block.height
                );
            }
        }
    }
    assert_no_panic(&twin);
    twin.stop().await.expect("the twin stops in order");
    // Alone again, the validator is worth its power.
    goes_on(&network, 5).await;
    wait(&network, "all four together", |views| {
        let tip = views.iter().map(e2e::HostView::height).max().unwrap_or(0);
        views.iter().all(|view| view.height() + 1 >= tip)
    })
    .await;
    assert_sound(&network).await;
    stop(network).await;
    true
}
