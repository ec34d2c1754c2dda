//! Short names with a fixed alphabet: chain ids and platforms.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;

/// GOV-14. As long as CometBFT allows, so that a chain keeps its id when it changes the engine.
pub const MAX_CHAIN_ID_BYTES: usize = 50;

/// GOV-14. The longest pair of Go's words in use is `freebsd/riscv64` with 15; twice that leaves room.
pub const MAX_PLATFORM_BYTES: usize = 32;

/// Names the chain. Part of every signature, so that no transaction is valid on two chains.
///
/// 1 to 50 of the ASCII letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainId(String);

impl ChainId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > MAX_CHAIN_ID_BYTES || !text.bytes().all(legal) {
            return Err(ParseError::new(
                "chain id",
                "1 to 50 of the characters a-z, A-Z, 0-9, '-', '_' and '.'",
                text,
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What an artifact runs on: `os/arch` in Go's words, for example `linux/amd64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

impl Platform {
    /// The platform as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Platform {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let legal = text
            .split_once('/')
            .is_some_and(|(system, architecture)| is_word(system) && is_word(architecture));
        if !legal || text.len() > MAX_PLATFORM_BYTES {
            return Err(ParseError::new(
                "platform",
                "os/arch in lower case, for example linux/amd64",
                text,
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Defines the conversions that every text newtype has.
macro_rules! text_conversions {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ParseError;

            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_conversions!(ChainId);
text_conversions!(Platform);
