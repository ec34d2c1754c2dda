//! Random histories drive the state and the naive model side by side; after every step both agree, no invariant is
//! broken, and the events alone tell the same story. A failure is printed as the shortest history that shows it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use governance::{Choice, Readiness};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::history::{Run, Setup, Step, Wish};
use crate::invariants::Failure;
use crate::model::Numbers;

fn part() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![4 => Just((2, 3)), 1 => Just((3, 4)), 1 => Just((9, 10)), 1 => Just((u64::MAX / 3 * 2, u64::MAX))]
}

fn numbers() -> impl Strategy<Value = Numbers> {
    (2..5_u64, 1..8_u64, part()).prop_map(|(lock_in, more, part)| Numbers {
        min_lead: lock_in + more,
        lock_in,
        part,
    })
}

/// Some of them illegal.
fn wished_numbers() -> impl Strategy<Value = Numbers> {
    let illegal = (
        0..4_u64,
        0..5_u64,
        prop_oneof![Just((1, 2)), Just((2, 2)), Just((0, 0)), Just((2, 3))],
    )
        .prop_map(|(lock_in, min_lead, part)| Numbers {
            min_lead,
            lock_in,
            part,
        });
    prop_oneof![9 => numbers(), 1 => illegal]
}

fn power() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(1_u64), 6 => 1..20_u64, 1 => u64::MAX / 16..u64::MAX / 8]
}

fn setup() -> impl Strategy<Value = Setup> {
    let powers = prop_oneof![
        4 => vec(prop_oneof![Just(1_u64), 1..20_u64], 3..8),
        2 => (4..9_usize).prop_map(|count| vec![1; count]),
        1 => vec(power(), 1..8),
    ];
    (powers, numbers()).prop_map(|(powers, numbers)| Setup { powers, numbers })
}

fn who() -> std::ops::Range<usize> {
    0..9
}

fn pick() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..2_usize, 2 => 2..6_usize]
}

fn wish() -> impl Strategy<Value = Wish> {
    // Mostly keys and names of nobody, sometimes somebody's.
    let key = || prop_oneof![9 => 10..=20_u8, 1 => 1..10_u8, 1 => 101..104_u8];
    let block_key = || prop_oneof![12 => 110..=120_u8, 1 => 101..110_u8, 1 => 1..4_u8];
    let name = prop_oneof![15 => 10..=20_u8, 1 => 0..10_u8];
    let small = || prop_oneof![9 => 1..5_u64, 1 => 0..2_u64, 1 => power()];
    prop_oneof![
        4 => (key(), block_key(), name, small())
            .prop_map(|(key, block_key, name, power)| Wish::Add { key, block_key, name, power }),
        3 => who().prop_map(|who| Wish::Remove { who }),
        3 => (who(), small()).prop_map(|(who, power)| Wish::Power { who, power }),
        3 => (who(), option::of(key()), option::of(block_key()))
            .prop_map(|(who, key, block_key)| Wish::Rotate { who, key, block_key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let choice = prop_oneof![3 => Just(Choice::Approve), 1 => Just(Choice::Reject)];
    let lead = || prop_oneof![3 => 6..13_u64, 1 => 0..25_u64];
    let readiness = prop_oneof![Just(Readiness::Staged), Just(Readiness::Verified)];
    let changes = prop_oneof![6 => vec(wish(), 1..3), 1 => vec(wish(), 0..5)];
    prop_oneof![
        4 => (who(), 0..5_u64, lead(), 0..2_u8)
            .prop_map(|(who, minor, lead, variant)| Step::Upgrade { who, minor, lead, variant }),
        6 => (who(), lead(), changes).prop_map(|(who, lead, changes)| Step::Validators { who, lead, changes }),
        3 => (who(), lead(), wished_numbers()).prop_map(|(who, lead, numbers)| Step::Numbers { who, lead, numbers }),
        3 => (who(), 0..3_u64, 0..3_u64, vec(wish(), 1..3), vec(wish(), 1..3))
            .prop_map(|(who, lead, later, first, second)| Step::Twins { who, lead, later, first, second }),
        8 => (who(), pick(), choice).prop_map(|(who, pick, choice)| Step::Vote { who, pick, choice }),
        7 => pick().prop_map(|pick| Step::Carry { pick }),
        2 => (who(), pick()).prop_map(|(who, pick)| Step::Withdraw { who, pick }),
        1 => (who(), pick()).prop_map(|(who, pick)| Step::Cancel { who, pick }),
        2 => (who(), pick(), any::<bool>()).prop_map(|(who, pick, carry)| Step::CancelLockedIn { who, pick, carry }),
        2 => (who(), option::weighted(0.8, prop_oneof![9 => 201..206_u8, 1 => 1..12_u8, 1 => 101..104_u8]))
            .prop_map(|(who, reporter)| Step::Authorize { who, reporter }),
        2 => (who(), pick(), readiness).prop_map(|(who, pick, readiness)| Step::Report { who, pick, readiness }),
        4 => Just(Step::UntilLatch),
        3 => Just(Step::UntilDue),
        1 => Just(Step::Replay),
        1 => who().prop_map(|who| Step::Gap { who }),
        1 => who().prop_map(|who| Step::Late { who }),
        4 => (1..5_u8).prop_map(|count| Step::Blocks { count }),
        1 => Just(Step::Reload),
    ]
}

fn history() -> impl Strategy<Value = (Setup, Vec<Step>)> {
    (setup(), vec(step(), 1..90))
}

/// Takes all steps; a failure says what was done, line by line, and what did not hold.
fn tell(setup: &Setup, steps: &[Step]) -> Result<Run, String> {
    let mut run = Run::new(setup).map_err(|Failure(text)| text)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        steps.iter().try_for_each(|step| run.take(step))
    }));
    let text = match outcome {
        Ok(Ok(())) => return Ok(run),
        Ok(Err(Failure(text))) => text,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panic: {}", text.unwrap_or("of another kind"))
        }
    };
    Err(format!("{}\n{text}", run.log.join("\n")))
}

