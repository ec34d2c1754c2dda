//! The durable log of planner records.
//!
//! Owns the file `journal`: framing, checks, durability. It never interprets a record. Invariants: an appended record is
//! on disk when [`Journal::append`] returns; what [`Journal::open`] returns is exactly what was appended, in order; the
//! first failed write ends all writing (a second fsync after a failed one may lie).
//!
//! ```text
//! file   = file header (64 bytes), frame, frame, ...
//! header = "VISOR-JOURNAL-1\n" (16), zeros (16), first chain value (32, random)
//! frame  = length u32 | zero u32 | sequence u64 | header check (16) | payload | zeros | chain (32)
//!          little endian; padded with zeros before the chain to a multiple of 64 bytes
//! header check = first 16 bytes of SHA-256("visor journal header" | previous chain | first 16 bytes of the frame)
//! chain        = SHA-256("visor journal frame" | previous chain | every byte of the frame before the chain)
//! ```
//!
//! The header has a check of its own, so that a damaged length is known as damage and never taken for a torn tail.
//! Frames start at multiples of 64 and disks write sectors of at least 512 bytes, so header and chain are each written
//! whole or not at all: zeros in their place mean "never written", anything else that does not fit means damage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use visor_planner::Record;

use crate::home::sync_directory;

const MAGIC: &[u8; 16] = b"VISOR-JOURNAL-1\n";
/// Every frame is a multiple of this, so that neither a header nor a chain value crosses a disk sector.
const ALIGNMENT: usize = 64;
const FRAME_HEADER: usize = 32;
const CHAIN: usize = 32;
/// A record is some hundred bytes; a plan with the most artifacts allowed stays far below this.
const MAX_PAYLOAD: usize = 1 << 20;

type Chain = [u8; CHAIN];

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

/// How the bytes differ from a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The first 64 bytes are not those of a journal.
    #[error("the file does not begin like a visor journal")]
    FileHeader,
    /// A frame's header does not match its check.
    #[error("the header of a frame does not match its check")]
    FrameHeader,
    /// A frame is missing, repeated or moved.
    #[error("record {found} stands where {expected} was expected")]
    Sequence {
        /// The number that had to come.
        expected: u64,
        /// The number in the frame.
        found: u64,
    },
    /// A frame's content does not match its check.
    #[error("the content of a frame does not match its check")]
    Frame,
    /// The content is intact and yet no record of this version of visor.
    #[error("a frame holds no record that this visor knows")]
    Record,
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
        if !path.try_exists().map_err(at("look for"))? {
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
            file.sync_all().map_err(at("sync"))?;
        }
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

    /// Appends one record; it is durable when this returns.
    ///
    /// # Errors
    /// When it could not be made durable. Nothing can be appended after that.
    pub fn append(&mut self, record: &Record, unix_ms: u64) -> Result<u64, JournalError> {
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
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.ended = true;
            return Err(JournalError::Io {
                operation: "append to",
                path: self.path.clone(),
                source,
            });
        }
        let sequence = self.next_sequence;
        self.chain = chain;
        self.next_sequence += 1;
        Ok(sequence)
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
    let mut header = [0; 2 * CHAIN];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    getrandom::fill(&mut header[CHAIN..]).map_err(|error| at("seed")(io::Error::other(error.to_string())))?;
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(at("create"))?;
    file.write_all(&header)
        .and_then(|()| file.sync_all())
        .map_err(at("create"))?;
    fs::rename(&part, path).map_err(at("create"))?;
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

/// The intact beginning of a file.
struct Scan<'a> {
    payloads: Vec<(usize, &'a [u8])>,
    /// Where the last whole frame ends; what follows was never finished.
    end: usize,
    chain: Chain,
}

fn scan(bytes: &[u8]) -> Result<Scan<'_>, (usize, Damage)> {
    let header = bytes
        .first_chunk::<{ 2 * CHAIN }>()
        .ok_or((0, Damage::FileHeader))?;
    let (named, chain) = header.split_at(CHAIN);
    let mut expected = [0; CHAIN];
    expected[..MAGIC.len()].copy_from_slice(MAGIC);
    if named != expected {
        return Err((0, Damage::FileHeader));
    }
    let mut scan = Scan {
        payloads: Vec::new(),
        end: header.len(),
        chain: [0; CHAIN],
    };
    scan.chain.copy_from_slice(chain);
    loop {
        let rest = &bytes[scan.end..];
        match next_frame(&scan.chain, scan.payloads.len() as u64, rest)
            .map_err(|damage| (scan.end, damage))?
        {
            Frame::Whole {
                payload,
                length,
                chain,
            } => {
                scan.payloads.push((scan.end, payload));
                scan.end += length;
                scan.chain = chain;
            }
            Frame::Torn => return Ok(scan),
        }
    }
}

enum Frame<'a> {
    Whole {
        payload: &'a [u8],
        length: usize,
        chain: Chain,
    },
    /// The end of the file, or an append that never finished.
    Torn,
}

