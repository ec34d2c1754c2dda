//! Visor is killed before every order of every scenario, with and without its node, and always reaches the same end.

use crate::world::{Script, World, new, old, settle};

const SCENARIOS: [(&str, Script); 5] = [
    (
        "an upgrade",
        Script {
            staging_failures: 0,
            staged_late: false,
            new_crashes: 0,
            old_crash_at: None,
        },
    ),
    (
        "staged after two failures",
        Script {
            staging_failures: 2,
            staged_late: false,
            new_crashes: 0,
            old_crash_at: None,
        },
    ),
    (
        "staged after the halt",
        Script {
            staging_failures: 0,
            staged_late: true,
            new_crashes: 0,
            old_crash_at: None,
        },
    ),
    (
        "a new version that crashes twice",
        Script {
            staging_failures: 0,
            staged_late: false,
            new_crashes: 2,
            old_crash_at: None,
        },
    ),
    (
        "an old version that crashes before",
        Script {
            staging_failures: 0,
            staged_late: false,
            new_crashes: 0,
            old_crash_at: Some(3),
        },
    ),
];

/// Carries out at most `limit` orders from the beginning; true when the upgrade was over before that.
fn run_until(world: &mut World, limit: usize) -> bool {
    let (mut planner, mut effects) = world.recover();
    let mut count = 0;
    for _ in 0..2_000 {
        for effect in &effects.0 {
            if count == limit {
                return false;
            }
            world.carry_out(effect);
            count += 1;
        }
        if world.is_upgraded(&planner) {
            return true;
        }
        let Some(input) = world.next() else {
            panic!("visor ended: {:?}", world.ended)
        };
        effects = planner.step(world.now(), input);
    }
    panic!("the host does not come to rest: {:?}", planner.status());
}

fn assert_end(name: &str, point: usize, world: &World) {
    assert_eq!(world.current, new(), "{name}, killed before order {point}");
    assert!(
        world.ended.is_none(),
        "{name}, killed before order {point}: visor ended: {:?}",
        world.ended
    );
    // The old version is never started again once the new one has been.
    let first_new = world
        .started
        .iter()
        .position(|version| *version == new())
        .expect("the new version was started");
    assert!(
        world
            .started
            .iter()
            .skip(first_new)
            .all(|version| *version == new()),
        "{name}: {:?}",
        world.started
    );
}

#[test]
fn vis_01_killed_before_any_order_visor_finishes_the_upgrade() {
    for (name, script) in SCENARIOS {
        for node_dies_too in [false, true] {
            let mut point = 0;
            loop {
                let mut world = World::new(script);
                let over = run_until(&mut world, point);
                if over {
                    assert!(point > 8, "{name} has orders to be killed before");
                    break;
                }
                if node_dies_too {
                    world.kill_node();
                }
                let (mut planner, effects) = world.recover();
                settle(&mut world, &mut planner, effects);
                assert!(
                    world.is_upgraded(&planner),
                    "{name}, killed before order {point}: {:?}",
                    planner.status()
                );
                assert_end(name, point, &world);
                point += 1;
            }
        }
    }
}

#[test]
fn vis_01_killed_twice_visor_finishes_the_upgrade() {
    for (name, script) in SCENARIOS {
        for first in 0..40 {
            for second in 0..12 {
                let mut world = World::new(script);
                if run_until(&mut world, first) {
                    break;
                }
                if run_until(&mut world, second) {
                    continue;
                }
                world.kill_node();
                let (mut planner, effects) = world.recover();
                settle(&mut world, &mut planner, effects);
                assert!(
                    world.is_upgraded(&planner),
                    "{name}, killed before {first}, then before {second}: {:?}",
                    planner.status()
                );
                assert_end(name, first, &world);
            }
        }
    }
}

#[test]
fn without_a_kill_the_node_is_started_once_per_version() {
    let mut world = World::new(Script::default());
    let (mut planner, effects) = world.recover();
    settle(&mut world, &mut planner, effects);
    assert_eq!(world.started, [old(), new()]);
}
