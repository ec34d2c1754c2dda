//! What must be true of a host that was to walk from 1.0.0 over 1.1.0 to 2.0.0, whatever happened on the way.

use visor_planner::Record;

use super::scene::Host;

const ORDER: [&str; 5] = ["1.0.0", ">1.1.0", "1.1.0", ">2.0.0", "2.0.0"];

/// The last version runs, and visor says so.
pub(crate) fn is_walked(host: &Host) -> bool {
    host.validator().as_deref() == Some("2.0.0")
        && host.starts().iter().any(|start| start == "2.0.0")
        && host
            .ask()
            .is_some_and(|status| status.current_version == "2.0.0" && status.node.is_some())
}

/// Never two, none early, none old, each step after the one before it and none left out.
pub(crate) fn assert_walked(host: &Host) {
    host.assert_sound();
    let starts = host.starts();
    let places: Vec<usize> = starts
        .iter()
        .map(|start| ORDER.iter().position(|step| step == start).unwrap())
        .collect();
    let mut reached = 0;
    for place in &places {
        // A step may be repeated. After an interrupted migration the old version never runs again, and none is left out.
        assert!(*place <= reached + 1, "a step was left out: {starts:?}");
        reached = reached.max(*place);
    }
    assert_eq!(reached, 4, "{starts:?}");
    // A version never runs before its data is migrated, and none below it runs afterwards.
    let mut migrated = 0;
    for event in host.events() {
        let version = event["version"].as_str().unwrap_or_default().to_owned();
        let rank = ["1.0.0", "1.1.0", "2.0.0"]
            .iter()
            .position(|known| *known == version);
        match (event["event"].as_str().unwrap(), event["mode"].as_str()) {
            ("migrated", _) => migrated = migrated.max(rank.unwrap()),
            ("start", Some("validator")) => {
                assert_eq!(rank.unwrap(), migrated, "{:#?}", host.events());
            }
            _ => {}
        }
    }
    let records = host.records();
    let completed: Vec<&str> = records
        .iter()
        .filter_map(|record| {
            let Record::UpgradeCompleted { plan, .. } = record else {
                return None;
            };
            Some(plan.version.0.as_str())
        })
        .collect();
    assert_eq!(completed, ["1.1.0", "2.0.0"], "{records:#?}");
}
