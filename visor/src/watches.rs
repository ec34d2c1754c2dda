//! An inotify queue whose watches change.
//!
//! Invariant: one queue lives as long as its owner, and only its watches are exchanged. To close a queue that has watches takes the system some
//! ten milliseconds, and it is paid by whoever closes it last: the loop, between an exit and the start that follows it, or the child that
//! still has a copy of the descriptor until its exec (VIS-05).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::readiness::readable;

/// What changes in a folder's entries, and to the folder itself. Not every write: a binary that is being fetched makes thousands.
pub(crate) const ENTRIES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Which event it was is not told: whoever watches looks.
#[derive(Debug)]
pub(crate) struct Watches {
    queue: AsyncFd<OwnedFd>,
    watched: BTreeSet<i32>,
}

impl Watches {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the system has no more room for queues.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: readable(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)?,
            watched: BTreeSet::new(),
        })
    }

    /// Watches these from now on, and nothing else. What is not there, or not for our eyes, is left out: its folder tells when that changes.
    ///
    /// # Errors
    /// When the system has no more room for watches; what was watched before still is.
    pub(crate) fn set<'a>(
        &mut self,
        wanted: impl IntoIterator<Item = (&'a Path, WatchFlags)>,
    ) -> io::Result<()> {
        let mut watched = BTreeSet::new();
        for (path, events) in wanted {
            match inotify::add_watch(self.queue.get_ref(), path, events) {
                Ok(watch) => {
                    watched.insert(watch);
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(error) => {
                    self.watched.append(&mut watched);
                    return Err(error.into());
                }
            }
        }
        for gone in self.watched.difference(&watched) {
            // It may have gone by itself, with the file.
            let _ = inotify::remove_watch(self.queue.get_ref(), *gone);
        }
        self.watched = watched;
        Ok(())
    }

    /// Forgets what has happened until now, the end of watches among it: its owner is about to look.
    pub(crate) fn forget(&self) {
        self.take();
    }

    /// Waits for events and takes them all. May be cancelled.
    pub(crate) async fn happened(&self) {
        loop {
            let Ok(mut ready) = self.queue.readable().await else {
                // Only without a runtime.
                return std::future::pending().await;
            };
            let any = self.take();
            ready.clear_ready();
            if any {
                return;
            }
        }
    }

    /// Whether there was anything.
    fn take(&self) -> bool {
        let mut buffer = [0_u8; 4096];
        let mut any = false;
        // Until it would block.
        while rustix::io::read(self.queue.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {
            any = true;
        }
        any
    }
}
