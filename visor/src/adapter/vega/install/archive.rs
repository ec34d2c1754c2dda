//! Unpacking of what a release offers: a zip or tar.gz archive, or the binary itself.
//!
//! What a file is, its first bytes say, and no server (W-50). Nothing leaves the folder that is unpacked into, nothing but folders and
//! ordinary files is made, and both their number and their size have limits.

mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

pub use self::error::ArchiveError;
use self::error::{corrupt, io_error};

/// A release has one or two binaries and a few texts.
const MAX_ENTRIES: u32 = 250;
/// The longest name of an entry, bytes; what Linux allows for a path is 4096.
const MAX_NAME: u64 = 1024;
/// The longest list of a tar entry's attributes, bytes: its name, its times, its owner.
const MAX_ATTRIBUTES: u64 = 64 << 10;
const ZEROS: u64 = 1 << 20;

/// What a file's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A zip archive.
    Zip,
    /// A tar archive, compressed with gzip.
    TarGz,
    /// An archive of a kind that visor does not unpack.
    Unknown(&'static str),
    /// Not an archive: the binary itself.
    Plain,
}

/// How much may come out of an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Bytes of all files together.
    pub(super) bytes: u64,
    /// Where that limit comes from.
    pub(super) because: &'static str,
}

/// Looks at the beginning of a file.
pub(super) fn recognise(path: &Path) -> Result<Kind, ArchiveError> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(io_error("read", path))?;
    let kinds: [(&[u8], Kind); 8] = [
        (b"PK\x03\x04", Kind::Zip),
        (b"PK\x05\x06", Kind::Zip),
        (b"\x1f\x8b", Kind::TarGz),
        (b"\xfd7zXZ\0", Kind::Unknown("an xz file")),
        (b"BZh", Kind::Unknown("a bzip2 file")),
        (b"\x28\xb5\x2f\xfd", Kind::Unknown("a zstd file")),
        (b"7z\xbc\xaf\x27\x1c", Kind::Unknown("a 7z archive")),
        (b"!<arch>\n", Kind::Unknown("an ar archive (a Debian package?)")),
    ];
    let kind = kinds
        .into_iter()
        .find_map(|(magic, kind)| head.starts_with(magic).then_some(kind));
    Ok(match kind {
        Some(kind) => kind,
        None if head.get(257..262) == Some(b"ustar") => Kind::Unknown("an uncompressed tar archive"),
        None => Kind::Plain,
    })
}

/// Unpacks an archive into the empty folder `into`, every file durably. Returns the files, relative to `into`.
pub(super) fn unpack(
    archive: &Path,
    kind: Kind,
    into: &Path,
    allowance: Allowance,
) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut unpacking = Unpacking {
        archive,
        into,
        allowance,
        entries: 0,
        left: allowance.bytes,
        files: Vec::new(),
    };
    match kind {
        Kind::Zip => unpacking.zip()?,
        Kind::TarGz => unpacking.tar_gz()?,
        Kind::Unknown(found) => {
            return Err(ArchiveError::Kind {
                archive: archive.to_path_buf(),
                found,
            });
        }
        Kind::Plain => {
            return Err(ArchiveError::Kind {
                archive: archive.to_path_buf(),
                found: "no archive",
            });
        }
    }
    Ok(unpacking.files)
}

struct Unpacking<'a> {
    archive: &'a Path,
    into: &'a Path,
    allowance: Allowance,
    entries: u32,
    left: u64,
    files: Vec<PathBuf>,
}

