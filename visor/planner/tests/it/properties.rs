//! Any facts in any order: no panic, and never two nodes.

use proptest::prelude::*;
use visor_planner::{
    Announced, Artifact, ArtifactFact, Effect, Exit, Height, Input, NodeReport, Observed, Process, Standing,
    Timer, Timestamp, recover,
};

use crate::world::{config, new, old, plan};

fn any_input() -> impl Strategy<Value = Input> {
    let exit = prop_oneof![
        (0..20_i32).prop_map(Exit::Code),
        (1..16_i32).prop_map(Exit::Signal),
        Just(Exit::Unknown)
    ];
    let report = (any::<bool>(), 0..9_u64, any::<bool>(), any::<bool>()).prop_map(
        |(is_new, height, announces, halts)| NodeReport {
            version: if is_new { new() } else { old() },
            height: Height(height),
            upgrades: if announces {
                vec![Announced {
                    plan: plan(),
                    standing: Standing::LockedIn,
                    artifact: ArtifactFact::Available(Artifact {
                        url: String::new(),
                        size: 1,
                        sha256: String::new(),
                    }),
                }]
            } else {
                Vec::new()
            },
            halt: halts.then(plan),
        },
    );
    prop_oneof![
        4 => report.prop_map(Input::NodeReported),
        1 => Just(Input::NodeLinkLost),
        3 => (1..9_u32).prop_map(|pid| Input::NodeStarted { process: Process { pid }, exit_to_exec_us: Some(1) }),
        1 => Just(Input::NodeStartFailed { reason: "no".to_owned() }),
        3 => exit.prop_map(|exit| Input::NodeExited { exit, companion: None }),
        2 => Just(Input::Staged { upgrade: plan().id }),
        1 => Just(Input::StagingFailed { upgrade: plan().id, reason: "no".to_owned() }),
        1 => Just(Input::SwapFailed { reason: "no".to_owned() }),
        3 => prop_oneof![Just(Timer::Restart), Just(Timer::FirstReport), Just(Timer::Progress), Just(Timer::Healthy)].prop_map(Input::TimerFired),
        1 => Just(Input::StopRequested),
    ]
}

/// What the host's processes are after the facts so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Empty,
    Starting,
    Alive,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn vis_03_invariant_a_start_is_ordered_only_while_no_node_can_be_alive(inputs in prop::collection::vec(any_input(), 0..120)) {
        let observed = Observed { current: Some(old()), node: None, staged: vec![old(), new()], seed: 3 };
        let (mut planner, first) = recover(config(), Timestamp(0), &[], observed).unwrap();
        let mut slot = Slot::Empty;
        let mut ended = false;
        let mut now = 0;
        let take = |effects: &[Effect], slot: &mut Slot, ended: &mut bool| {
            for effect in effects {
                prop_assert!(!*ended, "nothing is ordered after the end: {effect:?}");
                match effect {
                    Effect::Start { .. } => {
                        prop_assert_eq!(*slot, Slot::Empty, "a start beside another node");
                        *slot = Slot::Starting;
                    }
                    Effect::Stop => prop_assert_eq!(*slot, Slot::Alive, "a stop of nothing"),
                    Effect::Exit(_) => {
                        prop_assert_eq!(*slot, Slot::Empty, "visor ends beside a node");
                        *ended = true;
                    }
                    Effect::Append(_) | Effect::Stage(_) | Effect::Unstage(_) | Effect::Swap(_) | Effect::SetTimer(..)
                    | Effect::CancelTimer(_) | Effect::Notify(_) | Effect::BackUp { .. } | Effect::RunHook { .. }
                    | Effect::AskSignedHeight { .. } | Effect::Restore { .. } | Effect::Answer { .. } => {}
                }
            }
            Ok(())
        };
        take(&first.0, &mut slot, &mut ended)?;
        for input in inputs {
            now += 700;
            // Only what the daemon can send: an exit needs a process, the answer to a start needs a start.
            match (&input, slot) {
                (Input::NodeStarted { .. }, Slot::Starting) => slot = Slot::Alive,
                (Input::NodeStartFailed { .. } | Input::SwapFailed { .. }, Slot::Starting) => slot = Slot::Empty,
                (Input::NodeExited { .. }, Slot::Alive) => slot = Slot::Empty,
                (Input::NodeStarted { .. } | Input::NodeStartFailed { .. } | Input::SwapFailed { .. } | Input::NodeExited { .. }, _) => continue,
                _ => {}
            }
            if ended {
                break;
            }
            let effects = planner.step(Timestamp(now), input).0;
            take(&effects, &mut slot, &mut ended)?;
            let _ = planner.status();
        }
    }
}
