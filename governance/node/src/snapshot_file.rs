//! A state in a file: what `governance export` writes and `governance import` starts a new node from.
//!
//! Owns the file's form ([`SnapshotFile::from_bytes`], [`to_bytes`]) and the question whether it may be believed
//! ([`SnapshotFile::verify`]). Touches no disk. Both are pure functions of the bytes and the genesis, and bounded.
//!
//! Form: a tag, a header, the rows of the state, the ballots and reports of ended proposals, the certificates of all
//! executed changes of validators and parameters, the SHA-256 of all that. Integers are big-endian; a header and a
//! certificate are canonical bytes behind their length (4 bytes); a row is its key and its value, each behind its length
//! (4 bytes), in ascending order of keys.
//!
//! What is believed: the validators and the parameters, because the certificates lead to them from the pinned genesis.
//! The ballots and reports, because the ended proposals hold roots over them. Everything else hangs on the state root,
//! which the next block repeats: validators with more than two thirds of the power have signed for it, and a node that
//! began with another state stops there with `Diverged` and has voted for nothing.

mod archive;
mod error;
#[cfg(test)]
mod tests;

use governance::encoding;
use governance::{
    Certificate, ChainId, Digest, Genesis, Height, MAX_CERTIFICATE_BYTES, MAX_ROW_BYTES, Row, RowKey, State,
    verify_changes,
};
use serde::{Deserialize, Serialize};

use crate::chronicle::Chronicle;
pub use error::SnapshotError;

/// The largest snapshot: twice what 10,000 validators with ballots on all 1,000 ended proposals make. A file is read into
/// memory whole.
pub const MAX_SNAPSHOT_BYTES: usize = 4 << 30;
/// A header has some two hundred bytes.
const MAX_HEADER_BYTES: usize = 1024;
/// A key is a number and two ids at most.
const MAX_KEY_BYTES: usize = 64;

/// What a snapshot begins with.
const TAG: &[u8] = b"visor/node/v1/snapshot\0";

/// A key and a value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The chain.
    pub chain_id: ChainId,
    /// The block after which this is the state.
    pub height: Height,
    /// The chain's state root.
    pub state_root: Digest,
    /// The chain's own state beside governance.
    pub chronicle: Chronicle,
    /// How many rows follow.
    rows: u64,
    /// How many ballots and reports of ended proposals follow them.
    archive: u64,
    /// How many certificates follow those.
    changes: u64,
}

/// A file that has been read; nothing in it is believed before [`SnapshotFile::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile<'a> {
    header: Header,
    rows: Vec<Entry<'a>>,
    archive: Vec<Entry<'a>>,
    changes: Vec<Certificate>,
}

