//! Any facts in any order, any configuration, crashes and failed appends anywhere: no panic, never two nodes, never the wrong version,
//! every operator answered.

mod any;
mod bench;
mod system;

use proptest::prelude::*;

use any::{Step, any_config, any_conventions, any_step};
use bench::Bench;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn vis_03_invariant_whatever_happens_no_start_no_switch_and_no_restore_is_wrong(
        (mut config, conventions) in (any_config(), any_conventions()),
        steps in prop::collection::vec((any_step(), prop::bool::weighted(0.02)), 0..150),
    ) {
        config.conventions = conventions;
        let (mut bench, first) = Bench::new(config);
        bench.batch(first, false)?;
        for (step, fail) in steps {
            if bench.ended {
                bench.crash(false)?;
            }
            match step {
                Step::Fact(mut fact) => {
                    if bench.fits(&mut fact) {
                        bench.take(fact, fail)?;
                    }
                }
                Step::Go => bench.go(fail)?,
                Step::Work(good) => bench.answer(good, fail)?,
                Step::Crash(node_dies) => bench.crash(node_dies)?,
                Step::Forced(version) => bench.force(version)?,
            }
            let _ = bench.planner.status();
        }
    }
}
