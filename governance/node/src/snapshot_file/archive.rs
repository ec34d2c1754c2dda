//! Whether archived ballots and reports are those over which the ended proposals hold roots.

use std::collections::{BTreeMap, BTreeSet};

use governance::encoding;
use governance::{
    Ballot, Digest, MAX_ROW_BYTES, ProposalId, ReadinessReport, RowKey, State, ValidatorId, ballots_root,
    reports_root,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, SnapshotError, row_key};

type Entries<V> = BTreeMap<ProposalId, Vec<(ValidatorId, V)>>;

pub(super) fn verify(state: &State, archive: &[Entry<'_>]) -> Result<(), SnapshotError> {
    let ended: BTreeSet<ProposalId> = state.ended_proposals().map(|proposal| proposal.id).collect();
    let (mut ballots, mut reports) = (Entries::<Ballot>::new(), Entries::<ReadinessReport>::new());
    for (key, value) in archive {
        let proposal = match row_key(key)? {
            RowKey::Ballot(proposal, validator) => {
                let ballot = decode("an archived ballot", value)?;
                ballots.entry(proposal).or_default().push((validator, ballot));
                proposal
            }
            RowKey::Report(proposal, validator) => {
                let report = decode("an archived report", value)?;
                reports.entry(proposal).or_default().push((validator, report));
                proposal
            }
            RowKey::Header
            | RowKey::Validator(_)
            | RowKey::Account(_)
            | RowKey::Live(_)
            | RowKey::Ended(_) => {
                return Err(SnapshotError::Stray);
            }
        };
        if !ended.contains(&proposal) {
            return Err(SnapshotError::Stray);
        }
    }
    for proposal in state.ended_proposals() {
        let id = proposal.id;
        let ballots = ballots_root(ballots.remove(&id).unwrap_or_default());
        let reports = reports_root(reports.remove(&id).unwrap_or_default());
        check("ballots", id, ballots, proposal.ballots_root)?;
        check("reports", id, reports, proposal.reports_root)?;
    }
    Ok(())
}

fn check(
    what: &'static str,
    proposal: ProposalId,
    found: Digest,
    expected: Digest,
) -> Result<(), SnapshotError> {
    if found == expected {
        Ok(())
    } else {
        Err(SnapshotError::Archive { what, proposal })
    }
}

fn decode<T: Serialize + DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, SnapshotError> {
    encoding::from_canonical(value, MAX_ROW_BYTES).map_err(|source| SnapshotError::Encoding { what, source })
}
