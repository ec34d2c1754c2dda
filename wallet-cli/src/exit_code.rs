//! Exit codes of the `wallet` program. They are a contract with scripts and never change meaning.

/// Done.
pub(crate) const SUCCESS: u8 = 0;
/// The network rejected the transaction, or the command failed for a reason without a code of its own.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong, or a confirmation is needed and nobody can be asked.
pub(crate) const USAGE: u8 = 2;
/// The wallet's home, a key or the genesis is missing, ambiguous or damaged, or a key readable by others.
pub(crate) const CONFIG: u8 = 3;
/// No node answers.
pub(crate) const UNREACHABLE: u8 = 4;
/// A certificate does not prove what it says.
pub(crate) const UNPROVEN: u8 = 5;
/// A bug in the wallet.
pub(crate) const BUG: u8 = 255;
