//! Why a transaction is refused, and why a text is no value.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use crate::bytes::{ProposalId, PublicKey, ValidatorId};
use crate::change::MAX_VALIDATOR_CHANGES;
use crate::encoding::EncodingError;
use crate::genesis::GenesisError;
use crate::numbers::{Height, Power};
use crate::proposal::Phase;
use crate::state::{MAX_ENDED_PROPOSALS, MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER};
use crate::text::{ChainId, Platform};
use crate::tx::MAX_TRANSACTION_BYTES;
use crate::upgrade::{
    MAX_ARTIFACT_BYTES, MAX_ARTIFACTS, MAX_DESCRIPTION_BYTES, MAX_LEAD_BLOCKS, MAX_URL_BYTES,
};
use crate::validators::ValidatorSetError;
use crate::version::{ReleaseVersion, VersionError};

/// A text or a byte string that is no value of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found:?}")]
pub struct ParseError {
    /// What was wanted, for example "public key".
    pub what: &'static str,
    /// What it looks like.
    pub expected: &'static str,
    /// What was found, shortened.
    pub found: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, expected: &'static str, found: &str) -> Self {
        Self {
            what,
            expected,
            found: excerpt(found),
        }
    }
}

/// At most the first 80 characters: an error is no place to repeat a megabyte of somebody's input.
pub(crate) fn excerpt(text: &str) -> String {
    const KEPT: usize = 80;
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Why a transaction is refused. One variant per reason; a refused transaction changes nothing (GOV-15).
///
/// The text reads after "rejected:" and says what was expected, what was found and what to do. The code never changes
/// its meaning: programs match on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// GOV-01: the sender is no validator.
    #[error(
        "key {public_key} is not the governance key of an active validator: only validators propose and vote"
    )]
    NotAValidator {
        /// The sender.
        public_key: PublicKey,
    },
    /// GOV-02: H is in the past or too near.
    #[error(
        "height {found} is too near: at block {block} the earliest is {earliest}; propose a later height"
    )]
    HeightTooSoon {
        /// H as proposed.
        found: Height,
        /// The block that would include the proposal.
        block: Height,
        /// The smallest H allowed there.
        earliest: Height,
    },
    /// GOV-02: H is too far away.
    #[error(
        "height {found} is more than {MAX_LEAD_BLOCKS} blocks after block {block}: propose an earlier height"
    )]
    HeightTooFar {
        /// H as proposed.
        found: Height,
        /// The block that would include the proposal.
        block: Height,
    },
    /// GOV-03: the version does not rise.
    #[error("version {found} is not above the running version {running}: propose a higher version")]
    VersionNotNewer {
        /// The version as proposed.
        found: ReleaseVersion,
        /// The version that executes blocks now.
        running: ReleaseVersion,
    },
    /// GOV-03: the text is no version.
    #[error(transparent)]
    VersionFormat(#[from] VersionError),
    /// GOV-04: the same content is live.
    #[error("proposal {proposal} with exactly this content is already live: vote for it instead")]
    AlreadyProposed {
        /// The live proposal.
        proposal: ProposalId,
    },
    /// GOV-04: the same content has been decided.
    #[error(
        "proposal {proposal} with exactly this content has ended as {phase}: propose another height, artifact or description"
    )]
    AlreadyEnded {
        /// The ended proposal.
        proposal: ProposalId,
        /// How it ended.
        phase: Phase,
    },
    /// GOV-06: a vote on nothing.
    #[error(
        "there is no proposal {proposal}, or it ended more than {MAX_ENDED_PROPOSALS} proposals ago: check the id"
    )]
    UnknownProposal {
        /// The id in the transaction.
        proposal: ProposalId,
    },
    /// GOV-06: a vote on something decided.
    #[error("proposal {proposal} has ended as {phase}: votes on it no longer count")]
    ProposalEnded {
        /// The ended proposal.
        proposal: ProposalId,
        /// How it ended.
        phase: Phase,
    },
    /// GOV-06: nothing to withdraw.
    #[error("this validator has no vote on proposal {proposal}: there is nothing to withdraw")]
    NoBallot {
        /// The proposal.
        proposal: ProposalId,
    },
    /// GOV-09: the running version has executed its last block.
    #[error(
        "block {height} was the last of the old version: send the transaction again when the network runs {version}"
    )]
    Halted {
        /// H.
        height: Height,
        /// The version that executes H + 1.
        version: ReleaseVersion,
    },
    /// GOV-10: votes no longer move it.
    #[error(
        "proposal {proposal} has been locked in since block {since}: votes no longer move it; only a cancel proposal stops it"
    )]
    LockedIn {
        /// The proposal.
        proposal: ProposalId,
        /// The block at whose end it was latched.
        since: Height,
    },
    /// GOV-11: nothing to cancel.
    #[error("there is no proposal {target} to cancel: check the id")]
    CancelTargetUnknown {
        /// The id in the transaction.
        target: ProposalId,
    },
    /// GOV-11: a cancel is not cancelled.
    #[error("proposal {target} is itself a cancel proposal: vote to reject it instead")]
    CancelTargetIsCancel {
        /// The id in the transaction.
        target: ProposalId,
    },
    /// GOV-11: votes still decide it.
    #[error(
        "proposal {target} is not locked in but {phase}: vote to reject it, or withdraw approvals, instead"
    )]
    CancelTargetNotLockedIn {
        /// The upgrade.
        target: ProposalId,
        /// Its phase.
        phase: Phase,
    },
    /// GOV-11: it is over.
    #[error("proposal {target} has ended as {phase}: there is nothing to cancel")]
    CancelTargetEnded {
        /// The upgrade.
        target: ProposalId,
        /// How it ended.
        phase: Phase,
    },
    /// GOV-11: no block is left in which the cancel could pass.
    #[error("proposal {target} takes effect at {height}: a cancel proposal must be in a block before that")]
    CancelTooLate {
        /// The upgrade.
        target: ProposalId,
        /// H.
        height: Height,
    },
    /// GOV-12: none or too many changes.
    #[error(
        "a change of the validator set names 1 to {MAX_VALIDATOR_CHANGES} changes, this one names {found}"
    )]
    ChangeCount {
        /// Changes found.
        found: usize,
    },
    /// GOV-12: a validator twice.
    #[error("validator {validator} is named twice: name each validator once")]
    ChangedTwice {
        /// The validator.
        validator: ValidatorId,
    },
    /// GOV-12: nobody by that id.
    #[error("{validator} is no active validator: check the id, it is the one that `wallet validators` shows")]
    UnknownValidator {
        /// The id.
        validator: ValidatorId,
    },
    /// GOV-12: it would change nothing.
    #[error("the change leaves {what} as it is: leave it out, or name another value")]
    NothingChanges {
        /// What stays.
        what: String,
    },
    /// GOV-12: there would be no legal set afterwards.
    #[error("there would be no legal validator set: {0}")]
    ValidatorSet(#[source] ValidatorSetError),
    /// GOV-12: too much at once.
    #[error(
        "the change moves power {moved} of {total}: one change moves less than a third; split it over several heights"
    )]
    MovesTooMuch {
        /// Power that enters, leaves or changes its key.
        moved: u128,
        /// All power before the change.
        total: Power,
    },
    /// GOV-12: no chain can run with these.
    #[error("the parameters are not legal: {0}")]
    Parameters(#[source] GenesisError),
    /// GOV-16: not a key for reports.
    #[error(
        "key {key} cannot report readiness: name an ed25519 key that is neither governance nor consensus key"
    )]
    ReporterKey {
        /// The key.
        key: PublicKey,
    },
    /// GOV-16: the validator has not authorised this key.
    #[error(
        "key {public_key} is not the reporter key of validator {validator}: the validator authorises one with `wallet authorize-reporter`"
    )]
    NotTheReporter {
        /// The sender.
        public_key: PublicKey,
        /// The validator named in the report.
        validator: ValidatorId,
    },
    /// GOV-16: nothing to get ready for.
    #[error(
        "proposal {proposal} is no live upgrade: readiness is reported for an upgrade that has not ended"
    )]
    NothingToReport {
        /// The id in the report.
        proposal: ProposalId,
    },
    /// GOV-13: another chain's transaction.
    #[error("the transaction is for chain {found}, this is chain {expected}: sign it for this chain")]
    ForeignChain {
        /// This chain.
        expected: ChainId,
        /// The chain in the transaction.
        found: ChainId,
    },
    /// GOV-13: the signature does not fit.
    #[error(
        "the signature is not valid for key {public_key} and this transaction: sign it again with the right key"
    )]
    BadSignature {
        /// The key in the transaction.
        public_key: PublicKey,
    },
    /// GOV-13: too late.
    #[error(
        "the transaction was valid up to block {last_valid_height}, this would be block {block}: sign it again with a later last valid height"
    )]
    Expired {
        /// The last height allowed by the sender.
        last_valid_height: Height,
        /// The block that would include it.
        block: Height,
    },
    /// GOV-13: the sequence number has been used.
    #[error(
        "sequence number {found} has been used, the next is {expected}: the transaction is already in a block, or another took its place"
    )]
    Replayed {
        /// The sender's next number.
        expected: u64,
        /// The number in the transaction.
        found: u64,
    },
    /// GOV-13: earlier transactions are missing.
    #[error(
        "sequence number {found} leaves a gap, the next is {expected}: send the earlier transactions first"
    )]
    SequenceGap {
        /// The sender's next number.
        expected: u64,
        /// The number in the transaction.
        found: u64,
    },
    /// GOV-13: no number is left.
    #[error("the key has used up all its sequence numbers: use another key")]
    SequenceExhausted,
    /// GOV-14: too many bytes.
    #[error(
        "a transaction has at most {MAX_TRANSACTION_BYTES} bytes, this one has {found}: shorten the description or the addresses"
    )]
    TransactionTooLarge {
        /// Canonical bytes found.
        found: usize,
    },
    /// GOV-14: the bytes are no transaction.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// GOV-14: a field is no value of its type.
    #[error(transparent)]
    Format(#[from] ParseError),
    /// GOV-14: none or too many artifacts.
    #[error("an upgrade names 1 to {MAX_ARTIFACTS} artifacts, one per platform; this one names {found}")]
    ArtifactCount {
        /// Artifacts found.
        found: usize,
    },
    /// GOV-14: a platform twice.
    #[error("platform {platform} is named twice: name one artifact per platform")]
    PlatformTwice {
        /// The platform.
        platform: Platform,
    },
    /// GOV-14: one content, one order.
    #[error("artifact {second} stands after {first}: order the artifacts by platform")]
    ArtifactsUnordered {
        /// The earlier one.
        first: Box<Platform>,
        /// The later one.
        second: Box<Platform>,
    },
    /// GOV-14: an address that no host can use.
    #[error(
        "address {url:?} of {platform}: expected https://, http:// or file:// and at most {MAX_URL_BYTES} printable ASCII characters without spaces"
    )]
    ArtifactUrl {
        /// The platform.
        platform: Platform,
        /// The address, shortened.
        url: String,
    },
    /// GOV-14: a size that no host can use.
    #[error("artifact {platform} has {found} bytes: expected 1 to {MAX_ARTIFACT_BYTES}")]
    ArtifactSize {
        /// The platform.
        platform: Platform,
        /// Bytes found.
        found: u64,
    },
    /// GOV-14: a description that is too long.
    #[error(
        "a description has at most {MAX_DESCRIPTION_BYTES} bytes, this one has {found}: link to the text instead"
    )]
    DescriptionTooLong {
        /// Bytes found.
        found: usize,
    },
    /// GOV-14: a description that could play tricks on a terminal.
    #[error(
        "the description contains the control character {found:?}: only line breaks and tabs are allowed"
    )]
    DescriptionControl {
        /// The character.
        found: char,
    },
    /// GOV-14: too many live proposals.
    #[error(
        "{MAX_LIVE_PROPOSALS} proposals are live, which is the most allowed: wait until one ends, or vote to reject one"
    )]
    TooManyLive,
    /// GOV-14: too many live proposals of one validator.
    #[error(
        "this validator has {MAX_LIVE_PROPOSALS_PER_PROPOSER} live proposals, which is the most allowed: wait until one ends"
    )]
    TooManyLiveOfProposer,
    /// GOV-15: the caller has not begun a block.
    #[error("no block is open: transactions are applied between the beginning and the end of a block")]
    NoOpenBlock,
}

