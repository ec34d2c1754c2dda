//! When nodes ended and began, by their own log, and what that makes in a table.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn milliseconds(nanoseconds: i64) -> String {
    format!("{:.3} ms", nanoseconds as f64 / 1e6)
}

pub(crate) struct Row {
    pub(crate) what: String,
    /// Nanoseconds, in ascending order.
    pub(crate) times: Vec<i64>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, mut times: Vec<i64>) -> Self {
        times.sort_unstable();
        Self {
            what: what.into(),
            times,
        }
    }

    pub(crate) fn at(&self, share: f64) -> i64 {
        let last = self.times.len().saturating_sub(1);
        let place = (last as f64 * share).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the number of swaps"
        )]
        let place = place as usize;
        self.times.get(place).copied().unwrap_or_default()
    }
}

pub(crate) fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

pub(crate) struct Event {
    pub(crate) word: String,
    pub(crate) pid: i32,
    pub(crate) at: i64,
}

pub(crate) fn events(log: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let event = |line: &str| {
        let mut words = line.split(' ');
        let (word, pid, at) = (words.next()?, words.next()?, words.next()?);
        Some(Event {
            word: word.to_owned(),
            pid: pid.parse().ok()?,
            at: at.parse().ok()?,
        })
    };
    Ok(text.lines().filter_map(event).collect())
}

/// From each event of a kind to the next start.
pub(crate) fn gaps(events: &[Event], from: &str) -> Vec<i64> {
    let mut gaps = Vec::new();
    let mut began = None;
    for event in events {
        if event.word == from {
            began = Some(event.at);
        } else if event.word == "start"
            && let Some(began) = began.take()
        {
            gaps.push(event.at - began);
        }
    }
    gaps
}
