//! What the state no longer holds: ballots and reports of ended proposals, and certificates.
//!
//! Everything of a proposal goes when the state forgets the proposal, a thousand ends later. The certificates of executed
//! changes of validators and parameters stay for ever: without them nobody could follow the validator set from genesis.

use std::ops::Bound;

use governance::encoding;
use governance::{
    Ballot, Certificate, Event, Height, Phase, Proposal, ProposalId, ReadinessReport, RowChange, RowKey,
    Subject, ValidatorId,
};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Fault;
use super::{Commit, ROWS, Store, StoreError, ballots_of, decode, reports_of, row_key};

/// GOV-17: canonical [`Certificate`]s by proposal id.
pub(super) const GOVERNANCE_CERTIFICATES: TableDefinition<'_, &[u8; 32], &[u8]> =
    TableDefinition::new("governance-certificates");
/// GOV-12: the proposals of the executed changes with their heights, by their number from 0.
pub(super) const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");

/// A row as it is stored: key and value.
pub(crate) type RawRow = (Vec<u8>, Vec<u8>);
/// A ballot or a report with its validator.
type ByValidator<T> = (ValidatorId, T);

impl Store {
    /// Ballots on a proposal that has ended, by validator id, from the first one above `after`, at most `limit`.
    pub(crate) fn ballots(
        &self,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
        limit: usize,
    ) -> Result<Vec<ByValidator<Ballot>>, StoreError> {
        self.read("read archived ballots", |read| {
            page(
                read,
                ballots_of(proposal),
                after.map(|after| RowKey::Ballot(*proposal, *after)),
                limit,
            )
        })
    }

    /// Reports on an upgrade that has ended, in the same way.
    pub(crate) fn reports(
        &self,
        proposal: &ProposalId,
        after: Option<&ValidatorId>,
        limit: usize,
    ) -> Result<Vec<ByValidator<ReadinessReport>>, StoreError> {
        self.read("read archived reports", |read| {
            page(
                read,
                reports_of(proposal),
                after.map(|after| RowKey::Report(*proposal, *after)),
                limit,
            )
        })
    }

    /// GOV-17: the certificate of a proposal that has been locked in, or of a cancel that has been carried out.
    pub(crate) fn certificate(&self, proposal: &ProposalId) -> Result<Option<Certificate>, StoreError> {
        self.read("read a certificate", |read| {
            let table = read.open_table(GOVERNANCE_CERTIFICATES)?;
            table
                .get(&proposal.0)?
                .map(|value| decode(value.value()))
                .transpose()
        })
    }

    /// GOV-12: the certificates of the changes that have been executed below `height`, in their order.
    pub(crate) fn changes_below(&self, height: Height) -> Result<Vec<Certificate>, StoreError> {
        self.read("read the certificates of changes", |read| {
            let certificates = read.open_table(GOVERNANCE_CERTIFICATES)?;
            let mut found = Vec::new();
            for entry in read.open_table(CHANGES)?.range::<u64>(..)? {
                let (_, value) = entry?;
                let (id, executed): (ProposalId, Height) = decode(value.value())?;
                if executed >= height {
                    break;
                }
                let certificate = certificates
                    .get(&id.0)?
                    .ok_or_else(|| Fault::Damaged(format!("change {id} has no certificate")))?;
                found.push(decode(certificate.value())?);
            }
            Ok(found)
        })
    }

    /// Ballots and reports of all ended proposals: keys and values, in the order of the keys.
    pub(crate) fn archive(&self, live: &[ProposalId]) -> Result<Vec<RawRow>, StoreError> {
        self.read("read the archive", |read| {
            let first = ballots_of(&ProposalId([0; 32])).0;
            let last = reports_of(&ProposalId([0xff; 32])).1;
            let mut found = Vec::new();
            for entry in read
                .open_table(ROWS)?
                .range::<&[u8]>(first.as_slice()..=last.as_slice())?
            {
                let (key, value) = entry?;
                let (RowKey::Ballot(id, _) | RowKey::Report(id, _)) = row_key(key.value())? else {
                    continue;
                };
                if !live.contains(&id) {
                    found.push((key.value().to_vec(), value.value().to_vec()));
                }
            }
            Ok(found)
        })
    }
}

