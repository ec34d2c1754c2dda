//! Two upgrades in a row, during which visor is killed at random moments, sometimes with its node. `E2E_CASPER_UPGRADES=100` for the
//! long run, `E2E_SEED` to repeat one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::proof::{assert_walked, is_walked};
use super::scene::Host;
use crate::random::{Random, seed};
use crate::scene::wait_for;

const HOSTS_AT_ONCE: u64 = 4;
/// Most of two upgrades; what comes later hits the last version's first moments or nothing.
const LATEST_KILL: u64 = 350;

fn upgrades() -> u64 {
    let chosen = std::env::var("E2E_CASPER_UPGRADES").ok();
    chosen.and_then(|text| text.parse().ok()).unwrap_or(8)
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
    first: u64,
    second: u64,
    migrate_ms: u64,
    helper: bool,
    kills: Vec<Kill>,
}

/// Everything random of one round.
fn round(random: &mut Random) -> Round {
    let first = 2 + random.below(8);
    Round {
        first,
        // Sometimes the same era, so that the version between runs for no time.
        second: first + random.below(8),
        migrate_ms: random.below(2) * random.below(60),
        helper: random.below(4) == 0,
        kills: (0..=random.below(4))
            .map(|_| Kill {
                after: Duration::from_micros(random.below(LATEST_KILL * 1_000)),
                victim: match random.below(6) {
                    0 => Victim::NodeThenVisor,
                    1 => Victim::VisorThenNode,
                    _ => Victim::Visor,
                },
                pause: Duration::from_micros(random.below(20_000)),
            })
            .collect(),
    }
}

fn play(round: &Round) {
    let mut host = Host::new();
    for (version, activation) in [("1.0.0", 0), ("1.1.0", round.first), ("2.0.0", round.second)] {
        host.stage(version, activation);
        let behaviour = json!({
            "era_ms": 10,
            "migrate_ms": round.migrate_ms,
            "helper": round.helper,
            "helper_setsid": true,
        });
        host.behave(version, &behaviour);
    }
    host.write_state(&host.validator_text("1.0.0"));
    host.max_retries(1000);
    for kill in &round.kills {
        let launcher = host.start();
        // The moment itself is the point: this is no wait for anything.
        std::thread::sleep(kill.after);
        if kill.victim == Victim::NodeThenVisor {
            host.kill_node();
        }
        launcher.kill();
        if kill.victim == Victim::VisorThenNode {
            host.kill_node();
        }
        // At every moment.
        host.state();
        std::thread::sleep(kill.pause);
    }
    let mut launcher = host.start();
    wait_for("the end of both upgrades", || {
        assert!(launcher.ended().is_none(), "visor ended: {}", launcher.log());
        host.state();
        is_walked(&host).then_some(())
    });
    assert_walked(&host);
    launcher.stop();
    host.assert_no_node();
    assert_walked(&host);
}

#[test]
fn casper_w12_w13_killed_at_random_moments_visor_finishes_every_upgrade() {
    let (seed, upgrades) = (seed(), upgrades());
    eprintln!("E2E_SEED={seed} E2E_CASPER_UPGRADES={upgrades}");
    let began = Instant::now();
    let [next, kills, node_kills] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..HOSTS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    // Each round is two upgrades.
                    let number = next.fetch_add(2, Ordering::Relaxed);
                    if number >= upgrades {
                        return;
                    }
                    // Each round has a seed of its own, whichever thread plays it.
                    let round = round(&mut Random::new(seed.wrapping_add(number)));
                    if std::panic::catch_unwind(|| play(&round)).is_err() {
                        panic!("E2E_SEED={seed}, upgrade {number}: {round:?}");
                    }
                    kills.fetch_add(round.kills.len() as u64, Ordering::Relaxed);
                    let with_node = round.kills.iter().filter(|kill| kill.victim != Victim::Visor);
                    node_kills.fetch_add(with_node.count() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!(
        "{upgrades} upgrades, {} kills of visor, {} of them with the node, {:?}",
        kills.into_inner(),
        node_kills.into_inner(),
        began.elapsed()
    );
}
