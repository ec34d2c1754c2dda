//! The only way in: a [`Transaction`] becomes a [`SignedTransaction`] by a key and a [`VerifiedTransaction`] by a check.
//!
//! Nothing here knows the state. GOV-13's chain id and signature are judged here, its sequence and last valid height
//! in `apply.rs`.

use alloc::vec::Vec;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::bytes::{ProposalId, PublicKey, Signature, TransactionId, ValidatorId};
use crate::change::{ParametersChange, ValidatorsChange};
use crate::encoding::{self, EncodingError};
use crate::error::Rejection;
use crate::numbers::Height;
use crate::readiness::Readiness;
use crate::signature::{self, VerificationKey};
use crate::text::ChainId;
use crate::upgrade::Upgrade;
use crate::validators::ValidatorSet;
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
    /// Propose a change of the validator set, and approve it (GOV-12, GOV-05).
    ProposeValidators(ValidatorsChange),
    /// Propose a change of the parameters, and approve it (GOV-12, GOV-05).
    ProposeParameters(ParametersChange),
    /// Let the validator's host report readiness under this key, or no longer (GOV-16).
    AuthorizeReporter {
        /// The reporter key; absent: nobody reports any more.
        key: Option<PublicKey>,
    },
    /// Report how far the validator's host is. Signed by the reporter key, with its own sequence numbers (GOV-16).
    ReportReadiness {
        /// The validator whose host it is.
        validator: ValidatorId,
        /// The upgrade.
        proposal: ProposalId,
        /// How far it is.
        readiness: Readiness,
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
        self.check_bytes(chain_id, &mut Vec::new())?;
        let key = VerificationKey::new(&self.public_key).ok_or_else(|| self.bad_signature())?;
        if !key.verify(
            &encoding::tagged(encoding::TRANSACTION_TAG, &self.transaction),
            &self.signature,
        ) {
            return Err(self.bad_signature());
        }
        Ok(VerifiedTransaction { signed: self.clone() })
    }

    /// Appends the canonical bytes, and says whether chain and size are right.
    fn check_bytes(&self, chain_id: &ChainId, bytes: &mut Vec<u8>) -> Result<(), Rejection> {
        if self.transaction.chain_id != *chain_id {
            return Err(Rejection::ForeignChain {
                expected: chain_id.clone(),
                found: self.transaction.chain_id.clone(),
            });
        }
        encoding::append_canonical(bytes, self);
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(Rejection::TransactionTooLarge { found: bytes.len() });
        }
        Ok(())
    }

    const fn bad_signature(&self) -> Rejection {
        Rejection::BadSignature {
            public_key: self.public_key,
        }
    }
}

/// [`SignedTransaction::verify`] of each, in order, with the same answers in a third of the time.
///
/// Signatures under governance keys of `validators` are judged all at once; only when one of them is false are they
/// judged one by one. Those under other keys are judged alone.
pub fn verify_all(
    transactions: Vec<SignedTransaction>,
    chain_id: &ChainId,
    validators: &ValidatorSet,
) -> Vec<Result<VerifiedTransaction, Rejection>> {
    let mut claims = Vec::with_capacity(transactions.len());
    let mut judged = Vec::with_capacity(transactions.len());
    let mut bytes = Vec::new();
    for signed in transactions {
        let Some(key) = validators.verification_key(&signed.public_key) else {
            judged.push(signed.verify(chain_id));
            continue;
        };
        bytes.clear();
        if let Err(rejection) = signed.check_bytes(chain_id, &mut bytes) {
            judged.push(Err(rejection));
            continue;
        }
        // The transaction comes first in the signed one's bytes: no need to encode it again.
        let unsigned = bytes
            .len()
            .saturating_sub(PublicKey::LENGTH.saturating_add(Signature::LENGTH));
        let message = [
            encoding::TRANSACTION_TAG,
            bytes.get(..unsigned).unwrap_or_default(),
        ];
        match key.claim(&message, &signed.signature) {
            Some(claim) => {
                claims.push((judged.len(), claim));
                judged.push(Ok(VerifiedTransaction { signed }));
            }
            None => judged.push(Err(signed.bad_signature())),
        }
    }
    if !signature::all_hold(claims.iter().map(|(_, claim)| claim)) {
        for (place, _) in claims.iter().filter(|(_, claim)| !claim.holds()) {
            if let Some(judged) = judged.get_mut(*place)
                && let Ok(verified) = judged
            {
                *judged = Err(verified.signed.bad_signature());
            }
        }
    }
    judged
}

/// A transaction whose signature is valid for its chain. Only [`SignedTransaction::verify`] and [`verify_all`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTransaction {
    signed: SignedTransaction,
}

impl VerifiedTransaction {
    /// The hash by which the transaction is known.
    pub fn id(&self) -> TransactionId {
        self.signed.id()
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
