//! What a shell keeps of a chain: its rows and its certificates, changed by what each block reports. At every block they
//! must be exactly those of the state, and the certificates must convince somebody who knows the genesis alone.

use std::collections::BTreeMap;

use governance::{
    Certificate, CertificateChain, Event, Genesis, Phase, ProposalId, Row, RowKey, State, Subject,
    verify_changes,
};

use crate::invariants::{Failure, same};
use crate::root::{ballot_bytes, report_bytes, root_of_values, state_root};

pub(crate) struct Store {
    genesis: Genesis,
    rows: BTreeMap<RowKey, Vec<u8>>,
    /// Of everything that was ever locked in, and of every cancel.
    certificates: BTreeMap<ProposalId, Certificate>,
    /// Of the changes that took effect, in order.
    executed: Vec<Certificate>,
    last: State,
}

impl Store {
    pub(crate) fn new(genesis: &Genesis, state: &State) -> Self {
        Self {
            genesis: genesis.clone(),
            rows: by_key(state),
            certificates: BTreeMap::new(),
            executed: Vec::new(),
            last: state.clone(),
        }
    }

    /// After the end of a block. The answer is the state once more, from what is stored.
    pub(crate) fn commit(&mut self, state: &State, events: &[Event]) -> Result<State, Failure> {
        self.rows_are_complete(state)?;
        self.certificates_are_complete(state, events)?;
        self.last = state.clone();
        same(
            "the root (by the layout, by the state)",
            &state_root(state),
            &state.state_root(),
        )?;
        live_roots_fit(state)?;
        let stored = self.rows.iter().filter(|(key, _)| belongs_to_state(state, key));
        let rows = stored.map(|(key, value)| Row {
            key: *key,
            value: value.clone(),
        });
        let loaded =
            State::from_rows(rows).map_err(|error| Failure(format!("its own rows are refused: {error}")))?;
        same("the state from rows", &loaded, state)?;
        same("the root from rows", &loaded.state_root(), &state.state_root())?;
        Ok(loaded)
    }

    fn rows_are_complete(&mut self, state: &State) -> Result<(), Failure> {
        for change in state.changes_since(&self.last) {
            // Everything that is reported is news.
            if self.rows.get(&change.key) == change.value.as_ref() {
                return Err(Failure(format!(
                    "row {:?} is reported, but as it was",
                    change.key
                )));
            }
            match change.value {
                Some(value) => self.rows.insert(change.key, value),
                None => self.rows.remove(&change.key),
            };
        }
        self.the_archive_is_complete(state)?;
        let mut stored = self.rows.clone();
        stored.retain(|key, _| belongs_to_state(state, key));
        same("rows (by their changes, by the state)", &stored, &by_key(state))?;
        let keys: Vec<RowKey> = state.rows().into_iter().map(|row| row.key).collect();
        same("rows in order", &keys, &by_key(state).into_keys().collect())?;
        let mut bytes: Vec<Vec<u8>> = keys.iter().map(RowKey::to_bytes).collect();
        for (key, bytes) in keys.iter().zip(&bytes) {
            same("a key from its bytes", &RowKey::from_bytes(bytes), &Ok(*key))?;
        }
        bytes.sort();
        same(
            "keys in order of their bytes",
            &bytes,
            &keys.iter().map(RowKey::to_bytes).collect(),
        )
    }

    /// The ballots and reports of ended proposals are those that the proposals' roots cover.
    fn the_archive_is_complete(&self, state: &State) -> Result<(), Failure> {
        for proposal in state.ended_proposals() {
            let (mut ballots, mut reports) = (Vec::new(), Vec::new());
            for (key, value) in &self.rows {
                match key {
                    RowKey::Ballot(id, voter) if *id == proposal.id => ballots.push((*voter, value.clone())),
                    RowKey::Report(id, voter) if *id == proposal.id => reports.push((*voter, value.clone())),
                    RowKey::Header
                    | RowKey::Validator(_)
                    | RowKey::Account(_)
                    | RowKey::Live(_)
                    | RowKey::Ballot(..)
                    | RowKey::Report(..)
                    | RowKey::Ended(_) => {}
                }
            }
            let name = proposal.name();
            same(
                &format!("{name}: archived ballots"),
                &root_of_values(&ballots, 0),
                &proposal.ballots_root,
            )?;
            same(
                &format!("{name}: archived reports"),
                &root_of_values(&reports, 0),
                &proposal.reports_root,
            )?;
        }
        Ok(())
    }

