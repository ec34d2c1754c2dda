//! Byte strings of a fixed length: digests, ids, keys and signatures.
//!
//! Each is a type of its own, so that one is never taken for another. Canonical bytes are the raw bytes without a
//! length; human-readable formats and `Display` are lower-case hexadecimal digits.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use ed25519_dalek::SigningKey;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::error::ParseError;

/// Defines one newtype over `[u8; $length]` with its text and serde forms.
macro_rules! fixed_bytes {
    ($(#[$documentation:meta])* $name:ident, $length:literal, $what:literal, $expected:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let mut bytes = [0; $length];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(ParseError::new($what, $expected, text)),
                }
            }
        }

        impl From<[u8; $length]> for $name {
            fn from(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseError> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(Self(bytes)),
                    Err(_) => Err(ParseError::new($what, $expected, &hex::encode(bytes))),
                }
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    // Sixteen bytes at a time: big-endian integers of fixed width are their own bytes.
                    let (chunks, rest) = self.0.as_chunks::<16>();
                    let mut tuple = serializer.serialize_tuple($length)?;
                    for chunk in chunks {
                        tuple.serialize_element(&u128::from_be_bytes(*chunk))?;
                    }
                    for byte in rest {
                        tuple.serialize_element(byte)?;
                    }
                    tuple.end()
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    deserializer.deserialize_tuple($length, ArrayVisitor::<$length>).map(Self)
                }
            }
        }
    };
}

fixed_bytes!(
    /// A digest: SHA-256, or BLAKE3 where it is part of a state root.
    Digest, 32, "digest", "64 hexadecimal digits (32 bytes)"
);
fixed_bytes!(
    /// GOV-04: the hash of a proposal's whole content.
    ProposalId, 32, "proposal id", "64 hexadecimal digits (32 bytes)"
);
fixed_bytes!(
    /// The hash of a signed transaction.
    TransactionId, 32, "transaction id", "64 hexadecimal digits (32 bytes)"
);
fixed_bytes!(
    /// Names a validator for as long as it is one, also when its keys change.
    ///
    /// The first 20 bytes of the SHA-256 of the governance key with which it entered.
    ValidatorId, 20, "validator id", "40 hexadecimal digits (20 bytes)"
);
fixed_bytes!(
    /// An ed25519 public key, compressed. It need not be a valid point: only verification decides that.
    PublicKey, 32, "public key", "64 hexadecimal digits (ed25519, 32 bytes)"
);
fixed_bytes!(
    /// An ed25519 signature.
    Signature, 64, "signature", "128 hexadecimal digits (ed25519, 64 bytes)"
);

impl Default for Digest {
    /// Zeros: the root of nothing.
    fn default() -> Self {
        Self([0; 32])
    }
}

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// BLAKE3 of `bytes`: what a state root is made of.
    pub(crate) fn blake3(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl ValidatorId {
    /// The id of a validator that enters with `governance_key`.
    pub fn at_entry(governance_key: &PublicKey) -> Self {
        let digest = Digest::of(&governance_key.0);
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(digest.0) {
            *to = from;
        }
        Self(id)
    }
}

impl From<&SigningKey> for PublicKey {
    fn from(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }
}

fn write_hex(bytes: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(formatter, "{byte:02x}")?;
    }
    Ok(())
}

struct ArrayVisitor<const LENGTH: usize>;

impl<'de, const LENGTH: usize> Visitor<'de> for ArrayVisitor<LENGTH> {
    type Value = [u8; LENGTH];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{LENGTH} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut bytes = [0; LENGTH];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = sequence
                .next_element()?
                .ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        Ok(bytes)
    }
}
