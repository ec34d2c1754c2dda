//! Nodes that end to be upgraded, versions that migrate the data first, and a home that says what is to run.

use visor_planner::{
    BackupPolicy, ExitReason, Height, OnFailure, Order, Phase, Record, Status, UpgradePlan, Version,
};

use super::{
    BLOCK, OFF, Scenario, all_of_it, backups_and_hooks, companions, has_completed, on, operator, upgrades,
};
use crate::world::{
    Deed, H, Planned, Script, When, World, backed_up, ending as config, hooked, is_upgraded_to, late, new,
    newer, newer_plan, old, plan, version,
};

const SYSTEM: &str = "with nodes that end to be upgraded";

fn to_newer(world: &World, status: &Status) -> bool {
    is_upgraded_to(world, status, &newer())
}

fn has_gone_back(world: &World) -> bool {
    world
        .records
        .iter()
        .any(|record| matches!(record, Record::Downgraded { .. }))
}

fn script() -> Script {
    Script {
        config: config(),
        ..Script::default()
    }
}

pub(super) fn ending() -> Vec<Scenario> {
    let conventions = config().conventions;
    let mut all = on(SYSTEM, conventions, upgrades());
    all.extend(on(SYSTEM, conventions, backups_and_hooks()));
    all.extend(on(SYSTEM, conventions, companions()));
    let mut held = operator::held();
    for (_, script) in &mut held {
        script.migration_failures = 1;
    }
    all.extend(on(SYSTEM, conventions, held));
    all.extend(chains());
    all.extend(migrations());
    all.extend(ways_back());
    all.extend(orders());
    all
}

fn chains() -> Vec<Scenario> {
    let both = vec![Planned::new(plan(), 2), Planned::new(newer_plan(), 2)];
    let newest = UpgradePlan {
        version: version("2.0.0"),
        ..newer_plan()
    };
    let three = vec![
        Planned::new(plan(), 2),
        Planned::new(
            UpgradePlan {
                height: Height(H),
                ..newer_plan()
            },
            2,
        ),
        Planned::new(
            UpgradePlan {
                height: Height(H),
                ..newest.clone()
            },
            2,
        ),
    ];
    let at_once = Script {
        plans: three,
        installed: vec![new(), newer(), newest.version],
        goal: |world, status| is_upgraded_to(world, status, &version("2.0.0")),
        ..script()
    };
    vec![
        (
            "one version after the other",
            Script {
                plans: both.clone(),
                goal: to_newer,
                ..script()
            },
        ),
        (
            "one version after the other, in silence",
            Script {
                plans: both,
                installed: vec![new(), newer()],
                silent: true,
                goal: to_newer,
                ..script()
            },
        ),
        ("three versions at one height", at_once.clone()),
        (
            "three versions at one height, in silence",
            Script {
                silent: true,
                ..at_once.clone()
            },
        ),
        (
            "three versions at one height, with all of it",
            Script {
                config: {
                    let mut config = all_of_it().config;
                    config.conventions = at_once.config.conventions;
                    config
                },
                backup_failures: [1, 1],
                hook_failures: [1, 1, 1],
                migration_failures: 2,
                ..at_once
            },
        ),
    ]
}

fn migrations() -> Vec<Scenario> {
    let mut rolled_back = config();
    rolled_back.on_failure = OnFailure::RollBack;
    rolled_back.backup = backed_up(true).backup;
    let rolled_back = Script {
        config: rolled_back,
        migration_failures: 4,
        ..script()
    };
    let mut without_backup = rolled_back.clone();
    without_backup.config.backup = BackupPolicy::Off;
    without_backup.migration_failures = u32::MAX;
    let mut full = all_of_it();
    full.config.conventions = config().conventions;
    full.migration_failures = 2;
    vec![
        (
            "a migration that fails twice",
            Script {
                migration_failures: 2,
                ..script()
            },
        ),
        ("a migration that fails twice, with all of it", full),
        (
            "a migration that never succeeds is rolled back, and the node asks again",
            Script {
                goal: |world, status| {
                    world.current == old()
                        && world.node_version().is_none()
                        && status.phase == Phase::RolledBack
                },
                migration_failures: u32::MAX,
                ..rolled_back.clone()
            },
        ),
        (
            "a rollback, then the upgrade after all, with a migration",
            Script {
                deeds: vec![Deed {
                    when: |world, status| status.phase == Phase::RolledBack || has_completed(world),
                    order: Order::Unskip(Height(H)),
                }],
                ..rolled_back
            },
        ),
        (
            "a migration that never succeeds without a backup",
            Script {
                goal: |world, _| matches!(world.ended, Some(ExitReason::RetriesExhausted { .. })),
                ..without_backup
            },
        ),
        (
            "a rollback by hand of a migration",
            Script {
                config: {
                    let mut config = config();
                    config.backup = backed_up(true).backup;
                    config
                },
                migration_failures: 3,
                deeds: vec![Deed {
                    when: |world, _| world.migrations > 0,
                    order: Order::Rollback,
                }],
                signs: false,
                goal: |world, _| {
                    world
                        .records
                        .iter()
                        .any(|record| matches!(record, Record::RolledBack { .. }))
                },
                ..script()
            },
        ),
    ]
}

