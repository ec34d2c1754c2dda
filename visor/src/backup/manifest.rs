//! The two lists of a backup: the manifest, which makes it whole, and the record of the first pass.
//!
//! Both are lines of JSON. The manifest ends with a hash of everything before, and appears by one rename. The record grows while
//! files are copied; each line has its own hash, so that an end that was torn off is told from a line.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::{BackupError, failed};
use super::fault::step;
use super::plan::Plan;
use super::tree::{Dress, Meta, Stamp, Time, from_text, to_text};
use crate::home::{sync_directory, write_durably};

const FORMAT: u32 = 1;
pub(super) const MANIFEST: &str = "manifest";
pub(super) const RECORD: &str = "first-pass";

/// Everything about one name in a source but the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) source: u32,
    /// From the source; empty for the source itself.
    #[serde(with = "text")]
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Folder,
    File {
        size: u64,
        #[serde(with = "digest")]
        blake3: [u8; 32],
    },
    Link {
        #[serde(with = "text")]
        target: PathBuf,
    },
    /// Another name of a file of the same source.
    HardLink {
        #[serde(with = "text")]
        to: PathBuf,
    },
}

impl Entry {
    pub(super) fn new(source: u32, path: &Path, meta: &Meta, what: What) -> Self {
        Self {
            source,
            path: path.to_path_buf(),
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            what,
        }
    }

    pub(super) fn dress(&self) -> Dress {
        Dress {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    visor_backup: u32,
    name: String,
    created_unix_ms: u64,
    sources: Vec<String>,
}

impl Header {
    fn new(plan: &Plan) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            visor_backup: FORMAT,
            name: plan.name.clone(),
            created_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            sources: plan.sources.iter().map(|path| to_text(path)).collect(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    entries: u64,
    bytes: u64,
    #[serde(with = "digest")]
    blake3: [u8; 32],
}

/// Whether the backup in this folder is finished.
pub(crate) fn is_finished(backup: &Path) -> bool {
    fs::symlink_metadata(backup.join(MANIFEST)).is_ok()
}

/// A finished backup.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) sources: Vec<PathBuf>,
    /// A folder before what is in it; sources in order.
    pub(super) entries: Vec<Entry>,
    /// Of all files.
    pub(super) bytes: u64,
}

impl Manifest {
    /// Writes what finishes the backup, under another name. Not durable yet: one sync is for this and for the copies.
    pub(super) fn prepare(plan: &Plan, entries: &[Entry], bytes: u64) -> Result<(), BackupError> {
        let path = plan.backup().join(MANIFEST);
        let part = path.with_extension("part");
        step()
            .and_then(|()| {
                let mut file = BufWriter::new(File::create(&part)?);
                let mut hash = blake3::Hasher::new();
                let mut line = json(&Header::new(plan))?;
                for entry in entries {
                    line.push(b'\n');
                    hash.update(&line);
                    file.write_all(&line)?;
                    line = json(entry)?;
                }
                line.push(b'\n');
                hash.update(&line);
                file.write_all(&line)?;
                let footer = Footer {
                    entries: entries.len() as u64,
                    bytes,
                    blake3: hash.finalize().into(),
                };
                file.write_all(&json(&footer)?)?;
                file.write_all(b"\n")?;
                file.into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .map(drop)
            })
            .map_err(failed("write", path))
    }

    /// Finishes the backup. What [`Self::prepare`] has written is durable, and all that it names.
    pub(super) fn publish(plan: &Plan) -> Result<(), BackupError> {
        let path = plan.backup().join(MANIFEST);
        step()
            .and_then(|()| fs::rename(path.with_extension("part"), &path))
            .and_then(|()| step())
            .and_then(|()| sync_directory(&plan.backup()))
            .map_err(failed("write", path))
    }

    pub(super) fn read(backup: &Path) -> Result<Self, BackupError> {
        let path = backup.join(MANIFEST);
        let damaged = |expected: &str, found: String| BackupError::Damaged {
            path: path.clone(),
            expected: expected.to_owned(),
            found,
        };
        let mut file = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoManifest {
                    path: backup.to_path_buf(),
                });
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut hash = blake3::Hasher::new();
        let mut line = Vec::new();
        let mut header: Option<Header> = None;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            line.clear();
            file.read_until(b'\n', &mut line).map_err(failed("read", &path))?;
            let number = entries.len() + 1 + usize::from(header.is_some());
            let Some(text) = line.strip_suffix(b"\n") else {
                return Err(damaged(
                    "a last line with a hash of all others",
                    format!("an end in line {number}"),
                ));
            };
            let Some(known) = &header else {
                let found: Header = serde_json::from_slice(text)
                    .map_err(|error| damaged("a line that says what it is", format!("line 1: {error}")))?;
                if found.visor_backup != FORMAT {
                    return Err(damaged(
                        "a backup of format 1",
                        format!("format {}", found.visor_backup),
                    ));
                }
                hash.update(&line);
                header = Some(found);
                continue;
            };
            if let Ok(footer) = serde_json::from_slice::<Footer>(text) {
                let found: [u8; 32] = hash.finalize().into();
                if footer.blake3 != found || footer.entries != entries.len() as u64 {
                    return Err(damaged(
                        &format!(
                            "{} entries with the BLAKE3 hash {}",
                            footer.entries,
                            hex::encode(footer.blake3)
                        ),
                        format!("{} with {}", entries.len(), hex::encode(found)),
                    ));
                }
                let sources = known
                    .sources
                    .iter()
                    .map(|text| from_text(text))
                    .collect::<Option<Vec<_>>>();
                let Some(sources) = sources else {
                    return Err(damaged("readable paths of the sources", "others".to_owned()));
                };
                return Ok(Self {
                    sources,
                    entries,
                    bytes: footer.bytes,
                });
            }
            hash.update(&line);
            entries.push(
                serde_json::from_slice(text).map_err(|error| {
                    damaged("a line per file or folder", format!("line {number}: {error}"))
                })?,
            );
        }
    }

