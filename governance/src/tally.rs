//! GOV-07, GOV-08: the only quorum arithmetic, in integers of 128 bits: products of 64-bit numbers cannot overflow.

use serde::{Deserialize, Serialize};

use crate::bytes::ValidatorId;
use crate::genesis::Parameters;
use crate::numbers::Power;
use crate::validators::ValidatorSet;
use crate::vote::Choice;

/// The powers behind a proposal, and the fraction of the total that approval must exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Power of the validators that approve.
    pub approving: Power,
    /// Power of the validators that reject.
    pub rejecting: Power,
    /// Power of all validators.
    pub total: Power,
    /// The fraction's numerator.
    pub threshold_numerator: u64,
    /// The fraction's denominator.
    pub threshold_denominator: u64,
}

/// What a tally means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The approving power exceeds the threshold.
    Approved,
    /// Neither reached nor out of reach.
    Open,
    /// Even if everybody else approved, the threshold would not be exceeded.
    Impossible,
}

impl Tally {
    /// Nobody has voted.
    pub fn empty(validators: &ValidatorSet, parameters: &Parameters) -> Self {
        Self {
            approving: Power::ZERO,
            rejecting: Power::ZERO,
            total: validators.total_power(),
            threshold_numerator: parameters.threshold_numerator,
            threshold_denominator: parameters.threshold_denominator,
        }
    }

    /// The powers in force behind `choices`. The choice of somebody who is no validator weighs nothing.
    pub fn count<'a>(
        choices: impl IntoIterator<Item = (&'a ValidatorId, Choice)>,
        validators: &ValidatorSet,
        parameters: &Parameters,
    ) -> Self {
        let mut tally = Self::empty(validators, parameters);
        for (id, choice) in choices {
            if let Some(validator) = validators.get(id) {
                tally.replace(validator.power, None, Some(choice));
            }
        }
        tally
    }

    /// A validator of this power changes its choice. Cannot saturate: a validator counts once, and a set's total fits
    /// the type.
    pub(crate) fn replace(&mut self, power: Power, before: Option<Choice>, after: Option<Choice>) {
        if let Some(choice) = before {
            let side = self.side(choice);
            side.0 = side.0.saturating_sub(power.0);
        }
        if let Some(choice) = after {
            let side = self.side(choice);
            side.0 = side.0.saturating_add(power.0);
        }
    }

    const fn side(&mut self, choice: Choice) -> &mut Power {
        match choice {
            Choice::Approve => &mut self.approving,
            Choice::Reject => &mut self.rejecting,
        }
    }

    /// GOV-07: exactly the threshold is not enough. GOV-08: out of reach as soon as the rest would not suffice.
    pub fn outcome(&self) -> Outcome {
        if self.exceeds_threshold(self.approving) {
            Outcome::Approved
        } else if self.exceeds_threshold(Power(self.total.0.saturating_sub(self.rejecting.0))) {
            Outcome::Open
        } else {
            Outcome::Impossible
        }
    }

    /// The smallest power that is enough, for people to read; `None` when even all of it is not.
    pub fn needed(&self) -> Option<Power> {
        let product = u128::from(self.total.0).saturating_mul(u128::from(self.threshold_numerator));
        let below = product.checked_div(u128::from(self.threshold_denominator))?;
        let needed = Power(u64::try_from(below.saturating_add(1)).ok()?);
        (needed <= self.total).then_some(needed)
    }

    fn exceeds_threshold(&self, power: Power) -> bool {
        let left = u128::from(power.0).saturating_mul(u128::from(self.threshold_denominator));
        let right = u128::from(self.total.0).saturating_mul(u128::from(self.threshold_numerator));
        left > right
    }
}

/// GOV-07: at least 2/3, and below 1, so that a unanimous set can pass.
pub(crate) fn is_legal_threshold(numerator: u64, denominator: u64) -> bool {
    let strict_enough = u128::from(numerator).saturating_mul(3) >= u128::from(denominator).saturating_mul(2);
    strict_enough && numerator < denominator
}
