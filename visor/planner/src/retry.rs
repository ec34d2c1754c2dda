//! Exponential back-off with jitter, in integers and without a source of randomness (VIS-09).

use crate::plan::Millis;

/// How often and how fast something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries before giving up.
    pub max_retries: u32,
    /// Before the first retry.
    pub initial_delay: Millis,
    /// No delay is longer.
    pub max_delay: Millis,
    /// Each delay is this many hundredths of the one before.
    pub multiplier_percent: u32,
    /// A delay is up to this many hundredths shorter or longer, so that hosts do not retry in step.
    pub jitter_percent: u32,
    /// After running this long, earlier failures no longer count.
    pub healthy_after: Millis,
}

impl RetryPolicy {
    /// The delay before retry number `retry` (from 1). Equal seeds give equal delays.
    #[must_use]
    pub fn delay(&self, retry: u32, seed: u64) -> Millis {
        let mut delay = self.initial_delay.0.min(self.max_delay.0);
        for _ in 1..retry {
            if delay >= self.max_delay.0 {
                break;
            }
            delay = hundredths(delay, self.multiplier_percent.max(100).into()).min(self.max_delay.0);
        }
        let spread = hundredths(delay, self.jitter_percent.min(100).into());
        let low = delay.saturating_sub(spread);
        let width = spread.saturating_mul(2).saturating_add(1);
        let draw = mix(seed ^ u64::from(retry)).checked_rem(width).unwrap_or(0);
        Millis(low.saturating_add(draw))
    }
}

fn hundredths(value: u64, percent: u64) -> u64 {
    value.saturating_mul(percent).checked_div(100).unwrap_or(0)
}

/// SplitMix64's finaliser: every bit of the input moves every bit of the output.
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
