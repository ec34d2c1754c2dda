//! What happens to a host, and where it is to end.

use visor_planner::{BackupPolicy, ExitReason, Height, HookPolicy, OnFailure, Order, Phase, Record, Status};

use crate::world::{
    Deed, Durable, H, Planned, Script, Signed, When, World, backed_up, config, hooked, is_upgraded_to, new,
    newer, newer_plan, old, plan, version,
};

type Scenario = (&'static str, Script);

const BLOCK: HookPolicy = HookPolicy::Block;
const WARN: HookPolicy = HookPolicy::Warn;
const OFF: HookPolicy = HookPolicy::Off;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = upgrades();
    all.extend(backups_and_hooks());
    all.extend(rollbacks());
    all.extend(manual());
    all.extend(held());
    all.extend(orders());
    all.extend(chains());
    all.extend(companions());
    all
}

fn upgrades() -> Vec<Scenario> {
    vec![
        ("an upgrade", Script::default()),
        (
            "staged after two failures",
            Script {
                staging_failures: 2,
                ..Script::default()
            },
        ),
        (
            "staged after the halt",
            Script {
                staged_late: true,
                ..Script::default()
            },
        ),
        (
            "a new version that crashes twice",
            Script {
                new_crashes: 2,
                ..Script::default()
            },
        ),
        (
            "an old version that crashes before",
            Script {
                old_crash_at: Some(3),
                ..Script::default()
            },
        ),
    ]
}

/// Everything that can be configured, and everything goes wrong once or twice.
fn all_of_it() -> Script {
    let mut config = hooked(BLOCK, BLOCK, BLOCK);
    config.backup = backed_up(true).backup;
    Script {
        config,
        staging_failures: 1,
        backup_failures: [1, 1],
        hook_failures: [1, 1, 1],
        new_crashes: 1,
        old_crash_at: Some(3),
        ..Script::default()
    }
}

fn backups_and_hooks() -> Vec<Scenario> {
    let with = |config| Script {
        config,
        ..Script::default()
    };
    let mut reconfigured = all_of_it();
    reconfigured.changes = vec![
        (
            "no backup any more",
            |_, status| {
                matches!(
                    status.phase,
                    Phase::BackingUp | Phase::Migrating | Phase::Starting | Phase::Running
                )
            },
            |config| config.backup = BackupPolicy::Off,
        ),
        (
            "hooks only warn",
            |world, _| Durable::read(&world.records).underway.is_some() || has_completed(world),
            |config| {
                config.hooks.before_start = WARN;
                config.hooks.after_success = OFF;
            },
        ),
    ];
    let configured = Script {
        changes: vec![(
            "everything at H",
            |world, _| world.data.height >= H,
            |config| {
                config.backup = backed_up(true).backup;
                config.hooks = hooked(BLOCK, BLOCK, WARN).hooks;
            },
        )],
        ..Script::default()
    };
    vec![
        ("a backup", with(backed_up(true))),
        (
            "a backup of a node that crashes at H",
            Script {
                old_crash_at: Some(H),
                ..with(backed_up(true))
            },
        ),
        (
            "a required backup that fails twice",
            Script {
                backup_failures: [1, 2],
                ..with(backed_up(true))
            },
        ),
        (
            "a wanted backup that always fails",
            Script {
                backup_failures: [u32::MAX, u32::MAX],
                ..with(backed_up(false))
            },
        ),
        (
            "a hook before the stop that blocks twice",
            Script {
                hook_failures: [2, 0, 0],
                ..with(hooked(BLOCK, OFF, OFF))
            },
        ),
        (
            "a hook before the start that blocks twice",
            Script {
                hook_failures: [0, 2, 0],
                ..with(hooked(OFF, BLOCK, OFF))
            },
        ),
        (
            "a hook after success that blocks twice",
            Script {
                hook_failures: [0, 0, 2],
                goal: |world, status| {
                    is_upgraded_to(world, status, &new())
                        && world
                            .records
                            .iter()
                            .any(|record| matches!(record, Record::SuccessHookEnded { .. }))
                },
                ..with(hooked(OFF, OFF, BLOCK))
            },
        ),
        (
            "hooks that warn",
            Script {
                hook_failures: [u32::MAX; 3],
                ..with(hooked(WARN, WARN, WARN))
            },
        ),
        ("all of it", all_of_it()),
        ("all of it, with another configuration on the way", reconfigured),
        ("backup and hooks configured at H", configured),
        (
            "a success hook that still fails when the next upgrade comes",
            Script {
                hook_failures: [1, 0, 9],
                plans: vec![Planned::new(plan(), 2), Planned::new(newer_plan(), 2)],
                goal: |world, status| is_upgraded_to(world, status, &newer()),
                ..with(hooked(BLOCK, OFF, BLOCK))
            },
        ),
    ]
}

fn has_completed(world: &World) -> bool {
    Durable::read(&world.records).completed
}

fn is_rolled_back(world: &World, status: &Status) -> bool {
    world.current == old() && world.data.writer == old() && status.phase == Phase::RolledBack
}

fn runs_rolled_back(world: &World, status: &Status) -> bool {
    is_rolled_back(world, status) && world.node_version() == Some(&old()) && world.data.height == H
}

fn gave_up(world: &World, _: &Status) -> bool {
    matches!(world.ended, Some(ExitReason::RetriesExhausted { .. })) && world.current == new()
}

fn refused_by_hand(world: &World, _: &Status) -> bool {
    world.node_version() == Some(&new())
        && world
            .records
            .iter()
            .any(|record| matches!(record, Record::RollbackRefused { .. }))
}

