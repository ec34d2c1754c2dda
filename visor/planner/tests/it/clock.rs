//! The wall clock of a host may jump. It is written into records and shown as durations; no order depends on it. (Delays are timers of
//! the daemon, which run on the monotonic clock.)

use visor_planner::{Effect, Timestamp};

use crate::scenarios::scenarios;
use crate::world::{Named, Script, World, new, old};

/// Clocks, by the number of the step that asks: back, forth, standing still, at the end of all time.
const CLOCKS: [fn(u64) -> u64; 6] = [
    |_| 0,
    |_| u64::MAX,
    |step| u64::MAX - step * 86_400_000,
    |step| if step.is_multiple_of(2) { 0 } else { u64::MAX },
    |step| (step % 7) * 3_600_000,
    |step| step.wrapping_mul(0x9e37_79b9_7f4a_7c15),
];

/// An order without what a clock put into it.
pub(crate) fn timeless(effect: &Effect) -> String {
    let mut text = format!("{effect:?}");
    for stamp in ["Timestamp(", "node_down_ms: ", "stop_ms: "] {
        let parts: Vec<&str> = text.split(stamp).collect();
        let kept: Vec<&str> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| match index {
                0 => *part,
                _ => part.trim_start_matches(|letter: char| letter.is_ascii_digit()),
            })
            .collect();
        text = kept.join(stamp);
    }
    text
}

/// Every order until all is at rest. After `crash` orders visor is started again, by a clock that stands where the world's does.
fn orders(script: &Script, clock: impl Fn(&World, u64) -> u64, crash: Option<usize>) -> Vec<String> {
    let mut world = World::new(script.clone());
    let (mut planner, mut effects) = world.recover();
    let mut orders = Vec::new();
    'steps: for step in 0..2_000 {
        for effect in &effects.0 {
            if crash == Some(orders.len()) {
                // Counted, so that it happens once.
                orders.push("crash".to_owned());
                (planner, effects) = world.recover();
                continue 'steps;
            }
            orders.push(timeless(effect));
            world.carry_out(effect);
        }
        if world.is_at_rest(&planner) {
            return orders;
        }
        let input = world
            .next(&planner)
            .unwrap_or_else(|| panic!("visor ended: {:?}", world.ended));
        effects = planner.step(Timestamp(clock(&world, step)), input);
    }
    panic!("no end: {:?}", planner.status());
}

fn right(world: &World, _: u64) -> u64 {
    world.now().0
}

#[test]
fn a_clock_that_jumps_changes_no_order() {
    for (name, script) in scenarios() {
        let _named = Named(name);
        let expected = orders(&script, right, None);
        for (index, clock) in CLOCKS.iter().enumerate() {
            assert_eq!(
                orders(&script, |_, step| clock(step), None),
                expected,
                "{name}, clock {index}"
            );
        }
    }
}

/// Between two crashes, in orders: every scenario has one near every place.
const STRIDE: usize = 17;

#[test]
fn records_from_a_clock_that_was_wrong_change_no_order_after_a_restart() {
    for (number, (name, script)) in scenarios().into_iter().enumerate() {
        let _named = Named(name);
        let all = orders(&script, right, None).len();
        for crash in (number % STRIDE..all).step_by(STRIDE) {
            let expected = orders(&script, right, Some(crash));
            for (index, clock) in CLOCKS.iter().enumerate().skip(3) {
                assert_eq!(
                    orders(&script, |_, step| clock(step), Some(crash)),
                    expected,
                    "{name}, clock {index}, crash before order {crash}"
                );
            }
        }
    }
}

#[test]
fn the_comparison_sees_an_order_that_differs() {
    let text = timeless(&Effect::Swap(new()));
    assert_ne!(text, timeless(&Effect::Swap(old())));
}