    fn certificates_are_complete(&mut self, state: &State, events: &[Event]) -> Result<(), Failure> {
        let mut due: Vec<ProposalId> = Vec::new();
        let mut executed = Vec::new();
        for event in events {
            if let Event::ProposalPhaseChanged {
                proposal_id,
                from,
                to,
            } = event
            {
                let subject = state.proposal(proposal_id).map(|proposal| &proposal.subject);
                let is_cancel = matches!(subject, Some(Subject::Cancel { .. }));
                if *to == Phase::LockedIn || (is_cancel && *to == Phase::Executed) {
                    due.push(*proposal_id);
                }
                if *from == Phase::LockedIn && *to == Phase::Executed {
                    executed.push(*proposal_id);
                }
            }
        }
        let fresh = state.new_certificates();
        let mut proven: Vec<ProposalId> = fresh.iter().map(Certificate::proposal).collect();
        due.sort();
        proven.sort();
        same("certificates (due, new)", &due, &proven)?;
        for certificate in fresh {
            let id = certificate.proposal();
            let name = certificate.subject.name();
            let chain = CertificateChain::new(self.executed.iter().cloned(), certificate.clone());
            let read = CertificateChain::from_bytes(&chain.to_bytes())
                .map_err(|error| Failure(format!("the certificate of {name} cannot be read: {error}")))?;
            same("a certificate from its bytes", &read, &chain)?;
            let proof = chain
                .verify(&self.genesis)
                .map_err(|error| Failure(format!("the certificate of {name} proves nothing: {error}")))?;
            same("what is proven", &proof.proposal, &id)?;
            if let Some(proposal) = state.proposal(&id) {
                same(
                    "the proven tally",
                    &proof.tally.approving,
                    &proposal.tally.approving,
                )?;
                same("the proven total", &proof.tally.total, &proposal.tally.total)?;
            }
            if let Some(live) = state.certificate(&id) {
                same("the certificate, asked for later", &live, certificate)?;
            }
            self.certificates.insert(id, certificate.clone());
        }
        for id in executed {
            let Some(certificate) = self.certificates.get(&id) else {
                return Err(Failure(format!("{id} took effect without a certificate")));
            };
            self.executed.push(certificate.clone());
        }
        let (validators, parameters) = verify_changes(&self.genesis, &self.executed)
            .map_err(|error| Failure(format!("the changes prove nothing: {error}")))?;
        same("the proven validators", &validators, state.validators())?;
        same("the proven parameters", &parameters, state.parameters())
    }
}

fn by_key(state: &State) -> BTreeMap<RowKey, Vec<u8>> {
    state.rows().into_iter().map(|row| (row.key, row.value)).collect()
}

/// The ballots and reports of ended proposals are the archive's, not the state's.
fn belongs_to_state(state: &State, key: &RowKey) -> bool {
    match key {
        RowKey::Ballot(proposal, _) | RowKey::Report(proposal, _) => state
            .proposal(proposal)
            .is_some_and(|proposal| proposal.phase.is_live()),
        RowKey::Header | RowKey::Validator(_) | RowKey::Account(_) | RowKey::Live(_) | RowKey::Ended(_) => {
            true
        }
    }
}

fn live_roots_fit(state: &State) -> Result<(), Failure> {
    for proposal in state.live_proposals() {
        let ballots = state.ballots(&proposal.id, None).into_iter().flatten();
        let ballots: Vec<_> = ballots.map(|(id, ballot)| (*id, ballot_bytes(ballot))).collect();
        let reports = state.reports(&proposal.id, None).into_iter().flatten();
        let reports: Vec<_> = reports.map(|(id, report)| (*id, report_bytes(report))).collect();
        let name = proposal.name();
        same(
            &format!("{name}: ballots root"),
            &root_of_values(&ballots, 0),
            &proposal.ballots_root,
        )?;
        same(
            &format!("{name}: reports root"),
            &root_of_values(&reports, 0),
            &proposal.reports_root,
        )?;
    }
    Ok(())
}
