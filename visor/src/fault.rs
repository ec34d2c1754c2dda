//! Places where the tests kill visor: around every effect, and inside those that have steps.
//!
//! Owns the names of the places that were passed, and the SIGKILL. It never does anything in the program `visor`: only a test's own
//! program calls [`arm`], and until then a place costs one relaxed load of a boolean.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

static ARMED: AtomicBool = AtomicBool::new(false);
static PASSED: OnceLock<Mutex<Passed>> = OnceLock::new();

/// Where this process is to die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kill {
    /// At the place that is passed as the so manieth, counted from 1.
    Numbered(u64),
    /// When this place is passed for the so manieth time, counted from 1.
    Named(String, u64),
}

#[derive(Debug)]
struct Passed {
    kill: Option<Kill>,
    /// One line for each place, as it is passed.
    trace: Option<File>,
    all: u64,
    each: BTreeMap<String, u64>,
}

/// From now on the places count, in this process and until its end. A second call changes nothing.
pub fn arm(kill: Option<Kill>, trace: Option<File>) {
    let passed = Passed {
        kill,
        trace,
        all: 0,
        each: BTreeMap::new(),
    };
    if PASSED.set(Mutex::new(passed)).is_ok() {
        ARMED.store(true, Ordering::Relaxed);
    }
}

/// A place with a name.
pub(crate) fn point(name: &str) {
    if ARMED.load(Ordering::Relaxed) {
        pass(name);
    }
}

/// A place named for the kind of an order, a fact or a record; `when` says on which side of it.
pub(crate) fn point_of(when: &str, what: &impl Debug) {
    if ARMED.load(Ordering::Relaxed) {
        pass(&format!("{when}-{}", kind(&format!("{what:?}"))));
    }
}

/// `Append(Staged { upgrade: ..` is `Append-Staged`.
fn kind(text: &str) -> String {
    let word = |text: &str| -> String { text.chars().take_while(char::is_ascii_alphanumeric).collect() };
    let outer = word(text);
    match text.get(outer.len()..).and_then(|rest| rest.strip_prefix('(')) {
        Some(rest) => format!("{outer}-{}", word(rest)),
        None => outer,
    }
}

#[cold]
fn pass(name: &str) {
    let Some(passed) = PASSED.get() else { return };
    let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
    passed.all += 1;
    let all = passed.all;
    let each = passed.each.entry(name.to_owned()).or_default();
    *each += 1;
    let each = *each;
    if let Some(trace) = &mut passed.trace {
        // A test that misses a line fails by itself.
        let _ = writeln!(trace, "{all} {name}:{each}");
    }
    let here = match &passed.kill {
        Some(Kill::Numbered(number)) => *number == all,
        Some(Kill::Named(wanted, number)) => wanted == name && *number == each,
        None => false,
    };
    if here {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_what_happens_there() {
        assert_eq!(kind("Append(Staged { upgrade: 7 })"), "Append-Staged");
        assert_eq!(kind("Swap(Version(\"1.1.0\"))"), "Swap-Version");
        assert_eq!(kind("Start { version: Version(..) }"), "Start");
        assert_eq!(kind("Stop"), "Stop");
    }
}
