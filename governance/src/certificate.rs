//! GOV-17: proof that a proposal was accepted, for whoever has the genesis file and nothing else.
//!
//! A certificate is the proposal's content with the signed approvals that carried it. Who could approve depends on the
//! validator set at the latch, so a certificate travels with those of all changes that made that set out of the first
//! one. What it proves: validators with more than the threshold of the power in force at `votes_close_height` each
//! signed an approval of exactly this content. What no offline proof can: that none of them took it back in time, and
//! that no cancel proposal passed later.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, ProposalId, PublicKey, Signature};
use crate::certificate_error::{CertificateError, CertificateFault};
use crate::encoding::{self, EncodingError};
use crate::genesis::{Genesis, Parameters};
use crate::numbers::Height;
use crate::proposal::Subject;
use crate::signature;
use crate::state::Live;
use crate::tally::{Outcome, Tally};
use crate::text::ChainId;
use crate::tx::{Action, Transaction};
use crate::validators::ValidatorSet;
use crate::vote::Choice;

/// GOV-14. Half a million approvals: fifty changes of a set of 10,000.
pub const MAX_CERTIFICATE_BYTES: usize = 64 << 20;

/// A signed approval, without what the certificate says already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The governance key that signed.
    pub public_key: PublicKey,
    /// GOV-05: by proposing, not by voting.
    pub by_proposing: bool,
    /// The sequence number that was signed.
    pub sequence: u64,
    /// The last valid height that was signed.
    pub last_valid_height: Height,
    /// The transaction's signature.
    pub signature: Signature,
}

/// An accepted proposal with the approvals that carried it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain.
    pub chain_id: ChainId,
    /// The whole content that was approved.
    pub subject: Subject,
    /// The block at whose end the outcome was latched (GOV-10), or the cancel carried out (GOV-11).
    pub votes_close_height: Height,
    /// Ordered by validator id.
    pub approvals: Vec<Approval>,
}

/// A certificate with those of the changes that lead from the genesis to the validators who approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateChain {
    /// The executed changes of validators and parameters whose height is below the certificate's `votes_close_height`,
    /// in order of height.
    pub changes: Vec<Certificate>,
    /// What is proven.
    pub certificate: Certificate,
}

/// What a certificate has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The proposal.
    pub proposal: ProposalId,
    /// How many validators approve it.
    pub approvals: usize,
    /// Their power, all power, and the threshold.
    pub tally: Tally,
    /// The block at whose end the outcome was latched.
    pub votes_close_height: Height,
}

impl Certificate {
    pub(crate) fn of(chain_id: &ChainId, live: &Live, votes_close_height: Height) -> Self {
        let approving = live
            .ballots
            .iter()
            .filter(|(_, ballot)| ballot.choice == Choice::Approve);
        let approvals = approving.map(|(_, ballot)| Approval {
            public_key: ballot.public_key,
            by_proposing: ballot.by_proposing,
            sequence: ballot.sequence,
            last_valid_height: ballot.last_valid_height,
            signature: ballot.signature,
        });
        Self {
            chain_id: chain_id.clone(),
            subject: live.proposal.subject.clone(),
            votes_close_height,
            approvals: approvals.collect(),
        }
    }

    /// The id of the proposal that it is about.
    pub fn proposal(&self) -> ProposalId {
        self.subject.id(&self.chain_id)
    }

    fn verify(&self, chain_id: &ChainId, eras: &[Era]) -> Result<Proven, CertificateFault> {
        if self.chain_id != *chain_id {
            return Err(CertificateFault::ForeignChain {
                expected: chain_id.clone(),
                found: self.chain_id.clone(),
            });
        }
        self.subject.validate().map_err(CertificateFault::Content)?;
        let closed = self.votes_close_height;
        let past = || eras.iter().filter(|era| era.after < closed);
        if let Some(height) = self.subject.height() {
            let closes = |era: &Era| height.checked_sub(era.parameters.lock_in_blocks);
            if !past().any(|era| closes(era) == Some(closed)) {
                return Err(CertificateFault::VotesClose {
                    found: closed,
                    height,
                });
            }
        }
        let Some(era) = past().next_back() else {
            let height = self.subject.height().unwrap_or(closed);
            return Err(CertificateFault::VotesClose {
                found: closed,
                height,
            });
        };
        let proposal = self.proposal();
        let mut tally = Tally::empty(&era.validators, &era.parameters);
        let mut last = None;
        let mut claims = Vec::with_capacity(self.approvals.len().min(era.validators.len()));
        for approval in &self.approvals {
            let public_key = approval.public_key;
            let validator = era.validators.by_governance_key(&public_key);
            let key = era.validators.verification_key(&public_key);
            let (Some(validator), Some(key)) = (validator, key) else {
                return Err(CertificateFault::UnknownSigner {
                    public_key,
                    height: closed,
                });
            };
            if last.is_some_and(|last| last >= validator.id) {
                return Err(CertificateFault::Order { public_key });
            }
            last = Some(validator.id);
            let message = self.signed_by(approval, proposal).sign_bytes();
            let claim = key.claim(&[&message], &approval.signature);
            claims.push(claim.ok_or(CertificateFault::Signature { public_key })?);
            tally.replace(validator.power, None, Some(Choice::Approve));
        }
        if !signature::all_hold(claims.iter()) {
            let false_one = self
                .approvals
                .iter()
                .zip(&claims)
                .find(|(_, claim)| !claim.holds());
            if let Some((Approval { public_key, .. }, _)) = false_one {
                return Err(CertificateFault::Signature {
                    public_key: *public_key,
                });
            }
        }
        if tally.outcome() != Outcome::Approved {
            return Err(CertificateFault::TooLittlePower(tally));
        }
        Ok(Proven {
            proposal,
            approvals: self.approvals.len(),
            tally,
            votes_close_height: closed,
        })
    }

