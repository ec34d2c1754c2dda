//! Systems whose home decides: what it says of the version to run counts, whatever the journal says.

use visor_planner::{
    Effect, Exit, Input, Migration, Observed, Phase, Planner, Process, Record, Timestamp, UpgradePlan,
    recover,
};

use super::ends::{migrate, orders};
use super::{is_start, observed};
use crate::world::{ending, new, newer, newer_plan, old, plan};

fn at_home(current: &visor_planner::Version, migrating: Option<Migration>) -> Observed {
    Observed {
        current: Some(current.clone()),
        staged: vec![old(), new(), newer()],
        migrating,
        ..observed()
    }
}

fn intended() -> Record {
    Record::UpgradeIntended {
        plan: plan(),
        from: old(),
        at: Timestamp(4),
        backup: true,
    }
}

fn recovered(records: &[Record], found: Observed) -> (Planner, Vec<Effect>) {
    let (planner, effects) = recover(ending(), Timestamp(20), records, found).unwrap();
    (planner, effects.0)
}

fn starts(effects: &[Effect], version: &visor_planner::Version) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Start { version: started, .. } if started == version))
}

#[test]
fn the_version_that_the_home_names_is_started_whatever_was_started_last() {
    let records = [Record::StartIntended {
        version: new(),
        at: Timestamp(0),
    }];
    let (planner, effects) = recovered(&records, at_home(&old(), None));
    assert_eq!(planner.status().current, old());
    assert!(starts(&effects, &old()), "{effects:?}");
    assert!(planner.status().problems.is_empty());
}

#[test]
fn an_upgrade_goes_on_where_the_home_names_one_of_its_versions() {
    let (_, effects) = recovered(&[intended()], at_home(&old(), None));
    assert!(
        matches!(effects.as_slice(), [Effect::BackUp { .. }]),
        "{effects:?}"
    );
    // The migration is done: another tool, or visor itself, wrote so.
    let (planner, effects) = recovered(&[intended()], at_home(&new(), None));
    assert!(
        matches!(effects.as_slice(), [Effect::Swap(to), Effect::Start { .. }] if *to == new()),
        "{effects:?}"
    );
    assert_eq!(planner.status().current, new());
    // Its node runs already.
    let mut found = at_home(&new(), None);
    found.node = Some((Process { pid: 5 }, None));
    let (planner, effects) = recovered(&[intended()], found);
    assert!(
        matches!(
            orders(&effects).as_slice(),
            [Effect::Swap(_), Effect::Append(Record::UpgradeCompleted { .. })]
        ),
        "{effects:?}"
    );
    assert_eq!(planner.status().phase, Phase::Running);
}

#[test]
fn an_upgrade_that_the_home_contradicts_is_over_and_the_operator_is_told() {
    let (planner, effects) = recovered(&[intended()], at_home(&newer(), None));
    assert_eq!(
        effects[0],
        Effect::Append(Record::Forced {
            version: newer(),
            at: Timestamp(20)
        })
    );
    assert!(starts(&effects, &newer()), "{effects:?}");
    let status = planner.status();
    assert_eq!(status.upgrade, None);
    assert!(
        status
            .problems
            .iter()
            .any(|problem| problem.contains("names 1.2.0") && problem.contains("the upgrade to 1.1.0")),
        "{:?}",
        status.problems
    );
}

