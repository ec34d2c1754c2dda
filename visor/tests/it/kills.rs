//! Upgrades during which visor is killed at random moments, sometimes with its node. `E2E_UPGRADES=300` for the long run, `E2E_SEED` to
//! repeat one.

use std::fmt::Debug;
use std::panic::RefUnwindSafe;
use std::sync::Mutex;
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

/// What is killed with visor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Visor,
    NodeThenVisor,
    VisorThenNode,
}

#[derive(Debug)]
pub(crate) struct Kill {
    after: Duration,
    victim: Victim,
    /// Until the next visor is started.
    pub(crate) pause: Duration,
}

impl Kill {
    /// Within so many milliseconds.
    pub(crate) fn any(random: &mut Random, latest: u64, victim: impl FnOnce(&mut Random) -> Victim) -> Self {
        Self {
            after: Duration::from_micros(random.below(latest * 1_000)),
            victim: victim(random),
            pause: Duration::from_micros(random.below(20_000)),
        }
    }

    /// When its time has come.
    pub(crate) fn strike(&self, kill_visor: impl FnOnce(), kill_node: impl Fn()) {
        // The moment itself is the point: this is no wait for anything.
        std::thread::sleep(self.after);
        if self.victim == Victim::NodeThenVisor {
            kill_node();
        }
        kill_visor();
        if self.victim == Victim::VisorThenNode {
            kill_node();
        }
    }
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
        .map(|_| {
            Kill::any(random, LATEST_KILL, |random| match (with_node, random.below(2)) {
                (false, _) => Victim::Visor,
                (true, 0) => Victim::NodeThenVisor,
                (true, _) => Victim::VisorThenNode,
            })
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
        kill.strike(|| visor.kill(), || host.kill_node());
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

/// Plays as many upgrades as the variable says, else so many, of which each round has `each`, and returns what became of the rounds.
/// Several are played at once; each has a seed of its own, whichever thread plays it.
pub(crate) fn play_all<R: Debug + RefUnwindSafe + Send, E: Send>(
    variable: &str,
    upgrades: u64,
    each: u64,
    round: fn(&mut Random) -> R,
    play: fn(&R) -> E,
) -> Vec<(R, E)> {
    let chosen = std::env::var(variable).ok();
    let upgrades = chosen.and_then(|text| text.parse().ok()).unwrap_or(upgrades);
    let seed = seed();
    eprintln!("E2E_SEED={seed} {variable}={upgrades}");
    let next = AtomicU64::new(0);
    let played = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..HOSTS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(each, Ordering::Relaxed);
                    if number >= upgrades {
                        return;
                    }
                    let round = round(&mut Random::new(seed.wrapping_add(number)));
                    match std::panic::catch_unwind(|| play(&round)) {
                        Ok(end) => played.lock().unwrap().push((round, end)),
                        Err(_) => panic!("E2E_SEED={seed}, upgrade {number}: {round:?}"),
                    }
                }
            });
        }
    });
    played.into_inner().unwrap()
}

/// Says how much was killed.
pub(crate) fn sum_up<'a>(kills: impl Iterator<Item = &'a Kill>, began: Instant) -> String {
    let victims: Vec<Victim> = kills.map(|kill| kill.victim).collect();
    let with_node = victims.iter().filter(|victim| **victim != Victim::Visor);
    format!(
        "{} kills of visor, {} of them with the node, {:?}",
        victims.len(),
        with_node.count(),
        began.elapsed()
    )
}

#[test]
fn vis_03_killed_at_random_moments_visor_finishes_every_upgrade() {
    let began = Instant::now();
    let played = play_all("E2E_UPGRADES", 24, 1, round, play);
    let named = played.iter().filter(|(_, end)| *end == End::Named).count();
    eprintln!(
        "{} upgrades, {named} named by the operator, {}",
        played.len(),
        sum_up(played.iter().flat_map(|(round, _)| &round.kills), began)
    );
    assert!(named * 8 <= played.len(), "that is to be the exception");
}