    /// The transaction that an approval has signed.
    fn signed_by(&self, approval: &Approval, proposal: ProposalId) -> Transaction {
        let action = if approval.by_proposing {
            self.subject.to_action()
        } else {
            Action::Vote {
                proposal,
                choice: Choice::Approve,
            }
        };
        Transaction {
            chain_id: self.chain_id.clone(),
            sequence: approval.sequence,
            last_valid_height: approval.last_valid_height,
            action,
        }
    }
}

/// Validators and parameters from one change to the next.
struct Era {
    /// The last block before it.
    after: Height,
    validators: ValidatorSet,
    parameters: Parameters,
}

impl CertificateChain {
    /// The certificate with those of `executed`, all changes in order of height, that it needs.
    pub fn new(executed: impl IntoIterator<Item = Certificate>, certificate: Certificate) -> Self {
        let closed = certificate.votes_close_height;
        let needed = |change: &Certificate| change.subject.height().is_some_and(|height| height < closed);
        Self {
            changes: executed.into_iter().filter(needed).collect(),
            certificate,
        }
    }

    /// The file: a tag, the canonical bytes, the SHA-256 of both.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = encoding::tagged(encoding::CERTIFICATE_TAG, self);
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(&checksum.0);
        bytes
    }

    /// The certificate in a file; nothing in it is believed before [`CertificateChain::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(EncodingError::TooLong {
                limit: MAX_CERTIFICATE_BYTES,
                found: bytes.len(),
            }
            .into());
        }
        let (tagged, checksum) = bytes
            .split_last_chunk::<{ Digest::LENGTH }>()
            .ok_or(CertificateError::NoCertificate)?;
        let canonical = tagged
            .strip_prefix(encoding::CERTIFICATE_TAG)
            .ok_or(CertificateError::NoCertificate)?;
        let (expected, found) = (Digest::of(tagged), Digest(*checksum));
        if expected != found {
            return Err(CertificateError::Checksum { expected, found });
        }
        Ok(encoding::from_canonical(canonical, MAX_CERTIFICATE_BYTES)?)
    }

    /// Whether it proves, to somebody who trusts `genesis` and nobody else, that the proposal was accepted.
    pub fn verify(&self, genesis: &Genesis) -> Result<Proven, CertificateError> {
        let eras = walk(genesis, &self.changes)?;
        let closed = self.certificate.votes_close_height;
        if let Some(change) = self.changes.last()
            && let Some(found) = change.subject.height().filter(|found| *found >= closed)
        {
            let fault = CertificateFault::ChangeTooLate { closed, found };
            return Err(CertificateError::in_change(self.changes.len(), change, fault));
        }
        self.certificate
            .verify(&genesis.chain_id, &eras)
            .map_err(|fault| CertificateError::In {
                certificate: self.certificate.subject.name(),
                fault: Box::new(fault),
            })
    }
}

/// GOV-12, GOV-17: the validators and parameters after all of `changes`, the certificates of every change that the chain
/// has carried out, in order of height: what somebody who trusts `genesis` may believe of a snapshot.
pub fn verify_changes(
    genesis: &Genesis,
    changes: &[Certificate],
) -> Result<(ValidatorSet, Parameters), CertificateError> {
    let mut eras = walk(genesis, changes)?;
    match eras.pop() {
        Some(era) => Ok((era.validators, era.parameters)),
        None => Ok((genesis.validator_set()?, genesis.parameters)),
    }
}

/// The eras that the changes make, each change judged by the era in which votes on it closed.
fn walk(genesis: &Genesis, changes: &[Certificate]) -> Result<Vec<Era>, CertificateError> {
    genesis.parameters.validate()?;
    let mut eras = alloc::vec![Era {
        after: Height::ZERO,
        validators: genesis.validator_set()?,
        parameters: genesis.parameters,
    }];
    for (number, change) in (1..).zip(changes) {
        let next = next_era(&genesis.chain_id, &eras, change);
        eras.push(next.map_err(|fault| CertificateError::in_change(number, change, fault))?);
    }
    Ok(eras)
}

fn next_era(chain_id: &ChainId, eras: &[Era], change: &Certificate) -> Result<Era, CertificateFault> {
    let (Some(found), Some(newest)) = (change.subject.height(), eras.last()) else {
        return Err(CertificateFault::NotAChange);
    };
    if found <= newest.after {
        return Err(CertificateFault::ChangeOrder {
            after: newest.after,
            found,
        });
    }
    change.verify(chain_id, eras)?;
    let (mut validators, mut parameters) = (newest.validators.clone(), newest.parameters);
    match &change.subject {
        Subject::Validators(change) => {
            validators = validators
                .changed(&change.changes)
                .map_err(CertificateFault::DoesNotFit)?
        }
        Subject::Parameters(change) => {
            parameters = parameters
                .changed(&change.parameters)
                .map_err(CertificateFault::DoesNotFit)?
        }
        Subject::Upgrade(_) | Subject::Cancel { .. } => return Err(CertificateFault::NotAChange),
    }
    Ok(Era {
        after: found,
        validators,
        parameters,
    })
}
