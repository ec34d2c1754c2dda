//! The highest height that this node has signed a proposal or a vote for, in one small file: what proves, while the node is down, that
//! nothing above a height was signed.
//!
//! Durable before the first signature of a height leaves this process: one write of 48 bytes and one sync per height that is
//! signed. The file may name a height that was not signed after all; it never names one that is too low. What cannot be known is
//! said to be unknown: a file that is missing or damaged reads as an error, and never as 0.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governance::Height;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Notify};

const MAGIC: &[u8; 8] = b"SIGNED-1";
/// Magic, height (little endian), SHA-256 of both. Lies in one sector, which disks write whole.
const RECORD_BYTES: usize = 48;

/// Why the highest signed height is not known.
#[derive(Debug, thiserror::Error)]
pub enum SignedHeightError {
    /// The file is not there.
    #[error(
        "{path} is missing: which heights this node has signed for cannot be known; a start of the node makes the file anew, \
         with the highest that is possible", path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error(
        "{path} is damaged: which heights this node has signed for cannot be known; a start of the node makes the file anew, \
         with the highest that is possible", path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The file, open for as long as the node runs.
#[derive(Clone, Debug)]
pub struct SignedHeight(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Also the order of those who sign at the same time.
    file: Mutex<Arc<File>>,
    /// What is durable.
    last: AtomicU64,
    failed: Notify,
}

/// What the file says.
///
/// # Errors
/// When it is missing, damaged, or cannot be read.
pub fn read(path: &Path) -> Result<Height, SignedHeightError> {
    let bytes = std::fs::read(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            SignedHeightError::Missing {
                path: path.to_path_buf(),
            }
        } else {
            SignedHeightError::Io {
                operation: "read",
                path: path.to_path_buf(),
                source,
            }
        }
    })?;
    decode(&bytes).ok_or_else(|| SignedHeightError::Damaged {
        path: path.to_path_buf(),
    })
}

fn encode(height: Height) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let (content, check) = record.split_at_mut(16);
    let (magic, number) = content.split_at_mut(8);
    magic.copy_from_slice(MAGIC);
    number.copy_from_slice(&height.0.to_le_bytes());
    check.copy_from_slice(&Sha256::digest(&*content));
    record
}

fn decode(bytes: &[u8]) -> Option<Height> {
    let number = bytes.get(8..16)?.try_into().ok()?;
    let height = Height(u64::from_le_bytes(number));
    (bytes == encode(height)).then_some(height)
}

impl SignedHeight {
    /// Opens the file, or makes it: with 0 in a home that has `never_run`, else with `highest`, the highest height that may have been signed for.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open(path: &Path, never_run: bool, highest: Height) -> Result<Self, SignedHeightError> {
        let last = match read(path) {
            Ok(last) => last,
            Err(SignedHeightError::Missing { .. }) if never_run => create(path, Height(0))?,
            Err(SignedHeightError::Missing { .. } | SignedHeightError::Damaged { .. }) => {
                tracing::warn!(
                    file = %path.display(), block.height = highest.0,
                    "which heights this node has signed for is not known; taken for the highest that is possible"
                );
                create(path, highest)?
            }
            Err(error @ SignedHeightError::Io { .. }) => return Err(error),
        };
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(io_error("open", path))?;
        Ok(Self(Arc::new(Inner {
            path: path.to_path_buf(),
            file: Mutex::new(Arc::new(file)),
            last: AtomicU64::new(last.0),
            failed: Notify::new(),
        })))
    }

    /// Makes it durable that `height` is signed for. Nothing may be signed before it has answered, nor when it fails.
    ///
    /// # Errors
    /// The system's answer.
    pub async fn mark(&self, height: Height) -> Result<(), SignedHeightError> {
        let inner = &self.0;
        if height.0 <= inner.last.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = inner.file.lock().await;
        if height.0 <= inner.last.load(Ordering::Acquire) {
            return Ok(());
        }
        let open = Arc::clone(&file);
        // A disk may take its time; the other tasks of this thread go on.
        let written = tokio::task::spawn_blocking(move || {
            open.write_all_at(&encode(height), 0)
                .and_then(|()| open.sync_data())
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
        match written {
            Ok(()) => {
                inner.last.store(height.0, Ordering::Release);
                Ok(())
            }
            Err(source) => {
                inner.failed.notify_one();
                Err(io_error("write", &inner.path)(source))
            }
        }
    }

    /// Waits until a write has failed: this node signs no more.
    pub async fn failed(&self) {
        self.0.failed.notified().await;
    }
}

/// Whole or not at all.
fn create(path: &Path, height: Height) -> Result<Height, SignedHeightError> {
    let part = path.with_extension("new");
    let write = || -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all_at(&encode(height), 0)?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(io_error("write", path))?;
    Ok(height)
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SignedHeightError + 'a {
    move |source| SignedHeightError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_marked_is_there_again_and_never_falls() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signed-height");
        let signed = SignedHeight::open(&path, true, Height(1)).expect("a new file");
        assert_eq!(read(&path).expect("it is there"), Height(0));
        for (mark, last) in [(5, 5), (3, 5), (5, 5), (6, 6)] {
            signed.mark(Height(mark)).await.expect("it is written");
            assert_eq!(read(&path).expect("it is there"), Height(last));
        }
        let again = SignedHeight::open(&path, true, Height(99)).expect("it is there");
        again.mark(Height(6)).await.expect("nothing to do");
        assert_eq!(read(&path).expect("it is there"), Height(6));
    }

    #[test]
    fn what_is_missing_or_damaged_is_an_error_and_never_0() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signed-height");
        assert!(matches!(read(&path), Err(SignedHeightError::Missing { .. })));
        let good = encode(Height(77));
        for length in 0..RECORD_BYTES {
            std::fs::write(&path, &good[..length]).expect("written");
            assert!(
                matches!(read(&path), Err(SignedHeightError::Damaged { .. })),
                "{length}"
            );
        }
        for at in 0..RECORD_BYTES {
            let mut bad = good;
            bad[at] ^= 1;
            std::fs::write(&path, bad).expect("written");
            assert!(
                matches!(read(&path), Err(SignedHeightError::Damaged { .. })),
                "{at}"
            );
        }
        // A start takes the highest that is possible.
        SignedHeight::open(&path, false, Height(41)).expect("made anew");
        assert_eq!(read(&path).expect("it is there"), Height(41));
        std::fs::remove_file(&path).expect("removed");
        SignedHeight::open(&path, false, Height(42)).expect("made anew");
        assert_eq!(read(&path).expect("it is there"), Height(42));
    }
}
