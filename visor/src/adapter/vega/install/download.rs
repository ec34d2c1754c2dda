//! A download that goes on where the one before it broke off (W-48).
//!
//! What has arrived lies in one file, and beside it stands what it is a part of: a part of anything else is thrown away. Nothing is held in
//! memory, and nothing here is executable or trusted.

mod error;

use std::fs::{self, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};

pub use self::error::DownloadError;
use self::error::io_error;
use crate::fault;
use crate::home::write_durably;

/// The bytes that have arrived.
const PART: &str = "asset.part";
/// What they are a part of.
const ORIGIN: &str = "asset.json";

/// What a part is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The repository's address, without anything secret.
    pub(super) repository: String,
    /// The file's number there: another upload has another.
    pub(super) asset: u64,
    /// Its name.
    pub(super) name: String,
    /// Bytes, where the release says so.
    pub(super) size: Option<u64>,
    /// When the file was put there.
    pub(super) updated_at: Option<String>,
}

/// The same with what the server that has the file says of this edition of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    of: Origin,
    edition: Option<String>,
}

/// A download in a folder of its own.
#[derive(Debug)]
pub(super) struct Download<'a> {
    folder: &'a Path,
    noted: Noted,
    /// For messages.
    label: String,
    limit: u64,
}

impl<'a> Download<'a> {
    /// Looks at what an earlier attempt left in `folder`; a part of something else is removed. At most `limit` bytes are taken.
    pub(super) fn open(
        folder: &'a Path,
        of: Origin,
        label: String,
        limit: u64,
    ) -> Result<Self, DownloadError> {
        let download = Self {
            folder,
            label,
            limit,
            noted: Noted { of, edition: None },
        };
        if let Some(expected) = download.noted.of.size
            && expected > limit
        {
            return Err(download.too_large(expected));
        }
        let noted = fs::read(folder.join(ORIGIN)).ok();
        let noted: Option<Noted> = noted.and_then(|text| serde_json::from_slice(&text).ok());
        match noted {
            // Without a size nobody could tell when it is whole.
            Some(noted) if noted.of == download.noted.of && noted.of.size.is_some() => {
                Ok(Self { noted, ..download })
            }
            _ => {
                download.discard()?;
                download.note()?;
                Ok(download)
            }
        }
    }

    /// The file that the bytes are in.
    pub(super) fn part(&self) -> PathBuf {
        self.folder.join(PART)
    }

