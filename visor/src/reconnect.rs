//! Growing delays between attempts at something outside: fetching an artifact, reaching the node's socket.
//!
//! The only use of the `backoff` crate. Delays that decide about the node (restarts) are the planner's, not these.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// An endless series of growing delays, each changed at random by up to a fifth.
#[derive(Debug)]
pub struct Delays {
    inner: ExponentialBackoff,
}

impl Delays {
    /// Begins with about `initial` and grows by half each time up to about `longest`.
    #[must_use]
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Self {
            inner: ExponentialBackoff {
                current_interval: initial,
                initial_interval: initial,
                randomization_factor: 0.2,
                multiplier: 1.5,
                max_interval: longest,
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
        }
    }

    /// The next delay.
    #[must_use]
    pub fn next_delay(&mut self) -> Duration {
        // Without a limit of elapsed time the series never ends.
        self.inner.next_backoff().unwrap_or(self.inner.max_interval)
    }

    /// Begins again with the initial delay.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_begin_again() {
        let longest = Duration::from_millis(500);
        let mut delays = Delays::new(Duration::from_millis(2), longest);
        assert!(delays.next_delay() <= Duration::from_micros(2500));
        let last = (0..40).map(|_| delays.next_delay()).last().unwrap();
        assert!(
            last >= longest.mul_f64(0.79) && last <= longest.mul_f64(1.21),
            "{last:?}"
        );
        delays.reset();
        assert!(delays.next_delay() <= Duration::from_micros(2500));
    }
}