impl Unpacking<'_> {
    fn zip(&mut self) -> Result<(), ArchiveError> {
        let archive = self.archive;
        let corrupt = |error: zip::result::ZipError| corrupt(archive, "zip", &error);
        let file = File::open(archive).map_err(io_error("open", archive))?;
        let mut zip = zip::ZipArchive::new(io::BufReader::new(file)).map_err(corrupt)?;
        if zip.len() > MAX_ENTRIES as usize {
            return Err(self.too_many());
        }
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(corrupt)?;
            let name = self.name(entry.name_raw())?;
            // The upper bits of a Unix mode say what kind of file it is; an archive made elsewhere has none.
            let mode = entry.unix_mode().unwrap_or_default();
            let format = mode & 0o170_000;
            if entry.is_symlink() || !matches!(format, 0 | 0o100_000 | 0o040_000) {
                return Err(self.refused(&name, "is a link or a special file"));
            }
            if entry.is_dir() || format == 0o040_000 {
                self.folder(&name)?;
            } else {
                if entry.size() > self.left {
                    return Err(self.too_large());
                }
                self.file(&name, mode, &mut entry, "zip")?;
            }
        }
        Ok(())
    }

    fn tar_gz(&mut self) -> Result<(), ArchiveError> {
        let archive = self.archive;
        let corrupt = |error: io::Error| corrupt(archive, "tar.gz", &error);
        let mut file = File::open(archive).map_err(io_error("open", archive))?;
        // The headers of the entries, and what follows the last one, come out of the gzip stream too.
        let headers = u64::from(MAX_ENTRIES) * (MAX_ATTRIBUTES + 4096) + ZEROS;
        let most = self.allowance.bytes.saturating_add(headers);
        let mut first = [0; 512];
        let read = read_up_to(&mut MultiGzDecoder::new(&file), &mut first).map_err(corrupt)?;
        if read < first.len() || !is_tar_header(&first) {
            return Err(ArchiveError::Kind {
                archive: archive.to_path_buf(),
                found: "a gzip file that holds no tar archive",
            });
        }
        file.seek(SeekFrom::Start(0)).map_err(io_error("read", archive))?;
        let stream = MultiGzDecoder::new(io::BufReader::new(file)).take(most);
        let mut tar = tar::Archive::new(stream);
        let mut long_name = None;
        // Raw: the long names and attributes that stand before an entry are read here, with limits.
        for entry in tar.entries().map_err(corrupt)?.raw(true) {
            let mut entry = entry.map_err(corrupt)?;
            let kind = entry.header().entry_type();
            if kind == EntryType::XGlobalHeader {
                continue;
            }
            if kind == EntryType::GNULongName {
                let bytes = self.bounded(&mut entry, MAX_NAME)?;
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                long_name = Some(bytes[..end].to_vec());
                continue;
            }
            if kind == EntryType::XHeader {
                let bytes = self.bounded(&mut entry, MAX_ATTRIBUTES)?;
                for (key, value) in attributes(&bytes).ok_or_else(|| self.cut_off())? {
                    match key {
                        b"path" => long_name = Some(value.to_vec()),
                        b"size" => return Err(self.refused("", "has a size that does not fit a tar header")),
                        _ => {}
                    }
                }
                continue;
            }
            let bytes = long_name
                .take()
                .unwrap_or_else(|| entry.path_bytes().into_owned());
            let name = self.name(&bytes)?;
            let mode = entry.header().mode().map_err(corrupt)?;
            if kind == EntryType::Directory {
                self.folder(&name)?;
            } else if kind == EntryType::Regular || kind == EntryType::Continuous {
                if entry.size() > self.left {
                    return Err(self.too_large());
                }
                let size = entry.size();
                let before = self.left;
                self.file(&name, mode, &mut entry, "tar.gz")?;
                if before - self.left != size {
                    return Err(self.cut_off());
                }
            } else {
                return Err(self.refused(&name, "is a link or a special file"));
            }
        }
        // To its end: only there the checksum of the stream stands.
        let mut stream = tar.into_inner();
        io::copy(&mut stream, &mut io::sink()).map_err(corrupt)?;
        if stream.limit() == 0 {
            return Err(self.too_large());
        }
        Ok(())
    }

    /// An entry's name as a path that cannot leave the folder.
    fn name(&mut self, bytes: &[u8]) -> Result<String, ArchiveError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.too_many());
        }
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let name = match str::from_utf8(bytes) {
            Ok(name) if bytes.len() as u64 <= MAX_NAME => name,
            Ok(_) => return Err(self.refused(&shown, "has a name of more than 1024 bytes")),
            Err(_) => return Err(self.refused(&shown, "has a name that is no UTF-8")),
        };
        match safe_name(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(found) => Err(self.refused(&shown, found)),
        }
    }

    fn folder(&self, name: &str) -> Result<(), ArchiveError> {
        let path = self.into.join(name);
        fs::create_dir_all(&path).map_err(io_error("create", &path))
    }

    fn file(
        &mut self,
        name: &str,
        mode: u32,
        content: &mut impl Read,
        kind: &'static str,
    ) -> Result<(), ArchiveError> {
        let path = self.into.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error("create", parent))?;
        }
        // Nothing but whether it can be executed is taken over: no set-user-id, no file that others can write.
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut file = match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.refused(name, "is in it twice"));
            }
            opened => opened.map_err(io_error("create", &path))?,
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(corrupt(self.archive, kind, &error)),
            };
            self.left = match self.left.checked_sub(count as u64) {
                Some(left) => left,
                None => return Err(self.too_large()),
            };
            file.write_all(&buffer[..count])
                .map_err(io_error("write", &path))?;
        }
        file.sync_all().map_err(io_error("sync", &path))?;
        let relative = path.strip_prefix(self.into).unwrap_or(&path).to_path_buf();
        self.files.push(relative);
        Ok(())
    }

    fn bounded(&mut self, entry: &mut impl Read, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        entry
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| corrupt(self.archive, "tar.gz", &error))?;
        if bytes.len() as u64 > limit {
            return Err(self.refused("", "has a name or attributes longer than any release's"));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.too_many());
        }
        Ok(bytes)
    }

    fn refused(&self, name: &str, found: &'static str) -> ArchiveError {
        ArchiveError::Entry {
            archive: self.archive.to_path_buf(),
            name: name.to_owned(),
            found,
        }
    }

    fn too_many(&self) -> ArchiveError {
        ArchiveError::TooMany {
            archive: self.archive.to_path_buf(),
            limit: MAX_ENTRIES,
        }
    }

    fn too_large(&self) -> ArchiveError {
        ArchiveError::TooLarge {
            archive: self.archive.to_path_buf(),
            limit: self.allowance.bytes,
            because: self.allowance.because,
        }
    }

    fn cut_off(&self) -> ArchiveError {
        ArchiveError::Corrupt {
            archive: self.archive.to_path_buf(),
            kind: "tar.gz",
            found: "that something ends in the middle".to_owned(),
        }
    }
}

