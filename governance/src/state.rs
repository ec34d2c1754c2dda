//! The whole state of governance, and what can be asked of it. Nothing here mutates: `apply.rs` and `block.rs` do.
//!
//! A block is `begin_block`, any number of `apply`, `end_block`. Everything is integers and ordered maps, so equal
//! histories give equal bytes on every machine.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, ProposalId, ValidatorId};
use crate::encoding;
use crate::error::excerpt;
use crate::genesis::{Genesis, GenesisError, Parameters};
use crate::numbers::Height;
use crate::proposal::{Phase, Proposal};
use crate::text::ChainId;
use crate::upgrade::Upgrade;
use crate::validators::ValidatorSet;
use crate::version::ReleaseVersion;

/// GOV-14. Bounds the state and the work per block; a real network has one or two. When somebody fills it, the others
/// vote to reject: a proposal that cannot pass any more ends at once (GOV-08). Cancel proposals are not counted: there
/// is at most one per locked-in upgrade, and nothing may keep it out.
pub const MAX_LIVE_PROPOSALS: usize = 128;
/// GOV-14. Room for an upgrade, its correction and the next ones; one validator alone cannot fill the list.
pub const MAX_LIVE_PROPOSALS_PER_PROPOSER: usize = 4;
/// GOV-14. Years of upgrades; the state is stored and hashed at every block, so older ones are left to block explorers.
pub const MAX_ENDED_PROPOSALS: usize = 128;

/// Governance at one height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) chain_id: ChainId,
    /// The block that has begun last; 0 before the first.
    pub(crate) height: Height,
    /// Between `begin_block` and `end_block`.
    pub(crate) block_is_open: bool,
    /// The version that executed the block at `height`, or will execute the first.
    pub(crate) version: ReleaseVersion,
    pub(crate) parameters: Parameters,
    pub(crate) validators: ValidatorSet,
    /// GOV-13: next sequence numbers; absent is 0. Kept apart from the set: a number is never used twice, also by one
    /// who leaves and comes back.
    pub(crate) sequences: BTreeMap<ValidatorId, u64>,
    pub(crate) live: BTreeMap<ProposalId, Proposal>,
    /// Oldest first.
    pub(crate) ended: VecDeque<Proposal>,
}

/// H is executed, and the next block belongs to a newer version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// H, the last block of the old version.
    pub height: Height,
    /// The upgrade.
    pub proposal: ProposalId,
    /// The version that executes H + 1.
    pub version: ReleaseVersion,
}

/// Why a name finds no proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing fits.
    #[error("there is no proposal {name:?}, live or recently ended")]
    NotFound {
        /// What was asked for, shortened.
        name: String,
    },
    /// Several fit.
    #[error("{name:?} fits {} proposals: use the full id", candidates.len())]
    Ambiguous {
        /// What was asked for, shortened.
        name: String,
        /// All that fit.
        candidates: Vec<ProposalId>,
    },
    /// Too few digits.
    #[error(
        "{name:?} is no proposal: expected an id, at least {MIN_ID_DIGITS} of its first digits, or a name like v1.2.0@12345"
    )]
    Malformed {
        /// What was asked for, shortened.
        name: String,
    },
}

/// Fewer leading digits than this would name the wrong proposal by chance too often.
const MIN_ID_DIGITS: usize = 8;

impl State {
    /// The state before the first block.
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, GenesisError> {
        genesis.parameters.validate()?;
        Ok(Self {
            chain_id: genesis.chain_id.clone(),
            height: Height::ZERO,
            block_is_open: false,
            version: genesis.initial_version.clone(),
            parameters: genesis.parameters,
            validators: genesis.validator_set()?,
            sequences: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: VecDeque::new(),
        })
    }

    /// The chain.
    pub const fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// The block that has begun last; 0 before the first.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// The version that executed the last block, or will execute the first.
    pub const fn version(&self) -> &ReleaseVersion {
        &self.version
    }

    /// The chain's choices.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The active validators.
    pub const fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// GOV-13: the sequence number that the validator's next transaction must carry.
    pub fn next_sequence(&self, validator: &ValidatorId) -> u64 {
        self.sequences.get(validator).copied().unwrap_or_default()
    }

