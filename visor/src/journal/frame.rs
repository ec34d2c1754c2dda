//! The bytes of the journal: frames, their checks, and what a torn end is told from damage by.
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

use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 16] = b"VISOR-JOURNAL-1\n";
/// Every frame is a multiple of this, so that neither a header nor a chain value crosses a disk sector.
const ALIGNMENT: usize = 64;
const FRAME_HEADER: usize = 32;
const CHAIN: usize = 32;
/// A record is some hundred bytes; a plan with the most artifacts allowed stays far below this.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

pub(super) type Chain = [u8; CHAIN];

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

/// The intact beginning of a file.
pub(super) struct Scan<'a> {
    pub(super) payloads: Vec<(usize, &'a [u8])>,
    /// Where the last whole frame ends; what follows was never finished.
    pub(super) end: usize,
    pub(super) chain: Chain,
}

/// The beginning of a new file.
pub(super) fn file_header(first: &Chain) -> [u8; 2 * CHAIN] {
    let mut header = [0; 2 * CHAIN];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[CHAIN..].copy_from_slice(first);
    header
}

/// Reads a whole file; an error says where it is damaged.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan<'_>, (usize, Damage)> {
    match scan_to_damage(bytes) {
        (scan, None) => Ok(scan),
        (_, Some(damage)) => Err(damage),
    }
}

/// Reads what stands before the first damage, and says where that is.
pub(super) fn scan_to_damage(bytes: &[u8]) -> (Scan<'_>, Option<(usize, Damage)>) {
    let mut scan = Scan {
        payloads: Vec::new(),
        end: 0,
        chain: [0; CHAIN],
    };
    let Some(header) = bytes.first_chunk::<{ 2 * CHAIN }>() else {
        return (scan, Some((0, Damage::FileHeader)));
    };
    let (named, chain) = header.split_at(CHAIN);
    let mut expected = [0; CHAIN];
    expected[..MAGIC.len()].copy_from_slice(MAGIC);
    if named != expected {
        return (scan, Some((0, Damage::FileHeader)));
    }
    scan.end = header.len();
    scan.chain.copy_from_slice(chain);
    loop {
        let rest = &bytes[scan.end..];
        match next_frame(&scan.chain, scan.payloads.len() as u64, rest) {
            Ok(Frame::Whole {
                payload,
                length,
                chain,
            }) => {
                scan.payloads.push((scan.end, payload));
                scan.end += length;
                scan.chain = chain;
            }
            Ok(Frame::Torn) => return (scan, None),
            Err(damage) => {
                let end = scan.end;
                return (scan, Some((end, damage)));
            }
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

pub(super) fn encode_frame(previous: &Chain, sequence: u64, payload: &[u8]) -> Option<(Vec<u8>, Chain)> {
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
