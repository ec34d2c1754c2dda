//! Canonical bytes: the only use of bincode.
//!
//! One fixed configuration: big-endian integers of fixed width. Every value has exactly one encoding, and decoding
//! accepts no other: what was decoded is encoded again and compared. The byte layout stands in the crate's README.
//!
//! Decoding allocates at most a small multiple of its input, whatever lengths the input claims.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::config::{BigEndian, Configuration, Fixint, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes::Digest;
use crate::error::excerpt;

const CONFIGURATION: Configuration<BigEndian, Fixint, NoLimit> = bincode::config::standard()
    .with_big_endian()
    .with_fixed_int_encoding();

/// What a signature covers: a vote for another chain or another kind of message can never be taken for this one.
pub(crate) const TRANSACTION_TAG: &[u8] = b"visor/governance/v1/transaction\0";
/// What a transaction id covers.
pub(crate) const SIGNED_TRANSACTION_TAG: &[u8] = b"visor/governance/v1/signed-transaction\0";
/// What a proposal id covers.
pub(crate) const PROPOSAL_TAG: &[u8] = b"visor/governance/v1/proposal\0";
/// What a certificate's checksum covers.
pub(crate) const CERTIFICATE_TAG: &[u8] = b"visor/governance/v1/certificate\0";
/// What the digest of a validator set covers.
pub(crate) const VALIDATORS_TAG: &[u8] = b"visor/governance/v1/validators\0";
/// What a link of the chain of ended proposals covers.
pub(crate) const ENDED_TAG: &[u8] = b"visor/governance/v1/ended\0";
/// What a state root covers.
pub(crate) const STATE_TAG: &[u8] = b"visor/governance/v1/state\0";

/// Bytes that are no canonical encoding of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// More bytes than the caller allows.
    #[error("expected at most {limit} bytes, found {found}")]
    TooLong {
        /// The most allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The bytes end early, name an unknown variant, or hold a value that the type refuses.
    #[error("the bytes are no canonical encoding: {reason}")]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
    /// Bytes after the end of the value.
    #[error("expected the value to end after {used} bytes, found {found}")]
    Trailing {
        /// Bytes of the value.
        used: usize,
        /// Bytes found.
        found: usize,
    },
    /// The value has another encoding than the bytes, for example a map that is out of order.
    #[error("the bytes hold a valid value, but not in its one canonical encoding")]
    NotCanonical,
}

/// The canonical bytes of `value`.
///
/// # Panics
/// When the type's own `Serialize` fails. A derived one over this crate's types, strings, numbers, vectors, maps and
/// options never does; no value makes it fail.
pub fn to_canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Most values are shorter: a vote takes 230 bytes.
    let mut bytes = Vec::with_capacity(256);
    append_canonical(&mut bytes, value);
    bytes
}

/// Appends the canonical bytes of `value`.
///
/// # Panics
/// As [`to_canonical`].
pub(crate) fn append_canonical<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    bincode::serde::encode_into_writer(value, Appender(bytes), CONFIGURATION)
        .expect("a derived Serialize encodes into memory");
}

struct Appender<'a>(&'a mut Vec<u8>);

impl Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The value of which `bytes` are the canonical encoding. More than `limit` bytes are refused unread.
pub fn from_canonical<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, EncodingError> {
    if bytes.len() > limit {
        return Err(EncodingError::TooLong {
            limit,
            found: bytes.len(),
        });
    }
    let (value, used) = decode(bytes).map_err(|error| EncodingError::Malformed {
        reason: excerpt(&alloc::format!("{error:?}")),
    })?;
    if used != bytes.len() {
        return Err(EncodingError::Trailing {
            used,
            found: bytes.len(),
        });
    }
    if to_canonical(&value) != bytes {
        return Err(EncodingError::NotCanonical);
    }
    Ok(value)
}

/// SHA-256 over `tag` and the canonical bytes of `value`.
pub(crate) fn tagged_digest<T: Serialize>(tag: &[u8], value: &T) -> Digest {
    Digest::of(&tagged(tag, value))
}

/// BLAKE3 over `tag` and the canonical bytes of `value`: what a state root is made of.
pub(crate) fn tagged_blake3<T: Serialize>(tag: &[u8], value: &T) -> Digest {
    Digest::blake3(&tagged(tag, value))
}

/// `tag` followed by the canonical bytes of `value`.
pub(crate) fn tagged<T: Serialize>(tag: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(tag);
    append_canonical(&mut bytes, value);
    bytes
}

/// bincode's limit bounds what one claimed length may allocate, and is a constant: the smallest step that fits the input.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    if bytes.len() <= KIB {
        decode_within::<KIB, T>(bytes)
    } else if bytes.len() <= 16 * KIB {
        decode_within::<{ 16 * KIB }, T>(bytes)
    } else if bytes.len() <= 256 * KIB {
        decode_within::<{ 256 * KIB }, T>(bytes)
    } else if bytes.len() <= 8 * MIB {
        decode_within::<{ 8 * MIB }, T>(bytes)
    } else {
        // Larger values than this do not exist: they are refused like any other malformed bytes.
        decode_within::<{ 1024 * MIB }, T>(bytes)
    }
}

fn decode_within<const LIMIT: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::decode_from_slice(bytes, CONFIGURATION.with_limit::<LIMIT>())
}
