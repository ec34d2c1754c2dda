//! Heights and voting powers.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The height of a block. The first block has height 1; 0 stands for "before the first block".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// Before the first block.
    pub const ZERO: Self = Self(0);

    /// The height `blocks` later, unless it exceeds the type.
    pub const fn checked_add(self, blocks: u64) -> Option<Self> {
        match self.0.checked_add(blocks) {
            Some(height) => Some(Self(height)),
            None => None,
        }
    }

    /// The height `blocks` earlier, unless it is below zero.
    pub const fn checked_sub(self, blocks: u64) -> Option<Self> {
        match self.0.checked_sub(blocks) {
            Some(height) => Some(Self(height)),
            None => None,
        }
    }

    /// The next height, unless it exceeds the type.
    pub const fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Voting power, of one validator or of several together. All powers of a set together fit this type (GOV-02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Power(pub u64);

impl Power {
    /// No power.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Power {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
