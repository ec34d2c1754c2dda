//! Upgrades during which visor is killed at random moments, sometimes with its node. `E2E_UPGRADES=300` for the long run, `E2E_SEED` to
//! repeat one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use visor::home::Home;
use visor::journal::Journal;
use visor::lock::NodeLock;
use visor_planner::Record;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::random::{Random, seed};
use crate::scene::{Host, wait_for};

const HOSTS_AT_ONCE: u64 = 4;
/// Most of an upgrade of this length; what comes later hits the new version's first moments or nothing.
const LATEST_KILL: u64 = 350;

fn upgrades() -> u64 {
    std::env::var("E2E_UPGRADES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(24)
}

/// What is killed with visor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Visor,
    NodeThenVisor,
    VisorThenNode,
}

#[derive(Debug)]
struct Kill {
    after: Duration,
    victim: Victim,
    /// Until the next visor is started.
    pause: Duration,
}

#[derive(Debug)]
struct Round {
    blocks: u64,
    companions: bool,
    kills: Vec<Kill>,
}

/// Everything random of one round.
fn round(random: &mut Random) -> Round {
    let with_node = random.below(4) == 0;
    // Sometimes the chain halts before anything is staged; with a node that dies, hardly ever before a visor has heard of it.
    let blocks = if with_node {
        20 + random.below(40)
    } else {
        2 + random.below(50)
    };
    let kills = (0..=random.below(3))
        .map(|_| Kill {
            after: Duration::from_micros(random.below(LATEST_KILL * 1_000)),
            victim: match (with_node, random.below(2)) {
                (false, _) => Victim::Visor,
                (true, 0) => Victim::NodeThenVisor,
                (true, _) => Victim::VisorThenNode,
            },
            pause: Duration::from_micros(random.below(20_000)),
        })
        .collect();
    Round {
        blocks,
        companions: random.below(3) == 0,
        kills,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Upgraded,
    /// The chain has halted and the node has died before any visor lived long enough to hear of the upgrade: the operator had to
    /// name it.
    Named,
}

/// The node is dead, stands at the height, and no visor has ever heard of the upgrade.
fn is_blind(host: &Host, height: u64) -> bool {
    let journal = Home::at(host.home()).journal();
    host.height() >= height
        && NodeLock::new(host.home().join("node.lock")).holders().is_empty()
        && !(journal.exists()
            && Journal::read(&journal)
                .unwrap()
                .iter()
                .any(|entry| matches!(entry.record, Record::Scheduled { .. })))
}

fn play(round: &Round) -> End {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 4 }));
    if round.companions {
        host.companions(&[("data", "before_node", ""), ("watch", "after_node", "")]);
    }
    let height = host.announce(round.blocks);
    for kill in &round.kills {
        let visor = host.start();
        // The moment itself is the point: this is no wait for anything.
        std::thread::sleep(kill.after);
        if kill.victim == Victim::NodeThenVisor {
            host.kill_node();
        }
        visor.kill();
        if kill.victim == Victim::VisorThenNode {
            host.kill_node();
        }
        std::thread::sleep(kill.pause);
    }
    let blind = is_blind(&host, height);
    let mut visor = host.start();
    if blind {
        host.name_the_upgrade(height);
    }
    wait_for("the end of the upgrade", || {
        assert!(visor.ended().is_none(), "visor ended: {}", visor.log());
        is_upgraded(&host).then_some(())
    });
    assert_upgraded(&host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
    assert_upgraded(&host, height);
    if blind { End::Named } else { End::Upgraded }
}

#[test]
fn vis_03_killed_at_random_moments_visor_finishes_every_upgrade() {
    let (seed, upgrades) = (seed(), upgrades());
    eprintln!("E2E_SEED={seed} E2E_UPGRADES={upgrades}");
    let began = Instant::now();
    let [next, kills, node_kills, blind] = [const { AtomicU64::new(0) }; 4];
    std::thread::scope(|scope| {
        for _ in 0..HOSTS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= upgrades {
                        return;
                    }
                    // Each round has a seed of its own, whichever thread plays it.
                    let round = round(&mut Random::new(seed.wrapping_add(number)));
                    match std::panic::catch_unwind(|| play(&round)) {
                        Ok(End::Upgraded) => {}
                        Ok(End::Named) => drop(blind.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => panic!("E2E_SEED={seed}, upgrade {number}: {round:?}"),
                    }
                    kills.fetch_add(round.kills.len() as u64, Ordering::Relaxed);
                    let with_node = round.kills.iter().filter(|kill| kill.victim != Victim::Visor);
                    node_kills.fetch_add(with_node.count() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!(
        "{upgrades} upgrades, {} kills of visor, {} of them with the node, {} named by the operator, {:?}",
        kills.into_inner(),
        node_kills.into_inner(),
        blind.load(Ordering::Relaxed),
        began.elapsed()
    );
    assert!(blind.into_inner() * 8 <= upgrades, "that is to be the exception");
}
