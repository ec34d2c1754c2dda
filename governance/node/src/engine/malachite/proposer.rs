//! Whose turn it is.
//!
//! All powers laid end to end make a ring of `total` slots. Height by height a pointer moves around it by a fixed
//! stride that is near the golden section of the ring and has no divisor in common with it, so every slot is visited
//! once in `total` heights: a validator proposes exactly in proportion to its power, and its turns are spread about as
//! evenly as can be. With equal powers of one that is a plain rotation. In later rounds of a height those who have had
//! their turn in it are left out until everybody has had one, so a silent proposer costs one round, not several.
//!
//! The rule is a function of validators, height and round alone; nothing has to be remembered or agreed on.

use arc_malachitebft_app_channel::app::types::core::Round;

use super::context::ChainHeight;
use super::validators::{Validator, Validators};

/// The proposer of `round` at `height`.
///
/// # Panics
/// When the set is empty, which the state machine rules out: genesis and every change keep at least one validator.
pub(crate) fn select(set: &Validators, height: ChainHeight, round: Round) -> &Validator {
    let mut remaining: Vec<&Validator> = set
        .as_slice()
        .iter()
        .filter(|validator| validator.power > 0)
        .collect();
    let turns = u64::from(round.as_u32().unwrap_or_default());
    let count = u64::try_from(remaining.len()).unwrap_or(u64::MAX).max(1);
    for turn in 0..turns % count {
        let index = index_at(&remaining, height.0.wrapping_add(turn));
        remaining.remove(index);
    }
    let index = index_at(&remaining, height.0.wrapping_add(turns % count));
    remaining
        .get(index)
        .copied()
        .expect("a validator set is never empty")
}

/// The index of the validator whose slot the pointer shows after `steps`.
fn index_at(validators: &[&Validator], steps: u64) -> usize {
    let total: u128 = validators
        .iter()
        .map(|validator| u128::from(validator.power))
        .sum();
    if total == 0 {
        return 0;
    }
    let mut slot = u128::from(steps) * stride(total) % total;
    for (index, validator) in validators.iter().enumerate() {
        let power = u128::from(validator.power);
        if slot < power {
            return index;
        }
        slot -= power;
    }
    0
}

/// The largest number up to the golden section of `total` that has no divisor in common with it.
fn stride(total: u128) -> u128 {
    // total fits 64 bits, so the product fits 128: 0.618 in 32 binary digits.
    const GOLDEN: u128 = 2_654_435_769;
    let mut stride = ((total * GOLDEN) >> 32).max(1);
    while greatest_common_divisor(stride, total) != 1 {
        stride -= 1;
    }
    stride
}

fn greatest_common_divisor(one: u128, other: u128) -> u128 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use governance::{Power, PublicKey, ValidatorId, ValidatorSet};

    use super::super::context::Address;
    use super::*;
    use crate::fixture::key;

    fn set(powers: &[u64]) -> Validators {
        let validators = powers
            .iter()
            .zip(1u8..)
            .map(|(power, number)| governance::Validator {
                id: ValidatorId([number; 20]),
                name: format!("validator-{number}"),
                governance_key: PublicKey::from(&key(number)),
                consensus_key: PublicKey::from(&key(number + 100)),
                power: Power(*power),
            });
        Validators::new(&ValidatorSet::new(validators.collect()).unwrap())
    }

    fn turns(set: &Validators, heights: u64) -> BTreeMap<Address, Vec<u64>> {
        let mut turns: BTreeMap<Address, Vec<u64>> = BTreeMap::new();
        for height in 1..=heights {
            turns
                .entry(select(set, ChainHeight(height), Round::new(0)).address)
                .or_default()
                .push(height);
        }
        turns
    }

    #[test]
    fn equal_powers_rotate() {
        for power in [1, 7, 1_000_000] {
            let set = set(&[power; 4]);
            for heights in turns(&set, 400).values() {
                assert!((97..=103).contains(&heights.len()), "{heights:?}");
                let far_apart = heights.windows(2).all(|pair| pair[1] - pair[0] >= 2);
                assert!(far_apart, "no two turns in a row: {heights:?}");
            }
        }
    }

    #[test]
    fn turns_are_in_proportion_to_power() {
        let set = set(&[50, 30, 15, 5]);
        let found = turns(&set, 100);
        for validator in set.as_slice() {
            assert_eq!(found[&validator.address].len() as u64, validator.power);
        }
    }

    #[test]
    fn every_validator_has_a_turn_within_a_height() {
        let set = set(&[u64::MAX / 2, 1, 3, 9, 20]);
        for height in [1, 2, 3, u64::MAX - 1, u64::MAX] {
            let mut seen: Vec<Address> = (0..5)
                .map(|round| select(&set, ChainHeight(height), Round::new(round)).address)
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 5);
        }
    }
}
