//! Transactions in, and what became of them.

use std::time::Duration;

use governance::{Rejection, SignedTransaction, TransactionId};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::handle::{NodeHandle, SubmitError, TransactionStatus};

/// Where the rejecting rule's stable code stands.
const REJECTION_CODE: &str = "rejection-code";
/// A client that wants to wait longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) async fn submit(
    node: &NodeHandle,
    request: pb::SubmitTransactionRequest,
) -> Result<pb::SubmitTransactionResponse, Status> {
    let message = request
        .transaction
        .ok_or_else(|| Status::invalid_argument("transaction: expected a signed transaction, found none"))?;
    let signed = SignedTransaction::try_from(message)
        .map_err(|error| coded(Code::InvalidArgument, error.code(), &error.to_string()))?;
    match node.submit(signed).await {
        Ok(id) => Ok(pb::SubmitTransactionResponse {
            transaction_id: id.0.to_vec(),
        }),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &SubmitError) -> Status {
    let text = error.to_string();
    match error {
        SubmitError::AlreadyKnown(_) => Status::already_exists(text),
        SubmitError::Rejected(rejection) => rejected(rejection),
        SubmitError::PoolFull { .. } | SubmitError::SenderLimit { .. } => Status::resource_exhausted(text),
        SubmitError::Halted(halt) => rejected(&Rejection::Halted {
            height: halt.height,
            version: halt.version.clone(),
        }),
        SubmitError::Store(_) => Status::internal(crate::cli::chain(error)),
        SubmitError::Stopping => Status::unavailable(text),
    }
}

fn rejected(rejection: &Rejection) -> Status {
    coded(Code::FailedPrecondition, rejection.code(), &rejection.to_string())
}

fn coded(code: Code, rule: &'static str, message: &str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(REJECTION_CODE, MetadataValue::from_static(rule));
    Status::with_metadata(code, message, metadata)
}

pub(super) async fn transaction(
    node: &NodeHandle,
    request: pb::GetTransactionRequest,
) -> Result<pb::GetTransactionResponse, Status> {
    let id = <[u8; 32]>::try_from(request.transaction_id.as_slice())
        .map(TransactionId)
        .map_err(|_| {
            Status::invalid_argument(format!(
                "transaction_id: expected 32 bytes, found {}",
                request.transaction_id.len()
            ))
        })?;
    let wait = Duration::from_millis(request.wait_milliseconds).min(LONGEST_WAIT);
    let status = node
        .transaction(id, wait)
        .await
        .map_err(|error| Status::internal(crate::cli::chain(&error)))?;
    let outcome = match status {
        TransactionStatus::Unknown => Outcome::Unknown(pb::TransactionUnknown {}),
        TransactionStatus::Pending => Outcome::Pending(pb::TransactionPending {}),
        TransactionStatus::Committed { height, rejection } => Outcome::Committed(pb::TransactionCommitted {
            height: height.0,
            rejection: rejection.map(|(code, message)| pb::Rejection { code, message }),
        }),
        TransactionStatus::Dropped { code, message } => Outcome::Dropped(pb::TransactionDropped {
            rejection: Some(pb::Rejection { code, message }),
        }),
    };
    Ok(pb::GetTransactionResponse {
        outcome: Some(outcome),
    })
}
