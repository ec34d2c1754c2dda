//! Which limits hold, and what forgives.

use visor_planner::{
    Config, Effect, Exit, ExitReason, Input, Notice, Planner, Process, Record, RetryPolicy, Timer, Timestamp,
    recover,
};

use super::{intended, is_start, observed, running};
use crate::world::{config, new, old};

fn limits() -> Config {
    let retry = |max_retries| RetryPolicy {
        max_retries,
        ..config().restart
    };
    Config {
        first_start: retry(1),
        restart: retry(2),
        start_after_upgrade: retry(4),
        ..config()
    }
}

fn started(planner: &mut Planner) {
    let process = Process { pid: 5 };
    let started = Input::NodeStarted {
        process,
        exit_to_exec_us: None,
    };
    let _ = planner.step(Timestamp(1), started);
}

/// Crashes until visor gives up; how many retries there were, and of how many each spoke.
fn retries(planner: &mut Planner) -> (u32, u32) {
    let mut limit = 0;
    for count in 0..20 {
        let exited = Input::NodeExited {
            exit: Exit::Code(1),
            companion: None,
        };
        let effects = planner.step(Timestamp(2), exited).0;
        if matches!(
            effects.last(),
            Some(Effect::Exit(ExitReason::RetriesExhausted { .. }))
        ) {
            return (count, limit);
        }
        for effect in &effects {
            if let Effect::Notify(Notice::Retrying { of, .. }) = effect {
                limit = *of;
            }
        }
        assert!(
            planner
                .step(Timestamp(3), Input::TimerFired(Timer::Restart))
                .0
                .iter()
                .any(is_start)
        );
        started(planner);
    }
    panic!("no end of retries");
}

fn report() -> Input {
    Input::NodeReported(visor_planner::NodeReport {
        version: old(),
        height: visor_planner::Height(2),
        upgrades: Vec::new(),
        halt: None,
    })
}

#[test]
fn vis_09_a_first_start_a_restart_and_a_start_after_an_upgrade_have_limits_of_their_own() {
    let (mut planner, _) = recover(limits(), Timestamp(0), &[], observed()).unwrap();
    started(&mut planner);
    assert_eq!(
        retries(&mut planner),
        (1, 1),
        "nothing was ever reported: the first start"
    );

    let (mut planner, _) = recover(limits(), Timestamp(0), &[], observed()).unwrap();
    started(&mut planner);
    let _ = planner.step(Timestamp(2), report());
    assert_eq!(retries(&mut planner), (2, 2));

    let mut planner = intended();
    let _ = planner.step(Timestamp(1), Input::Configured(Box::new(limits())));
    let exited = Input::NodeExited {
        exit: Exit::Code(0),
        companion: None,
    };
    assert!(
        planner
            .step(Timestamp(2), exited)
            .0
            .contains(&Effect::Swap(new()))
    );
    started(&mut planner);
    assert_eq!(retries(&mut planner), (4, 4));
}

#[test]
fn vis_09_a_healthy_time_gives_all_retries_back() {
    let (mut planner, _) = recover(limits(), Timestamp(0), &[], observed()).unwrap();
    started(&mut planner);
    let _ = planner.step(Timestamp(2), report());
    let exited = Input::NodeExited {
        exit: Exit::Code(1),
        companion: None,
    };
    let _ = planner.step(Timestamp(3), exited);
    let _ = planner.step(Timestamp(4), Input::TimerFired(Timer::Restart));
    started(&mut planner);
    let effects = planner.step(Timestamp(5), Input::TimerFired(Timer::Healthy)).0;
    assert!(matches!(
        effects.as_slice(),
        [Effect::Append(Record::Healthy { .. })]
    ));
    assert_eq!(retries(&mut planner), (2, 2));
}

#[test]
fn vis_09_an_adopted_node_is_forgiven_too() {
    let crash = Record::NodeFailed {
        exit: None,
        reason: "crash".to_owned(),
        at: Timestamp(1),
    };
    let mut seen = observed();
    seen.node = Some((Process { pid: 5 }, Some(old())));
    let (planner, effects) = recover(limits(), Timestamp(9), &[crash], seen).unwrap();
    assert_eq!(planner.status().restarts, 1);
    assert!(matches!(
        effects.0.as_slice(),
        [Effect::SetTimer(Timer::Healthy, _)]
    ));
}

#[test]
fn a_companions_exit_code_never_means_an_upgrade() {
    for code in [0, 10, 11] {
        let mut planner = running();
        let exited = Input::NodeExited {
            exit: Exit::Code(code),
            companion: Some("data".to_owned()),
        };
        let effects = planner.step(Timestamp(2), exited).0;
        assert!(
            effects.iter().any(
                |effect| matches!(effect, Effect::Append(Record::NodeFailed { reason, .. })
                    if reason.starts_with(&format!("the companion data exited with code {code}")))
            ),
            "{effects:?}"
        );
    }
}

#[test]
fn a_switch_that_fails_beside_an_adopted_node_is_tried_again_after_its_stop() {
    let records = [Record::UpgradeIntended {
        plan: crate::world::plan(),
        from: old(),
        at: Timestamp(0),
        backup: false,
    }];
    let mut seen = observed();
    seen.staged.push(new());
    seen.current = Some(new());
    seen.node = Some((Process { pid: 5 }, Some(new())));
    let (mut planner, _) = recover(config(), Timestamp(1), &records, seen).unwrap();
    let reason = "read-only file system".to_owned();
    assert_eq!(
        planner.step(Timestamp(2), Input::SwapFailed { reason }).0,
        [Effect::Stop]
    );
    let exited = Input::NodeExited {
        exit: Exit::Code(0),
        companion: None,
    };
    let _ = planner.step(Timestamp(3), exited);
    assert_eq!(planner.status().restarts, 1);
    let effects = planner.step(Timestamp(4), Input::TimerFired(Timer::Restart)).0;
    assert!(
        matches!(effects.as_slice(), [Effect::Swap(_), Effect::Start { .. }]),
        "{effects:?}"
    );
}

#[test]
fn a_halt_for_an_upgrade_that_is_over_begins_nothing() {
    let completed = Record::UpgradeCompleted {
        plan: crate::world::newer_plan(),
        from: old(),
        node_down_ms: 1,
        exit_to_exec_us: 1,
        stop_ms: 1,
        restarts: 0,
        hook: false,
    };
    let staged = Record::Staged {
        upgrade: crate::world::plan().id,
        version: new(),
    };
    let mut seen = observed();
    let newer = crate::world::newer();
    seen.current = Some(newer.clone());
    seen.staged.extend([new(), newer.clone()]);
    seen.node = Some((Process { pid: 5 }, Some(newer)));
    let (mut planner, _) = recover(config(), Timestamp(1), &[completed, staged], seen).unwrap();
    // A node that has its own version wrong.
    let report = Input::NodeReported(visor_planner::NodeReport {
        version: old(),
        height: visor_planner::Height(20),
        upgrades: Vec::new(),
        halt: Some(crate::world::plan()),
    });
    let effects = planner.step(Timestamp(2), report).0;
    assert!(effects.is_empty(), "back to an older version: {effects:?}");
}
