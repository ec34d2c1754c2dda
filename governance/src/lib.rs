#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::float_arithmetic
    )
)]

extern crate alloc;

mod apply;
mod block;
mod bytes;
mod certificate;
mod certificate_error;
mod change;
pub mod check;
pub mod encoding;
mod error;
mod event;
mod genesis;
mod history;
mod judge;
mod map;
mod numbers;
mod proposal;
mod readiness;
mod restore;
mod rows;
mod signature;
mod state;
mod tally;
mod text;
mod tx;
mod upgrade;
mod validators;
mod version;
mod vote;

pub use block::BlockRefusal;
pub use bytes::{Digest, ProposalId, PublicKey, Signature, TransactionId, ValidatorId};
pub use certificate::{
    Approval, Certificate, CertificateChain, MAX_CERTIFICATE_BYTES, Proven, verify_changes,
};
pub use certificate_error::{CertificateError, CertificateFault};
pub use change::{MAX_VALIDATOR_CHANGES, ParametersChange, ValidatorChange, ValidatorsChange};
pub use ed25519_dalek::SigningKey;
pub use error::{ParseError, Rejection};
pub use event::Event;
pub use genesis::{Genesis, GenesisError, GenesisValidator, Parameters};
pub use numbers::{Height, Power};
pub use proposal::{Phase, Proposal, Subject};
pub use readiness::{Account, Readiness, ReadinessReport};
pub use restore::RestoreError;
pub use rows::{MAX_ROW_BYTES, Row, RowChange, RowKey, ballots_root, reports_root};
pub use state::{
    Halt, LookupError, MAX_ENDED_PROPOSALS, MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, State,
};
pub use tally::{Outcome, Tally};
pub use text::{ChainId, MAX_CHAIN_ID_BYTES, MAX_PLATFORM_BYTES, Platform};
pub use tx::{
    Action, MAX_TRANSACTION_BYTES, SignedTransaction, Transaction, VerifiedTransaction, verify_all,
};
pub use upgrade::{
    Artifact, MAX_ARTIFACT_BYTES, MAX_ARTIFACTS, MAX_DESCRIPTION_BYTES, MAX_LEAD_BLOCKS, MAX_URL_BYTES,
    Upgrade,
};
pub use validators::{MAX_VALIDATOR_NAME_BYTES, MAX_VALIDATORS, Validator, ValidatorSet, ValidatorSetError};
pub use version::{MAX_VERSION_BYTES, ReleaseVersion, VersionError};
pub use vote::{Ballot, Choice};
