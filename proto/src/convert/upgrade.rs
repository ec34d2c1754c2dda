//! Upgrades and their artifacts.

use governance::{Artifact, Height, Upgrade};

use super::field::{self, InvalidMessage};
use crate::pb::governance::v1 as pb;

impl From<&Artifact> for pb::Artifact {
    fn from(artifact: &Artifact) -> Self {
        Self {
            platform: artifact.platform.to_string(),
            url: artifact.url.clone(),
            size: artifact.size,
            sha256: artifact.sha256.0.to_vec(),
        }
    }
}

impl TryFrom<pb::Artifact> for Artifact {
    type Error = InvalidMessage;

    fn try_from(message: pb::Artifact) -> Result<Self, InvalidMessage> {
        Ok(Self {
            platform: field::text("platform", &message.platform)?,
            url: message.url,
            size: message.size,
            sha256: field::bytes("sha256", &message.sha256)?,
        })
    }
}

impl From<&Upgrade> for pb::Upgrade {
    fn from(upgrade: &Upgrade) -> Self {
        Self {
            version: upgrade.version.to_string(),
            height: upgrade.height.0,
            artifacts: upgrade.artifacts.iter().map(Into::into).collect(),
            description: upgrade.description.clone(),
        }
    }
}

impl TryFrom<pb::Upgrade> for Upgrade {
    type Error = InvalidMessage;

    /// The types only: the rules of [`Upgrade::validate`] are the state machine's.
    fn try_from(message: pb::Upgrade) -> Result<Self, InvalidMessage> {
        Ok(Self {
            version: field::version("version", &message.version)?,
            height: Height(message.height),
            artifacts: field::repeated("artifacts", message.artifacts)?,
            description: message.description,
        })
    }
}
