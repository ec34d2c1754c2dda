//! Proposals: what is decided, where it stands, who voted.

use alloc::format;
use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, ProposalId, ValidatorId};
use crate::change::{ParametersChange, ValidatorsChange};
use crate::encoding;
use crate::error::Rejection;
use crate::numbers::Height;
use crate::tally::Tally;
use crate::text::ChainId;
use crate::tx::Action;
use crate::upgrade::Upgrade;

/// What a proposal is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A change of version at a height.
    Upgrade(Upgrade),
    /// GOV-11: stop what is locked in.
    Cancel {
        /// The upgrade or change.
        target: ProposalId,
    },
    /// GOV-12: a change of the validator set at a height.
    Validators(ValidatorsChange),
    /// GOV-12: a change of the parameters at a height.
    Parameters(ParametersChange),
}

impl Subject {
    /// GOV-04: the hash of the whole content, for this chain.
    pub fn id(&self, chain_id: &ChainId) -> ProposalId {
        ProposalId(encoding::tagged_digest(encoding::PROPOSAL_TAG, &(chain_id, self)).0)
    }

    /// H: the last block before it takes effect. A cancel has none: it takes effect as soon as it is approved.
    pub const fn height(&self) -> Option<Height> {
        match self {
            Self::Upgrade(upgrade) => Some(upgrade.height),
            Self::Validators(change) => Some(change.height),
            Self::Parameters(change) => Some(change.height),
            Self::Cancel { .. } => None,
        }
    }

    /// The form that people read: `v1.2.0@12345`, `validators@12345`, `parameters@12345`, or `cancel@` and the first 16
    /// digits of the target.
    pub fn name(&self) -> String {
        match self {
            Self::Upgrade(upgrade) => format!("v{}@{}", upgrade.version, upgrade.height),
            Self::Cancel { target } => {
                let digits = format!("{target}");
                format!("cancel@{}", digits.get(..16).unwrap_or_default())
            }
            Self::Validators(change) => format!("validators@{}", change.height),
            Self::Parameters(change) => format!("parameters@{}", change.height),
        }
    }

    /// GOV-14: everything about the content that can be judged without a chain's state.
    pub fn validate(&self) -> Result<(), Rejection> {
        match self {
            Self::Upgrade(upgrade) => upgrade.validate(),
            Self::Cancel { .. } => Ok(()),
            Self::Validators(change) => change.validate(),
            Self::Parameters(change) => change.validate(),
        }
    }

    /// The action that proposes it.
    pub fn to_action(&self) -> Action {
        match self.clone() {
            Self::Upgrade(upgrade) => Action::ProposeUpgrade(upgrade),
            Self::Cancel { target } => Action::ProposeCancel { target },
            Self::Validators(change) => Action::ProposeValidators(change),
            Self::Parameters(change) => Action::ProposeParameters(change),
        }
    }
}

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Live: votes are being cast and approval is not reached.
    Voting,
    /// Live: approval is reached; votes may still move it.
    Approved,
    /// Live: latched; votes no longer move it.
    LockedIn,
    /// Ended: carried out.
    Executed,
    /// Ended: approval became impossible.
    Rejected,
    /// Ended: not approved in time.
    Expired,
    /// Ended: another upgrade was executed first.
    Superseded,
    /// Ended: stopped by a cancel proposal.
    Cancelled,
}

impl Phase {
    /// Votes count.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Voting | Self::Approved => true,
            Self::LockedIn
            | Self::Executed
            | Self::Rejected
            | Self::Expired
            | Self::Superseded
            | Self::Cancelled => false,
        }
    }

    /// Not ended.
    pub const fn is_live(self) -> bool {
        self.is_open() || matches!(self, Self::LockedIn)
    }

    /// The legal transitions; no other ever happens.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Voting => {
                matches!(
                    next,
                    Self::Approved | Self::Rejected | Self::Expired | Self::Superseded
                )
            }
            Self::Approved => matches!(
                next,
                Self::Voting | Self::LockedIn | Self::Executed | Self::Rejected | Self::Superseded
            ),
            Self::LockedIn => matches!(next, Self::Executed | Self::Superseded | Self::Cancelled),
            Self::Executed | Self::Rejected | Self::Expired | Self::Superseded | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Voting => "voting",
            Self::Approved => "approved",
            Self::LockedIn => "locked-in",
            Self::Executed => "executed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A proposal and where it stands. Its ballots are beside it: `State::ballots`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// GOV-04: the hash of its content.
    pub id: ProposalId,
    /// What it is about.
    pub subject: Subject,
    /// Who proposed it.
    pub proposer: ValidatorId,
    /// The block that included it.
    pub submitted_height: Height,
    /// The last block in which votes on it count; at its end the outcome is latched (GOV-10).
    pub votes_close_height: Height,
    /// Where it stands.
    pub phase: Phase,
    /// The block in which it ended.
    pub ended_height: Option<Height>,
    /// The powers behind the ballots; final once the outcome is latched.
    pub tally: Tally,
    /// The root over the standing ballots at the end of the last block in which it was live.
    pub ballots_root: Digest,
    /// The root over the readiness reports at the end of the last block in which it was live (GOV-16).
    pub reports_root: Digest,
}

impl Proposal {
    /// The form that people read: see [`Subject::name`].
    pub fn name(&self) -> String {
        self.subject.name()
    }

    /// The upgrade, if it is one.
    pub const fn upgrade(&self) -> Option<&Upgrade> {
        match &self.subject {
            Subject::Upgrade(upgrade) => Some(upgrade),
            Subject::Cancel { .. } | Subject::Validators(_) | Subject::Parameters(_) => None,
        }
    }

    /// What the state root covers of it: everything but the subject, for which the id stands.
    pub(crate) fn record(&self) -> impl Serialize {
        (
            (
                self.id,
                self.proposer,
                self.submitted_height,
                self.votes_close_height,
            ),
            (self.phase, self.ended_height, self.tally),
            (self.ballots_root, self.reports_root),
        )
    }

    /// The order of submission; within a block by id.
    pub(crate) fn by_submission(&self, other: &Self) -> Ordering {
        (self.submitted_height, self.id).cmp(&(other.submitted_height, other.id))
    }
}
