//! Size and SHA-256 of an artifact, by streaming: an artifact never has to fit memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use governance::{Digest, MAX_ARTIFACT_BYTES};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::redirect;
use sha2::{Digest as _, Sha256};

use crate::artifact::Source;

/// Release pages redirect to a storage service, which may redirect once more.
const MAX_REDIRECTS: usize = 5;
/// A server that is silent for longer has lost the connection.
const SILENCE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 1 << 16;

/// What an artifact's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// Why an artifact could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error("failed to {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is no regular file", path.display())]
    NoFile { path: PathBuf },
    #[error("{name} is empty")]
    Empty { name: String },
    #[error("{name} has more than {MAX_ARTIFACT_BYTES} bytes, which is the most an artifact may have")]
    TooLarge { name: String },
    #[error("failed to download {url}")]
    Download { url: String, source: reqwest::Error },
    #[error("failed to download {url}: the server answers {status}")]
    Status { url: String, status: u16 },
    #[error("failed to download {url}: the connection ended after {found} of {expected} bytes")]
    Short { url: String, expected: u64, found: u64 },
}

/// Reads the whole artifact. Progress is shown on standard error when that is a terminal.
pub(crate) async fn measure(source: &Source) -> Result<Measure, MeasureError> {
    match source {
        Source::File(path) => measure_file(path),
        Source::Url(url) => measure_url(url).await,
    }
}

fn measure_file(path: &Path) -> Result<Measure, MeasureError> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| MeasureError::File { what, path, source }
    };
    let mut file = File::open(path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("examine"))?;
    if !metadata.is_file() {
        return Err(MeasureError::NoFile {
            path: path.to_owned(),
        });
    }
    let mut meter = Meter::new(path.display().to_string(), Some(metadata.len()));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(failed("read"))?;
        match buffer.get(..count) {
            Some([]) | None => return meter.finish(),
            Some(bytes) => meter.take(bytes)?,
        }
    }
}

async fn measure_url(url: &str) -> Result<Measure, MeasureError> {
    let failed = |source| MeasureError::Download {
        url: url.to_owned(),
        source,
    };
    // Fails only when it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(SILENCE)
        .read_timeout(SILENCE)
        .redirect(redirect::Policy::custom(follow))
        .build()
        .map_err(failed)?;
    let mut response = client.get(url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(MeasureError::Status {
            url: url.to_owned(),
            status: response.status().as_u16(),
        });
    }
    let expected = response.content_length();
    let mut meter = Meter::new(url.to_owned(), expected);
    while let Some(bytes) = response.chunk().await.map_err(failed)? {
        meter.take(&bytes)?;
    }
    match expected {
        Some(expected) if expected != meter.size => Err(MeasureError::Short {
            url: url.to_owned(),
            expected,
            found: meter.size,
        }),
        Some(_) | None => meter.finish(),
    }
}

/// Follows a few redirects, and none from https to http: the bytes that are measured become the bytes that are voted on.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_safe = attempt
        .previous()
        .last()
        .is_some_and(|url| url.scheme() == "https");
    if was_safe && attempt.url().scheme() != "https" {
        attempt.error("the server redirects from https to http")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("the server redirects too often")
    } else {
        attempt.follow()
    }
}

/// Counts, hashes and shows.
struct Meter {
    name: String,
    size: u64,
    hash: Sha256,
    bar: ProgressBar,
}

impl Meter {
    fn new(name: String, expected: Option<u64>) -> Self {
        let style = ProgressStyle::with_template("{msg}  {bytes} of {total_bytes}  {bytes_per_sec}");
        let bar = ProgressBar::new(expected.unwrap_or(0))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(format!("hashing {}", crate::text::printable(&name)));
        Self {
            name,
            size: 0,
            hash: Sha256::new(),
            bar,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), MeasureError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > MAX_ARTIFACT_BYTES {
            return Err(MeasureError::TooLarge {
                name: self.name.clone(),
            });
        }
        self.hash.update(bytes);
        self.bar.set_position(self.size);
        Ok(())
    }

    fn finish(self) -> Result<Measure, MeasureError> {
        self.bar.finish_and_clear();
        if self.size == 0 {
            return Err(MeasureError::Empty { name: self.name });
        }
        Ok(Measure {
            size: self.size,
            sha256: Digest(self.hash.finalize().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("artifact");
        let bytes = vec![7; BUFFER_BYTES * 2 + 1];
        std::fs::write(&path, &bytes).expect("write");
        let measure = measure_file(&path).expect("it is measured");
        assert_eq!(measure.size, bytes.len() as u64);
        assert_eq!(measure.sha256, Digest::of(&bytes));
    }

    #[test]
    fn what_is_no_artifact_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            measure_file(folder.path()),
            Err(MeasureError::NoFile { .. })
        ));
        let missing = measure_file(&folder.path().join("missing"));
        assert!(matches!(missing, Err(MeasureError::File { what: "open", .. })));
        let empty = folder.path().join("empty");
        std::fs::write(&empty, []).expect("write");
        assert!(matches!(measure_file(&empty), Err(MeasureError::Empty { .. })));
    }
}
