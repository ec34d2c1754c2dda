//! What happens to a host, and where it is to end.

mod ending;
mod forgetful;
mod operator;
mod rollback;

use visor_planner::{BackupPolicy, Conventions, HookPolicy, Phase, Record};

use crate::world::{
    Durable, H, Planned, Script, When, World, backed_up, config, hooked, is_upgraded_to, late, new, newer,
    newer_plan, plan,
};

type Scenario = (&'static str, Script);

const BLOCK: HookPolicy = HookPolicy::Block;
const WARN: HookPolicy = HookPolicy::Warn;
const OFF: HookPolicy = HookPolicy::Off;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = native();
    all.extend(forgetful::forgetful());
    all.extend(ending::ending());
    all
}

/// Of a system whose halts are durable and whose nodes are stopped.
fn native() -> Vec<Scenario> {
    let mut all = upgrades();
    all.extend(backups_and_hooks());
    all.extend(rollback::rollbacks());
    all.extend(operator::manual());
    all.extend(operator::held());
    all.extend(operator::orders());
    all.extend(chains());
    all.extend(companions());
    all
}

/// The same on another system.
fn on(system: &str, conventions: Conventions, scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios
        .into_iter()
        .map(|(name, mut script)| {
            script.config.conventions = conventions;
            let name: &'static str = format!("{name}, {system}").leak();
            (name, script)
        })
        .collect()
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
                staged_when: late,
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
