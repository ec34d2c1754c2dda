//! Visor is killed at every place of a life with two upgrades and a stop. The next visor always comes to the same end.

use serde_json::json;

use super::proof::{assert_walked, is_walked};
use super::scene::{Host, Launcher};
use crate::crash_points::{die_at_each, live_until};
use crate::scene::wait_for;

/// How the host is.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// The node is killed with visor.
    node_dies_too: bool,
    /// A migration takes some time.
    migrate_ms: u64,
}

const PLAIN: Scene = Scene {
    node_dies_too: false,
    migrate_ms: 0,
};

fn host(scene: Scene) -> Host {
    let host = Host::new();
    for (version, activation) in [("1.0.0", 0), ("1.1.0", 5), ("2.0.0", 10)] {
        host.stage(version, activation);
        host.behave(version, &json!({ "era_ms": 10, "migrate_ms": scene.migrate_ms }));
    }
    host.write_state(&host.validator_text("1.0.0"));
    host.max_retries(1000);
    host
}

fn live(host: &Host, launcher: &mut Launcher) -> bool {
    live_until(
        launcher,
        || is_walked(host),
        || format!("{:?}, {:#?}", host.ask(), host.events()),
    )
}

/// Every place that a life passes, in the form of `VISOR_FAULT_POINT`.
fn places(scene: Scene) -> Vec<String> {
    let mut host = host(scene);
    let trace = host.root().join("trace");
    let mut launcher = host.start_faulty(&[("VISOR_FAULT_COUNT", trace.to_str().unwrap())]);
    assert!(!live(&host, &mut launcher), "nothing was to kill it");
    assert_walked(&host);
    let text = std::fs::read_to_string(trace).unwrap();
    text.lines()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        // How often the status is read depends on the moment.
        .filter(|place| !place.contains("NodeReported"))
        .collect()
}

/// One life that ends at `place`, and the next visor's. True: the place was passed.
fn die_at(scene: Scene, place: &str) -> bool {
    let mut host = host(scene);
    let mut launcher = host.start_faulty(&[("VISOR_FAULT_POINT", place)]);
    let killed = live(&host, &mut launcher);
    host.state();
    if scene.node_dies_too {
        host.kill_node();
    }
    let mut next = host.start();
    wait_for("the end of both upgrades", || {
        assert!(next.ended().is_none(), "the next visor ended: {}", next.log());
        is_walked(&host).then_some(())
    });
    assert_walked(&host);
    next.stop();
    host.assert_no_node();
    assert_walked(&host);
    killed
}

/// Kills visor at every `sample`th place: `E2E_PLACES=all` for all of them.
fn die_everywhere(scene: Scene, sample: usize) {
    let all = places(scene);
    assert!(all.len() > 60, "so few places: {all:?}");
    die_at_each(&format!("casper, {scene:?}"), &all, sample, &|place| {
        die_at(scene, place)
    });
}

#[test]
fn casper_killed_at_every_place_visor_finishes_both_upgrades() {
    die_everywhere(PLAIN, 7);
}

#[test]
fn casper_killed_at_every_place_with_its_node() {
    let scene = Scene {
        node_dies_too: true,
        migrate_ms: 20,
    };
    die_everywhere(scene, 8);
}
