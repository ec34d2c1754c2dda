//! The state as rows: what a store keeps, a snapshot carries, and a block changes.
//!
//! Keys and values are canonical bytes; sorted keys are sorted rows. Between two states only what differs is looked at.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bytes::{Digest, ProposalId, ValidatorId};
use crate::encoding::{self, EncodingError};
use crate::genesis::Parameters;
use crate::map::ValidatorMap;
use crate::numbers::Height;
use crate::readiness::ReadinessReport;
use crate::restore::{Parts, RestoreError};
use crate::state::State;
use crate::text::ChainId;
use crate::tx::MAX_TRANSACTION_BYTES;
use crate::version::ReleaseVersion;
use crate::vote::Ballot;

/// GOV-14. A proposal holds at most what its transaction held, and some hundred bytes of its own.
pub const MAX_ROW_BYTES: usize = 2 * MAX_TRANSACTION_BYTES;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RowKey {
    /// All that there is once.
    Header,
    /// A validator of the active set.
    Validator(ValidatorId),
    /// What is remembered of a validator.
    Account(ValidatorId),
    /// A proposal that has not ended.
    Live(ProposalId),
    /// A ballot on it. Stays in the archive when the proposal ends.
    Ballot(ProposalId, ValidatorId),
    /// GOV-16: a readiness report on it. Stays in the archive when the proposal ends.
    Report(ProposalId, ValidatorId),
    /// A proposal that has ended, numbered in the order of their ends.
    Ended(u64),
}

impl RowKey {
    /// Canonical bytes; they sort as the keys do.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_canonical(self)
    }

    /// The key of which `bytes` are the canonical encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        const LONGEST: usize = 4 + ProposalId::LENGTH + ValidatorId::LENGTH;
        encoding::from_canonical(bytes, LONGEST)
    }
}

/// A row: its value is the canonical bytes of what the key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub key: RowKey,
    /// Canonical bytes.
    pub value: Vec<u8>,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// What it is about.
    pub key: RowKey,
    /// Canonical bytes; `None` when the row is gone.
    pub value: Option<Vec<u8>>,
}

/// All that there is once.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) chain_id: ChainId,
    pub(crate) height: Height,
    pub(crate) version: ReleaseVersion,
    pub(crate) parameters: Parameters,
    pub(crate) executed_changes: u64,
    pub(crate) forgotten_proposals: u64,
    pub(crate) forgotten_digest: Digest,
}

/// The root over ballots of different validators, in any order: for an archive, what a proposal says of its ballots.
pub fn ballots_root(ballots: impl IntoIterator<Item = (ValidatorId, Ballot)>) -> Digest {
    root(ballots)
}

/// The root over readiness reports of different validators, in any order: for an archive, what a proposal says of its reports.
pub fn reports_root(reports: impl IntoIterator<Item = (ValidatorId, ReadinessReport)>) -> Digest {
    root(reports)
}

fn root<V: Clone + Serialize>(entries: impl IntoIterator<Item = (ValidatorId, V)>) -> Digest {
    let mut map = ValidatorMap::default();
    for (validator, value) in entries {
        map.insert(validator, value);
    }
    map.seal()
}

