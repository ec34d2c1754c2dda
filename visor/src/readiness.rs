//! Waiting for a descriptor (a pidfd, an inotify queue) to become readable, without a thread and without polling.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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
