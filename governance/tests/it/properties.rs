//! Random histories drive the state and the naive model side by side; after every step both agree, no invariant is
//! broken, and the events alone tell the same story.

use std::collections::BTreeMap;

use governance::Phase;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::history::{Run, setup, step};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn gov_01_to_15_the_state_does_what_the_naive_model_does(setup in setup(), steps in vec(step(), 1..70)) {
        let mut run = Run::new(&setup);
        run.compare();
        for step in &steps {
            run.take(step);
            run.compare();
        }
    }
}

/// The histories reach what they are meant to reach; else the property above would prove little.
#[test]
fn random_histories_reach_every_phase() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeMap::<Phase, usize>::new();
    for _ in 0..150 {
        let (setup, steps) = (setup(), vec(step(), 1..70))
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut run = Run::new(&setup);
        steps.iter().for_each(|step| run.take(step));
        for entry in &run.model.proposals {
            *reached.entry(entry.phase).or_default() += 1;
        }
    }
    for phase in [
        Phase::Executed,
        Phase::Rejected,
        Phase::Expired,
        Phase::Superseded,
        Phase::Cancelled,
        Phase::LockedIn,
    ] {
        assert!(
            reached.get(&phase).is_some_and(|count| *count >= 3),
            "{phase} is hardly reached: {reached:?}"
        );
    }
}
