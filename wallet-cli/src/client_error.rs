//! Why a node's answer is none, from gRPC's status codes.

use std::time::Duration;

use governance::{ChainId, ProposalId, ValidatorId};
use proto::InvalidMessage;
use tonic::{Code, Status};

/// A node on another continent answers in less; longer, a person thinks that the wallet hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{url:?} is no address of a node: expected http://HOST:PORT")]
    Url { url: String },
    #[error("no node answers at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the node at {url} does not answer within {} s", PATIENCE.as_secs())]
    Silent { url: String },
    #[error("what answers at {url} is no governance node: {message}")]
    NotANode { url: String, message: String },
    #[error("the node at {url} is on chain {found}, but --chain-id says {expected}")]
    ForeignChain {
        url: String,
        expected: ChainId,
        found: ChainId,
    },
    #[error("the node at {url} gives an answer that this wallet does not understand")]
    Answer { url: String, source: InvalidMessage },
    #[error("rejected ({code}): {message}")]
    Rejected { code: String, message: String },
    #[error("no proposal for {name:?}: {message}")]
    NotFound { name: String, message: String },
    #[error("asked for {asked:?}, the node at {url} answers with another proposal or a false id: {found}")]
    Deceived {
        url: String,
        asked: String,
        found: ProposalId,
    },
    #[error("asked for {asked}, the node at {url} answers with another validator: {found}")]
    OtherValidator {
        url: String,
        asked: String,
        found: ValidatorId,
    },
    #[error("the list of {what} that the node at {url} gives makes no sense: {problem}")]
    List {
        url: String,
        what: &'static str,
        problem: &'static str,
    },
    #[error("the node at {url} has no room for more transactions: {message}")]
    Busy { url: String, message: String },
    #[error("the node at {url} refuses: {message}")]
    Refused { url: String, message: String },
}

/// The rejecting rule's stable code, if a rule rejected.
pub(crate) fn rejection_code(status: &Status) -> Option<String> {
    let code = status.metadata().get("rejection-code")?.to_str().ok()?;
    Some(code.to_owned())
}

/// What a failed call means. The node's words are kept; nothing is decided from them.
pub(crate) fn failure(url: &str, status: Status) -> ClientError {
    let url = url.to_owned();
    let message = status.message().to_owned();
    if let Some(code) = rejection_code(&status) {
        return ClientError::Rejected { code, message };
    }
    let broken = std::error::Error::source(&status)
        .is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>);
    match status.code() {
        Code::Unavailable => ClientError::Unreachable {
            url,
            source: status.into(),
        },
        _ if broken => ClientError::Unreachable {
            url,
            source: status.into(),
        },
        Code::DeadlineExceeded | Code::Cancelled => ClientError::Silent { url },
        Code::Unimplemented => ClientError::NotANode { url, message },
        Code::ResourceExhausted => ClientError::Busy { url, message },
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => ClientError::Refused { url, message },
    }
}
