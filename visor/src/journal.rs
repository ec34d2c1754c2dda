//! The durable log of planner records.
//!
//! Owns the file `journal`: framing, checks, durability. It never interprets a record. Invariants: an appended record is
//! on disk when [`Journal::append`] returns; what [`Journal::open`] returns is exactly what was appended, in order; the
//! first failed write ends all writing (a second fsync after a failed one may lie).

mod frame;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use visor_planner::Record;

pub use frame::Damage;
use frame::{Chain, MAX_PAYLOAD, Scan, encode_frame, file_header, scan, scan_to_damage};

use crate::fault;
use crate::home::sync_directory;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An operation on the file failed.
    #[error("{operation} the journal {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The journal.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Bytes that were durable once are not what they were.
    #[error(
        "read the journal {path}: it is damaged at byte {offset}: {damage}. Nothing was changed; restore the file from a copy, or \
         follow \"The journal is damaged\" in the runbook"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where the damage was found.
        offset: u64,
        /// What was found.
        damage: Damage,
    },
    /// A write failed earlier, so that nothing more may be written.
    #[error("append to the journal {path}: an earlier write failed, the end of the file is unknown")]
    Ended {
        /// The journal.
        path: PathBuf,
    },
    /// A record has no JSON form, or is larger than any record can be.
    #[error("encode a record of {length} bytes (at most {MAX_PAYLOAD})")]
    Unencodable {
        /// Bytes of its JSON form; 0 when there is none.
        length: usize,
    },
}

/// One record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 0 without gaps.
    pub sequence: u64,
    /// Milliseconds since 1970, by the clock of the host when it was appended.
    pub unix_ms: u64,
    /// The planner's record.
    pub record: Record,
}

#[derive(Serialize, Deserialize)]
struct Payload<R> {
    unix_ms: u64,
    record: R,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    chain: Chain,
    next_sequence: u64,
    ended: bool,
}

/// What was found when a journal was opened.
#[derive(Debug)]
pub struct Opened {
    /// Ready for appending.
    pub journal: Journal,
    /// Every record, oldest first.
    pub entries: Vec<Entry>,
    /// Bytes of an append that never finished, cut off the end.
    pub torn_bytes: u64,
}

/// A journal as far as it can be read.
#[derive(Debug)]
pub struct Readable {
    /// Every record before the damage, oldest first; every record when there is none.
    pub entries: Vec<Entry>,
    /// Where the file is damaged, in bytes from its beginning, and how.
    pub damage: Option<(u64, Damage)>,
    /// Bytes of an append that never finished, or is not finished yet, at the end of an undamaged file.
    pub torn_bytes: u64,
}

