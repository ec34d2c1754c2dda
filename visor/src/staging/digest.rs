//! Size and SHA-256 of what was fetched, against what the plan says.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Bytes that are not those of the plan.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// More or fewer bytes.
    #[error("accept {origin}: expected {expected} bytes as in the accepted plan, found {found}")]
    Size {
        /// Where the bytes came from.
        origin: String,
        /// By the plan.
        expected: u64,
        /// In fact; when there were more, at least this many.
        found: u64,
    },
    /// Other bytes.
    #[error("accept {origin}: expected SHA-256 {expected} as in the accepted plan, found {found}")]
    Sha256 {
        /// Where the bytes came from.
        origin: String,
        /// By the plan.
        expected: String,
        /// In fact.
        found: String,
    },
    /// They could not be read.
    #[error("read {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Counts and hashes bytes as they pass, and refuses as soon as there are too many.
pub(super) struct Check<'a> {
    origin: &'a str,
    size: u64,
    sha256: &'a [u8; 32],
    found: u64,
    hash: Sha256,
}

impl<'a> Check<'a> {
    pub(super) fn new(origin: &'a str, size: u64, sha256: &'a [u8; 32]) -> Self {
        Self {
            origin,
            size,
            sha256,
            found: 0,
            hash: Sha256::new(),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), DigestError> {
        self.found += bytes.len() as u64;
        if self.found > self.size {
            return Err(self.wrong_size());
        }
        self.hash.update(bytes);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), DigestError> {
        if self.found != self.size {
            return Err(self.wrong_size());
        }
        let found: [u8; 32] = self.hash.finalize().into();
        if found != *self.sha256 {
            return Err(DigestError::Sha256 {
                origin: self.origin.to_owned(),
                expected: hex::encode(self.sha256),
                found: hex::encode(found),
            });
        }
        Ok(())
    }

    fn wrong_size(&self) -> DigestError {
        DigestError::Size {
            origin: self.origin.to_owned(),
            expected: self.size,
            found: self.found,
        }
    }
}

/// Checks a file against size and SHA-256.
///
/// # Errors
/// When it differs or cannot be read.
pub fn file_digest(path: &Path, size: u64, sha256: &[u8; 32]) -> Result<(), DigestError> {
    let failed = |source| DigestError::Io {
        path: path.to_path_buf(),
        source,
    };
    let origin = path.display().to_string();
    let mut file = File::open(path).map_err(failed)?;
    let mut check = Check::new(&origin, size, sha256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return check.finish(),
            count => check.take(&buffer[..count])?,
        }
    }
}

/// Size (bytes) and SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn measure(path: &Path) -> Result<(u64, [u8; 32]), DigestError> {
    let failed = |source| DigestError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok((size, hash.finalize().into())),
            count => {
                size += count as u64;
                hash.update(&buffer[..count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], size: u64) -> Result<(), DigestError> {
        let digest = Sha256::digest(b"content").into();
        let mut check = Check::new("test", size, &digest);
        for chunk in bytes.chunks(3) {
            check.take(chunk)?;
        }
        check.finish()
    }

    #[test]
    fn vis_06_only_the_exact_bytes_pass() {
        assert!(check(b"content", 7).is_ok());
        assert!(matches!(check(b"contens", 7), Err(DigestError::Sha256 { .. })));
        assert!(matches!(
            check(b"conten", 7),
            Err(DigestError::Size { found: 6, .. })
        ));
        assert!(matches!(
            check(b"content and more", 7),
            Err(DigestError::Size { found: 9, .. })
        ));
    }
}
