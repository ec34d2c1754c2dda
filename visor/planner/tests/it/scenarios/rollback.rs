//! Rollbacks, by hand and by themselves.

use super::{BLOCK, Scenario, has_completed};
use crate::world::{Deed, Durable, H, Script, Signed, When, World, backed_up, is_upgraded_to, new, old};
use visor_planner::{BackupPolicy, ExitReason, Height, OnFailure, Order, Phase, Record, Status};

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

pub(super) fn rollbacks() -> Vec<Scenario> {
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