impl State {
    /// All rows, ordered by key. Between blocks: what an open block has done is part of no row yet.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = alloc::vec![Row {
            key: RowKey::Header,
            value: self.header(),
        }];
        let mut push = |key, value| rows.push(Row { key, value });
        for validator in self.validators.iter() {
            push(RowKey::Validator(validator.id), encoding::to_canonical(validator));
        }
        for (id, account) in self.accounts.iter() {
            push(RowKey::Account(*id), encoding::to_canonical(account));
        }
        for (id, live) in &self.live {
            push(RowKey::Live(*id), encoding::to_canonical(&live.proposal));
        }
        for (id, live) in &self.live {
            for (validator, ballot) in live.ballots.iter() {
                push(RowKey::Ballot(*id, *validator), encoding::to_canonical(ballot));
            }
        }
        for (id, live) in &self.live {
            for (validator, report) in live.reports.iter() {
                push(RowKey::Report(*id, *validator), encoding::to_canonical(report));
            }
        }
        for (number, proposal) in self.history.numbered_from(0) {
            push(RowKey::Ended(number), encoding::to_canonical(proposal));
        }
        rows
    }

    /// What the last block has changed; `before` is the state before it.
    ///
    /// The ballots and reports of a proposal that has ended stay: they are the archive, to be kept until the proposal's own
    /// `Ended` row goes. Its last ones, from the block in which it ended, are among the changes.
    pub fn changes_since(&self, before: &Self) -> Vec<RowChange> {
        let mut changes = Changes(Vec::new());
        if self.header() != before.header() {
            changes.put(RowKey::Header, &self.header_value());
        }
        if self.validators != before.validators {
            for validator in before.validators.iter() {
                if self.validators.get(&validator.id).is_none() {
                    changes.remove(RowKey::Validator(validator.id));
                }
            }
            for validator in self.validators.iter() {
                if before.validators.get(&validator.id) != Some(validator) {
                    changes.put(RowKey::Validator(validator.id), validator);
                }
            }
        }
        changes.map(RowKey::Account, &before.accounts, &self.accounts);
        for id in before.live.keys().filter(|id| !self.live.contains_key(*id)) {
            changes.remove(RowKey::Live(*id));
        }
        for (id, live) in &self.live {
            let earlier = before.live.get(id);
            if earlier.is_none_or(|earlier| earlier.proposal != live.proposal) {
                changes.put(RowKey::Live(*id), &live.proposal);
            }
        }
        let nothing = (ValidatorMap::default(), ValidatorMap::default());
        for live in self.live.values().chain(self.just_ended.iter()) {
            let id = live.proposal.id;
            let earlier = before.live.get(&id);
            let (ballots, reports) = earlier.map_or((&nothing.0, &nothing.1), |earlier| {
                (&earlier.ballots, &earlier.reports)
            });
            changes.map(|validator| RowKey::Ballot(id, validator), ballots, &live.ballots);
            changes.map(|validator| RowKey::Report(id, validator), reports, &live.reports);
        }
        for number in before.history.forgotten()..self.history.forgotten() {
            changes.remove(RowKey::Ended(number));
        }
        for (number, proposal) in self.history.numbered_from(before.history.count()) {
            changes.put(RowKey::Ended(number), proposal);
        }
        changes.0
    }

    /// The state of which `rows` are all rows, in any order. Whether it is the right one says its root.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> Result<Self, RestoreError> {
        let mut parts = Parts::default();
        for row in rows {
            parts.take(row)?;
        }
        parts.assemble()
    }

    fn header_value(&self) -> Header {
        Header {
            chain_id: self.chain_id.clone(),
            height: self.height,
            version: self.version.clone(),
            parameters: self.parameters,
            executed_changes: self.executed_changes,
            forgotten_proposals: self.history.forgotten(),
            forgotten_digest: self.history.base(),
        }
    }

    fn header(&self) -> Vec<u8> {
        encoding::to_canonical(&self.header_value())
    }
}

struct Changes(Vec<RowChange>);

impl Changes {
    fn put(&mut self, key: RowKey, value: &impl Serialize) {
        let value = Some(encoding::to_canonical(value));
        self.0.push(RowChange { key, value });
    }

    fn remove(&mut self, key: RowKey) {
        self.0.push(RowChange { key, value: None });
    }

    fn map<V: PartialEq + Serialize>(
        &mut self,
        key: impl Fn(ValidatorId) -> RowKey,
        before: &ValidatorMap<V>,
        after: &ValidatorMap<V>,
    ) {
        for (id, value) in after.difference(before) {
            match value {
                Some(value) => self.put(key(id), value),
                None => self.remove(key(id)),
            }
        }
    }
}
