//! Nodes that forget their halt when they are started again, and run on.

use visor_planner::{Height, Order, Phase, Record, Status};

use super::{Planned, Scenario, all_of_it, backups_and_hooks, chains, companions, on, operator, upgrades};
use crate::world::{Deed, H, Script, World, forgetful as config, is_upgraded_to, new, old, plan};

const SYSTEM: &str = "with nodes that forget their halt";

/// The node has ended at its halt.
fn is_down(world: &World) -> bool {
    world.node_version().is_none()
        && world
            .records
            .iter()
            .any(|record| matches!(record, Record::Halted { .. }))
}

fn waits(world: &World, status: &Status) -> bool {
    is_down(world) && status.phase == Phase::Halting
}

fn has_passed(world: &World, _: &Status) -> bool {
    world.node_version() == Some(&old()) && world.data.height > H + 2
}

pub(super) fn forgetful() -> Vec<Scenario> {
    let conventions = config().conventions;
    let mut all = on(SYSTEM, conventions, upgrades());
    all.extend(on(SYSTEM, conventions, backups_and_hooks()));
    all.extend(on(SYSTEM, conventions, chains()));
    all.extend(on(SYSTEM, conventions, companions()));
    all.extend(on(SYSTEM, conventions, operator::held()));
    all.extend(waiting());
    all.extend(unseen());
    all
}

/// The node dies at its halt.
fn waiting() -> Vec<Scenario> {
    let dies = Script {
        config: config(),
        old_crash_at: Some(H),
        ..Script::default()
    };
    let late = Script {
        staged_when: |world| world.has_had("old crash") || is_down(world),
        ..dies.clone()
    };
    let mut full = all_of_it();
    full.config.conventions = config().conventions;
    full.old_crash_at = Some(H);
    full.staged_when = late.staged_when;
    let deed = |when, order| Deed { when, order };
    vec![
        ("a node that dies at its halt", dies.clone()),
        ("a node that dies at its halt, staged only then", late.clone()),
        (
            "a node that dies at its halt, staged only then, with all of it",
            full,
        ),
        (
            "a node that dies at its halt while upgrades are paused",
            Script {
                deeds: vec![
                    deed(|world, _| world.data.height >= 3, Order::Pause),
                    deed(waits, Order::Resume),
                ],
                ..dies.clone()
            },
        ),
        (
            "a node that dies at its halt and is started again by the operator's word",
            Script {
                staged_when: |_| false,
                deeds: vec![deed(waits, Order::Skip(Height(H)))],
                goal: has_passed,
                ..dies.clone()
            },
        ),
        (
            "a node that dies at its halt and is kept stopped there",
            Script {
                deeds: vec![
                    deed(waits, Order::StopNode),
                    deed(|_, status| status.held, Order::StartNode),
                ],
                staged_when: |world| is_down(world) && world.has_released(),
                ..dies.clone()
            },
        ),
        (
            "an upgrade that is skipped from the start",
            Script {
                deeds: vec![deed(|world, _| world.data.height >= 3, Order::Skip(Height(H)))],
                goal: has_passed,
                ..dies
            },
        ),
        (
            "a node that dies between its last block and the word of its halt",
            Script {
                halt_told_late: true,
                ..late.clone()
            },
        ),
        (
            "a node that gives no answer between its last block and the word of its halt",
            Script {
                config: config(),
                halt_told_late: true,
                hangs: vec![("hangs at H", |world, _| world.data.height >= H)],
                ..Script::default()
            },
        ),
        (
            "a node that gives no answer, before and at its halt",
            Script {
                config: config(),
                hangs: vec![
                    ("hangs before H", |world, _| world.data.height >= 3),
                    ("hangs at H", |world, _| world.data.height >= H),
                ],
                staged_when: |world| world.has_had("hangs at H") || is_down(world),
                goal: |world, status| is_upgraded_to(world, status, &new()),
                ..Script::default()
            },
        ),
    ]
}

/// The node dies at its halt before it has said anything of it: only its files tell.
fn unseen() -> Vec<Scenario> {
    let dies = Script {
        config: config(),
        halt_unseen: true,
        ..Script::default()
    };
    let late = Script {
        staged_when: |world| world.has_had("old crash") || is_down(world),
        ..dies.clone()
    };
    let mut full = all_of_it();
    full.config.conventions = config().conventions;
    full.old_crash_at = None;
    full.halt_unseen = true;
    full.staged_when = late.staged_when;
    let deed = |when, order| Deed { when, order };
    vec![
        ("a halt that nobody sees", dies.clone()),
        ("a halt that nobody sees, staged only then", late.clone()),
        ("a halt that nobody sees, staged only then, with all of it", full),
        (
            "a halt that nobody sees while upgrades are paused",
            Script {
                deeds: vec![
                    deed(|world, _| world.data.height >= 3, Order::Pause),
                    deed(waits, Order::Resume),
                ],
                ..dies.clone()
            },
        ),
        (
            "a halt that nobody sees of an upgrade that the operator then does not want",
            Script {
                staged_when: |_| false,
                deeds: vec![deed(waits, Order::Skip(Height(H)))],
                goal: has_passed,
                ..dies.clone()
            },
        ),
        (
            "an upgrade that is taken back before a node dies at its height",
            Script {
                plans: vec![Planned {
                    cancelled_at: Some(4),
                    ..Planned::new(plan(), 2)
                }],
                old_crash_at: Some(H),
                goal: has_passed,
                ..dies
            },
        ),
    ]
}
