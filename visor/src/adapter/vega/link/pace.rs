//! How often a core is asked (W-35).

use std::time::Duration;

use tokio::time::Instant;
use visor_planner::UpgradePlan;

use crate::adapter::vega::height::Progress;

/// Far from any height, and once there is nothing more to be seen.
pub(super) const FAR: Duration = Duration::from_secs(1);
/// Twice as often as the time that may pass between ready and the first order needs.
pub(super) const NEAR: Duration = Duration::from_millis(20);
/// So long before the height it is near: ten rare questions, so that a chain that is faster than it was is noticed in time.
const NEARNESS: Duration = Duration::from_secs(10);

/// The time from one question to the next.
pub(super) fn interval(
    plan: Option<&UpgradePlan>,
    is_ready: bool,
    awaits_first_block: bool,
    progress: &Progress,
    now: Instant,
) -> Duration {
    if awaits_first_block {
        return NEAR;
    }
    match plan {
        None => FAR,
        Some(_) if is_ready => FAR,
        Some(plan) => match progress.time_to(plan.height.0, now) {
            Some(left) if left > NEARNESS => FAR,
            // Near, or nobody knows.
            Some(_) | None => NEAR,
        },
    }
}

#[cfg(test)]
mod tests {
    use visor_planner::{Height, UpgradeId, Version};

    use super::*;

    fn plan(height: u64) -> UpgradePlan {
        UpgradePlan {
            id: UpgradeId("u".to_owned()),
            version: Version("v1.1.0".to_owned()),
            height: Height(height),
        }
    }

    /// Blocks of `pace`, seen once a second until now, the last at `height`.
    fn progress(pace: Duration, height: u64, now: Instant) -> Progress {
        let mut progress = Progress::default();
        for ago in (0..60_u32).rev() {
            let ago = Duration::from_secs(u64::from(ago));
            let blocks = u64::try_from(ago.as_nanos() / pace.as_nanos()).unwrap();
            progress.observe(height - blocks, now - ago);
        }
        progress
    }

    #[test]
    fn w_35_near_is_ten_seconds_before_the_height_at_the_present_pace() {
        let now = Instant::now() + Duration::from_secs(1_000);
        let second = Duration::from_secs(1);
        for (pace, left, expected) in [
            (second, 5_000, FAR),
            (second, 15, FAR),
            (second, 9, NEAR),
            (second, 0, NEAR),
            (second / 10, 150, FAR),
            (second / 10, 90, NEAR),
            (6 * second, 3, FAR),
            (6 * second, 1, NEAR),
        ] {
            let progress = progress(pace, 10_000, now);
            let plan = plan(10_000 + left);
            let found = interval(Some(&plan), false, false, &progress, now);
            assert_eq!(found, expected, "{left} blocks of {pace:?}");
        }
    }

    #[test]
    fn w_35_without_a_plan_it_is_far_and_without_heights_it_is_near() {
        let now = Instant::now() + Duration::from_secs(1_000);
        let unknown = Progress::default();
        let known = progress(Duration::from_secs(1), 10_000, now);
        let plan = plan(20_000);
        assert_eq!(interval(None, false, false, &unknown, now), FAR);
        assert_eq!(
            interval(None, false, true, &known, now),
            NEAR,
            "the first block is awaited"
        );
        assert_eq!(
            interval(Some(&plan), true, false, &unknown, now),
            FAR,
            "it is ready"
        );
        assert_eq!(interval(Some(&plan), false, false, &unknown, now), NEAR);
        assert_eq!(interval(Some(&plan), false, false, &known, now), FAR);
        let later = now + Duration::from_secs(6);
        assert_eq!(
            interval(Some(&plan), false, false, &known, later),
            NEAR,
            "the last height is old"
        );
    }

    #[test]
    fn w_35_before_two_heights_are_known_the_fastest_chain_is_assumed() {
        let now = Instant::now();
        let mut progress = Progress::default();
        progress.observe(100, now);
        let at = |height| interval(Some(&plan(height)), false, false, &progress, now);
        assert_eq!(at(1_000), NEAR);
        assert_eq!(at(1_200), FAR);
        // A node that has caught up, or the other way round: the faster of the mean and of now.
        for second in 1..40_u64 {
            progress.observe(100 + second, now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(40);
        progress.observe(1_139, later);
        let found = interval(Some(&plan(3_000)), false, false, &progress, later);
        assert_eq!(found, NEAR, "a thousand blocks in the last second");
    }
}
