//! Signals before anybody listens for them.
//!
//! Between the program's first instruction and the daemon's loop a request to stop would end visor by its default action, and an
//! earlier visor's node would run on although its operator was told that it is stopped. [`hold`] lets them wait, [`release`] lets them
//! through to whoever listens then. Programs that visor starts never inherit what is held: each start clears the mask.

use nix::sys::signal::{SigSet, Signal};

fn requests() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]
    .into_iter()
    .collect()
}

/// From now on they wait, for this thread and those that it starts.
pub(crate) fn hold() {
    // It fails for no set of signals that exist.
    let _ = requests().thread_block();
}

/// They are delivered, the waiting ones at once.
pub(crate) fn release() {
    let _ = requests().thread_unblock();
}
