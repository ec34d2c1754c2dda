//! A node is killed with SIGKILL at any moment: it loses nothing that it has acknowledged, signs nothing twice, catches up.

use std::sync::Arc;
use std::time::Duration;

use e2e::{Client, Desk, Ledger, Load, Network, Random};

use crate::nodes::{
    assert_kept_promises, assert_no_panic, assert_same_blocks, assert_sound, assert_still_there, clients,
    equivocation_reports, goes_on, say, stop, validators, wait,
};
use crate::story::{LIMIT, turn};

/// Kills in an ordinary run; `E2E_KILLS=200` for the long one.
const KILLS: u64 = 24;
/// A moment of a height is hit at random within this time: several blocks, with everything that happens in them.
const LONGEST_PAUSE_MS: u64 = 500;
/// A node that has just been started is killed again within this time: it reads its store, its log, and meets its peers.
const LONGEST_RECOVERY_MS: u64 = 250;
/// What is asked again after each restart, newest first. Everything is asked at the end.
const RECENT: usize = 60;

fn kills() -> u64 {
    std::env::var("E2E_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS)
}

#[tokio::test]
async fn a_node_killed_at_any_moment_loses_nothing_and_signs_nothing_twice() {
    let _turn = turn().await;
    let mut random = Random::from_environment();
    say(&format!("E2E_SEED={} E2E_KILLS={}", random.seed(), kills()));
    let (mut network, desks) = validators(4).await;
    let clients = clients(&network);
    let mut load = start_load(&desks, &clients).await;
    let ledger = load.ledger();

    let mut done = 0;
    while done < kills() {
        pause(&mut random, LONGEST_PAUSE_MS).await;
        let victim = random.index(4);
        loop {
            kill_and_restart(&mut network, &ledger, victim).await;
            done += 1;
            // One in four dies again while it recovers.
            if random.below(4) != 0 {
                break;
            }
            pause(&mut random, LONGEST_RECOVERY_MS).await;
        }
        let tip = network.observer().tip();
        wait(&network, "the killed node catches up", |views| {
            views[victim].height() > tip
        })
        .await;
        check_recent(&network, &ledger, &clients, victim).await;
        load.check().await.expect("the load goes on");
        if done % 20 < 2 {
            say(&format!("{done} kills, height {}, {} votes", tip, ledger.len()));
        }
    }

    // A power cut: all four at the same moment.
    for index in 0..4 {
        network.node(index).expect("a node").kill().expect("it is killed");
    }
    for index in 0..4 {
        network
            .node(index)
            .expect("a node")
            .start()
            .expect("it starts again");
    }
    for index in 0..4 {
        assert_kept_promises(&mut network, &ledger, index).await;
    }
    goes_on(&network, 3).await;

    let votes = load.finish().await.expect("every vote ends up in a block").all();
    goes_on(&network, 1).await;
    assert!(
        votes.len() as u64 > kills(),
        "a load of {} votes is none",
        votes.len()
    );
    for (node, client) in network.nodes().iter().zip(&clients) {
        assert_still_there(node.name(), client, &votes).await;
        assert_eq!(
            equivocation_reports(node),
            Vec::<String>::new(),
            "{}",
            node.name()
        );
    }
    assert_sound(&network).await;
    say(&format!(
        "{done} kills and one of all: height {}, {} votes",
        network.observer().tip(),
        votes.len()
    ));
    stop(network).await;
}

async fn start_load(desks: &[Arc<Desk>], clients: &[Client]) -> Load {
    let proposal = desks[0]
        .propose_far_upgrade(clients, LIMIT)
        .await
        .expect("a proposal to vote on");
    Load::start(desks.to_vec(), clients, proposal)
}

/// A moment that nobody has chosen. It is not waited for anything here: the moment is what is tested.
async fn pause(random: &mut Random, longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(random.below(longest_ms))).await;
}

async fn kill_and_restart(network: &mut Network, ledger: &Ledger, victim: usize) {
    let node = network.node(victim).expect("a node");
    node.kill().expect("it ran until now");
    node.start().expect("it starts again");
    assert_kept_promises(network, ledger, victim).await;
}

async fn check_recent(network: &Network, ledger: &Ledger, clients: &[Client], victim: usize) {
    let node = &network.nodes()[victim];
    assert_no_panic(node);
    let last = network.observer().height(victim);
    assert_same_blocks(network, victim, last.saturating_sub(RECENT as u64).max(1), last).await;
    // What this node has acknowledged itself, and what others have that it has caught up with.
    let all = ledger.all();
    let recent: Vec<_> = all
        .iter()
        .rev()
        .take(RECENT)
        .filter(|one| one.by == victim || one.height <= last)
        .copied()
        .collect();
    assert_still_there(node.name(), &clients[victim], &recent).await;
}
