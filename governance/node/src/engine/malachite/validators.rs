//! The validators of one height, as the engine counts them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_malachitebft_app_channel::app::types::core as malachite;
use governance::PublicKey;

use super::context::{Address, GovernanceContext};

/// A validator, as far as the engine needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validator {
    pub(crate) address: Address,
    pub(crate) key: PublicKey,
    pub(crate) power: u64,
}

impl malachite::Validator<GovernanceContext> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The engine multiplies powers by three in 64 bits, and panics when the product does not fit.
const MAX_TOTAL_POWER: u64 = u64::MAX / 3;
/// By how many binary digits powers are cut when their sum is above [`MAX_TOTAL_POWER`]. Whatever the sum, with every
/// power kept at 1 at least, the cut sum is below the limit for more validators than a chain can have.
const CUT: u32 = 2;

/// The validators of one height: by falling power, then by address, so that every node has the same order.
///
/// Powers are those of the chain, unless their sum is above 2^64 / 3: then a quarter of them, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    ordered: Arc<[Validator]>,
    places: Arc<BTreeMap<Address, usize>>,
    total: u64,
}

impl Validators {
    pub(crate) fn new(set: &governance::ValidatorSet) -> Self {
        let cut = if set.total_power().0 > MAX_TOTAL_POWER {
            CUT
        } else {
            0
        };
        let mut ordered: Vec<Validator> = set
            .iter()
            .map(|validator| Validator {
                address: Address::of(&validator.consensus_key),
                key: validator.consensus_key,
                power: (validator.power.0 >> cut).max(1),
            })
            .collect();
        ordered.sort_by(|one, other| {
            other
                .power
                .cmp(&one.power)
                .then_with(|| one.address.cmp(&other.address))
        });
        let places = ordered.iter().map(|validator| validator.address).zip(0..);
        Self {
            places: Arc::new(places.collect()),
            total: ordered
                .iter()
                .fold(0, |sum, validator| sum.saturating_add(validator.power)),
            ordered: ordered.into(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Validator] {
        &self.ordered
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn contains(&self, address: &Address) -> bool {
        self.places.contains_key(address)
    }
}

impl malachite::ValidatorSet<GovernanceContext> for Validators {
    fn count(&self) -> usize {
        self.ordered.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.total
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.places
            .get(address)
            .and_then(|place| self.ordered.get(*place))
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.ordered.get(index)
    }
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::core::{ThresholdParams, ValidatorSet as _};
    use governance::{Power, ValidatorId};

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
        Validators::new(&governance::ValidatorSet::new(validators.collect()).unwrap())
    }

    #[test]
    fn powers_are_those_of_the_chain_as_long_as_the_engine_can_count_them() {
        let exact = set(&[u64::MAX / 3 - 5, 4, 1]);
        let powers: Vec<u64> = exact.as_slice().iter().map(|validator| validator.power).collect();
        assert_eq!(powers, [u64::MAX / 3 - 5, 4, 1]);
        assert_eq!(exact.total(), u64::MAX / 3);
    }

    #[test]
    fn no_power_that_a_chain_allows_makes_the_engine_panic() {
        for powers in [
            &[u64::MAX][..],
            &[u64::MAX - 2, 1, 1],
            &[u64::MAX / 3 + 1],
            &[u64::MAX / 2, u64::MAX / 2, 1],
        ] {
            let set = set(powers);
            assert!(set.as_slice().iter().all(|validator| validator.power > 0));
            let largest = set.as_slice()[0].power;
            let threshold = ThresholdParams::default().quorum;
            assert!(threshold.is_met(set.total(), set.total()));
            assert_eq!(
                threshold.is_met(largest, set.total()),
                powers.len() == 1 || powers[1] == 1
            );
            let _ = threshold.min_expected(set.total());
        }
    }

    #[test]
    fn a_validator_is_found_by_its_address() {
        let set = set(&[5, 9, 7]);
        for validator in set.as_slice() {
            assert_eq!(set.get_by_address(&validator.address), Some(validator));
        }
        assert_eq!(set.get_by_address(&Address([0; 20])), None);
        assert!(!set.contains(&Address([0; 20])));
    }
}
