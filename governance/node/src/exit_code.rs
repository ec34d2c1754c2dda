//! Exit codes of `governance`. A code never changes its meaning: visor and service managers act on them.

/// All is well, or the node was asked to stop.
pub const OK: u8 = 0;
/// The command failed.
pub const FAILED: u8 = 1;
/// The command line is wrong. clap exits with the same code.
pub const USAGE: u8 = 2;
/// The home, its configuration, its keys or its genesis cannot be used.
pub const CONFIG: u8 = 3;
/// No node answers.
pub const UNREACHABLE: u8 = 4;
/// The state belongs to a newer version: this one has executed its last block.
pub const NEWER_VERSION_REQUIRED: u8 = 10;
/// The state belongs to an older version: the upgrade height has not been reached.
pub const OLDER_VERSION_REQUIRED: u8 = 11;
/// The chain store is damaged, of another layout or in use.
pub const STORE: u8 = 12;
/// The disk is full or fails, or the system refuses to read or write a file of `data/` such as `signed-height`: what was committed is
/// whole, and the node goes on when it is started where that works.
pub const DISK: u8 = 13;
/// A bug: the program panicked.
pub const BUG: u8 = 255;
