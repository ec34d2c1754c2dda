//! The whole state of governance, and what can be asked of it. Nothing here mutates: `apply.rs` and `block.rs` do.
//!
//! A block is `begin_block`, any number of `apply`, `end_block`. Everything is integers and ordered maps, so equal
//! histories give equal bytes on every machine. A vote touches a path in two maps; no block walks all validators unless
//! the set changes in it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, ProposalId, PublicKey, ValidatorId};
use crate::certificate::Certificate;
use crate::encoding;
use crate::error::excerpt;
use crate::genesis::{Genesis, GenesisError, Parameters};
use crate::history::History;
use crate::map::ValidatorMap;
use crate::numbers::Height;
use crate::proposal::{Phase, Proposal};
use crate::readiness::{Account, ReadinessReport};
use crate::text::ChainId;
use crate::tx::{Action, SignedTransaction};
use crate::upgrade::Upgrade;
use crate::validators::{Validator, ValidatorSet};
use crate::version::ReleaseVersion;
use crate::vote::Ballot;

/// GOV-14. Bounds the state and the work per block; a real network has one or two. With 10,000 validators, ballots on all
/// of them take 100 MB. When somebody fills it, the others
/// vote to reject: a proposal that cannot pass any more ends at once (GOV-08). Cancel proposals are not counted: there
/// is at most one per locked-in upgrade, and nothing may keep it out.
pub const MAX_LIVE_PROPOSALS: usize = 32;
/// GOV-14. Room for an upgrade, its correction and the next ones; one validator alone cannot fill the list.
pub const MAX_LIVE_PROPOSALS_PER_PROPOSER: usize = 4;
/// GOV-14. Decades of upgrades: older ones are left to block explorers. Ended ballots are not held in memory.
pub const MAX_ENDED_PROPOSALS: usize = 1_000;

/// Governance at one height.
///
/// A clone shares what is large, so it costs next to nothing, and two states are compared in the time of their difference.
#[derive(Clone, Debug)]
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
    /// GOV-12: how many changes of validators and parameters have taken effect.
    pub(crate) executed_changes: u64,
    /// Also of validators that have left. Absent is the default.
    pub(crate) accounts: ValidatorMap<Account>,
    pub(crate) live: BTreeMap<ProposalId, Arc<Live>>,
    pub(crate) history: Arc<History>,
    /// The state root after the last block that has ended.
    pub(crate) root: Digest,
    /// What the last block that has ended completed.
    pub(crate) new_certificates: Arc<Vec<Certificate>>,
    /// What ended in the last block, for the archive of ballots.
    pub(crate) just_ended: Arc<Vec<Arc<Live>>>,
}

/// A proposal that has not ended, with its ballots and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) proposal: Proposal,
    pub(crate) ballots: ValidatorMap<Ballot>,
    pub(crate) reports: ValidatorMap<ReadinessReport>,
}

impl PartialEq for State {
    /// What only the last block did is no part of the state.
    fn eq(&self, other: &Self) -> bool {
        self.block_is_open == other.block_is_open
            && self.root == other.root
            && (self.height, &self.chain_id, &self.version) == (other.height, &other.chain_id, &other.version)
            && (&self.parameters, &self.validators) == (&other.parameters, &other.validators)
            && (self.executed_changes, &self.accounts) == (other.executed_changes, &other.accounts)
            && (&self.live, &self.history) == (&other.live, &other.history)
    }
}

