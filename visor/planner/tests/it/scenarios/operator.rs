//! What the operator does while an upgrade is on its way.

use super::{BLOCK, OFF, Scenario, all_of_it, has_completed};
use crate::world::{Deed, H, Script, When, backed_up, hooked, is_upgraded_to, late, new, version};
use visor_planner::{Height, Order, Phase};

pub(super) fn manual() -> Vec<Scenario> {
    let manual = Script {
        plans: Vec::new(),
        deeds: vec![Deed {
            when: |world, _| world.data.height >= 2,
            order: Order::UpgradeAt {
                height: Height(H),
                version: new(),
            },
        }],
        ..Script::default()
    };
    let mut skipped = Script {
        staged_when: late,
        ..manual.clone()
    };
    skipped.deeds.extend([
        Deed {
            when: |world, _| world.data.height >= H,
            order: Order::Skip(Height(H)),
        },
        Deed {
            when: |world, _| world.data.height >= H + 2 || has_completed(world),
            order: Order::Unskip(Height(H)),
        },
    ]);
    let mut paused = Script {
        staged_when: late,
        ..manual.clone()
    };
    paused.deeds.extend([
        Deed {
            when: |world, _| world.data.height >= H,
            order: Order::Pause,
        },
        Deed {
            when: |world, _| world.data.height > H || has_completed(world),
            order: Order::Resume,
        },
    ]);
    let overtaken = Script {
        deeds: vec![
            Deed {
                when: |world, _| world.data.height >= 2,
                order: Order::UpgradeAt {
                    height: Height(5),
                    version: version("1.0.5"),
                },
            },
            Deed {
                when: |_, _| true,
                order: Order::Skip(Height(5)),
            },
            Deed {
                when: |world, _| world.data.height >= H + 2,
                order: Order::Unskip(Height(5)),
            },
        ],
        goal: |world, status| is_upgraded_to(world, status, &new()) && world.data.height >= H + 5,
        ..Script::default()
    };
    let mut full = all_of_it();
    full.plans = Vec::new();
    full.deeds = manual.deeds.clone();
    full.staging_failures = 0;
    vec![
        ("an upgrade of the operator's own", manual.clone()),
        (
            "one that is staged late",
            Script {
                staged_when: late,
                ..manual
            },
        ),
        (
            "one that is skipped while the node is kept from passing, and then not",
            skipped,
        ),
        (
            "one that is paused while the node is kept from passing, and resumed",
            paused,
        ),
        ("one that the chain's upgrade overtakes", overtaken),
        ("one with all of it", full),
    ]
}

/// The node is stopped and started again in the middle of everything.
pub(super) fn held() -> Vec<Scenario> {
    let at: [(&str, When); 8] = [
        ("stopped and started before H", |world, _| world.data.height >= 3),
        ("stopped and started at H", |world, _| world.data.height >= H),
        ("stopped and started while halting", |world, status| {
            status.phase == Phase::Halting || has_completed(world)
        }),
        ("stopped and started in the backup", |world, status| {
            status.phase == Phase::BackingUp || has_completed(world)
        }),
        ("stopped and started in the hook", |world, status| {
            status.phase == Phase::Migrating || has_completed(world)
        }),
        (
            "stopped and started while the new version starts",
            |world, status| {
                (status.phase == Phase::Starting && world.current == new()) || has_completed(world)
            },
        ),
        ("stopped and started while it is retried", |world, status| {
            (status.phase == Phase::Retrying && world.current == new()) || has_completed(world)
        }),
        ("stopped and started in probation", |world, status| {
            status.phase == Phase::Probation || has_completed(world)
        }),
    ];
    at.into_iter()
        .map(|(name, when)| {
            let mut script = all_of_it();
            script.old_crash_at = None;
            script.deeds = vec![
                Deed {
                    when,
                    order: Order::StopNode,
                },
                // At once, while the stop, the pass or the hook is still under way.
                Deed {
                    when: |_, _| true,
                    order: Order::StartNode,
                },
                Deed {
                    when: |_, _| true,
                    order: Order::StopNode,
                },
                Deed {
                    when: |world, status| !status.held || world.node_version().is_none(),
                    order: Order::StartNode,
                },
            ];
            (name, script)
        })
        .collect()
}

pub(super) fn orders() -> Vec<Scenario> {
    let two = |first: Order, when: When, second: Order| Script {
        config: {
            let mut config = hooked(BLOCK, OFF, OFF);
            config.backup = backed_up(true).backup;
            config
        },
        hook_failures: [1, 0, 0],
        deeds: vec![
            Deed { when, order: first },
            Deed {
                when: |world, _| world.data.height >= H,
                order: second,
            },
        ],
        ..Script::default()
    };
    let early: When = |world, _| world.data.height >= 3;
    let halted: When = |_, status| status.phase == Phase::Halting;
    let late: When = |world, status| status.phase == Phase::Halting || has_completed(world);
    let _ = halted;
    vec![
        (
            "paused, and resumed at H",
            two(Order::Pause, early, Order::Resume),
        ),
        ("paused at H, and resumed", two(Order::Pause, late, Order::Resume)),
        (
            "skipped, and not at H",
            two(Order::Skip(Height(H)), early, Order::Unskip(Height(H))),
        ),
        (
            "skipped at H, and not",
            two(Order::Skip(Height(H)), late, Order::Unskip(Height(H))),
        ),
        ("staged on order", {
            let mut script = two(Order::StageNow, early, Order::StageNow);
            script.staging_failures = 5;
            script
        }),
    ]
}
