//! Waiting for a descriptor (a pidfd, an inotify queue) to become readable, without a thread and without polling.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Closes an inotify queue on a thread of its own: the system takes some ten milliseconds to close one that has watches, and between an
/// exit and the start that follows it the loop has none to spare (VIS-05).
pub(crate) fn close_aside(queue: AsyncFd<OwnedFd>) {
    let descriptor = queue.into_inner();
    // Without a runtime nobody waits.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || drop(descriptor));
    }
}

/// Registers a descriptor with the runtime.
///
/// # Errors
/// The system's answer.
#[expect(
    deprecated,
    reason = "deprecated for types that may change or close their descriptor while registered; an OwnedFd inside an AsyncFd \
              cannot, and the replacement is an unsafe function that promises just that"
)]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