fn ways_back() -> Vec<Scenario> {
    let back_and_forth: When = |world, status| is_upgraded_to(world, status, &new()) && has_gone_back(world);
    let wants_back = |world: &World, of: &Version| *of == new() && !has_gone_back(world);
    let in_turns: When = |world, _| {
        matches!(&world.ended, Some(ExitReason::RetriesExhausted { reason }) if reason.contains("asks for 1.0.0 again"))
            && world.current == old()
    };
    vec![
        (
            "a new version that always asks for the one before, which always asks for it",
            Script {
                ends: vec![(|_, of| *of == new(), 102)],
                goal: in_turns,
                ..script()
            },
        ),
        (
            "a migration that always asks for the version before, which always asks for it",
            Script {
                migration_ends: vec![(|_, _| true, 102)],
                goal: in_turns,
                ..script()
            },
        ),
        (
            "a new version that asks for the one before, once",
            Script {
                ends: vec![(wants_back, 102)],
                goal: back_and_forth,
                ..script()
            },
        ),
        (
            "a migration that asks for the version before, once",
            Script {
                migration_ends: vec![(wants_back, 102)],
                goal: back_and_forth,
                ..script()
            },
        ),
        (
            "a migration that asks for the version before, once, with a backup and a hook",
            Script {
                config: {
                    let mut config = hooked(OFF, BLOCK, OFF);
                    config.backup = backed_up(true).backup;
                    config.conventions = script().config.conventions;
                    config
                },
                migration_ends: vec![(wants_back, 102)],
                goal: back_and_forth,
                ..script()
            },
        ),
        (
            "an old version that asks for one before it, where there is none",
            Script {
                ends: vec![(|_, of| *of == old(), 102)],
                goal: |world, _| {
                    matches!(world.ended, Some(ExitReason::RetriesExhausted { .. })) && world.current == old()
                },
                ..script()
            },
        ),
        (
            "a node that asks for the end",
            Script {
                ends: vec![(|world, _| world.data.height >= 3, 103)],
                goal: |world, _| world.ended == Some(ExitReason::ShutDown),
                ..script()
            },
        ),
        (
            "a migration that asks for the end",
            Script {
                migration_ends: vec![(|_, _| true, 103)],
                goal: |world, _| world.ended == Some(ExitReason::ShutDown),
                ..script()
            },
        ),
        (
            "a node that asks for the next version before that is there",
            Script {
                ends: vec![(
                    |world, of| *of == old() && world.data.height >= 3 && world.count_of_failures() < 2,
                    0,
                )],
                staged_when: |world| world.count_of_failures() >= 2 && late(world),
                ..script()
            },
        ),
    ]
}

fn orders() -> Vec<Scenario> {
    let early: When = |world, _| world.data.height >= 3;
    let down: When = |world, status| {
        (status.phase == Phase::Halting && world.node_version().is_none()) || has_completed(world)
    };
    let two = |first: Order, second: Order| Script {
        deeds: vec![
            Deed {
                when: early,
                order: first,
            },
            Deed {
                when: down,
                order: second,
            },
        ],
        ..script()
    };
    let mut blocked = two(Order::Pause, Order::Resume);
    blocked.config.hooks = hooked(BLOCK, BLOCK, OFF).hooks;
    blocked.config.backup = backed_up(true).backup;
    blocked.hook_failures = [9, 1, 0];
    let mut stopped = two(Order::StopNode, Order::StartNode);
    for deed in &mut stopped.deeds {
        deed.when = |world, status| status.phase == Phase::Migrating || status.held || has_completed(world);
    }
    vec![
        (
            "paused, so that the node stays ended, and resumed",
            two(Order::Pause, Order::Resume),
        ),
        ("paused and resumed, with a backup and hooks", blocked),
        (
            "skipped, so that the node stays ended, and then not",
            two(Order::Skip(Height(H)), Order::Unskip(Height(H))),
        ),
        ("a migration that is stopped and begun anew", stopped),
        (
            "an upgrade of the operator's own, with a migration",
            Script {
                plans: Vec::new(),
                deeds: vec![Deed {
                    when: |world, _| world.data.height >= 2,
                    order: Order::UpgradeAt {
                        height: Height(H),
                        version: new(),
                    },
                }],
                ..script()
            },
        ),
        (
            "a node that gives no answer",
            Script {
                hangs: vec![("hangs before H", |world, _| world.data.height >= 3)],
                ..script()
            },
        ),
    ]
}
