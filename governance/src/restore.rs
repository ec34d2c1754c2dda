//! Rows become a state again.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes::{Digest, ProposalId, ValidatorId};
use crate::check;
use crate::encoding::{self, EncodingError};
use crate::history::History;
use crate::map::ValidatorMap;
use crate::proposal::Proposal;
use crate::readiness::{Account, ReadinessReport};
use crate::rows::{Header, MAX_ROW_BYTES, Row, RowKey};
use crate::state::{Live, State};
use crate::validators::{Validator, ValidatorSet, ValidatorSetError};
use crate::vote::Ballot;

/// Why rows are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// No header.
    #[error("the rows have no header: expected one row of the whole state")]
    NoHeader,
    /// A row twice.
    #[error("row {key:?} stands twice")]
    Twice {
        /// The row.
        key: RowKey,
    },
    /// A value that is none.
    #[error("row {key:?} cannot be read: {source}")]
    Value {
        /// The row.
        key: RowKey,
        /// The decoder's words.
        source: EncodingError,
    },
    /// The validators are no set.
    #[error("the validators are no legal set: {0}")]
    Validators(#[from] ValidatorSetError),
    /// A value under another key than its own.
    #[error("row {key:?} holds something that belongs under another key")]
    Misfiled {
        /// The row.
        key: RowKey,
    },
    /// A ballot or report on nothing.
    #[error("row {key:?} belongs to no live proposal")]
    NoProposal {
        /// The row.
        key: RowKey,
    },
    /// Ballots or reports were lost, added or changed.
    #[error("the ballots or reports of live proposal {proposal} are not those that its roots cover")]
    Roots {
        /// The proposal.
        proposal: ProposalId,
    },
    /// The history has a gap.
    #[error("ended proposal number {expected} is missing, the next one found is {found}")]
    Gap {
        /// The number that should follow.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// The state is none that the rules can produce.
    #[error("the state violates {violations} rules, first: {first}")]
    Violations {
        /// How many.
        violations: usize,
        /// The first.
        first: String,
    },
}

/// Rows on their way to a state.
#[derive(Default)]
pub(crate) struct Parts {
    header: Option<Header>,
    validators: BTreeMap<ValidatorId, Validator>,
    accounts: ValidatorMap<Account>,
    live: BTreeMap<ProposalId, Proposal>,
    ballots: BTreeMap<ProposalId, ValidatorMap<Ballot>>,
    reports: BTreeMap<ProposalId, ValidatorMap<ReadinessReport>>,
    ended: BTreeMap<u64, Proposal>,
}

impl Parts {
    pub(crate) fn take(&mut self, row: Row) -> Result<(), RestoreError> {
        let Row { key, value } = row;
        let fresh = match key {
            RowKey::Header => self.header.replace(read(key, &value)?).is_none(),
            RowKey::Validator(id) => {
                let validator: Validator = read(key, &value)?;
                if validator.id != id {
                    return Err(RestoreError::Misfiled { key });
                }
                self.validators.insert(id, validator).is_none()
            }
            RowKey::Account(id) => self.accounts.insert(id, read(key, &value)?).is_none(),
            RowKey::Live(id) => {
                let proposal: Proposal = read(key, &value)?;
                if proposal.id != id {
                    return Err(RestoreError::Misfiled { key });
                }
                self.live.insert(id, proposal).is_none()
            }
            RowKey::Ballot(proposal, id) => {
                let ballots = self.ballots.entry(proposal).or_default();
                ballots.insert(id, read(key, &value)?).is_none()
            }
            RowKey::Report(proposal, id) => {
                let reports = self.reports.entry(proposal).or_default();
                reports.insert(id, read(key, &value)?).is_none()
            }
            RowKey::Ended(number) => self.ended.insert(number, read(key, &value)?).is_none(),
        };
        if fresh {
            Ok(())
        } else {
            Err(RestoreError::Twice { key })
        }
    }

    pub(crate) fn assemble(mut self) -> Result<State, RestoreError> {
        let header = self.header.take().ok_or(RestoreError::NoHeader)?;
        let validators = ValidatorSet::new(self.validators.into_values().collect())?;
        let mut live = BTreeMap::new();
        for (id, proposal) in self.live {
            let mut entry = Live {
                ballots: self.ballots.remove(&id).unwrap_or_default(),
                reports: self.reports.remove(&id).unwrap_or_default(),
                proposal,
            };
            let roots = (entry.proposal.ballots_root, entry.proposal.reports_root);
            entry.seal();
            if roots != (entry.proposal.ballots_root, entry.proposal.reports_root) {
                return Err(RestoreError::Roots { proposal: id });
            }
            live.insert(id, Arc::new(entry));
        }
        let stray_ballot = self.ballots.iter().find_map(|(proposal, ballots)| {
            let (validator, _) = ballots.iter().next()?;
            Some(RowKey::Ballot(*proposal, *validator))
        });
        let stray_report = self.reports.iter().find_map(|(proposal, reports)| {
            let (validator, _) = reports.iter().next()?;
            Some(RowKey::Report(*proposal, *validator))
        });
        if let Some(key) = stray_ballot.or(stray_report) {
            return Err(RestoreError::NoProposal { key });
        }
        let mut history = History::after(header.forgotten_proposals, header.forgotten_digest);
        for (found, proposal) in self.ended {
            let expected = history.count();
            if found != expected || history.forgotten() != header.forgotten_proposals {
                return Err(RestoreError::Gap { expected, found });
            }
            history.push(proposal);
        }
        let mut state = State {
            chain_id: header.chain_id,
            height: header.height,
            block_is_open: false,
            version: header.version,
            parameters: header.parameters,
            validators,
            executed_changes: header.executed_changes,
            accounts: self.accounts,
            live,
            history: Arc::new(history),
            root: Digest::default(),
            new_certificates: Arc::default(),
            just_ended: Arc::default(),
        };
        state.seal();
        let violations = check::violations(&state);
        match violations.first() {
            None => Ok(state),
            Some(first) => Err(RestoreError::Violations {
                violations: violations.len(),
                first: first.to_string(),
            }),
        }
    }
}

fn read<T: Serialize + DeserializeOwned>(key: RowKey, value: &[u8]) -> Result<T, RestoreError> {
    encoding::from_canonical(value, MAX_ROW_BYTES).map_err(|source| RestoreError::Value { key, source })
}
