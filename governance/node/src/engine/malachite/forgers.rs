//! Nodes that have sent transactions with wrong signatures. Checking signatures is the dearest thing that a message can
//! make a node do, so they are not listened to for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Long enough that a flood costs one signature check per sender and minute, short enough for a node that was repaired.
const IGNORED: Duration = Duration::from_secs(60);
/// Nodes remembered; more than can be connected.
const MAX_REMEMBERED: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Forgers {
    until: BTreeMap<String, Instant>,
}

impl Forgers {
    /// Whether this node's transactions are passed over.
    pub(super) fn is_ignored(&self, peer: &str, now: Instant) -> bool {
        self.until.get(peer).is_some_and(|until| now < *until)
    }

    /// Passes this node's transactions over from now on, for a while.
    pub(super) fn ignore(&mut self, peer: &str, now: Instant) {
        if self.until.len() >= MAX_REMEMBERED {
            self.until.retain(|_, until| now < *until);
        }
        while self.until.len() >= MAX_REMEMBERED {
            self.until.pop_first();
        }
        self.until.insert(peer.to_owned(), now + IGNORED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forger_is_ignored_for_a_while_and_few_are_remembered() {
        let mut forgers = Forgers::default();
        let now = Instant::now();
        forgers.ignore("one", now);
        assert!(forgers.is_ignored("one", now) && !forgers.is_ignored("two", now));
        assert!(!forgers.is_ignored("one", now + IGNORED));
        for number in 0..2 * MAX_REMEMBERED {
            forgers.ignore(&number.to_string(), now);
        }
        assert_eq!(forgers.until.len(), MAX_REMEMBERED);
    }
}