impl Journal {
    /// Opens the journal, creates it when there is none, and cuts off an append that never finished.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn open(path: &Path) -> Result<Opened, JournalError> {
        let at = |operation| {
            move |source| JournalError::Io {
                operation,
                path: path.to_path_buf(),
                source,
            }
        };
        if path.try_exists().map_err(at("look for"))? {
            // Whoever made it may have been killed before its name was durable; what is appended would go with the name.
            sync_directory(path.parent().unwrap_or(Path::new("."))).map_err(at("sync the folder of"))?;
        } else {
            create(path)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(at("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at("read"))?;
        let scan = scan(&bytes).map_err(|(offset, damage)| damaged(path, offset, damage))?;
        let entries = decode(path, &scan)?;
        let torn_bytes = (bytes.len() - scan.end) as u64;
        if torn_bytes > 0 {
            file.set_len(scan.end as u64).map_err(at("cut the torn end of"))?;
        }
        // Whoever wrote the last record may have been killed before it was durable, and what is read here is acted upon.
        file.sync_all().map_err(at("sync"))?;
        file.seek(SeekFrom::Start(scan.end as u64))
            .map_err(at("seek in"))?;
        let journal = Self {
            path: path.to_path_buf(),
            file,
            chain: scan.chain,
            next_sequence: entries.len() as u64,
            ended: false,
        };
        Ok(Opened {
            journal,
            entries,
            torn_bytes,
        })
    }

    /// Reads every finished record without changing the file, also while a visor writes to it.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Vec<Entry>, JournalError> {
        let bytes = fs::read(path).map_err(|source| JournalError::Io {
            operation: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let scan = scan(&bytes).map_err(|(offset, damage)| damaged(path, offset, damage))?;
        decode(path, &scan)
    }

    /// The same; nothing when there is no journal yet.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is damaged.
    pub fn read_if_any(path: &Path) -> Result<Vec<Entry>, JournalError> {
        match Self::read(path) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// Reads what stands before the first damage, for a person who looks into it; nothing else may go by that.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_to_damage(path: &Path) -> Result<Readable, JournalError> {
        let bytes = fs::read(path).map_err(|source| JournalError::Io {
            operation: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let (scan, mut damage) = scan_to_damage(&bytes);
        let mut entries = Vec::new();
        for (sequence, (offset, payload)) in (0_u64..).zip(&scan.payloads) {
            let Ok(Payload { unix_ms, record }) = serde_json::from_slice(payload) else {
                damage = Some((*offset, Damage::Record));
                break;
            };
            entries.push(Entry {
                sequence,
                unix_ms,
                record,
            });
        }
        Ok(Readable {
            entries,
            torn_bytes: if damage.is_none() {
                (bytes.len() - scan.end) as u64
            } else {
                0
            },
            damage: damage.map(|(offset, damage)| (offset as u64, damage)),
        })
    }

    /// Appends one record; it is durable when this returns.
    ///
    /// # Errors
    /// When it could not be made durable. Nothing can be appended after that.
    pub fn append(&mut self, record: &Record, unix_ms: u64) -> Result<u64, JournalError> {
        let sequence = self.write(record, unix_ms)?;
        let synced = self.file.sync_data();
        fault::point("append-synced");
        synced.map_err(|source| self.end(source))?;
        Ok(sequence)
    }

    /// Appends one record, which visor's own death does not lose from then on; durable it is when the file is synced.
    ///
    /// # Errors
    /// When it could not be written. Nothing can be appended after that.
    pub(crate) fn write(&mut self, record: &Record, unix_ms: u64) -> Result<u64, JournalError> {
        if self.ended {
            return Err(JournalError::Ended {
                path: self.path.clone(),
            });
        }
        let payload = serde_json::to_vec(&Payload { unix_ms, record })
            .map_err(|_| JournalError::Unencodable { length: 0 })?;
        let (frame, chain) =
            encode_frame(&self.chain, self.next_sequence, &payload).ok_or(JournalError::Unencodable {
                length: payload.len(),
            })?;
        fault::point_of("appending", record);
        let written = self.file.write_all(&frame);
        fault::point("append-written");
        written.map_err(|source| self.end(source))?;
        let sequence = self.next_sequence;
        self.chain = chain;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// The open file, to be synced by another thread.
    pub(crate) fn handle(&self) -> Result<File, JournalError> {
        self.file.try_clone().map_err(|source| JournalError::Io {
            operation: "share",
            path: self.path.clone(),
            source,
        })
    }

    fn end(&mut self, source: io::Error) -> JournalError {
        self.ended = true;
        JournalError::Io {
            operation: "append to",
            path: self.path.clone(),
            source,
        }
    }
}

/// Creates an empty journal; a journal that exists always has its whole header.
fn create(path: &Path) -> Result<(), JournalError> {
    let at = |operation| {
        move |source| JournalError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        }
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| at("seed")(io::Error::other(error.to_string())))?;
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(at("create"))?;
    file.write_all(&file_header(&seed))
        .and_then(|()| file.sync_all())
        .map_err(at("create"))?;
    fault::point("journal-written");
    fs::rename(&part, path).map_err(at("create"))?;
    fault::point("journal-renamed");
    sync_directory(path.parent().unwrap_or(Path::new("."))).map_err(at("create"))
}

fn damaged(path: &Path, offset: usize, damage: Damage) -> JournalError {
    JournalError::Damaged {
        path: path.to_path_buf(),
        offset: offset as u64,
        damage,
    }
}

fn decode(path: &Path, scan: &Scan<'_>) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    for (sequence, (offset, payload)) in (0_u64..).zip(&scan.payloads) {
        let Payload { unix_ms, record } =
            serde_json::from_slice(payload).map_err(|_| damaged(path, *offset, Damage::Record))?;
        entries.push(Entry {
            sequence,
            unix_ms,
            record,
        });
    }
    Ok(entries)
}
