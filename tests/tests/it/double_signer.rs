//! One consensus key in two processes.

use std::time::{Duration, Instant};

use e2e::{Load, Network};

use crate::hostile::MEMORY_LIMIT;
use crate::nodes::{
    assert_memory_below, assert_no_panic, assert_sound, clients, equivocation_reports, goes_on, say, stop,
    validators, wait,
};
use crate::story::{LIMIT, turn};

/// Among some ten heights is one with a round that the two begin together; that takes seconds.
const REPORTED: Duration = Duration::from_secs(90);
/// The validator whose key is in two processes.
const ORIGINAL: usize = 3;
/// The node that knows the twin alone.
const BESIDE: usize = 0;
/// Down until the twin is reported. Both begin a height by clocks of their own, and the later one finds it decided, so that it only follows.
/// A round that comes after that of a silent proposer begins for everybody with the same votes.
const SILENT: usize = 1;

/// An operator starts a copy of a validator's home on a second machine: two processes sign with one key.
#[tokio::test]
async fn a_validator_that_signs_twice_is_reported_and_harms_nobody() {
    let _turn = turn().await;
    let (mut network, desks) = validators(4).await;
    for index in [ORIGINAL, BESIDE, SILENT] {
        let node = network.node(index).expect("a node");
        node.stop().await.expect("it stops in order");
    }
    let mut twin = network.twin(ORIGINAL).await.expect("its twin");
    network
        .part(&twin, ORIGINAL, BESIDE)
        .expect("one node knows the twin alone");
    for index in [BESIDE, ORIGINAL] {
        network
            .node(index)
            .expect("a node")
            .start()
            .expect("it starts again");
    }
    twin.start().expect("its twin starts");
    twin.first_status(LIMIT).await.expect("its twin answers");
    // One was down, and may be some blocks behind.
    three_go_on(&network).await;

    let mut entrances = clients(&network);
    entrances[SILENT] = entrances[BESIDE].clone();
    let proposal = desks[0]
        .propose_far_upgrade(&entrances, LIMIT)
        .await
        .expect("a proposal to vote on");
    // One validator's votes enter at the twin alone, so that the two have different blocks in mind.
    entrances[2] = twin.client().expect("a client");
    // The twin may be some blocks behind, and refuses votes on what it has not seen.
    let tip = network.observer().tip();
    let known = Instant::now() + LIMIT;
    while entrances[2].status().await.expect("the twin answers").height < tip {
        assert!(Instant::now() < known, "the twin does not come to height {tip}");
        three_go_on(&network).await;
    }
    let mut load = Load::start(desks.clone(), &entrances, proposal);
    let deadline = Instant::now() + REPORTED;
    while ![BESIDE, 2]
        .iter()
        .any(|index| !equivocation_reports(&network.nodes()[*index]).is_empty())
    {
        assert!(
            Instant::now() < deadline,
            "nobody has reported an equivocation by height {}",
            network.observer().tip()
        );
        load.check().await.expect("the load goes on");
        three_go_on(&network).await;
    }
    network
        .node(SILENT)
        .expect("a node")
        .start()
        .expect("it starts again");
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
}

/// All but the silent one have another block.
async fn three_go_on(network: &Network) {
    let wanted = network.observer().tip() + 1;
    wait(network, "the chain goes on without one", |views| {
        let mut others = views.iter().enumerate().filter(|(index, _)| *index != SILENT);
        others.all(|(_, view)| view.height() >= wanted)
    })
    .await;
}