impl Eq for State {}

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
        let mut state = Self {
            chain_id: genesis.chain_id.clone(),
            height: Height::ZERO,
            block_is_open: false,
            version: genesis.initial_version.clone(),
            parameters: genesis.parameters,
            validators: genesis.validator_set()?,
            executed_changes: 0,
            accounts: ValidatorMap::default(),
            live: BTreeMap::new(),
            history: Arc::default(),
            root: Digest::default(),
            new_certificates: Arc::default(),
            just_ended: Arc::default(),
        };
        state.seal();
        Ok(state)
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

    /// What is remembered of a validator; `None` when it has never sent a transaction.
    pub fn account(&self, validator: &ValidatorId) -> Option<&Account> {
        self.accounts.get(validator)
    }

    /// GOV-13: the sequence number that the validator's next transaction must carry.
    pub fn next_sequence(&self, validator: &ValidatorId) -> u64 {
        self.account(validator).map_or(0, |account| account.next_sequence)
    }

    /// GOV-12: how many changes of validators and parameters have taken effect.
    pub const fn executed_changes(&self) -> u64 {
        self.executed_changes
    }

    /// Whether anybody with this key may send such a transaction at all: a cheap question before its signature is checked.
    pub fn knows_sender(&self, transaction: &SignedTransaction) -> bool {
        match &transaction.transaction.action {
            Action::ReportReadiness { validator, .. } => self
                .reporter_account(validator, &transaction.public_key)
                .is_some(),
            Action::ProposeUpgrade(_)
            | Action::ProposeCancel { .. }
            | Action::Vote { .. }
            | Action::Withdraw { .. }
            | Action::ProposeValidators(_)
            | Action::ProposeParameters(_)
            | Action::AuthorizeReporter { .. } => self
                .validators
                .by_governance_key(&transaction.public_key)
                .is_some(),
        }
    }

    /// GOV-16: an active validator with its account, if `key` reports for it.
    pub(crate) fn reporter_account(
        &self,
        id: &ValidatorId,
        key: &PublicKey,
    ) -> Option<(&Validator, Account)> {
        let account = self.accounts.get(id)?;
        let validator = self.validators.get(id)?;
        (account.reporter.as_ref() == Some(key)).then_some((validator, *account))
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
        let candidates = self.live.values().map(|live| &live.proposal).filter(|proposal| {
            matches!(proposal.phase, Phase::Approved | Phase::LockedIn) && proposal.upgrade().is_some()
        });
        candidates.min_by(|proposal, other| {
            let height = |proposal: &Proposal| proposal.subject.height();
            height(proposal)
                .cmp(&height(other))
                .then_with(|| proposal.by_submission(other))
        })
    }

    /// The proposals that have not ended, in order of submission.
    pub fn live_proposals(&self) -> impl ExactSizeIterator<Item = &Proposal> {
        let mut proposals: Vec<_> = self.live.values().map(|live| &live.proposal).collect();
        proposals.sort_by(|proposal, other| proposal.by_submission(other));
        proposals.into_iter()
    }

    /// The last [`MAX_ENDED_PROPOSALS`] that have ended, the oldest end first.
    pub fn ended_proposals(&self) -> impl DoubleEndedIterator<Item = &Proposal> + ExactSizeIterator {
        self.history.iter()
    }

    /// The proposal with this id, live or recently ended.
    pub fn proposal(&self, id: &ProposalId) -> Option<&Proposal> {
        match self.live.get(id) {
            Some(live) => Some(&live.proposal),
            None => self.history.get(id),
        }
    }

    /// The ballots of a live proposal, ordered by validator, from the first one above `after`.
    pub fn ballots(
        &self,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
    ) -> Option<impl Iterator<Item = (&ValidatorId, &Ballot)>> {
        let ballots = &self.live.get(proposal)?.ballots;
        Some(after.map_or_else(|| ballots.iter(), |after| ballots.iter_after(after)))
    }

    /// One validator's ballot on a live proposal.
    pub fn ballot(&self, proposal: &ProposalId, validator: &ValidatorId) -> Option<&Ballot> {
        self.live.get(proposal)?.ballots.get(validator)
    }

    /// GOV-16: the readiness reports on a live proposal, ordered by validator, from the first one above `after`.
    pub fn reports(
        &self,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
    ) -> Option<impl Iterator<Item = (&ValidatorId, &ReadinessReport)>> {
        let reports = &self.live.get(proposal)?.reports;
        Some(after.map_or_else(|| reports.iter(), |after| reports.iter_after(after)))
    }

    /// GOV-17: the certificate of a live proposal that is approved or locked in. While it is only approved, votes may
    /// still move it: the certificate then says what would be latched now.
    pub fn certificate(&self, proposal: &ProposalId) -> Option<Certificate> {
        let live = self.live.get(proposal)?;
        let accepted = matches!(live.proposal.phase, Phase::Approved | Phase::LockedIn);
        accepted.then(|| Certificate::of(&self.chain_id, live, live.proposal.votes_close_height))
    }

    /// GOV-17: the certificates of all that the last ended block locked in, and of the cancels that it carried out. To
    /// be stored by whoever wants to prove them later.
    pub fn new_certificates(&self) -> &[Certificate] {
        &self.new_certificates
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

    /// The hash of the whole state after the last block that has ended: equal on every node.
    pub const fn state_root(&self) -> Digest {
        self.root
    }

    /// Hashes what has changed.
    pub(crate) fn seal(&mut self) {
        for live in self.live.values_mut() {
            if !live.is_sealed() {
                Arc::make_mut(live).seal();
            }
        }
        let live: Vec<_> = self.live.values().map(|live| live.proposal.record()).collect();
        let rest = (
            (&self.chain_id, self.height, &self.version, self.parameters),
            (
                self.executed_changes,
                self.validators.digest(),
                self.accounts.seal(),
            ),
            (live, self.history.count(), self.history.head()),
        );
        self.root = encoding::tagged_blake3(encoding::STATE_TAG, &rest);
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

impl Live {
    fn is_sealed(&self) -> bool {
        self.ballots.sealed() == Some(self.proposal.ballots_root)
            && self.reports.sealed() == Some(self.proposal.reports_root)
    }

    /// Writes the roots over ballots and reports into the proposal.
    pub(crate) fn seal(&mut self) {
        self.proposal.ballots_root = self.ballots.seal();
        self.proposal.reports_root = self.reports.seal();
    }
}
