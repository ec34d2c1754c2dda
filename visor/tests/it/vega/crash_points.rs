//! Visor is killed at every place of one Vega upgrade, from its start to its own stop. The next visor always comes to the same end.
//! `E2E_PLACES=all` for all of them.

use serde_json::json;

use super::proof::{assert_upgraded, is_upgraded};
use super::scene::{Host, Kind, V80};
use crate::crash_points::{die_at_each, live_until};
use crate::scene::{Visor, wait_for};

const SAMPLE: usize = 12;

fn host(kind: Kind) -> (Host, u64) {
    let mut host = Host::new(kind);
    host.folder(V80, V80);
    host.with_keys("maxNumberOfRestarts = 100");
    host.behave(json!({ "block_ms": 5 }));
    let height = host.accept(V80, 30);
    (host, height)
}

fn live(host: &Host, visor: &mut Visor) -> bool {
    live_until(
        visor,
        || is_upgraded(host),
        || format!("{:?}, {:#?}", host.ask(), host.log().lines),
    )
}

/// Every place that a life passes, in the form of `VISOR_FAULT_POINT`.
fn places(kind: Kind) -> Vec<String> {
    let (mut host, height) = host(kind);
    let trace = host.home().join("trace");
    let mut visor = host.start_faulty(&[("VISOR_FAULT_COUNT", trace.to_str().unwrap())]);
    assert!(!live(&host, &mut visor), "nothing was to kill it");
    assert_upgraded(&host, height);
    let text = std::fs::read_to_string(trace).unwrap();
    text.lines()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect()
}

/// One life that ends at `place`, and the next visor's. True: the place was passed.
fn die_at(kind: Kind, place: &str) -> bool {
    let (mut host, height) = host(kind);
    let mut visor = host.start_faulty(&[("VISOR_FAULT_POINT", place)]);
    let killed = live(&host, &mut visor);
    let mut next = host.start();
    wait_for("the end of the upgrade", || {
        assert!(next.ended().is_none(), "the next visor ended: {}", next.log());
        is_upgraded(&host).then_some(())
    });
    host.wait_height(height + 3);
    assert_upgraded(&host, height);
    host.stop(next);
    assert_upgraded(&host, height);
    killed
}

fn die_everywhere(kind: Kind) {
    let all = places(kind);
    assert!(all.len() > 40, "so few places: {all:?}");
    die_at_each(&format!("{kind:?}"), &all, SAMPLE, &|place| die_at(kind, place));
}

#[test]
fn vis_01_killed_at_every_place_visor_finishes_the_upgrade_of_a_core() {
    die_everywhere(Kind::Core);
}

#[test]
fn vis_01_killed_at_every_place_visor_finishes_the_upgrade_of_the_pair() {
    die_everywhere(Kind::TwoBinaries);
}
