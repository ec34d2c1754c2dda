//! GOV-17: why a certificate proves nothing.

use alloc::boxed::Box;
use alloc::string::String;

use crate::bytes::{Digest, PublicKey};
use crate::certificate::Certificate;
use crate::encoding::EncodingError;
use crate::error::Rejection;
use crate::genesis::GenesisError;
use crate::numbers::Height;
use crate::tally::Tally;
use crate::text::ChainId;

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file is something else.
    #[error(
        "this is no certificate: expected the bytes that `wallet certificate` writes, they begin with \"visor/governance/v1/certificate\""
    )]
    NoCertificate,
    /// The file has changed since it was written.
    #[error("the certificate is damaged: its checksum is {found}, its bytes have {expected}; fetch it again")]
    Checksum {
        /// The checksum of the bytes.
        expected: Digest,
        /// The checksum in the file.
        found: Digest,
    },
    /// The bytes are no certificate.
    #[error("the certificate cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// The pinned genesis is no start of a chain.
    #[error("the pinned genesis is not legal: {0}")]
    Genesis(#[from] GenesisError),
    /// A part of it is false.
    #[error("{certificate}: {fault}")]
    In {
        /// Which one, for people.
        certificate: String,
        /// What is wrong with it.
        fault: Box<CertificateFault>,
    },
}

/// What is wrong with one certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Another chain's.
    #[error("it is of chain {found}, the genesis is of chain {expected}")]
    ForeignChain {
        /// The genesis' chain.
        expected: ChainId,
        /// The certificate's chain.
        found: ChainId,
    },
    /// No chain would have accepted this content.
    #[error("its content is not legal: {0}")]
    Content(Rejection),
    /// The latch is not where the parameters put it.
    #[error(
        "votes on it are said to close at {found}, no parameters of this chain give that for height {height}"
    )]
    VotesClose {
        /// The height that it says.
        found: Height,
        /// The proposal's height.
        height: Height,
    },
    /// A signer from outside.
    #[error(
        "{public_key} is the governance key of no validator at block {height}: is a change of the set missing?"
    )]
    UnknownSigner {
        /// The key.
        public_key: PublicKey,
        /// The latch.
        height: Height,
    },
    /// Somebody twice, or not in order.
    #[error("the approval of {public_key} stands twice or out of order")]
    Order {
        /// The key.
        public_key: PublicKey,
    },
    /// A signature that its key did not make for this content.
    #[error("the signature of {public_key} is not valid for an approval of this content")]
    Signature {
        /// The key.
        public_key: PublicKey,
    },
    /// Not enough.
    #[error("it is approved by power {} of {}, more than {}/{} of it is needed", .0.approving, .0.total, .0.threshold_numerator, .0.threshold_denominator)]
    TooLittlePower(Tally),
    /// Something in the list of changes that is none.
    #[error("it changes neither validators nor parameters, and cannot lead to another certificate")]
    NotAChange,
    /// Changes out of order.
    #[error("it takes effect at {found}, expected a height after {after}")]
    ChangeOrder {
        /// The height of the change before it.
        after: Height,
        /// Its height.
        found: Height,
    },
    /// A change that comes too late to matter.
    #[error("it takes effect at {found}, when the votes that it should lead to had closed at {closed}")]
    ChangeTooLate {
        /// The latch of the certificate.
        closed: Height,
        /// The height of the change.
        found: Height,
    },
    /// A change that the chain cannot have carried out.
    #[error("the chain cannot have carried it out: {0}")]
    DoesNotFit(Rejection),
}

impl CertificateError {
    pub(crate) fn in_change(number: usize, change: &Certificate, fault: CertificateFault) -> Self {
        Self::In {
            certificate: alloc::format!("change {number} on the way, {}", change.subject.name()),
            fault: Box::new(fault),
        }
    }
}
