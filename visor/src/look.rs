//! What can be seen of a file without reading it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Systems count the time of a change in ticks; two changes within one look the same.
const TICK: Duration = Duration::from_millis(100);

/// Any write, rename or change of permissions changes the inode's times or the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at what a path leads to.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            mode: file.mode(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    /// Whether whatever is changed from now on has another look.
    pub(crate) fn is_settled(&self) -> bool {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
        changed
            .and_then(|changed| SystemTime::now().duration_since(changed).ok())
            .is_some_and(|age| age > TICK)
    }
}