impl Rejection {
    /// The stable code, `GOV-nn` or `GOV-nn.reason`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAValidator { .. } => "GOV-01",
            Self::HeightTooSoon { .. } => "GOV-02",
            Self::HeightTooFar { .. } => "GOV-02.far",
            Self::VersionNotNewer { .. } => "GOV-03",
            Self::VersionFormat(_) => "GOV-03.format",
            Self::AlreadyProposed { .. } => "GOV-04",
            Self::AlreadyEnded { .. } => "GOV-04.ended",
            Self::UnknownProposal { .. } => "GOV-06.unknown",
            Self::ProposalEnded { .. } => "GOV-06.ended",
            Self::NoBallot { .. } => "GOV-06.no-ballot",
            Self::Halted { .. } => "GOV-09.halted",
            Self::LockedIn { .. } => "GOV-10",
            Self::CancelTargetNotLockedIn { .. } => "GOV-11",
            Self::CancelTargetUnknown { .. } => "GOV-11.unknown",
            Self::CancelTargetIsCancel { .. } => "GOV-11.not-upgrade",
            Self::CancelTargetEnded { .. } => "GOV-11.ended",
            Self::CancelTooLate { .. } => "GOV-11.late",
            Self::MovesTooMuch { .. } => "GOV-12",
            Self::ChangeCount { .. } => "GOV-12.count",
            Self::ChangedTwice { .. } => "GOV-12.twice",
            Self::UnknownValidator { .. } => "GOV-12.unknown",
            Self::NothingChanges { .. } => "GOV-12.nothing",
            Self::ValidatorSet(_) => "GOV-12.set",
            Self::Parameters(_) => "GOV-12.parameters",
            Self::NotTheReporter { .. } => "GOV-16",
            Self::ReporterKey { .. } => "GOV-16.key",
            Self::NothingToReport { .. } => "GOV-16.proposal",
            Self::ForeignChain { .. } => "GOV-13.chain",
            Self::BadSignature { .. } => "GOV-13.signature",
            Self::Expired { .. } => "GOV-13.expired",
            Self::Replayed { .. } => "GOV-13.replay",
            Self::SequenceGap { .. } => "GOV-13.gap",
            Self::SequenceExhausted => "GOV-13.exhausted",
            Self::TransactionTooLarge { .. } => "GOV-14.transaction-size",
            Self::Encoding(_) => "GOV-14.encoding",
            Self::Format(_) => "GOV-14.format",
            Self::ArtifactCount { .. } => "GOV-14.artifact-count",
            Self::PlatformTwice { .. } => "GOV-14.platform-twice",
            Self::ArtifactsUnordered { .. } => "GOV-14.artifact-order",
            Self::ArtifactUrl { .. } => "GOV-14.artifact-url",
            Self::ArtifactSize { .. } => "GOV-14.artifact-size",
            Self::DescriptionTooLong { .. } => "GOV-14.description-size",
            Self::DescriptionControl { .. } => "GOV-14.description-text",
            Self::TooManyLive => "GOV-14.live",
            Self::TooManyLiveOfProposer => "GOV-14.live-of-proposer",
            Self::NoOpenBlock => "GOV-15.no-block",
        }
    }
}
