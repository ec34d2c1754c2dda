//! Copies of the node's data: made in two passes, checked, kept by count, and put back.
//!
//! Owns the backups folder. Decides nothing: when a pass begins, what its failure means and whether a restore is permitted
//! is the planner's business.
//!
//! Invariants:
//! - A backup is finished when its manifest stands, which is written last, after everything else is durable. A finished backup is
//!   never written to again.
//! - Whatever is killed at any point is repeated by the same order (VIS-02).
//! - Nothing of a source is changed before the whole backup was found equal to its manifest, and what a restore replaces is
//!   moved aside, never removed.
//! - No symbolic link inside a source or a backup is followed.

mod copy;
mod error;
mod fault;
mod job;
mod manifest;
mod pass;
mod plan;
mod restore;
mod retention;
mod space;
#[cfg(test)]
mod tests;
mod tree;

pub use error::BackupError;
pub use job::{Job, Order, Outcome};
pub(crate) use manifest::is_finished;
pub use plan::{Plan, check_paths};
pub use space::{Room, check_space};