#[test]
fn a_migration_that_the_home_names_is_carried_to_its_end() {
    let migration = |plan: UpgradePlan, from| Some(Migration { from, plan });
    // Begun by this upgrade.
    let (planner, effects) = recovered(&[intended()], at_home(&old(), migration(plan(), old())));
    assert_eq!(effects, [migrate()], "nothing before it is done again");
    assert_eq!(planner.status().phase, Phase::Migrating);

    // Visor was gone before it could write down that it had begun it, or another tool began it.
    for records in [&[][..], &[intended()][..]] {
        let (planner, effects) = recovered(records, at_home(&new(), migration(newer_plan(), new())));
        assert!(
            matches!(
                effects.as_slice(),
                [
                    Effect::Append(Record::UpgradeIntended { from, .. }),
                    Effect::Migrate { to, .. }
                ] if *from == new() && *to == newer()
            ),
            "{effects:?}"
        );
        assert_eq!(planner.status().upgrade.unwrap().version, newer());
    }

    // The journal knows it by another name, for the operator ordered it.
    let own = Record::UpgradeIntended {
        plan: UpgradePlan::manual(plan().height, new()),
        from: old(),
        at: Timestamp(4),
        backup: false,
    };
    let (_, effects) = recovered(&[own], at_home(&old(), migration(plan(), old())));
    assert_eq!(effects, [migrate()]);

    // Its process still runs: it is ended, and the migration begun anew.
    let mut found = at_home(&old(), migration(plan(), old()));
    found.node = Some((Process { pid: 5 }, Some(new())));
    let (mut planner, effects) = recovered(&[intended()], found);
    assert_eq!(effects, [Effect::Stop]);
    let ended = Input::NodeExited {
        exit: Exit::Unknown,
        companion: None,
    };
    assert_eq!(planner.step(Timestamp(30), ended).0, [migrate()]);
}

#[test]
fn a_forced_version_ends_all_that_was_under_way() {
    let records = [
        intended(),
        Record::NodeFailed {
            exit: None,
            reason: "no".to_owned(),
            at: Timestamp(5),
        },
        Record::Forced {
            version: newer(),
            at: Timestamp(6),
        },
    ];
    let (planner, effects) = recovered(&records, at_home(&newer(), None));
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Append(Record::StartIntended { .. }), Effect::Start { .. }]
        ),
        "{effects:?}"
    );
    let status = planner.status();
    assert_eq!((status.restarts, status.upgrade), (0, None));
}

#[test]
fn a_downgrade_ends_what_was_under_way_and_the_upgrade_before_it() {
    let records = [
        intended(),
        Record::UpgradeCompleted {
            plan: plan(),
            from: old(),
            node_down_ms: 0,
            exit_to_exec_us: 0,
            stop_ms: 0,
            restarts: 0,
            hook: true,
        },
        Record::Downgraded {
            from: new(),
            to: old(),
            at: Timestamp(6),
        },
    ];
    let (planner, effects) = recovered(&records, at_home(&old(), None));
    assert!(
        effects.iter().any(is_start) && starts(&effects, &old()),
        "{effects:?}"
    );
    assert_eq!(planner.status().last_upgrade, None);
}

#[test]
fn a_system_without_migrations_is_not_asked_for_one() {
    let mut config = ending();
    config.conventions.home_decides = false;
    let found = at_home(
        &old(),
        Some(Migration {
            from: old(),
            plan: plan(),
        }),
    );
    let (_, effects) = recover(config, Timestamp(20), &[], found).unwrap();
    assert!(starts(&effects.0, &old()), "{effects:?}");
}

#[test]
fn a_node_of_another_version_than_the_home_names_is_replaced() {
    let records = [Record::StartIntended {
        version: old(),
        at: Timestamp(0),
    }];
    let node = |version| Some((Process { pid: 5 }, Some(version)));
    let mut found = at_home(&new(), None);
    found.node = node(old());
    let (mut planner, effects) = recovered(&records, found);
    assert_eq!(effects, [Effect::Stop]);
    let ended = Input::NodeExited {
        exit: Exit::Code(0),
        companion: None,
    };
    let effects = planner.step(Timestamp(21), ended).0;
    assert!(starts(&effects, &new()), "{effects:?}");
    assert!(planner.status().problems.is_empty());
    // One of the version that it names runs on.
    let mut found = at_home(&old(), None);
    found.node = node(old());
    let (_, effects) = recovered(&records, found);
    assert!(!effects.contains(&Effect::Stop), "{effects:?}");
}