/// The bytes of a snapshot.
pub fn to_bytes(
    state: &State,
    chronicle: &Chronicle,
    archive: &[(Vec<u8>, Vec<u8>)],
    changes: &[Certificate],
) -> Vec<u8> {
    let rows = state.rows();
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let header = Header {
        chain_id: state.chain_id().clone(),
        height: state.height(),
        state_root: chronicle.chain_root(&state.state_root()),
        chronicle: chronicle.clone(),
        rows: count(rows.len()),
        archive: count(archive.len()),
        changes: count(changes.len()),
    };
    let mut bytes = TAG.to_vec();
    put(&mut bytes, &encoding::to_canonical(&header));
    for row in &rows {
        put(&mut bytes, &row.key.to_bytes());
        put(&mut bytes, &row.value);
    }
    for (key, value) in archive {
        put(&mut bytes, key);
        put(&mut bytes, value);
    }
    for change in changes {
        put(&mut bytes, &encoding::to_canonical(change));
    }
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(&checksum.0);
    bytes
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    let length =
        u32::try_from(part.len()).expect("a part is shorter than the limit of its kind, some megabytes");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

impl<'a> SnapshotFile<'a> {
    /// The snapshot in a file.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        if bytes.len() > MAX_SNAPSHOT_BYTES {
            return Err(SnapshotError::TooLarge { found: bytes.len() });
        }
        let (content, checksum) = bytes
            .split_last_chunk::<{ Digest::LENGTH }>()
            .ok_or(SnapshotError::NoSnapshot)?;
        if !content.starts_with(TAG) {
            return Err(SnapshotError::NoSnapshot);
        }
        let (expected, found) = (Digest::of(content), Digest(*checksum));
        if expected != found {
            return Err(SnapshotError::Checksum { expected, found });
        }
        Self::from_content(content)
    }

    /// The same without the checksum at the end, which anybody can write.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn from_content(content: &'a [u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader {
            rest: content.strip_prefix(TAG).ok_or(SnapshotError::NoSnapshot)?,
        };
        let header: Header =
            encoding::from_canonical(reader.part("the header", MAX_HEADER_BYTES)?, MAX_HEADER_BYTES)
                .map_err(|source| SnapshotError::Encoding {
                    what: "the header",
                    source,
                })?;
        let rows = reader.entries("the rows", header.rows)?;
        let archive = reader.entries("the archive", header.archive)?;
        let mut changes = Vec::new();
        for _ in 0..header.changes {
            let what = "a certificate";
            let change =
                encoding::from_canonical(reader.part(what, MAX_CERTIFICATE_BYTES)?, MAX_CERTIFICATE_BYTES);
            changes.push(change.map_err(|source| SnapshotError::Encoding { what, source })?);
        }
        if !reader.rest.is_empty() {
            return Err(SnapshotError::Trailing {
                found: reader.rest.len(),
            });
        }
        Ok(Self {
            header,
            rows,
            archive,
            changes,
        })
    }

    /// What the file says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Ballots and reports of ended proposals, in the order of their keys.
    pub fn archive(&self) -> &[Entry<'a>] {
        &self.archive
    }

    /// The certificates of all executed changes, in order.
    pub fn changes(&self) -> &[Certificate] {
        &self.changes
    }

    /// The state in it, for somebody who trusts `genesis`. See the module for what that proves.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(&self, genesis: &Genesis) -> Result<State, SnapshotError> {
        let header = &self.header;
        if header.chain_id != genesis.chain_id {
            return Err(SnapshotError::ForeignChain {
                expected: genesis.chain_id.clone(),
                found: header.chain_id.clone(),
            });
        }
        let mut rows = Vec::with_capacity(self.rows.len());
        for (key, value) in &self.rows {
            rows.push(Row {
                key: row_key(key)?,
                value: value.to_vec(),
            });
        }
        let state = State::from_rows(rows).map_err(SnapshotError::Rows)?;
        if (state.chain_id(), state.height()) != (&header.chain_id, header.height) {
            return Err(SnapshotError::Height {
                header: header.height,
                rows: state.height(),
            });
        }
        let root = header.chronicle.chain_root(&state.state_root());
        if root != header.state_root {
            return Err(SnapshotError::Root {
                expected: header.state_root,
                found: root,
            });
        }
        self.verify_changes(genesis, &state)?;
        archive::verify(&state, &self.archive)?;
        Ok(state)
    }

    fn verify_changes(&self, genesis: &Genesis, state: &State) -> Result<(), SnapshotError> {
        let count = u64::try_from(self.changes.len()).unwrap_or(u64::MAX);
        if count != state.executed_changes() {
            return Err(SnapshotError::ChangeCount {
                expected: state.executed_changes(),
                found: count,
            });
        }
        let (validators, parameters) =
            verify_changes(genesis, &self.changes).map_err(SnapshotError::Changes)?;
        let newest = self.changes.last().and_then(|change| change.subject.height());
        if let Some(found) = newest.filter(|newest| *newest > state.height()) {
            return Err(SnapshotError::ChangeAhead {
                height: state.height(),
                found,
            });
        }
        if validators != *state.validators() {
            return Err(SnapshotError::Validators);
        }
        if parameters != *state.parameters() {
            return Err(SnapshotError::Parameters);
        }
        Ok(())
    }
}

fn row_key(bytes: &[u8]) -> Result<RowKey, SnapshotError> {
    RowKey::from_bytes(bytes).map_err(|source| SnapshotError::Encoding {
        what: "a row's key",
        source,
    })
}

/// The rest of the bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The bytes behind a length.
    fn part(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], SnapshotError> {
        let ends = SnapshotError::Ends { what };
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(ends);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > limit {
            return Err(SnapshotError::TooLong {
                what,
                limit,
                found: length,
            });
        }
        let (part, rest) = rest.split_at_checked(length).ok_or(ends)?;
        self.rest = rest;
        Ok(part)
    }

    /// Rows in ascending order of their keys. Room is made for those that are there, not for those that are claimed.
    fn entries(&mut self, what: &'static str, count: u64) -> Result<Vec<Entry<'a>>, SnapshotError> {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        for _ in 0..count {
            let key = self.part(what, MAX_KEY_BYTES)?;
            let value = self.part(what, MAX_ROW_BYTES)?;
            if entries.last().is_some_and(|(last, _)| *last >= key) {
                return Err(SnapshotError::Order { what });
            }
            entries.push((key, value));
        }
        Ok(entries)
    }
}
