//! A node's gRPC, as a validator's own tools would use it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use governance::{SignedTransaction, TransactionId};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a call may take beyond what it was asked to wait. A node that does not answer in this time has a fault.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to one node. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// A client of the node at `url`. Connects at the first call, and again after the node has gone.
    ///
    /// # Errors
    /// When that is no URL.
    pub fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("no address: {url}"))?
            .tcp_nodelay(true);
        Ok(Self {
            channel: endpoint.connect_lazy(),
        })
    }

    /// The connection, for calls in one's own bytes.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The generated client.
    #[must_use]
    pub fn service(&self) -> GovernanceServiceClient<Channel> {
        GovernanceServiceClient::new(self.channel.clone())
    }

    /// Where the chain and the node stand.
    ///
    /// # Errors
    /// What the node or the connection says.
    pub async fn status(&self) -> Result<pb::GetStatusResponse, Status> {
        let mut service = self.service();
        within(CALL_LIMIT, service.get_status(pb::GetStatusRequest {})).await
    }

    /// Hands a transaction to the node's mempool.
    ///
    /// # Errors
    /// What the node or the connection says.
    pub async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Status> {
        let request = pb::SubmitTransactionRequest {
            transaction: Some(transaction.into()),
        };
        let mut service = self.service();
        within(CALL_LIMIT, service.submit_transaction(request))
            .await
            .map(|_| ())
    }

    /// What became of a transaction; waits for it to be final as long as told.
    ///
    /// # Errors
    /// What the node or the connection says.
    pub async fn outcome(&self, id: TransactionId, wait: Duration) -> Result<Outcome, Status> {
        let request = pb::GetTransactionRequest {
            transaction_id: id.0.to_vec(),
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let mut service = self.service();
        within(CALL_LIMIT + wait, service.get_transaction(request))
            .await?
            .outcome
            .ok_or_else(|| Status::internal("an answer without an outcome"))
    }

    /// The active validators, by name.
    ///
    /// # Errors
    /// What the node or the connection says.
    pub async fn validators(&self) -> Result<BTreeMap<String, pb::Validator>, Status> {
        let mut service = self.service();
        let answer = within(
            CALL_LIMIT,
            service.list_validators(pb::ListValidatorsRequest::default()),
        )
        .await?;
        Ok(answer
            .validators
            .into_iter()
            .map(|validator| (validator.name.clone(), validator))
            .collect())
    }

    /// The blocks from `first` to `last`, read again from the node's store.
    ///
    /// # Errors
    /// What the node or the connection says, also when the stream ends early.
    pub async fn blocks(&self, first: u64, last: u64) -> Result<Vec<pb::BlockEvents>, Status> {
        let mut service = self.service();
        let request = pb::StreamEventsRequest { from_height: first };
        let mut stream = within(CALL_LIMIT, service.stream_events(request)).await?;
        let mut blocks = Vec::new();
        for _ in first..=last {
            let next = tokio::time::timeout(CALL_LIMIT, stream.message())
                .await
                .map_err(|_| Status::deadline_exceeded("the node does not send the next block"))??;
            blocks.push(next.ok_or_else(|| Status::data_loss("the stream has ended"))?);
        }
        Ok(blocks)
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "the node does not answer within {limit:?}"
        ))),
    }
}

/// The rule that refused a transaction, or nothing.
#[must_use]
pub fn rejection_code(status: &Status) -> &str {
    status
        .metadata()
        .get("rejection-code")
        .and_then(|code| code.to_str().ok())
        .unwrap_or("")
}

/// Whether the transaction has reached the node before: it waits there, or it is in a block.
#[must_use]
pub fn already_there(status: &Status) -> bool {
    status.code() == Code::AlreadyExists || rejection_code(status) == "GOV-13.replay"
}