    /// How many bytes are here.
    pub(super) fn arrived(&self) -> Result<u64, DownloadError> {
        match fs::metadata(self.part()) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(io_error("look at", &self.part())(source)),
        }
    }

    /// Whether all of it is here already.
    pub(super) fn is_whole(&self) -> Result<bool, DownloadError> {
        Ok(self.noted.of.size.is_some_and(|size| size > 0) && Some(self.arrived()?) == self.noted.of.size)
    }

    /// Throws away what has arrived: it is not what it should be.
    pub(super) fn discard(&self) -> Result<(), DownloadError> {
        match fs::remove_file(self.part()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.part())(error))
            }
            _ => Ok(()),
        }
    }

    /// Asks for what is missing.
    pub(super) async fn ask(&mut self, request: RequestBuilder) -> Result<Response, DownloadError> {
        if self
            .noted
            .of
            .size
            .is_some_and(|size| self.arrived().is_ok_and(|arrived| arrived > size))
        {
            self.discard()?;
        }
        let arrived = self.arrived()?;
        let request = if arrived > 0 {
            let request = request.header(RANGE, format!("bytes={arrived}-"));
            match &self.noted.edition {
                // Of another edition the server sends the whole.
                Some(edition) => request.header(IF_RANGE, edition),
                None => request,
            }
        } else {
            request
        };
        // Without the address: after a redirect it may hold a key of its own.
        request.send().await.map_err(|error| self.broken_off(error))
    }

    /// Takes an answer to the end of the file.
    pub(super) async fn take(&mut self, mut response: Response) -> Result<(), DownloadError> {
        let arrived = self.begin(&response)?;
        let expected = self.noted.of.size;
        if let Some(left) = response.content_length() {
            let found = arrived.saturating_add(left);
            if found > self.limit {
                return Err(self.too_large(found));
            }
            if let Some(expected) = expected
                && found != expected
            {
                self.discard()?;
                return Err(self.size(expected, found));
            }
        }
        let path = self.part();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        file.set_len(arrived).map_err(io_error("cut", &path))?;
        file.seek(SeekFrom::Start(arrived))
            .map_err(io_error("write", &path))?;
        fault::point("fetch-begun");
        let mut found = arrived;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken_off(error))? {
            found += chunk.len() as u64;
            if let Some(expected) = expected
                && found > expected
            {
                self.discard()?;
                return Err(self.size(expected, found));
            }
            if found > self.limit {
                self.discard()?;
                return Err(self.too_large(found));
            }
            file.write_all(&chunk).map_err(io_error("write", &path))?;
        }
        match expected {
            Some(expected) if found < expected => Err(DownloadError::Short {
                asset: self.label.clone(),
                expected,
                arrived: found,
            }),
            _ => file.sync_all().map_err(io_error("sync", &path)),
        }
    }

    /// Where an answer begins. What is here stays here only when the answer continues it.
    fn begin(&mut self, response: &Response) -> Result<u64, DownloadError> {
        let arrived = self.arrived()?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        // A weak mark does not promise the same bytes.
        let edition = header(ETAG)
            .filter(|mark| !mark.starts_with("W/") && mark.len() <= 256)
            .map(str::to_owned);
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = header(CONTENT_RANGE).unwrap_or("no Content-Range");
            let (first, all) = parse_range(range).unwrap_or((u64::MAX, None));
            if first != arrived
                || (all.is_some() && self.noted.of.size.is_some() && all != self.noted.of.size)
            {
                let found = range.chars().take(100).collect();
                self.discard()?;
                return Err(DownloadError::Range {
                    asset: self.label.clone(),
                    expected: arrived,
                    found,
                });
            }
            return Ok(arrived);
        }
        self.discard()?;
        self.noted.edition = edition;
        self.note()?;
        Ok(0)
    }

    fn note(&self) -> Result<(), DownloadError> {
        let path = self.folder.join(ORIGIN);
        let text = serde_json::to_vec(&self.noted).map_err(io::Error::other);
        text.and_then(|text| write_durably(&path, &text, 0o600))
            .map_err(io_error("write", &path))
    }

    fn broken_off(&self, error: reqwest::Error) -> DownloadError {
        DownloadError::Http {
            asset: self.label.clone(),
            arrived: self.arrived().unwrap_or_default(),
            source: error.without_url(),
        }
    }

    fn size(&self, expected: u64, found: u64) -> DownloadError {
        DownloadError::Size {
            asset: self.label.clone(),
            expected,
            found,
        }
    }

    fn too_large(&self, found: u64) -> DownloadError {
        DownloadError::TooLarge {
            asset: self.label.clone(),
            limit: self.limit,
            found,
        }
    }
}

/// First byte and whole size of `bytes 10-19/20`; the size may be unknown (`*`).
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, all) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let all = match all.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    (first <= last).then_some((first, all))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn origin(asset: u64, size: Option<u64>) -> Origin {
        Origin {
            repository: "https://example.org/o/r".to_owned(),
            asset,
            name: "vega.zip".to_owned(),
            size,
            updated_at: Some("2024-10-22T00:00:00Z".to_owned()),
        }
    }

    fn open(folder: &Path, of: Origin, limit: u64) -> Result<Download<'_>, DownloadError> {
        Download::open(folder, of, "vega.zip".to_owned(), limit)
    }

    #[test]
    fn w_48_a_part_is_kept_for_its_own_origin_only() {
        let dir = tempfile::tempdir().unwrap();
        let put = |bytes: &[u8]| {
            File::create(dir.path().join(PART))
                .unwrap()
                .write_all(bytes)
                .unwrap()
        };
        let download = open(dir.path(), origin(1, Some(10)), 100).unwrap();
        put(b"12345");
        assert_eq!(download.arrived().unwrap(), 5);
        let again = open(dir.path(), origin(1, Some(10)), 100).unwrap();
        assert_eq!((again.arrived().unwrap(), again.is_whole().unwrap()), (5, false));
        put(b"1234567890");
        assert!(again.is_whole().unwrap());
        for other in [origin(2, Some(10)), origin(2, Some(11)), origin(2, None)] {
            put(b"12345");
            let other = open(dir.path(), other, 100).unwrap();
            assert_eq!(other.arrived().unwrap(), 0);
        }
        put(b"12345");
        fs::write(dir.path().join(ORIGIN), "{").unwrap();
        assert_eq!(
            open(dir.path(), origin(2, None), 100).unwrap().arrived().unwrap(),
            0
        );
        let error = open(dir.path(), origin(1, Some(101)), 100)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("at most 100 bytes") && error.contains("101"),
            "{error}"
        );
    }

    #[test]
    fn a_range_is_read_strictly() {
        for (text, range) in [
            ("bytes 10-19/20", Some((10, Some(20)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes 10-9/20", None),
            ("bytes */20", None),
            ("10-19/20", None),
            ("bytes 10-19", None),
            ("bytes -1-19/20", None),
            ("", None),
        ] {
            assert_eq!(parse_range(text), range, "{text}");
        }
    }
}
