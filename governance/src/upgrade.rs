//! What an upgrade proposal says: version, height, artifacts, description. GOV-14: what it may look like.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::Digest;
use crate::error::{Rejection, excerpt};
use crate::numbers::Height;
use crate::text::Platform;
use crate::version::ReleaseVersion;

/// GOV-14. Twice the platforms for which Go, the widest-ported toolchain among node software, has first-class support.
pub const MAX_ARTIFACTS: usize = 16;
/// GOV-14. Longer than any release address in use; sixteen of them fit a transaction.
pub const MAX_URL_BYTES: usize = 512;
/// GOV-14. 8 GiB: far above any node's release archive, far below what would fill a validator's disk by surprise.
pub const MAX_ARTIFACT_BYTES: u64 = 8 << 30;
/// GOV-14. Room for a summary and a link; the release notes themselves belong behind the link.
pub const MAX_DESCRIPTION_BYTES: usize = 2048;
/// GOV-02, GOV-14. Every proposal ends: at one block per second this is more than a year and a half ahead.
pub const MAX_LEAD_BLOCKS: u64 = 50_000_000;

/// One binary, or an archive of it, for one platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// What it runs on.
    pub platform: Platform,
    /// Where to fetch the bytes: `https://`, `http://` or `file://`. Not trusted: size and digest decide.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// What the bytes hash to.
    pub sha256: Digest,
}

/// A change of version at a height.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The new version.
    pub version: ReleaseVersion,
    /// H: the last block of the old version.
    pub height: Height,
    /// Ordered by platform, each platform once.
    pub artifacts: Vec<Artifact>,
    /// Free text for the people who vote.
    pub description: String,
}

impl Upgrade {
    /// An upgrade with its artifacts in order, if its content is legal on any chain.
    pub fn new(
        version: ReleaseVersion,
        height: Height,
        mut artifacts: Vec<Artifact>,
        description: String,
    ) -> Result<Self, Rejection> {
        artifacts.sort();
        let upgrade = Self {
            version,
            height,
            artifacts,
            description,
        };
        upgrade.validate()?;
        Ok(upgrade)
    }

    /// GOV-14: everything about the content that can be judged without a chain's state.
    pub fn validate(&self) -> Result<(), Rejection> {
        if self.artifacts.is_empty() || self.artifacts.len() > MAX_ARTIFACTS {
            return Err(Rejection::ArtifactCount {
                found: self.artifacts.len(),
            });
        }
        for (first, second) in self.artifacts.iter().zip(self.artifacts.iter().skip(1)) {
            if first.platform == second.platform {
                return Err(Rejection::PlatformTwice {
                    platform: first.platform.clone(),
                });
            }
            if first.platform > second.platform {
                return Err(Rejection::ArtifactsUnordered {
                    first: first.platform.clone().into(),
                    second: second.platform.clone().into(),
                });
            }
        }
        self.artifacts.iter().try_for_each(Artifact::validate)?;
        validate_description(&self.description)
    }

    /// The artifact for `platform`.
    pub fn artifact(&self, platform: &Platform) -> Option<&Artifact> {
        self.artifacts
            .iter()
            .find(|artifact| artifact.platform == *platform)
    }
}

impl Artifact {
    fn validate(&self) -> Result<(), Rejection> {
        let rest = ["https://", "http://", "file://"]
            .iter()
            .find_map(|scheme| self.url.strip_prefix(scheme));
        let printable = self.url.bytes().all(|byte| byte.is_ascii_graphic());
        if rest.is_none_or(str::is_empty) || !printable || self.url.len() > MAX_URL_BYTES {
            return Err(Rejection::ArtifactUrl {
                platform: self.platform.clone(),
                url: excerpt(&self.url),
            });
        }
        if self.size == 0 || self.size > MAX_ARTIFACT_BYTES {
            return Err(Rejection::ArtifactSize {
                platform: self.platform.clone(),
                found: self.size,
            });
        }
        Ok(())
    }
}

/// GOV-14: a description is short, and shown on the terminals of those who vote.
pub(crate) fn validate_description(description: &str) -> Result<(), Rejection> {
    if description.len() > MAX_DESCRIPTION_BYTES {
        return Err(Rejection::DescriptionTooLong {
            found: description.len(),
        });
    }
    let tricky = |character: &char| character.is_control() && !matches!(character, '\n' | '\t');
    match description.chars().find(tricky) {
        Some(found) => Err(Rejection::DescriptionControl { found }),
        None => Ok(()),
    }
}
