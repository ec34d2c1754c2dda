//! Which version's unit runs: the processes that hold the lock, matched with what each version would have started (VIS-04).

use crate::process::{Launch, Main, Recognised, recognise};

/// A version that may explain the processes that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// How its adapter calls it.
    pub(crate) name: String,
    /// What it would have started.
    pub(crate) launch: Launch,
}

/// Finds the candidate that explains the running processes best: by whole command lines, then by programs. Between equals, the first.
pub(crate) fn explain(
    candidates: impl IntoIterator<Item = Candidate>,
    mains: &[Main],
) -> Option<(String, Recognised)> {
    let mut best: Option<(String, Recognised)> = None;
    for Candidate { name, launch } in candidates {
        let unit = recognise(&launch, mains);
        let rank = |unit: &Recognised| (unit.exact, unit.processes.len());
        if !unit.processes.is_empty() && best.as_ref().is_none_or(|(_, other)| rank(&unit) > rank(other)) {
            best = Some((name, unit));
        }
    }
    best
}