    /// When the backup was finished; `None` when its manifest cannot be read.
    pub(super) fn created(backup: &Path) -> Option<u64> {
        let mut line = String::new();
        let file = File::open(backup.join(MANIFEST)).ok()?;
        BufReader::new(file.take(1 << 20)).read_line(&mut line).ok()?;
        Some(serde_json::from_str::<Header>(&line).ok()?.created_unix_ms)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) stamp: Stamp,
    pub(super) entry: Entry,
}

/// What the passes have copied so far, and what it looked like before: durable copies only.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    file: File,
    known: BTreeMap<(u32, PathBuf), Line>,
}

impl Record {
    /// Opens the record of a backup; begins anew when there is none, or one of other sources.
    pub(super) fn open(plan: &Plan) -> Result<Self, BackupError> {
        let path = plan.backup().join(RECORD);
        Self::open_file(plan, &path).map_err(failed("open", path))
    }

    fn open_file(plan: &Plan, path: &Path) -> io::Result<Self> {
        let mut known = BTreeMap::new();
        let mut good = 0;
        match File::open(path) {
            Ok(file) => {
                let mut file = BufReader::new(file);
                let mut line = Vec::new();
                let mut begun = false;
                while file.read_until(b'\n', &mut line)? > 0 {
                    let Some(text) = checked(&line) else { break };
                    if begun {
                        let Ok(found) = serde_json::from_slice::<Line>(text) else {
                            break;
                        };
                        known.insert((found.entry.source, found.entry.path.clone()), found);
                    } else {
                        let same = |header: Header| {
                            header.visor_backup == FORMAT && header.sources == Header::new(plan).sources
                        };
                        if !serde_json::from_slice::<Header>(text).is_ok_and(same) {
                            break;
                        }
                        begun = true;
                    }
                    good += line.len() as u64;
                    line.clear();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if good == 0 {
            step()?;
            let header = with_check(&Header::new(plan))?;
            write_durably(path, &header, 0o600)?;
            good = header.len() as u64;
        }
        step()?;
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(good)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            known,
        })
    }

    pub(super) fn find(&self, source: u32, path: &Path) -> Option<&Line> {
        // The key is owned; one copy per file is little beside looking at it.
        self.known.get(&(source, path.to_path_buf()))
    }

    /// Adds what is durable by now.
    pub(super) fn append(&mut self, lines: Vec<Line>) -> Result<(), BackupError> {
        let mut bytes = Vec::new();
        let write = failed("write", &self.path);
        for line in &lines {
            bytes.extend(with_check(line).map_err(&write)?);
        }
        step()
            .and_then(|()| self.file.write_all(&bytes))
            .map_err(&write)?;
        for line in lines {
            self.known
                .insert((line.entry.source, line.entry.path.clone()), line);
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn with_check(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = json(value)?;
    let mut line = check_of(&text).into_bytes();
    line.push(b' ');
    line.extend(text);
    line.push(b'\n');
    Ok(line)
}

fn checked(line: &[u8]) -> Option<&[u8]> {
    let (check, rest) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let text = rest.strip_prefix(b" ")?;
    (check_of(text).as_bytes() == check).then_some(text)
}

fn check_of(text: &[u8]) -> String {
    hex::encode(&blake3::hash(text).as_bytes()[..8])
}

/// Paths in JSON.
mod text {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::backup::tree::{from_text, to_text};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_text(path))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(from)?;
        from_text(&text).ok_or_else(|| serde::de::Error::custom("expected % and two hexadecimal digits"))
    }
}

/// Hashes in JSON.
mod digest {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(bytes)
    }
}