/// `PROPTEST_CASES` asks for more histories than usual.
#[test]
fn gov_01_to_16_the_state_does_what_the_naive_model_does() {
    let mut config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 128;
    }
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&history(), |(setup, steps)| {
        tell(&setup, &steps).map(|_| ()).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("the shortest history that fails:\n{reason}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// A failure is read as what was done: one line per step, and what came of it.
#[test]
fn histories_are_readable() {
    let setup = Setup {
        powers: vec![2, 2, 2, 1],
        numbers: Numbers {
            min_lead: 6,
            lock_in: 3,
            part: (2, 3),
        },
    };
    let steps = [
        Step::Upgrade {
            who: 0,
            minor: 1,
            lead: 10,
            variant: 0,
        },
        Step::Validators {
            who: 1,
            lead: 8,
            changes: vec![Wish::Remove { who: 3 }, Wish::Power { who: 0, power: 3 }],
        },
        Step::Carry { pick: 0 },
        Step::UntilDue,
        Step::UntilLatch,
        Step::UntilDue,
        Step::Vote {
            who: 3,
            pick: 1,
            choice: Choice::Approve,
        },
    ];
    let run = tell(&setup, &steps).unwrap_or_else(|failure| panic!("{failure}"));
    let expected = [
        "powers v1 2, v2 2, v3 2, v4 1 · lead 6, lock-in 3, more than 2/3",
        "block 1 · v1 proposes v1.1.0@11 → ok",
        "block 1 · v2 proposes validators@9 → ok",
        "block 1 · v1 approves validators@9 → ok",
        "block 1 · v2 approves validators@9 → ok",
        "block 1 · v3 approves validators@9 → ok",
        "block 1 ·   validators@9: voting → approved",
        "block 1 · v4 approves validators@9 → ok",
        "block 6 ·   validators@9: approved → locked-in",
        "block 8 ·   v1.1.0@11: voting → expired",
        "block 9 ·   validators@9: locked-in → executed",
        "block 9 ·   3 validators of power 7",
        "block 10 · key 4 approves v1.1.0@11 → GOV-01",
    ];
    assert_eq!(run.log, expected, "{:#?}", run.log);
}

/// The histories reach what they are meant to reach; else the property above would prove little.
#[test]
fn random_histories_reach_everything() {
    use proptest::strategy::ValueTree as _;

    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeMap::<String, usize>::new();
    for _ in 0..150 {
        let (setup, steps) = history().new_tree(&mut runner).unwrap().current();
        let run = tell(&setup, &steps).unwrap_or_else(|failure| panic!("{failure}"));
        for (thing, count) in run.reached {
            *reached.entry(thing).or_default() += count;
        }
    }
    let wanted = [
        "upgrade locked-in",
        "upgrade executed",
        "upgrade rejected",
        "upgrade expired",
        "upgrade superseded",
        "upgrade cancelled",
        "set change locked-in",
        "set change executed",
        "set change rejected",
        "set change expired",
        "set change superseded",
        "parameter change superseded",
        "set change cancelled",
        "parameter change executed",
        "parameter change expired",
        "parameter change cancelled",
        "cancel of a change executed",
        "cancel of an upgrade executed",
        "dropped GOV-12",
        "dropped GOV-12.unknown",
        "lapse",
        "move",
        "report",
        "halt",
        "activation",
        "GOV-01",
        "GOV-02",
        "GOV-03",
        "GOV-06.no-ballot",
        "GOV-10",
        "GOV-11",
        "GOV-11.late",
        "GOV-11.ended",
        "GOV-12",
        "GOV-12.count",
        "GOV-12.twice",
        "GOV-12.nothing",
        "GOV-12.set",
        "GOV-12.parameters",
        "GOV-13.replay",
        "GOV-13.gap",
        "GOV-13.expired",
        "GOV-14.live-of-proposer",
        "GOV-16",
        "GOV-16.key",
        "GOV-16.proposal",
    ];
    for thing in wanted {
        assert!(
            reached.contains_key(thing),
            "{thing} is never reached: {reached:#?}"
        );
    }
}
