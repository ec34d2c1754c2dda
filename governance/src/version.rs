//! GOV-03: release versions.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::excerpt;

/// GOV-14. A version names a folder on every host; 64 bytes hold any release tag seen in practice and fit every file system.
pub const MAX_VERSION_BYTES: usize = 64;

/// A semantic version, strict, without build metadata; ordered by semver precedence.
///
/// A leading `v` is accepted and not kept. Build metadata is refused: precedence ignores it, so two different
/// binaries would count as the same version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseVersion(Version);

/// A text that is no release version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not semver.
    #[error(
        "version {found:?} is no semantic version: expected MAJOR.MINOR.PATCH without leading zeros, for example 1.2.0 or v1.2.0-rc.1"
    )]
    Syntax {
        /// What was found, shortened.
        found: String,
    },
    /// Semver with `+...`.
    #[error(
        "version {found:?} carries build metadata, which versions are compared without: leave out the '+' and what follows it"
    )]
    BuildMetadata {
        /// What was found.
        found: String,
    },
    /// Too long.
    #[error(
        "a version has at most {MAX_VERSION_BYTES} bytes, this one has {found}: shorten the pre-release part"
    )]
    TooLong {
        /// Bytes found.
        found: usize,
    },
}

impl ReleaseVersion {
    /// The version `major.minor.patch`.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(Version::new(major, minor, patch))
    }
}

impl FromStr for ReleaseVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        if bare.len() > MAX_VERSION_BYTES {
            return Err(VersionError::TooLong { found: bare.len() });
        }
        let Ok(version) = Version::parse(bare) else {
            return Err(VersionError::Syntax { found: excerpt(text) });
        };
        if !version.build.is_empty() {
            return Err(VersionError::BuildMetadata {
                found: text.to_owned(),
            });
        }
        Ok(Self(version))
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for ReleaseVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for ReleaseVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for ReleaseVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
