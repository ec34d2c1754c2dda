//! VIS-12, GOV-17: the chain that the operator trusts, and what its certificates prove. Beside
//! `reporter` the only use of the `governance` crate.
//!
//! Nothing is fetched here and nothing decided: a file or a byte string becomes a proof or a reason.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use governance::{
    CertificateChain, CertificateError, ChainId, Digest, Genesis, GenesisError, MAX_CERTIFICATE_BYTES,
    ProposalId, Proven, Subject, Upgrade,
};

/// A genesis with a hundred thousand validators has some 40 MB.
const MAX_GENESIS_BYTES: u64 = 64 << 20;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It cannot be what it is said to be.
    #[error("read {path}: expected at most {limit} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
}

/// Why a genesis cannot be trusted: it is none.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no JSON of that form.
    #[error("read {path}: expected the genesis.json with which the chain began", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// No chain can begin with it.
    #[error("read {path}: expected the genesis of a chain", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: GenesisError,
    },
}

/// What a certificate has proven.
#[derive(Debug)]
pub struct Proof {
    /// What was accepted.
    pub subject: Subject,
    /// By whom.
    pub proven: Proven,
    /// How many changes of validators or parameters lead from the genesis to it.
    pub changes: usize,
}

/// A genesis that the operator trusts.
#[derive(Debug)]
pub struct Pin {
    genesis: Genesis,
}

impl Pin {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is no genesis; the text says where and why.
    pub fn read(path: &Path) -> Result<Self, PinError> {
        let content = read(path, MAX_GENESIS_BYTES)?;
        let genesis: Genesis = serde_json::from_slice(&content).map_err(|source| PinError::Form {
            path: path.to_path_buf(),
            source,
        })?;
        let legal = genesis.parameters.validate();
        legal
            .and_then(|()| genesis.validator_set().map(drop))
            .map_err(|source| PinError::Content {
                path: path.to_path_buf(),
                source,
            })?;
        Ok(Self { genesis })
    }

    /// The chain.
    #[must_use]
    pub fn chain_id(&self) -> &ChainId {
        &self.genesis.chain_id
    }

    /// What `bytes` prove to somebody who trusts this genesis and nobody else.
    ///
    /// # Errors
    /// When they prove nothing; the text says why.
    pub fn verify(&self, bytes: &[u8]) -> Result<Proof, CertificateError> {
        let chain = CertificateChain::from_bytes(bytes)?;
        let proven = chain.verify(&self.genesis)?;
        Ok(Proof {
            subject: chain.certificate.subject,
            proven,
            changes: chain.changes.len(),
        })
    }

    /// The upgrade that `bytes` prove, if it is the proposal `id`.
    fn upgrade(&self, id: ProposalId, bytes: &[u8]) -> Result<Upgrade, String> {
        let proof = self.verify(bytes).map_err(|error| error.to_string())?;
        if proof.proven.proposal != id {
            return Err(format!(
                "the certificate is for proposal {}, not for this one",
                proof.proven.proposal
            ));
        }
        match proof.subject {
            Subject::Upgrade(upgrade) => Ok(upgrade),
            Subject::Cancel { .. } | Subject::Validators(_) | Subject::Parameters(_) => {
                Err("the certificate is for no upgrade".to_owned())
            }
        }
    }
}

/// A file of certificates' size, whole.
///
/// # Errors
/// When it cannot be read, or is larger than any certificate.
pub fn read_certificate(path: &Path) -> Result<Vec<u8>, FileError> {
    read(path, MAX_CERTIFICATE_BYTES as u64)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let mut content = Vec::new();
    let above = limit.saturating_add(1);
    if path == Path::new("-") {
        io::stdin().lock().take(above).read_to_end(&mut content)
    } else {
        File::open(path)
            .map_err(failed)?
            .take(above)
            .read_to_end(&mut content)
    }
    .map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(FileError::TooLarge {
            path: path.to_path_buf(),
            limit,
        });
    }
    Ok(content)
}

/// Whether an announced upgrade is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This was accepted, whatever the node says of it.
    Proven(Box<Upgrade>),
    /// It was not shown to be accepted.
    Refused(String),
}

/// Verdicts on the upgrades of one report, by proposal.
pub type Verdicts = BTreeMap<ProposalId, Verdict>;

/// The pin with what has been proven so far: a proof is found once, however often the node reports.
#[derive(Debug)]
pub struct Notary {
    pin: Pin,
    /// With the digest of the bytes that were judged.
    found: Mutex<BTreeMap<ProposalId, (Digest, Verdict)>>,
}

impl Notary {
    /// Nothing is proven yet.
    #[must_use]
    pub fn new(pin: Pin) -> Self {
        Self {
            pin,
            found: Mutex::default(),
        }
    }

    /// The chain.
    #[must_use]
    pub fn chain_id(&self) -> &ChainId {
        self.pin.chain_id()
    }

    /// What has been proven for `id`: then its certificate need not be asked for again.
    #[must_use]
    pub fn proven(&self, id: &ProposalId) -> Option<Verdict> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, verdict) = found.get(id)?;
        matches!(verdict, Verdict::Proven(_)).then(|| verdict.clone())
    }

    /// Judges a certificate; bytes that were judged before are not verified again. Takes as long as the validators are many.
    #[must_use]
    pub fn judge(&self, id: ProposalId, bytes: &[u8]) -> Verdict {
        let digest = Digest::of(bytes);
        let known = {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let same = found.get(&id).filter(|(judged, _)| *judged == digest);
            same.map(|(_, verdict)| verdict.clone())
        };
        known.unwrap_or_else(|| {
            let verdict = match self.pin.upgrade(id, bytes) {
                Ok(upgrade) => Verdict::Proven(Box::new(upgrade)),
                Err(reason) => Verdict::Refused(reason),
            };
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(id, (digest, verdict.clone()));
            verdict
        })
    }

    /// Forgets what the node no longer names.
    pub fn keep(&self, ids: &[ProposalId]) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|id, _| ids.contains(id));
    }
}
