//! The only way in: a [`Transaction`] becomes a [`SignedTransaction`] by a key and a [`VerifiedTransaction`] by a check.
//!
//! Nothing here knows the state. GOV-13's chain id and signature are judged here, its sequence and last valid height
//! in `apply.rs`.

use alloc::vec::Vec;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::bytes::{ProposalId, PublicKey, Signature, TransactionId};
use crate::encoding::{self, EncodingError};
use crate::error::Rejection;
use crate::numbers::Height;
use crate::text::ChainId;
use crate::upgrade::Upgrade;
use crate::vote::Choice;

/// GOV-14. The largest legal upgrade (16 artifacts with addresses of 512 bytes, 2 KiB of description) takes about
/// 12 KiB; a power of two above that.
pub const MAX_TRANSACTION_BYTES: usize = 16 * 1024;

/// What a validator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Propose an upgrade, and approve it (GOV-05).
    ProposeUpgrade(Upgrade),
    /// Propose to stop a locked-in upgrade, and approve that (GOV-11).
    ProposeCancel {
        /// The upgrade.
        target: ProposalId,
    },
    /// Vote, or change the vote (GOV-06).
    Vote {
        /// The proposal.
        proposal: ProposalId,
        /// For or against.
        choice: Choice,
    },
    /// Take the vote back (GOV-06).
    Withdraw {
        /// The proposal.
        proposal: ProposalId,
    },
}

/// An action with what makes it unique: chain, sequence number and last valid height (GOV-13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The chain it is for.
    pub chain_id: ChainId,
    /// The sender's next sequence number, counted from 0.
    pub sequence: u64,
    /// The last block that may include it.
    pub last_valid_height: Height,
    /// What to do.
    pub action: Action,
}

impl Transaction {
    /// What a signature covers: domain tag and canonical bytes.
    pub fn sign_bytes(&self) -> Vec<u8> {
        encoding::tagged(encoding::TRANSACTION_TAG, self)
    }

    /// The transaction signed with `key`.
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        let signature = Signature(key.sign(&self.sign_bytes()).to_bytes());
        SignedTransaction {
            transaction: self,
            public_key: key.into(),
            signature,
        }
    }
}

/// A transaction with a signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTransaction {
    /// What was signed.
    pub transaction: Transaction,
    /// The sender's governance key.
    pub public_key: PublicKey,
    /// The signature over [`Transaction::sign_bytes`].
    pub signature: Signature,
}

impl SignedTransaction {
    /// The transaction in `bytes`; more than [`MAX_TRANSACTION_BYTES`] are refused unread.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, EncodingError> {
        encoding::from_canonical(bytes, MAX_TRANSACTION_BYTES)
    }

    /// The canonical bytes.
    pub fn to_canonical(&self) -> Vec<u8> {
        encoding::to_canonical(self)
    }

    /// The hash by which the transaction is known.
    pub fn id(&self) -> TransactionId {
        TransactionId(encoding::tagged_digest(encoding::SIGNED_TRANSACTION_TAG, self).0)
    }

    /// GOV-13: chain id, size and signature.
    pub fn verify(&self, chain_id: &ChainId) -> Result<VerifiedTransaction, Rejection> {
        if self.transaction.chain_id != *chain_id {
            return Err(Rejection::ForeignChain {
                expected: chain_id.clone(),
                found: self.transaction.chain_id.clone(),
            });
        }
        let size = self.to_canonical().len();
        if size > MAX_TRANSACTION_BYTES {
            return Err(Rejection::TransactionTooLarge { found: size });
        }
        let bad_signature = Rejection::BadSignature {
            public_key: self.public_key,
        };
        let Some(key) = self.public_key.to_verifying_key() else {
            return Err(bad_signature);
        };
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature.0);
        match key.verify_strict(&self.transaction.sign_bytes(), &signature) {
            Ok(()) => Ok(VerifiedTransaction {
                signed: self.clone(),
                id: self.id(),
            }),
            Err(_) => Err(bad_signature),
        }
    }
}

/// A transaction whose signature is valid for its chain. Only [`SignedTransaction::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTransaction {
    signed: SignedTransaction,
    id: TransactionId,
}

impl VerifiedTransaction {
    /// The hash by which the transaction is known.
    pub const fn id(&self) -> TransactionId {
        self.id
    }

    /// The sender's governance key.
    pub const fn sender(&self) -> &PublicKey {
        &self.signed.public_key
    }

    /// What was signed.
    pub const fn transaction(&self) -> &Transaction {
        &self.signed.transaction
    }

    /// The transaction as it travels.
    pub const fn signed(&self) -> &SignedTransaction {
        &self.signed
    }

    /// The transaction as it travels.
    pub fn into_signed(self) -> SignedTransaction {
        self.signed
    }
}
