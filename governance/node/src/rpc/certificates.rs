//! GOV-17: certificates, for wallets and for the visor.

use governance::{Phase, Proposal};
use tonic::Status;

use super::internal;
use crate::handle::{NodeHandle, Snapshot};

/// The bytes of the certificate of a proposal, with those of all changes before it.
pub(crate) fn certificate(
    node: &NodeHandle,
    snapshot: &Snapshot,
    proposal: &Proposal,
) -> Result<Vec<u8>, Status> {
    match node.certificate(snapshot, &proposal.id) {
        Ok(Some(chain)) => Ok(chain.to_bytes()),
        Ok(None) => Err(absent(proposal)),
        Err(error) => Err(internal(&error)),
    }
}

fn absent(proposal: &Proposal) -> Status {
    let name = proposal.name();
    let id = proposal.id;
    match proposal.phase {
        Phase::Voting => Status::failed_precondition(format!(
            "{name} ({id}) is not approved: there is a certificate as soon as it is"
        )),
        Phase::Rejected | Phase::Expired | Phase::Superseded | Phase::Cancelled => {
            Status::failed_precondition(format!(
                "{name} ({id}) has ended {} and was never locked in: there is no certificate of it",
                proposal.phase
            ))
        }
        // The archive of a node that began with a later snapshot.
        Phase::Approved | Phase::LockedIn | Phase::Executed => Status::not_found(format!(
            "this node does not have the certificate of {name} ({id}): it began with a snapshot from after its lock-in; ask \
             a node that was there"
        )),
    }
}
