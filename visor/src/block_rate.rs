//! How fast the chain makes blocks, from the heights that the node reports, and how far away an upgrade is.
//!
//! No timers and no clock of its own: a height is observed when it is reported, and the time that is left is worked out
//! when somebody asks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::pb::visor::v1::Status;

/// Steps between heights that are kept. With block times that vary by half their mean, the mean over so many is off by about
/// 2%; a fixed block time is met within the jitter of two reports in 200.
const WINDOW: usize = 200;
/// Steps that tell whether the chain has changed its pace: enough that a few slow blocks among them do not.
const RECENT: usize = 20;
/// So many times faster or slower is another pace (a node that has caught up), not chance.
const CHANGE: f64 = 3.0;
/// A block that took so many times as long as is usual was no block time: the chain stood still.
const STANDSTILL: f64 = 30.0;

/// The pace of the chain over its latest blocks.
#[derive(Debug, Default)]
pub struct BlockRate {
    /// The latest height, and when it was reported. The first since the connection has no time: it was made at an unknown moment before.
    latest: Option<(u64, Option<Instant>)>,
    steps: VecDeque<Step>,
    interval: Option<Duration>,
    /// When the latest height was first reported, milliseconds since 1970; 0 before.
    seen_unix_ms: u64,
}

/// From one reported height to the next.
#[derive(Debug, Clone, Copy)]
struct Step {
    seconds: f64,
    blocks: f64,
}

impl BlockRate {
    /// Takes in a reported height. `unix_ms` is the same moment by the clock, in milliseconds since 1970, for those who ask later.
    pub fn observe(&mut self, height: u64, at: Instant, unix_ms: u64) {
        match self.latest {
            Some((latest, _)) if height == latest => return,
            Some((latest, since)) if height > latest => {
                if let Some(since) = since {
                    self.take_in(at.duration_since(since), height - latest);
                }
                self.latest = Some((height, Some(at)));
            }
            // The first of all, or a chain that was set back.
            Some(_) | None => {
                self.forget();
                self.latest = Some((height, None));
            }
        }
        self.seen_unix_ms = unix_ms;
    }

    /// The node is gone: the time until its next report is no block time.
    pub fn forget(&mut self) {
        *self = Self {
            seen_unix_ms: self.seen_unix_ms,
            ..Self::default()
        };
    }

    /// Adds what is known to the status.
    pub fn show(&self, status: &mut Status) {
        status.block_interval_us = self
            .interval
            .and_then(|interval| u64::try_from(interval.as_micros()).ok())
            .unwrap_or_default();
        status.height_seen_unix_ms = self.seen_unix_ms;
    }

    /// Mean time per block; absent until two blocks were seen to be made.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    #[expect(clippy::cast_precision_loss, reason = "heights that are near each other")]
    fn take_in(&mut self, time: Duration, blocks: u64) {
        if self.steps.len() == WINDOW {
            self.steps.pop_front();
        }
        self.steps.push_back(Step {
            seconds: time.as_secs_f64(),
            blocks: blocks as f64,
        });
        let old = self.steps.len().saturating_sub(RECENT);
        let recent = median(self.steps.iter().skip(old));
        let mut usual = median(self.steps.iter());
        if usual > recent * CHANGE || recent > usual * CHANGE {
            // Half of what has told the change: the other half may still be of the pace before.
            self.steps.drain(..old + RECENT / 2);
            usual = recent;
        }
        let counted = self
            .steps
            .iter()
            .filter(|step| step.seconds <= usual * STANDSTILL * step.blocks);
        let (seconds, blocks) = counted.fold((0.0, 0.0), |(seconds, blocks), step| {
            (seconds + step.seconds, blocks + step.blocks)
        });
        self.interval = Duration::try_from_secs_f64(seconds / blocks).ok();
    }
}

/// Seconds per block of the middle step.
fn median<'a>(steps: impl Iterator<Item = &'a Step>) -> f64 {
    let mut paces: Vec<f64> = steps.map(|step| step.seconds / step.blocks).collect();
    paces.sort_by(f64::total_cmp);
    paces.get(paces.len() / 2).copied().unwrap_or_default()
}

/// How many blocks the upgrade under way, or the next to come, is away; absent when none is known.
#[must_use]
pub fn blocks_to_upgrade(status: &Status) -> Option<u64> {
    let upgrade = status.upgrade.as_ref()?;
    Some(upgrade.height.saturating_sub(status.node_height))
}

/// How long it is until then at the present pace; absent when no upgrade or no pace is known. `now_unix_ms` is milliseconds since 1970.
#[must_use]
pub fn time_to_upgrade(status: &Status, now_unix_ms: u64) -> Option<Duration> {
    time_to_height(status, status.upgrade.as_ref()?.height, now_unix_ms)
}

/// The same for any height.
#[must_use]
pub fn time_to_height(status: &Status, height: u64, now_unix_ms: u64) -> Option<Duration> {
    let blocks = height.saturating_sub(status.node_height);
    if blocks == 0 {
        return Some(Duration::ZERO);
    }
    let interval = Some(Duration::from_micros(status.block_interval_us)).filter(|known| !known.is_zero())?;
    let since = Duration::from_millis(now_unix_ms.saturating_sub(status.height_seen_unix_ms));
    let whole = u128::from(status.block_interval_us) * u128::from(blocks);
    let whole = Duration::from_micros(u64::try_from(whole).unwrap_or(u64::MAX));
    // A block that is late is expected at any moment, never in the past; nor does a clock that jumps cost more than one block.
    Some(whole - since.min(interval))
}

