//! What is kept of each validator beside its keys and power: sequence numbers, its reporter key (GOV-16), its approval.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::{ProposalId, PublicKey};
use crate::numbers::Height;

/// How far a validator's host is with an upgrade. Shown, never counted (GOV-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// The artifact is on the host, with the size and the digest that the proposal names.
    Staged,
    /// And it runs there and says that it is the proposed version.
    Verified,
}

impl fmt::Display for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Staged => "staged",
            Self::Verified => "verified",
        })
    }
}

/// The newest report of a validator's host on one upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadinessReport {
    /// How far it is.
    pub readiness: Readiness,
    /// The block that included the report.
    pub height: Height,
}

/// What the chain remembers of a validator, also after it has left: a sequence number is never used twice (GOV-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// GOV-13: the sequence number of the next transaction under the governance key.
    pub next_sequence: u64,
    /// GOV-16: the key under which the validator's host reports.
    pub reporter: Option<PublicKey>,
    /// GOV-13: the sequence number of the next report, whatever the reporter key.
    pub next_report_sequence: u64,
    /// GOV-06: the upgrade that the validator approved last and has not left. It counts while votes on that upgrade do.
    pub approves: Option<ProposalId>,
}
