//! The words of a plan. Versions and ids are names here: compared, never interpreted.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 by the host's clock. May jump; only differences of it are used, and they saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The time since `earlier`; nothing when the clock went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// A block height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A release, for example `1.1.0`.
    Version
);
name_type!(
    /// Names an upgrade for good: on the native chain the proposal's id in hexadecimal.
    UpgradeId
);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The binary for this host's platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Where to fetch it.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// An upgrade as this host carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradePlan {
    /// Its name.
    pub id: UpgradeId,
    /// The version that executes H + 1.
    pub version: Version,
    /// H: the last block of the old version.
    pub height: Height,
}

impl UpgradePlan {
    /// An upgrade of the operator's own; equal ones have equal names.
    #[must_use]
    pub fn manual(height: Height, version: Version) -> Self {
        Self {
            id: UpgradeId(alloc::format!("manual-{height}-{version}")),
            version,
            height,
        }
    }
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Absolute path of its folder.
    pub path: String,
    /// Bytes in it.
    pub bytes: u64,
    /// How long the pass took, milliseconds.
    pub took_ms: u64,
}

/// A running process: with its start time, an id names it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
}
