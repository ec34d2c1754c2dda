//! Why a file is no snapshot, or none that may be believed.

use governance::encoding::EncodingError;
use governance::{CertificateError, ChainId, Digest, Height, ProposalId, RestoreError};

use super::MAX_SNAPSHOT_BYTES;

/// Why a file is no snapshot, or none that may be believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Something else.
    #[error(
        "this is no snapshot: expected the bytes that `governance export` writes, they begin with \"visor/node/v1/snapshot\""
    )]
    NoSnapshot,
    /// More than any chain makes.
    #[error("the snapshot has {found} bytes, expected at most {MAX_SNAPSHOT_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// The file has changed since it was written.
    #[error("the snapshot is damaged: its checksum is {found}, its bytes have {expected}; copy it again")]
    Checksum {
        /// The checksum of the bytes.
        expected: Digest,
        /// The checksum in the file.
        found: Digest,
    },
    /// The file ends early.
    #[error("the snapshot is cut: it ends within {what}")]
    Ends {
        /// What is not whole.
        what: &'static str,
    },
    /// The file goes on after its end.
    #[error("the snapshot has {found} bytes more than it says")]
    Trailing {
        /// Bytes too many.
        found: usize,
    },
    /// A part that is longer than its kind can be.
    #[error("{what} of the snapshot has a part of {found} bytes, expected at most {limit}")]
    TooLong {
        /// Where.
        what: &'static str,
        /// The most that is legal.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// Rows twice or out of order.
    #[error("{what} of the snapshot are not in order: expected each row once, by ascending key")]
    Order {
        /// Which rows.
        what: &'static str,
    },
    /// Bytes that are not what they should be.
    #[error("{what} of the snapshot cannot be read")]
    Encoding {
        /// What.
        what: &'static str,
        /// The decoder's words.
        #[source]
        source: EncodingError,
    },
    /// Another chain's.
    #[error("the snapshot is of chain {found}, genesis.json names chain {expected}")]
    ForeignChain {
        /// The chain of genesis.json.
        expected: ChainId,
        /// The snapshot's chain.
        found: ChainId,
    },
    /// The rows are no state.
    #[error("the rows of the snapshot make no state")]
    Rows(#[source] RestoreError),
    /// The rows are of another moment.
    #[error(
        "the snapshot says that it is of height {header}, its rows are of height {rows} or of another chain"
    )]
    Height {
        /// What its header says.
        header: Height,
        /// What its rows say.
        rows: Height,
    },
    /// The rows give another root.
    #[error("the snapshot says that its state root is {expected}, its rows give {found}")]
    Root {
        /// What its header says.
        expected: Digest,
        /// What its rows give.
        found: Digest,
    },
    /// Certificates are missing, or there are too many.
    #[error(
        "the state has executed {expected} changes of validators or parameters, the snapshot proves {found}"
    )]
    ChangeCount {
        /// What the state says.
        expected: u64,
        /// Certificates found.
        found: u64,
    },
    /// A certificate proves nothing.
    #[error("the certificates of the snapshot do not lead from genesis.json to its validators")]
    Changes(#[source] CertificateError),
    /// A change that lies ahead.
    #[error("the snapshot is of height {height}, and holds a change that is executed at {found}")]
    ChangeAhead {
        /// The snapshot's height.
        height: Height,
        /// The change's.
        found: Height,
    },
    /// Other validators than those that were voted for.
    #[error(
        "the validators of the snapshot are not those to which its certificates lead from genesis.json: it is forged"
    )]
    Validators,
    /// Other parameters than those that were voted for.
    #[error(
        "the parameters of the snapshot are not those to which its certificates lead from genesis.json: it is forged"
    )]
    Parameters,
    /// A row of the archive that belongs to nothing.
    #[error("the archive of the snapshot holds a row that is no ballot and no report on an ended proposal")]
    Stray,
    /// Ballots or reports were lost, added or changed.
    #[error("the archived {what} on proposal {proposal} are not those that its root covers")]
    Archive {
        /// Ballots or reports.
        what: &'static str,
        /// The proposal.
        proposal: ProposalId,
    },
}
