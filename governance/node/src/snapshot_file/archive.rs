//! Whether archived ballots and reports are those over which the ended proposals hold roots.
//!
//! A root is a hash over a trie by the half bytes of the validator id. Nothing is 32 zero bytes; one entry the BLAKE3 of a
//! byte 0, the id and the value; several the BLAKE3 of a byte 1, two bytes of which bit n says whether there are entries
//! whose next half byte is n, and the roots of those in order of n.

use std::collections::{BTreeMap, BTreeSet};

use governance::encoding;
use governance::{Ballot, Digest, MAX_ROW_BYTES, ProposalId, ReadinessReport, RowKey, State, ValidatorId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, SnapshotError, row_key};

type Entries<'a> = BTreeMap<ProposalId, Vec<(ValidatorId, &'a [u8])>>;

pub(super) fn verify(state: &State, archive: &[Entry<'_>]) -> Result<(), SnapshotError> {
    let ended: BTreeSet<ProposalId> = state.ended_proposals().map(|proposal| proposal.id).collect();
    let (mut ballots, mut reports) = (Entries::new(), Entries::new());
    for (key, value) in archive {
        let (entries, proposal, validator) = match row_key(key)? {
            RowKey::Ballot(proposal, validator) => {
                decode::<Ballot>("an archived ballot", value)?;
                (&mut ballots, proposal, validator)
            }
            RowKey::Report(proposal, validator) => {
                decode::<ReadinessReport>("an archived report", value)?;
                (&mut reports, proposal, validator)
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
        // Keys ascend, so validators of one proposal do.
        entries.entry(proposal).or_default().push((validator, value));
    }
    for proposal in state.ended_proposals() {
        for (what, entries, expected) in [
            ("ballots", &ballots, proposal.ballots_root),
            ("reports", &reports, proposal.reports_root),
        ] {
            let entries = entries.get(&proposal.id).map_or(&[][..], Vec::as_slice);
            if root(entries, 0) != expected {
                return Err(SnapshotError::Archive {
                    what,
                    proposal: proposal.id,
                });
            }
        }
    }
    Ok(())
}

fn decode<T: Serialize + DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, SnapshotError> {
    encoding::from_canonical(value, MAX_ROW_BYTES).map_err(|source| SnapshotError::Encoding { what, source })
}

/// The root over entries in ascending order that are alike in their first `depth` half bytes.
fn root(entries: &[(ValidatorId, &[u8])], depth: usize) -> Digest {
    let mut bytes = Vec::new();
    match entries {
        [] => return Digest([0; 32]),
        [(id, value)] => {
            bytes.push(0);
            bytes.extend_from_slice(&id.0);
            bytes.extend_from_slice(value);
        }
        several => {
            let mut present = 0_u16;
            let mut roots = Vec::new();
            for same in several.chunk_by(|(one, _), (other, _)| digit(one, depth) == digit(other, depth)) {
                if let Some((id, _)) = same.first() {
                    present |= 1 << digit(id, depth);
                    roots.push(root(same, depth.saturating_add(1)));
                }
            }
            bytes.push(1);
            bytes.extend_from_slice(&present.to_be_bytes());
            for below in roots {
                bytes.extend_from_slice(&below.0);
            }
        }
    }
    Digest(*blake3::hash(&bytes).as_bytes())
}

fn digit(id: &ValidatorId, depth: usize) -> u8 {
    let byte = id.0.get(depth / 2).copied().unwrap_or_default();
    if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0xf
    }
}
