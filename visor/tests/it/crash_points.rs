//! Visor is killed at every place of a whole life: its start, staging, halt, stop, swap, start, probation, the end of the upgrade and
//! its own stop. The next visor always comes to the same end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, Living, PATIENCE, Visor, wait_for};

/// Two cores wait for disks and timers most of the time.
const HOSTS_AT_ONCE: usize = 4;

/// How the host is when its upgrade comes.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// Blocks until the height, 4 ms each.
    blocks: u64,
    /// The node is killed with visor.
    node_dies_too: bool,
    /// With two companions, a hook at each point, and a backup.
    everything: bool,
}

/// Staged long before the height.
const IN_TIME: Scene = Scene {
    blocks: 40,
    node_dies_too: false,
    everything: false,
};

/// The chain halts before anything is staged.
const LATE: Scene = Scene { blocks: 2, ..IN_TIME };

fn host(scene: Scene) -> (Host, u64) {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 4 }));
    if scene.everything {
        equip(&host);
    }
    let height = host.announce(scene.blocks);
    (host, height)
}

/// The file of the node's data that is backed up; nothing writes to it.
const DATA: &str = "state";

fn equip(host: &Host) {
    host.companions(&[("data", "before_node", ""), ("watch", "after_node", "")]);
    let data = host.node_home().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join(DATA), "blocks").unwrap();
    let ran = host.root().join("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} >> {}", ran.display());
        toml::Value::try_from(json!({ "command": ["/bin/sh", "-c", script] })).unwrap()
    };
    let paths = toml::Value::try_from([data]).unwrap();
    host.configure(&[
        ("hooks", "before_stop", hook("before_stop")),
        ("hooks", "before_start", hook("before_start")),
        ("hooks", "after_success", hook("after_success")),
        ("hooks", "retry_delay", "20ms".into()),
        ("backup", "paths", paths),
        ("backup", "first_pass_blocks", 30.into()),
        ("backup", "reserve", 0.into()),
        ("backup", "retry_delay", "20ms".into()),
    ]);
}

/// Beside the upgrade itself: the hooks ran, and the copy is whole.
fn assert_equipped(host: &Host) {
    let ran = fs::read_to_string(host.root().join("hooks")).unwrap();
    for hook in ["before_stop", "before_start"] {
        assert!(ran.lines().any(|line| line == hook), "{hook} in {ran}");
    }
    let entries = Journal::read(&Home::at(host.home()).journal()).unwrap();
    let backups: Vec<PathBuf> = entries
        .into_iter()
        .filter_map(|entry| {
            let Record::BackedUp { backup, .. } = entry.record else {
                return None;
            };
            Some(PathBuf::from(backup.path))
        })
        .collect();
    assert_eq!(backups.len(), 1, "{backups:?}");
    assert!(has(&backups[0], DATA), "no copy in {backups:?}");
}

/// Whether the file lies somewhere in the folder, as it was written.
fn has(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            has(&path, name)
        } else {
            path.ends_with(name) && fs::read_to_string(path).unwrap() == "blocks"
        }
    })
}

/// Lets visor live until it dies or the host has come to its end, then stops it. True: it was killed.
pub(crate) fn live_until(
    visor: &mut impl Living,
    is_over: impl Fn() -> bool,
    seen: impl Fn() -> String,
) -> bool {
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
        if !asked && is_over() {
            visor.terminate();
            asked = true;
        }
        assert!(began.elapsed() < PATIENCE, "no end: {}, {}", seen(), visor.log());
        std::thread::sleep(Duration::from_millis(3));
    }
}

pub(crate) fn live(host: &Host, visor: &mut Visor, is_over: fn(&Host) -> bool) -> bool {
    live_until(
        visor,
        || is_over(host),
        || format!("{:?}, {:#?}", host.ask(), host.node_log()),
    )
}

/// Every place that a life passes, in the form of `VISOR_FAULT_POINT`.
fn places(scene: Scene) -> Vec<String> {
    let (mut host, height) = host(scene);
    let places = places_of(&mut host, is_upgraded);
    assert_upgraded(&host, height);
    places
}

/// Lets visor live to its end, and returns the places that it passes.
pub(crate) fn places_of(host: &mut Host, is_over: fn(&Host) -> bool) -> Vec<String> {
    let trace = host.home().join("trace");
    let mut visor = host.start_faulty(&[("VISOR_FAULT_COUNT", trace.to_str().unwrap())]);
    assert!(!live(host, &mut visor, is_over), "nothing was to kill it");
    let text = fs::read_to_string(trace).unwrap();
    text.lines()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect()
}

/// One life that ends at `place`, and the next visor's. True: the place was passed.
fn die_at(scene: Scene, place: &str) -> bool {
    let (mut host, height) = host(scene);
    let mut visor = host.start_faulty(&[("VISOR_FAULT_POINT", place)]);
    let killed = live(&host, &mut visor, is_upgraded);
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
    if scene.everything {
        assert_equipped(&host);
    }
    killed
}

/// Kills visor at every place, or at every `sample`th where that is enough for an ordinary run: `E2E_PLACES=all` for all of them.
fn die_everywhere(scene: Scene, sample: usize) {
    let all = places(scene);
    assert!(all.len() > 60, "so few places: {all:?}");
    die_at_each(&format!("{scene:?}"), &all, sample, &|place| die_at(scene, place));
}

/// One life for each place, several at once. `die_at` says whether its life passed the place.
pub(crate) fn die_at_each(
    what: &str,
    all: &[String],
    sample: usize,
    die_at: &(dyn Fn(&str) -> bool + Sync + std::panic::RefUnwindSafe),
) {
    let sample = match std::env::var("E2E_PLACES").as_deref() {
        Ok("all") => 1,
        Ok(_) | Err(_) => sample,
    };
    let places: Vec<&String> = all.iter().step_by(sample).collect();
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..HOSTS_AT_ONCE {
            scope.spawn(|| {
                while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match std::panic::catch_unwind(|| die_at(place)) {
                        Ok(true) => {}
                        // One report more or less: that life did not pass the place, and came to its end.
                        Ok(false) => drop(missed.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => panic!("killed at {place}, {what}"),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    eprintln!(
        "{what}: killed at {} of {} places",
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
    die_everywhere(scene, 6);
}

#[test]
fn vis_01_killed_at_every_place_of_an_upgrade_with_companions_hooks_and_a_backup() {
    let scene = Scene {
        everything: true,
        ..IN_TIME
    };
    die_everywhere(scene, 7);
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
    assert!(!live(&host, &mut visor, is_upgraded));
    assert_upgraded(&host, height);
    assert!(!trace.exists());
}