fn next_frame<'a>(previous: &Chain, expected: u64, rest: &'a [u8]) -> Result<Frame<'a>, Damage> {
    let Some(header) = rest.first_chunk::<FRAME_HEADER>() else {
        return Ok(Frame::Torn);
    };
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(Frame::Torn);
    }
    if header[16..] != header_check(previous, &header[..16]) {
        return Err(Damage::FrameHeader);
    }
    let length = le_u32(&header[..4]) as usize;
    let sequence = le_u64(&header[8..16]);
    if sequence != expected {
        return Err(Damage::Sequence {
            expected,
            found: sequence,
        });
    }
    let total = frame_length(length);
    let Some(frame) = rest.get(..total) else {
        return Ok(Frame::Torn);
    };
    let (content, chain) = frame.split_at(total - CHAIN);
    if chain == chain_value(previous, content) {
        let mut next = [0; CHAIN];
        next.copy_from_slice(chain);
        return Ok(Frame::Whole {
            payload: &content[FRAME_HEADER..FRAME_HEADER + length],
            length: total,
            chain: next,
        });
    }
    // The chain value is written last and as one: zeros here, at the very end of the file, mean that it never was.
    if rest.len() == total && chain.iter().all(|byte| *byte == 0) {
        return Ok(Frame::Torn);
    }
    Err(Damage::Frame)
}

fn encode_frame(previous: &Chain, sequence: u64, payload: &[u8]) -> Option<(Vec<u8>, Chain)> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let total = frame_length(payload.len());
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&sequence.to_le_bytes());
    let check = header_check(previous, &frame);
    frame.extend_from_slice(&check);
    frame.extend_from_slice(payload);
    frame.resize(total - CHAIN, 0);
    let chain = chain_value(previous, &frame);
    frame.extend_from_slice(&chain);
    Some((frame, chain))
}

fn frame_length(payload: usize) -> usize {
    (FRAME_HEADER + payload + CHAIN).next_multiple_of(ALIGNMENT)
}

fn header_check(previous: &Chain, start: &[u8]) -> [u8; 16] {
    let full = Sha256::new()
        .chain_update(b"visor journal header")
        .chain_update(previous)
        .chain_update(start)
        .finalize();
    let mut check = [0; 16];
    check.copy_from_slice(&full[..16]);
    check
}

fn chain_value(previous: &Chain, content: &[u8]) -> Chain {
    Sha256::new()
        .chain_update(b"visor journal frame")
        .chain_update(previous)
        .chain_update(content)
        .finalize()
        .into()
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn le_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal of frames with lengths around every boundary, and where each frame ends.
    fn sample() -> (Vec<u8>, Vec<Vec<u8>>, Vec<usize>) {
        let mut bytes = vec![0; 64];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[32..].copy_from_slice(&[7; 32]);
        let mut chain = [7; CHAIN];
        let mut payloads = Vec::new();
        let mut ends = vec![bytes.len()];
        for (sequence, length) in [0_usize, 1, 63, 64, 65, 300].into_iter().enumerate() {
            let payload: Vec<u8> = (0..=250).cycle().take(length).collect();
            let (frame, next) = encode_frame(&chain, sequence as u64, &payload).unwrap();
            bytes.extend_from_slice(&frame);
            chain = next;
            payloads.push(payload);
            ends.push(bytes.len());
        }
        (bytes, payloads, ends)
    }

    fn payloads(bytes: &[u8]) -> Result<Vec<Vec<u8>>, (usize, Damage)> {
        scan(bytes).map(|scan| {
            scan.payloads
                .iter()
                .map(|(_, payload)| payload.to_vec())
                .collect()
        })
    }

    #[test]
    fn journal_returns_what_was_appended() {
        let (bytes, expected, _) = sample();
        assert_eq!(payloads(&bytes), Ok(expected));
    }

    #[test]
    fn journal_cut_at_every_byte_keeps_exactly_the_whole_frames() {
        let (bytes, expected, ends) = sample();
        for cut in 0..bytes.len() {
            let result = payloads(&bytes[..cut]);
            if cut < 64 {
                assert_eq!(result, Err((0, Damage::FileHeader)), "cut at {cut}");
            } else {
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                assert_eq!(result.as_deref(), Ok(&expected[..whole]), "cut at {cut}");
            }
        }
    }

    #[test]
    fn journal_with_zeros_after_every_cut_is_torn_or_refused_but_never_wrong() {
        let (bytes, expected, ends) = sample();
        let start = ends[ends.len() - 2];
        for cut in start..bytes.len() {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len(), 0);
            if torn == bytes {
                continue;
            }
            match payloads(&torn) {
                Ok(found) => assert_eq!(found, expected[..expected.len() - 1], "zeros from {cut}"),
                Err(_) => assert!(cut % 512 != 0, "a tear at a sector is not damage"),
            }
        }
        let mut zeros = bytes;
        zeros.resize(zeros.len() + 4096, 0);
        assert_eq!(payloads(&zeros), Ok(expected));
    }

    #[test]
    fn journal_flipped_at_every_bit_is_refused() {
        let (bytes, _, _) = sample();
        for offset in 0..bytes.len() {
            for flip in [0x01_u8, 0x80, 0xff, bytes[offset]] {
                if flip == 0 {
                    continue;
                }
                let mut flipped = bytes.clone();
                flipped[offset] ^= flip;
                assert!(payloads(&flipped).is_err(), "flip {flip:#x} at {offset}");
            }
        }
    }

    #[test]
    fn journal_with_moved_missing_or_repeated_frames_is_refused() {
        let (bytes, _, ends) = sample();
        let frames: Vec<&[u8]> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let build = |order: &[usize]| {
            let mut built = bytes[..64].to_vec();
            for index in order {
                built.extend_from_slice(frames[*index]);
            }
            built
        };
        for order in [&[0, 2, 1, 3][..], &[1, 2, 3], &[0, 1, 1, 2], &[0, 1, 3], &[5]] {
            assert!(payloads(&build(order)).is_err(), "order {order:?}");
        }
    }
}
