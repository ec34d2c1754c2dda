//! Visor is killed at every place of a whole life: its start, staging, halt, stop, swap, start, probation, the end of the upgrade and
//! its own stop. The next visor always comes to the same end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, PATIENCE, Visor, wait_for};

/// Two cores wait for disks and timers most of the time.
const HOSTS_AT_ONCE: usize = 4;

/// How the host is when its upgrade comes.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// Blocks until the height, 4 ms each.
    blocks: u64,
    /// The node is killed with visor.
    node_dies_too: bool,
}

/// Staged long before the height.
const IN_TIME: Scene = Scene {
    blocks: 40,
    node_dies_too: false,
};

/// The chain halts before anything is staged.
const LATE: Scene = Scene {
    blocks: 2,
    node_dies_too: false,
};

fn host(scene: Scene) -> (Host, u64) {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 4 }));
    let height = host.announce(scene.blocks);
    (host, height)
}

/// Lets visor live until it dies or the upgrade is over, then stops it. True: it was killed.
fn live(host: &Host, visor: &mut Visor) -> bool {
    let began = Instant::now();
    let mut asked = false;
    loop {
        if let Some(ended) = visor.ended() {
            assert!(
                ended.code().is_none() || asked && ended.success(),
                "visor ended by itself with {ended}: {}",
                visor.log()
            );
            return ended.code().is_none();
        }
        if !asked && is_upgraded(host) {
            visor.terminate();
            asked = true;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "no end: {:?}, {:#?}, {}",
            host.ask(),
            host.node_log(),
            visor.log()
        );
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Every place that a life passes, in the form of `VISOR_FAULT_POINT`.
fn places(scene: Scene) -> Vec<String> {
    let (mut host, height) = host(scene);
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
fn die_at(scene: Scene, place: &str) -> bool {
    let (mut host, height) = host(scene);
    let mut visor = host.start_faulty(&[("VISOR_FAULT_POINT", place)]);
    let killed = live(&host, &mut visor);
    if scene.node_dies_too {
        host.kill_node();
    }
    // Without the variable the same program is plain visor.
    let mut next = host.start_faulty(&[]);
    wait_for("the end of the upgrade", || {
        assert!(next.ended().is_none(), "the next visor ended: {}", next.log());
        is_upgraded(&host).then_some(())
    });
    assert_upgraded(&host, height);
    next.terminate();
    assert_eq!(next.wait_exit().code(), Some(0));
    host.assert_no_node();
    assert_upgraded(&host, height);
    killed
}

/// Kills visor at every place, or at every `sample`th where that is enough for an ordinary run: `E2E_PLACES=all` for all of them.
fn die_everywhere(scene: Scene, sample: usize) {
    let sample = match std::env::var("E2E_PLACES").as_deref() {
        Ok("all") => 1,
        Ok(_) | Err(_) => sample,
    };
    let all = places(scene);
    assert!(all.len() > 60, "so few places: {all:?}");
    let places: Vec<&String> = all.iter().step_by(sample).collect();
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..HOSTS_AT_ONCE {
            scope.spawn(|| {
                while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(|| die_at(scene, place));
                    match outcome {
                        Ok(true) => {}
                        // One report more or less: that life did not pass the place, and came to its end.
                        Ok(false) => drop(missed.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => panic!("killed at {place}, {scene:?}"),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    eprintln!(
        "{scene:?}: killed at {} of {} places",
        places.len() - missed,
        all.len()
    );
    assert!(missed * 10 < places.len(), "{missed} of {} places", places.len());
}

#[test]
fn vis_01_killed_at_every_place_visor_finishes_the_upgrade() {
    die_everywhere(IN_TIME, 1);
}

#[test]
fn vis_01_killed_at_every_place_of_an_upgrade_that_was_staged_late() {
    die_everywhere(LATE, 5);
}

#[test]
fn vis_01_killed_at_every_place_with_its_node() {
    let scene = Scene {
        node_dies_too: true,
        ..IN_TIME
    };
    die_everywhere(scene, 5);
}

#[test]
fn the_shipped_visor_cannot_be_armed() {
    let (mut host, height) = host(LATE);
    let trace = host.home().join("trace");
    let mut command = host.command();
    command
        .env("VISOR_FAULT_POINT", "1")
        .env("VISOR_FAULT_COUNT", &trace);
    let mut visor = host.launch(command);
    assert!(!live(&host, &mut visor));
    assert_upgraded(&host, height);
    assert!(!trace.exists());
}