/// Whether a path stays below the folder that it is joined to.
pub(super) fn safe_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with('/') {
        return Err("has an absolute path");
    }
    if name.split('/').any(|part| part == "..") {
        return Err("leaves the folder (..)");
    }
    if name.contains(['\\', '\0']) || name.chars().any(char::is_control) {
        return Err("has a character in its name that no release has");
    }
    if name.split('/').all(|part| part.is_empty() || part == ".") && !matches!(name, "./" | ".") {
        return Err("has no name");
    }
    Ok(())
}

/// The checksum of a tar header: its bytes' sum, with blanks where the sum itself stands.
fn is_tar_header(block: &[u8; 512]) -> bool {
    let stated = tar::Header::from_byte_slice(block).cksum();
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            if (148..156).contains(&index) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    stated.is_ok_and(|stated| stated == sum)
}

/// The keys and values of a list of `length key=value` lines; nothing when it is no such list.
fn attributes(mut list: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !list.is_empty() {
        let blank = list.iter().position(|byte| *byte == b' ')?;
        let length: usize = str::from_utf8(&list[..blank]).ok()?.parse().ok()?;
        let line = list.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = line.iter().position(|byte| *byte == b'=')?;
        found.push((&line[..equals], &line[equals + 1..]));
        list = &list[length..];
    }
    Some(found)
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