#[cfg(test)]
mod tests {
    use proto::pb::visor::v1::UpgradeStatus;

    use super::*;

    /// Observes blocks that take `times`, in seconds, after a first report at height 1,000.
    fn rate(times: impl IntoIterator<Item = f64>) -> BlockRate {
        let mut rate = BlockRate::default();
        let mut at = Instant::now();
        let mut height = 1_000;
        // Reported long after it was made.
        rate.observe(height, at, 0);
        for time in times {
            at += Duration::from_secs_f64(time);
            height += 1;
            rate.observe(height, at, 5);
            rate.observe(height, at + Duration::from_millis(1), 6);
        }
        rate
    }

    fn assert_near(rate: &BlockRate, expected: f64, share: f64) {
        let found = rate.interval().unwrap().as_secs_f64();
        assert!(
            (found - expected).abs() <= expected * share,
            "{found} is not within {share} of {expected}"
        );
    }

    /// The same numbers at every run, evenly spread between 0 and 1.
    fn noise() -> impl Iterator<Item = f64> {
        let mut seed = 7_u32;
        std::iter::repeat_with(move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed >> 8) / f64::from(1 << 24)
        })
    }

    #[test]
    fn nothing_is_known_before_two_blocks_were_made() {
        assert_eq!(BlockRate::default().interval(), None);
        assert_eq!(rate([]).interval(), None);
        assert_eq!(rate([0.3]).interval(), None, "the first report may be late");
        assert_eq!(rate([0.3, 2.0]).interval(), Some(Duration::from_secs(2)));
        let mut status = Status::default();
        let mut gone = rate([0.3, 2.0]);
        gone.show(&mut status);
        assert_eq!(
            (status.block_interval_us, status.height_seen_unix_ms),
            (2_000_000, 5)
        );
        gone.forget();
        gone.show(&mut status);
        assert_eq!((status.block_interval_us, status.height_seen_unix_ms), (0, 5));
    }

    #[test]
    fn a_steady_pace_is_met_within_one_percent() {
        for time in [0.02, 1.0, 6.0, 600.0] {
            assert_near(&rate([time; 10]), time, 0.01);
            assert_near(&rate([time; 1_000]), time, 0.01);
        }
        // Reports that come up to a tenth of a block late.
        assert_near(
            &rate(
                noise()
                    .zip(noise().skip(1))
                    .take(300)
                    .map(|(late, next)| 1.0 + (next - late) / 10.0),
            ),
            1.0,
            0.01,
        );
    }

    #[test]
    fn varying_block_times_are_averaged() {
        assert_near(&rate(noise().take(500).map(|by| 0.5 + by)), 1.0, 0.05);
        // Every tenth block takes ten times as long: a proposer is away.
        let rounds = (0..400).map(|block| if block % 10 == 0 { 10.0 } else { 1.0 });
        assert_near(&rate(rounds), 1.9, 0.05);
    }

    #[test]
    fn another_pace_is_learned_within_twenty_blocks() {
        let caught_up = [0.01; 500].into_iter().chain([5.0; 20]);
        assert_near(&rate(caught_up), 5.0, 0.01);
        let stood_still = [1.0; 300].into_iter().chain([36_000.0]).chain([1.0; 20]);
        assert_near(&rate(stood_still), 1.0, 0.01);
        assert_near(&rate([1.0; 30].into_iter().chain([36_000.0])), 1.0, 0.01);
        let doubled = [1.0; 300].into_iter().chain([2.0; 200]);
        assert_near(&rate(doubled), 2.0, 0.01);
    }

    #[test]
    fn heights_that_are_left_out_and_a_chain_that_is_set_back_do_no_harm() {
        let mut rate = BlockRate::default();
        let begin = Instant::now();
        for (second, height) in [(0, 10), (1, 11), (3, 13), (9, 19)] {
            rate.observe(height, begin + Duration::from_secs(second), 0);
        }
        assert_near(&rate, 1.0, 0.01);
        rate.observe(5, begin + Duration::from_secs(10), 0);
        assert_eq!(rate.interval(), None);
    }

    #[test]
    fn the_time_that_is_left_runs_down_between_blocks_and_never_below_the_next() {
        let mut status = Status {
            node_height: 90,
            block_interval_us: 6_000_000,
            height_seen_unix_ms: 1_000_000,
            ..Status::default()
        };
        assert_eq!(time_to_upgrade(&status, 1_000_000), None);
        status.upgrade = Some(UpgradeStatus {
            height: 100,
            ..UpgradeStatus::default()
        });
        let at = |status: &Status, after: u64| {
            time_to_upgrade(status, 1_000_000 + after).map(|left| left.as_millis())
        };
        assert_eq!(at(&status, 0), Some(60_000));
        assert_eq!(at(&status, 2_500), Some(57_500));
        assert_eq!(at(&status, 3_600_000), Some(54_000), "the next block is late");
        assert_eq!(
            time_to_upgrade(&status, 5),
            Some(Duration::from_secs(60)),
            "the clock was set back"
        );
        status.node_height = 100;
        assert_eq!(at(&status, 0), Some(0));
        status.node_height = 1;
        status.block_interval_us = 0;
        assert_eq!(at(&status, 0), None, "the pace is not known");
    }
}