    /// The only version that may execute the next block.
    pub fn next_block_version(&self) -> &ReleaseVersion {
        self.halting()
            .map_or(&self.version, |(_, upgrade)| &upgrade.version)
    }

    /// The halt: there exactly when H is executed and the next block belongs to a newer version.
    pub fn halt(&self) -> Option<Halt> {
        let (proposal, upgrade) = self.halting()?;
        Some(Halt {
            height: upgrade.height,
            proposal: proposal.id,
            version: upgrade.version.clone(),
        })
    }

    /// GOV-09: the upgrade that is executed next if nothing changes: of the approved ones the earliest H, then the
    /// earliest submitted, then the smaller id.
    pub fn plan(&self) -> Option<&Proposal> {
        let is_candidate = |proposal: &&Proposal| matches!(proposal.phase, Phase::Approved | Phase::LockedIn);
        let candidates = self.live.values().filter(is_candidate);
        let upgrades =
            candidates.filter_map(|proposal| proposal.upgrade().map(|upgrade| (upgrade.height, proposal)));
        upgrades
            .min_by(|(height, proposal), (other_height, other)| {
                height
                    .cmp(other_height)
                    .then_with(|| proposal.by_submission(other))
            })
            .map(|(_, proposal)| proposal)
    }

    /// The proposals that have not ended, in order of submission.
    pub fn live_proposals(&self) -> impl ExactSizeIterator<Item = &Proposal> {
        let mut proposals: Vec<_> = self.live.values().collect();
        proposals.sort_by(|proposal, other| proposal.by_submission(other));
        proposals.into_iter()
    }

    /// The last [`MAX_ENDED_PROPOSALS`] that have ended, the oldest end first.
    pub fn ended_proposals(&self) -> impl ExactSizeIterator<Item = &Proposal> {
        self.ended.iter()
    }

    /// The proposal with this id, live or recently ended.
    pub fn proposal(&self, id: &ProposalId) -> Option<&Proposal> {
        self.live
            .get(id)
            .or_else(|| self.ended.iter().rev().find(|proposal| proposal.id == *id))
    }

    /// The proposal that a person means: an id, at least eight of its first digits, or a name like `v1.2.0@12345`.
    /// Live ones go before ended ones.
    pub fn find_proposal(&self, name: &str) -> Result<&Proposal, LookupError> {
        let shown = excerpt(name);
        let is_digits = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits: &dyn Fn(&Proposal) -> bool = if name.contains('@') {
            &|proposal| proposal.name() == name || proposal.name().strip_prefix('v') == Some(name)
        } else if is_digits && (MIN_ID_DIGITS..=64).contains(&name.len()) {
            &|proposal| alloc::format!("{}", proposal.id).starts_with(&name.to_ascii_lowercase())
        } else {
            return Err(LookupError::Malformed { name: shown });
        };
        let mut found: Vec<&Proposal> = self.live_proposals().filter(|proposal| fits(proposal)).collect();
        if found.is_empty() {
            found = self.ended_proposals().filter(|proposal| fits(proposal)).collect();
        }
        match found.as_slice() {
            [] => Err(LookupError::NotFound { name: shown }),
            [proposal] => Ok(proposal),
            several => Err(LookupError::Ambiguous {
                name: shown,
                candidates: several.iter().map(|proposal| proposal.id).collect(),
            }),
        }
    }

    /// The hash of the whole state: equal on every node after every block.
    pub fn state_root(&self) -> Digest {
        encoding::tagged_digest(encoding::STATE_TAG, self)
    }

    /// The locked-in upgrade whose H has been executed.
    fn halting(&self) -> Option<(&Proposal, &Upgrade)> {
        if self.block_is_open {
            return None;
        }
        let plan = self.plan().filter(|proposal| proposal.phase == Phase::LockedIn)?;
        plan.upgrade()
            .filter(|upgrade| upgrade.height == self.height)
            .map(|upgrade| (plan, upgrade))
    }
}
