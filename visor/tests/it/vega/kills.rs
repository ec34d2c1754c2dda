//! Vega upgrades during which visor is killed at random moments, sometimes with both processes. `E2E_VEGA_UPGRADES=100` for the long run,
//! `E2E_SEED` to repeat one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::log::Role;
use super::proof::{assert_upgraded, has_recorded_the_halt, has_recorded_the_release, is_upgraded};
use super::scene::{Host, Kind, V80};
use crate::random::{Random, seed};

const HOSTS_AT_ONCE: u64 = 4;
/// Most of an upgrade of this length; what comes later hits the new version's first moments or nothing.
const LATEST_KILL: u64 = 500;

fn upgrades() -> u64 {
    std::env::var("E2E_VEGA_UPGRADES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8)
}

#[derive(Debug)]
struct Kill {
    after: Duration,
    /// The core and the data node die with visor.
    with_node: bool,
    /// Until the next visor is started.
    pause: Duration,
}

#[derive(Debug)]
struct Round {
    kind: Kind,
    blocks: u64,
    /// The new version's folder is there from the beginning; else it appears at this time.
    folder_after: Option<Duration>,
    kills: Vec<Kill>,
}

/// Everything random of one round.
fn round(random: &mut Random) -> Round {
    let kind = [Kind::Core, Kind::OneBinary, Kind::TwoBinaries][usize::try_from(random.below(3)).unwrap()];
    let with_node = random.below(4) == 0;
    let folder_after = (random.below(4) == 0).then(|| Duration::from_millis(random.below(LATEST_KILL)));
    let kills = (0..=random.below(3))
        .map(|_| Kill {
            after: Duration::from_micros(random.below(LATEST_KILL * 1_000)),
            with_node: with_node && random.below(2) == 0,
            pause: Duration::from_micros(random.below(20_000)),
        })
        .collect();
    Round {
        kind,
        blocks: 10 + random.below(50),
        folder_after,
        kills,
    }
}

/// Whether the node has halted for a release that no visor has ever heard of: with both of them dead at that moment nothing in the world
/// says what the height was for. From the moment that a visor has put the release down, the core's and the data node's files tell.
fn is_the_halt_a_secret(host: &Host) -> bool {
    !host.log().said(Role::Core, "halted").is_empty()
        && !has_recorded_the_release(host)
        && !has_recorded_the_halt(host)
}

fn play(round: &Round) {
    let mut host = Host::new(round.kind);
    // The moments are what is random here, not how often a node may fail.
    host.with_keys("maxNumberOfRestarts = 100");
    host.behave(json!({ "block_ms": 5, "segment_lag": 2 }));
    let began = Instant::now();
    if round.folder_after.is_none() {
        host.folder(V80, V80);
    }
    let height = host.accept(V80, round.blocks);
    for kill in &round.kills {
        let visor = host.start();
        // The moment itself is the point: this is no wait for anything.
        std::thread::sleep(kill.after);
        visor.kill();
        if kill.with_node {
            // Stopped first, so that what the log says stays true until they die.
            host.signal_all(Signal::STOP);
            let signal = if is_the_halt_a_secret(&host) {
                Signal::CONT
            } else {
                Signal::KILL
            };
            host.signal_all(signal);
        }
        std::thread::sleep(kill.pause);
    }
    let mut visor = host.start();
    if let Some(after) = round.folder_after {
        std::thread::sleep(after.saturating_sub(began.elapsed()));
        host.folder(V80, V80);
    }
    host.wait("the end of the upgrade", || {
        assert!(visor.ended().is_none(), "visor ended: {}", visor.log());
        is_upgraded(&host).then_some(())
    });
    host.wait_height(height + 3);
    assert_upgraded(&host, height);
    host.stop(visor);
    assert_upgraded(&host, height);
}

#[test]
fn w_01_killed_at_random_moments_visor_finishes_every_vega_upgrade() {
    let (seed, upgrades) = (seed(), upgrades());
    eprintln!("E2E_SEED={seed} E2E_VEGA_UPGRADES={upgrades}");
    let began = Instant::now();
    let [next, kills, node_kills] = [const { AtomicU64::new(0) }; 3];
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
                    if std::panic::catch_unwind(|| play(&round)).is_err() {
                        panic!("E2E_SEED={seed}, upgrade {number}: {round:?}");
                    }
                    kills.fetch_add(round.kills.len() as u64, Ordering::Relaxed);
                    let with_node = round.kills.iter().filter(|kill| kill.with_node);
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
