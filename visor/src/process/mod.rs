//! The processes of a host: the node and its companions, one unit that starts, is adopted and ends as a whole.
//!
//! Invariants: a unit is started only with [`NoNode`](crate::lock::NoNode) in hand, and every process of it then holds that
//! lock (VIS-03); an exit is reported only when the lock could be taken again, so that no descendant is alive either; the
//! processes write to no pipe of visor and are not tied to its life, so that they survive a dead visor and are adopted by
//! the next (VIS-04).

mod clear;
mod found;
mod launch;
mod member;
mod probe;
mod re_exec;
mod unit;

pub use clear::clear;
pub(crate) use found::mains;
pub use found::{Found, Main, Recognised, find_running, recognise};
pub use launch::{Launch, Program, Ready, Role};
pub(crate) use probe::{Ended, run_to_end};
pub use probe::{ProbeError, run_probe};
pub use re_exec::re_exec;
pub use unit::{Exit, StopOrder, Unit};

use std::io;
use std::path::PathBuf;

use crate::lock::LockError;

/// Why a process could not be started, adopted or waited for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be executed.
    #[error("start {role} ({program})", program = program.display())]
    Start {
        /// Which process of the unit.
        role: Role,
        /// Its binary.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A text that no program can be given.
    #[error("start {role} ({program}): expected arguments and environment without zero bytes, found {found:?}", program = program.display())]
    ZeroByte {
        /// Which process of the unit.
        role: Role,
        /// Its binary.
        program: PathBuf,
        /// The text.
        found: String,
    },
    /// A file for the node's input or output could not be opened.
    #[error("open {} for the node's input and output", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A process of an earlier unit is still alive.
    #[error("start the node: a process of the previous one is still alive")]
    StillAlive,
    /// The lock could not be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A process could not be observed.
    #[error("watch {role}, process {pid}")]
    Watch {
        /// Which process of the unit.
        role: Role,
        /// Its id.
        pid: u32,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}
