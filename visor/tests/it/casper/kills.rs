//! Two upgrades in a row, during which visor is killed at random moments, sometimes with its node. `E2E_CASPER_UPGRADES=100` for the
//! long run, `E2E_SEED` to repeat one.

use std::time::Instant;

use serde_json::json;

use super::proof::{assert_walked, is_walked};
use super::scene::Host;
use crate::kills::{Kill, Victim, play_all, sum_up};
use crate::random::Random;
use crate::scene::wait_for;

/// Most of two upgrades; what comes later hits the last version's first moments or nothing.
const LATEST_KILL: u64 = 350;

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
            .map(|_| {
                Kill::any(random, LATEST_KILL, |random| match random.below(6) {
                    0 => Victim::NodeThenVisor,
                    1 => Victim::VisorThenNode,
                    _ => Victim::Visor,
                })
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
        kill.strike(|| launcher.kill(), || host.kill_node());
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
    let began = Instant::now();
    let played = play_all("E2E_CASPER_UPGRADES", 8, 2, round, play);
    eprintln!(
        "{} upgrades, {}",
        2 * played.len(),
        sum_up(played.iter().flat_map(|(round, ())| &round.kills), began)
    );
}
