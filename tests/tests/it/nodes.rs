//! What stories about nodes without visors share: a running network, and what must be true of every node at the end.

use std::sync::Arc;
use std::time::Duration;

use e2e::{Acknowledged, Client, Desk, HostView, Ledger, Network, NetworkOptions, Node, equal_members};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;

use crate::story::{LIMIT, assert_equal_roots, binaries};

/// Blocks come as fast as a debug build on two cores makes them with room to spare.
pub(crate) const PACE: Duration = Duration::from_millis(150);

/// A network that has made its first blocks, and the desk of every validator.
pub(crate) async fn validators(count: usize) -> (Network, Vec<Arc<Desk>>) {
    let (members, keys) = equal_members(count).expect("keys");
    let network = network(&NetworkOptions::of(members).with_block_interval(PACE)).await;
    let desks = keys
        .into_iter()
        .map(|key| Arc::new(Desk::new(key, network.chain_id()).expect("a desk")))
        .collect();
    (network, desks)
}

/// A network that has made its first blocks.
pub(crate) async fn network(options: &NetworkOptions) -> Network {
    let mut network = Network::lay_out(binaries().await, options)
        .await
        .expect("the nodes are laid out");
    network.start().expect("the nodes start");
    wait(&network, "two blocks on every node", |views| {
        views.iter().all(|view| view.height() >= 2)
    })
    .await;
    network
}

/// A client of every node.
pub(crate) fn clients(network: &Network) -> Vec<Client> {
    network
        .nodes()
        .iter()
        .map(|node| node.client().expect("a client"))
        .collect()
}

/// Waits until the nodes look as wanted; fails with what they look like instead and the end of every log.
pub(crate) async fn wait(network: &Network, what: &str, condition: impl FnMut(&[HostView]) -> bool) {
    if let Err(error) = network.wait_until(what, LIMIT, condition).await {
        panic!("{error:#}");
    }
}

/// Waits until every node has so many more blocks than anybody has now.
pub(crate) async fn goes_on(network: &Network, blocks: u64) {
    let wanted = network.observer().tip() + blocks;
    wait(network, "the chain goes on", |views| {
        views.iter().all(|view| view.height() >= wanted)
    })
    .await;
}

/// The node comes back at no lower height than it has ever named: in an answer, or in its stream of blocks.
pub(crate) async fn assert_kept_promises(network: &mut Network, ledger: &Ledger, victim: usize) {
    let promised = ledger.highest_by(victim).max(network.observer().height(victim));
    let node = network.node(victim).expect("a node");
    let status = node
        .first_status(LIMIT)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        status.height >= promised,
        "{} has acknowledged block {promised} and starts at {}\n{}",
        node.name(),
        status.height,
        node.log_tail(30)
    );
}

/// Asks `node` again for everything that it has acknowledged or seen others acknowledge: it is there, at the same height.
pub(crate) async fn assert_still_there(name: &str, client: &Client, acknowledged: &[Acknowledged]) {
    for one in acknowledged {
        let outcome = client
            .outcome(one.id, Duration::ZERO)
            .await
            .unwrap_or_else(|status| panic!("{name}: {status}"));
        match outcome {
            Outcome::Committed(committed) => {
                assert_eq!(committed.height, one.height, "{name}: transaction {}", one.id);
                assert_eq!(
                    committed.rejection.is_some(),
                    one.rejected,
                    "{name}: transaction {}: {committed:?}",
                    one.id
                );
            }
            other @ (Outcome::Unknown(_) | Outcome::Pending(_) | Outcome::Dropped(_)) => panic!(
                "{name} has lost transaction {} of block {}: {other:?}",
                one.id, one.height
            ),
        }
    }
}

/// Reads blocks again from a node's store: they are those that have been seen, of this node and of the others.
pub(crate) async fn assert_same_blocks(network: &Network, node: usize, first: u64, last: u64) {
    let name = network.nodes()[node].name();
    let blocks = clients(network)[node]
        .blocks(first, last)
        .await
        .unwrap_or_else(|status| panic!("{name} serves blocks {first} to {last}: {status}"));
    let views = network.observer().views();
    for block in blocks {
        for view in &views {
            if let Some(seen) = view.blocks.get(&block.height) {
                // The root covers the ids of all blocks up to this one, and the state.
                assert_eq!(
                    seen.state_root, block.state_root,
                    "block {} of {name} and {}",
                    block.height, view.name
                );
                assert_eq!(
                    events(seen),
                    events(&block),
                    "block {} of {name} and {}",
                    block.height,
                    view.name
                );
            }
        }
    }
}

fn events(block: &pb::BlockEvents) -> &[pb::Event] {
    &block.events
}

/// No node has panicked, equal roots at every height that two nodes have, and every block in place on every running node.
pub(crate) async fn assert_sound(network: &Network) {
    let views = network.observer().views();
    assert_equal_roots(&views);
    for (index, node) in network.nodes().iter().enumerate() {
        assert_no_panic(node);
        if node.pid().is_some() {
            assert_same_blocks(network, index, 1, views[index].height()).await;
        }
    }
}

/// Nothing in the log of a panic.
pub(crate) fn assert_no_panic(node: &Node) {
    let log = node.log().expect("a log");
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked at")).collect();
    assert!(panics.is_empty(), "{}: {panics:#?}", node.name());
}

/// Lines of a node's log that report that a validator has signed two different things in one place.
pub(crate) fn equivocation_reports(node: &Node) -> Vec<String> {
    node.log()
        .expect("a log")
        .lines()
        .filter(|line| line.to_lowercase().contains("equivocat"))
        .map(str::to_owned)
        .collect()
}

/// Every running node has stayed below so many MiB since its start. Returns the highest peak.
pub(crate) fn assert_memory_below(network: &Network, mebibytes: u64) -> u64 {
    let mut highest = 0;
    for node in network.nodes() {
        if let Some(memory) = node.memory() {
            let peak = memory.peak_kib / 1024;
            assert!(
                peak < mebibytes,
                "{} has used {peak} MiB, expected less than {mebibytes}",
                node.name()
            );
            highest = highest.max(peak);
        }
    }
    highest
}

/// Stops every node in order.
pub(crate) async fn stop(mut network: Network) {
    network.stop().await.expect("every node stops with exit code 0");
}

/// Tells whoever runs the story with `--nocapture`: seeds, to repeat it, and what was measured.
#[expect(
    clippy::print_stderr,
    reason = "a story's numbers are for its reader, not for its judgement"
)]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