const ROLL_BACK: Order = Order::Rollback;

fn rollbacks() -> Vec<Scenario> {
    let mut automatic = backed_up(true);
    automatic.on_failure = OnFailure::RollBack;
    let automatic = Script {
        config: automatic,
        new_crashes: u32::MAX,
        old_refuses: false,
        goal: runs_rolled_back,
        ..Script::default()
    };
    let by_hand = |when: When| Script {
        config: backed_up(true),
        new_stalls: true,
        old_refuses: false,
        deeds: vec![Deed {
            when,
            order: ROLL_BACK,
        }],
        goal: runs_rolled_back,
        ..Script::default()
    };
    let mut without_backup = automatic.clone();
    without_backup.config.backup = BackupPolicy::Off;
    let mut blocked = by_hand(|_, status| status.phase == Phase::Migrating && !status.problems.is_empty());
    blocked.config.hooks.before_start = BLOCK;
    blocked.hook_failures = [0, u32::MAX, 0];
    let mut stopped = by_hand(|_, status| status.held);
    stopped.deeds.insert(
        0,
        Deed {
            when: |_, status| status.phase == Phase::Probation,
            order: Order::StopNode,
        },
    );
    let mut undone = automatic.clone();
    undone.new_crashes = 4;
    undone.deeds = vec![Deed {
        when: |world, status| status.phase == Phase::RolledBack || has_completed(world),
        order: Order::Unskip(Height(H)),
    }];
    undone.goal = |world, status| is_upgraded_to(world, status, &new());
    vec![
        (
            "a rollback to an old version that refuses the data of H",
            Script {
                old_refuses: true,
                goal: |world, status| is_rolled_back(world, status) && world.node_version().is_none(),
                ..automatic.clone()
            },
        ),
        (
            "a rollback whose restore fails twice",
            Script {
                restore_failures: 2,
                ..automatic.clone()
            },
        ),
        (
            "a rollback that is refused: signed above H",
            Script {
                signed: Signed::Above,
                goal: gave_up,
                ..automatic.clone()
            },
        ),
        (
            "a rollback that is refused: nothing proves what was signed",
            Script {
                signed: Signed::Unknown,
                goal: gave_up,
                ..automatic.clone()
            },
        ),
        (
            "a rollback that is refused: no backup",
            Script {
                goal: gave_up,
                ..without_backup
            },
        ),
        ("a rollback, then the upgrade after all", undone),
        (
            "a rollback by hand during probation",
            by_hand(|_, status| status.phase == Phase::Probation),
        ),
        (
            "a rollback by hand while the new version is being started",
            by_hand(|world, status| {
                let durable = Durable::read(&world.records);
                durable.underway.is_some() && matches!(status.phase, Phase::Starting | Phase::Probation)
            }),
        ),
        ("a rollback by hand instead of a hook that blocks", blocked),
        ("a rollback by hand of a node that is kept stopped", stopped),
        (
            "a rollback by hand after an upgrade, of a host that signs nothing",
            Script {
                new_stalls: false,
                signs: false,
                ..by_hand(|world, _| has_completed(world))
            },
        ),
        (
            "a rollback by hand after an upgrade, of a validator",
            Script {
                new_stalls: false,
                goal: refused_by_hand,
                ..by_hand(|world, _| has_completed(world))
            },
        ),
    ]
}

fn manual() -> Vec<Scenario> {
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
        staged_late: true,
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
        staged_late: true,
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
                staged_late: true,
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
fn held() -> Vec<Scenario> {
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

fn orders() -> Vec<Scenario> {
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

fn chains() -> Vec<Scenario> {
    let to_newer: When = |world, status| is_upgraded_to(world, status, &newer());
    let both = vec![Planned::new(plan(), 2), Planned::new(newer_plan(), H)];
    vec![
        (
            "cancelled after staging, another one after it",
            Script {
                plans: vec![
                    Planned {
                        cancelled_at: Some(5),
                        ..Planned::new(plan(), 2)
                    },
                    Planned::new(newer_plan(), 2),
                ],
                goal: |world, status| {
                    is_upgraded_to(world, status, &newer()) && !world.started.contains(&new())
                },
                ..Script::default()
            },
        ),
        (
            "moved to another height after staging",
            Script {
                config: backed_up(true),
                plans: vec![Planned {
                    moved: Some((4, H + 3)),
                    ..Planned::new(plan(), 2)
                }],
                goal: |world, status| is_upgraded_to(world, status, &new()) && world.data.height > H + 3,
                ..Script::default()
            },
        ),
        (
            "announced while another is in progress",
            Script {
                plans: both.clone(),
                goal: to_newer,
                ..Script::default()
            },
        ),
        (
            "announced while another is in progress, with all of it",
            Script {
                plans: both,
                goal: to_newer,
                hook_failures: [1, 1, 9],
                ..all_of_it()
            },
        ),
        (
            "the same plan twice",
            Script {
                announced_twice: true,
                config: config(),
                ..Script::default()
            },
        ),
    ]
}

fn companions() -> Vec<Scenario> {
    let dies: [(&str, When); 3] = [
        ("a companion dies before H", |world, _| world.data.height >= 3),
        ("a companion dies at H", |world, _| world.data.height >= H),
        ("a companion of the new version dies", |world, _| {
            world.node_version() == Some(&new())
        }),
    ];
    dies.into_iter()
        .map(|(name, when)| {
            let mut script = all_of_it();
            script.companion_deaths = vec![(name, when)];
            (name, script)
        })
        .collect()
}