/// Removes what belongs to the proposals that the state has forgotten.
pub(super) fn forget(transaction: &WriteTransaction, changes: &[RowChange]) -> Result<(), Fault> {
    let mut rows = transaction.open_table(ROWS)?;
    for change in changes {
        if !matches!((&change.key, &change.value), (RowKey::Ended(_), None)) {
            continue;
        }
        let forgotten: Option<Proposal> = rows
            .get(change.key.to_bytes().as_slice())?
            .map(|value| decode(value.value()))
            .transpose()?;
        let Some(proposal) = forgotten else {
            return Err(Fault::Damaged(format!(
                "{:?} is to be removed and is not there",
                change.key
            )));
        };
        for (first, last) in [ballots_of(&proposal.id), reports_of(&proposal.id)] {
            rows.retain_in::<&[u8], _>(first.as_slice()..=last.as_slice(), |_, _| false)?;
        }
        if !is_executed_change(&proposal) {
            transaction
                .open_table(GOVERNANCE_CERTIFICATES)?
                .remove(&proposal.id.0)?;
        }
    }
    Ok(())
}

fn is_executed_change(proposal: &Proposal) -> bool {
    let is_change = match &proposal.subject {
        Subject::Validators(_) | Subject::Parameters(_) => true,
        Subject::Upgrade(_) | Subject::Cancel { .. } => false,
    };
    is_change && proposal.phase == Phase::Executed
}

/// Keeps what the block has locked in, and notes which changes it has executed.
pub(super) fn keep_certificates(transaction: &WriteTransaction, commit: &Commit<'_>) -> Result<(), Fault> {
    let mut certificates = transaction.open_table(GOVERNANCE_CERTIFICATES)?;
    for certificate in commit.state.new_certificates() {
        let id = certificate.proposal();
        certificates.insert(&id.0, encoding::to_canonical(certificate).as_slice())?;
    }
    let mut order = transaction.open_table(CHANGES)?;
    let mut number = commit.previous.executed_changes();
    for event in &commit.record.events {
        let id = match event {
            Event::ValidatorsChanged { proposal_id, .. } | Event::ParametersChanged { proposal_id, .. } => {
                *proposal_id
            }
            Event::ProposalSubmitted { .. }
            | Event::VoteCast { .. }
            | Event::VoteWithdrawn { .. }
            | Event::ApprovalMoved { .. }
            | Event::ProposalPhaseChanged { .. }
            | Event::BallotLapsed { .. }
            | Event::ChangeDropped { .. }
            | Event::ReporterAuthorized { .. }
            | Event::ReadinessReported { .. }
            | Event::UpgradeHalted { .. }
            | Event::UpgradeActivated { .. }
            | Event::TransactionRejected { .. } => continue,
        };
        keep_change(&mut order, number, id, commit.record.height)?;
        number = number.saturating_add(1);
    }
    if number != commit.state.executed_changes() {
        return Err(Fault::Damaged(format!(
            "{number} changes have been executed by their events, {} by the state",
            commit.state.executed_changes()
        )));
    }
    Ok(())
}

pub(super) fn keep_change(
    order: &mut Table<'_, u64, &'static [u8]>,
    number: u64,
    id: ProposalId,
    height: Height,
) -> Result<(), Fault> {
    order.insert(number, encoding::to_canonical(&(id, height)).as_slice())?;
    Ok(())
}

fn page<T: Serialize + DeserializeOwned>(
    read: &ReadTransaction,
    (first, last): (Vec<u8>, Vec<u8>),
    after: Option<RowKey>,
    limit: usize,
) -> Result<Vec<ByValidator<T>>, Fault> {
    let after = after.map(|key| key.to_bytes());
    let from = match &after {
        Some(after) => Bound::Excluded(after.as_slice()),
        None => Bound::Included(first.as_slice()),
    };
    let mut found = Vec::new();
    let table = read.open_table(ROWS)?;
    for entry in table
        .range::<&[u8]>((from, Bound::Included(last.as_slice())))?
        .take(limit)
    {
        let (key, value) = entry?;
        let (RowKey::Ballot(_, validator) | RowKey::Report(_, validator)) = row_key(key.value())? else {
            continue;
        };
        found.push((validator, decode(value.value())?));
    }
    Ok(found)
}
