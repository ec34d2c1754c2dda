//! Waiting for a node's socket, by inotify: how soon the first word of a new node comes is how long the upgrade took.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use crate::readiness::readable;

/// The file appears at bind, a moment before listen: an attempt to connect must not come before that.
const BIND_TO_LISTEN: Duration = Duration::from_micros(200);
/// Room for several events; what does not fit is read next.
const BUFFER: usize = 4096;

/// Becomes ready when the socket is created in, or moved into, its folder.
#[derive(Debug)]
pub(crate) struct Appearance {
    descriptor: Option<AsyncFd<OwnedFd>>,
    name: OsString,
}

impl Appearance {
    /// Watches from now on. Without inotify (its limit is reached, the folder does not exist yet) nothing is ever seen.
    pub(crate) fn watch(socket: &Path) -> Self {
        let descriptor = || -> io::Result<AsyncFd<OwnedFd>> {
            let descriptor = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
            let folder = socket.parent().unwrap_or(Path::new("/"));
            let wanted = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&descriptor, folder, wanted)?;
            readable(descriptor)
        };
        Self {
            descriptor: descriptor().ok(),
            name: socket.file_name().unwrap_or_default().to_owned(),
        }
    }

    /// Returns when it has appeared. What else appears in the folder, which may be that of everybody's temporary files, does
    /// not count.
    pub(crate) async fn happened(&self) {
        let Some(descriptor) = &self.descriptor else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = descriptor.readable().await else {
                // Only without a runtime.
                return std::future::pending().await;
            };
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut events = inotify::Reader::new(descriptor.get_ref(), &mut buffer);
            let mut seen = false;
            // Until it would block.
            while let Ok(event) = events.next() {
                let name = event.file_name().map(|name| name.to_bytes());
                // Events were lost: it may have been among them.
                let is_overflow = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                seen |= name == Some(self.name.as_bytes()) || is_overflow;
            }
            ready.clear_ready();
            if seen {
                tokio::time::sleep(BIND_TO_LISTEN).await;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn only_the_socket_itself_is_seen_to_appear() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("node.sock");
        for create in [
            |path: &Path| fs::write(path, "").unwrap(),
            |path: &Path| {
                fs::write(path.with_extension("part"), "").unwrap();
                fs::rename(path.with_extension("part"), path).unwrap();
            },
        ] {
            let _ = fs::remove_file(&socket);
            let appearance = Appearance::watch(&socket);
            for other in 0..300 {
                fs::write(dir.path().join(format!("other-{other}.sock")), "").unwrap();
            }
            let early = tokio::time::timeout(Duration::from_millis(50), appearance.happened());
            assert!(early.await.is_err());
            create(&socket);
            tokio::time::timeout(PATIENCE, appearance.happened())
                .await
                .unwrap();
        }
    }
}
