//! Exit codes of the `visor` program. They are a contract with service managers and scripts and never change meaning.

/// Done; for `run`: stopped on request, and the node with it.
pub const SUCCESS: u8 = 0;
/// The command failed for a reason without a code of its own.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A configuration file is wrong, or the home is not initialised, or is initialised already.
pub const CONFIG: u8 = 3;
/// No visor answers in this home (`status`, `plan`, and every order).
pub const UNREACHABLE: u8 = 4;
/// Another visor holds this home.
pub const HELD: u8 = 5;
/// The node failed and the retries are used up. The node is stopped.
pub const NODE_FAILED: u8 = 6;
/// The journal is damaged or cannot be written. The node is left as it was.
pub const JOURNAL: u8 = 7;
/// A certificate does not prove what it says (`verify`).
pub const UNPROVEN: u8 = 8;
/// An order of the operator is refused; nothing has changed. The text says why.
pub const REFUSED: u8 = 9;
/// `doctor` found what would make the next upgrade fail.
pub const UNREADY: u8 = 10;
/// A bug in visor.
pub const BUG: u8 = 255;
