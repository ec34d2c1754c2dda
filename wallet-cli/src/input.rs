//! Files that others have written: read whole, but never more than they may have.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("failed to {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} has more than {limit} bytes, which is the most that is read", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
}

/// The content of a file, or of standard input when it is `-`.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let failed = |what| {
        move |source| InputError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    let mut content = Vec::new();
    let above = limit.saturating_add(1);
    if path == Path::new("-") {
        io::stdin().lock().take(above).read_to_end(&mut content)
    } else {
        File::open(path)
            .map_err(failed("open"))?
            .take(above)
            .read_to_end(&mut content)
    }
    .map_err(failed("read"))?;
    if content.len() as u64 > limit {
        return Err(InputError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(content)
}
