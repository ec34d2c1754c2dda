//! Fetching an artifact into a file that is not executable, checked while it streams.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

use super::digest::{Check, DigestError};
use crate::fault;

/// A server that sends nothing for this long has gone away; the whole fetch has its own, longer limit.
const SILENCE: Duration = Duration::from_secs(30);

/// Why an artifact could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The plan's address is of a kind that visor does not fetch.
    #[error("fetch {url}: expected an address that begins with file://, http:// or https://")]
    Scheme {
        /// The address.
        url: String,
    },
    /// The source could not be reached or broke off.
    #[error("fetch {url}")]
    Http {
        /// The address.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The server has no such file.
    #[error("fetch {url}: the server answered {status}")]
    Status {
        /// The address.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// It took longer than the configured limit.
    #[error("fetch {url}: not complete within {limit:?} (staging.fetch_timeout)")]
    TooSlow {
        /// The address.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// A file could not be read or written.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The bytes are not those of the plan.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// Fetches `url` into the new file `path` (mode 0600) and checks size and digest. The file is durable on success.
pub(super) async fn fetch(
    url: &str,
    path: &Path,
    size: u64,
    sha256: &[u8; 32],
    limit: Duration,
) -> Result<(), FetchError> {
    if let Some(source) = url.strip_prefix("file://") {
        return fetch_file(Path::new(source), url, path, size, sha256);
    }
    let mut file = create(path)?;
    fault::point("fetch-begun");
    let mut check = Check::new(url, size, sha256);
    if url.starts_with("http://") || url.starts_with("https://") {
        tokio::time::timeout(limit, download(url, &mut file, path, &mut check))
            .await
            .map_err(|_| FetchError::TooSlow {
                url: url.to_owned(),
                limit,
            })??;
    } else {
        return Err(FetchError::Scheme { url: url.to_owned() });
    }
    check.finish()?;
    fault::point("fetch-checked");
    file.sync_all().map_err(io_error("sync", path))
}

/// The same for a file of this host.
pub(super) fn fetch_file(
    source: &Path,
    origin: &str,
    path: &Path,
    size: u64,
    sha256: &[u8; 32],
) -> Result<(), FetchError> {
    let mut file = create(path)?;
    fault::point("fetch-begun");
    let mut check = Check::new(origin, size, sha256);
    copy(source, &mut file, path, &mut check)?;
    check.finish()?;
    file.sync_all().map_err(io_error("sync", path))
}

fn create(path: &Path) -> Result<File, FetchError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("create", path))
}

fn copy(source: &Path, file: &mut File, path: &Path, check: &mut Check<'_>) -> Result<(), FetchError> {
    let mut input = File::open(source).map_err(io_error("open", source))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer).map_err(io_error("read", source))? {
            0 => return Ok(()),
            count => {
                check.take(&buffer[..count])?;
                file.write_all(&buffer[..count])
                    .map_err(io_error("write", path))?;
            }
        }
    }
}

/// A client for fetching, built for one attempt and gone with it: it is far larger than the rest of an idle visor.
pub(crate) fn client(redirects: Policy) -> reqwest::Result<Client> {
    // Another part of the process may have installed the provider already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        // GitHub refuses whoever does not say who asks.
        .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .connect_timeout(SILENCE)
        .read_timeout(SILENCE)
        .build()
}

async fn download(url: &str, file: &mut File, path: &Path, check: &mut Check<'_>) -> Result<(), FetchError> {
    let failed = |source| FetchError::Http {
        url: url.to_owned(),
        source,
    };
    let mut response = client(Policy::default())
        .map_err(failed)?
        .get(url)
        .send()
        .await
        .map_err(failed)?;
    if !response.status().is_success() {
        return Err(FetchError::Status {
            url: url.to_owned(),
            status: response.status().as_u16(),
        });
    }
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        check.take(&chunk)?;
        file.write_all(&chunk).map_err(io_error("write", path))?;
    }
    Ok(())
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FetchError + 'a {
    move |source| FetchError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}
