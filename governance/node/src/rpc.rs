//! gRPC: `governance.v1`, health and reflection. Everything is answered from the handle; nothing here decides.

mod ballots;
pub(crate) mod certificates;
mod events;
mod pages;
pub(crate) mod queries;
mod submit;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::governance_service_server::{GovernanceService, GovernanceServiceServer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::handle::NodeHandle;
use crate::listener::{ConnectionLimits, CountedListener};

/// A request is a transaction at most; the largest is a fraction of this.
const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// Requests of one connection that are worked on at a time.
const MAX_CONCURRENT: usize = 64;
/// Calls that one connection may have open, streams included.
const MAX_STREAMS: u32 = 128;
/// Event streams of all clients together. Each may hold blocks that its client has not read yet.
const MAX_EVENT_STREAMS: usize = 256;
/// Certificates that are put together at a time. Each may hold half a million signatures when the set has changed often.
const MAX_CERTIFICATES: usize = 4;
/// Connections: a wallet, a monitor or a board has one. With the peers and the files they stay below the 1,024 descriptors
/// that a process has by default.
const CONNECTIONS: ConnectionLimits = ConnectionLimits {
    total: 512,
    per_address: 256,
};
/// A connection whose peer has gone away without a word is closed after a ping of this interval.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, node: NodeHandle, moniker: String) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GovernanceServiceServer<Rpc>>().await;
    let reflection = match tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
    {
        Ok(reflection) => reflection,
        Err(error) => {
            tracing::error!(%error, "gRPC reflection cannot be served");
            return;
        }
    };
    let service = GovernanceServiceServer::new(Rpc {
        node,
        moniker,
        streams: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
        certificates: Semaphore::new(MAX_CERTIFICATES),
    })
    .max_decoding_message_size(MAX_REQUEST_BYTES);
    let served = Server::builder()
        .concurrency_limit_per_connection(MAX_CONCURRENT)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(service)
        .serve_with_incoming(CountedListener::new(listener, CONNECTIONS).connections())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC ended");
    }
}

/// A fault of this node, with its causes.
fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    Status::internal(crate::cli::chain(error))
}

struct Rpc {
    node: NodeHandle,
    moniker: String,
    /// One permit per event stream.
    streams: Arc<Semaphore>,
    /// One permit per certificate that is being put together.
    certificates: Semaphore,
}

type BlockStream = Pin<Box<dyn Stream<Item = Result<pb::BlockEvents, Status>> + Send>>;

#[tonic::async_trait]
impl GovernanceService for Rpc {
    type StreamEventsStream = BlockStream;

    async fn submit_transaction(
        &self,
        request: Request<pb::SubmitTransactionRequest>,
    ) -> Result<Response<pb::SubmitTransactionResponse>, Status> {
        submit::submit(&self.node, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        submit::transaction(&self.node, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_proposals(
        &self,
        request: Request<pb::ListProposalsRequest>,
    ) -> Result<Response<pb::ListProposalsResponse>, Status> {
        queries::proposals(&self.node, request.get_ref()).map(Response::new)
    }

    async fn get_proposal(
        &self,
        request: Request<pb::GetProposalRequest>,
    ) -> Result<Response<pb::GetProposalResponse>, Status> {
        queries::proposal(&self.node, request.get_ref()).map(Response::new)
    }

    async fn list_ballots(
        &self,
        request: Request<pb::ListBallotsRequest>,
    ) -> Result<Response<pb::ListBallotsResponse>, Status> {
        ballots::ballots(&self.node, request.get_ref()).map(Response::new)
    }

    async fn list_reports(
        &self,
        request: Request<pb::ListReportsRequest>,
    ) -> Result<Response<pb::ListReportsResponse>, Status> {
        ballots::reports(&self.node, request.get_ref()).map(Response::new)
    }

    async fn get_certificate(
        &self,
        request: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        // Waits for its turn; nobody closes the semaphore.
        let _turn = self.certificates.acquire().await.ok();
        queries::certificate(&self.node, request.get_ref()).map(Response::new)
    }

    async fn get_plan(
        &self,
        _: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::GetPlanResponse>, Status> {
        Ok(Response::new(queries::plan(&self.node)))
    }

    async fn list_validators(
        &self,
        request: Request<pb::ListValidatorsRequest>,
    ) -> Result<Response<pb::ListValidatorsResponse>, Status> {
        queries::validators(&self.node, request.get_ref()).map(Response::new)
    }

    async fn get_validator(
        &self,
        request: Request<pb::GetValidatorRequest>,
    ) -> Result<Response<pb::GetValidatorResponse>, Status> {
        queries::validator(&self.node, request.get_ref()).map(Response::new)
    }

    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(queries::status(&self.node, &self.moniker)))
    }

    async fn stream_events(
        &self,
        request: Request<pb::StreamEventsRequest>,
    ) -> Result<Response<BlockStream>, Status> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "this node serves {MAX_EVENT_STREAMS} event streams, which is the most allowed: try again later, or ask another node"
            ))
        })?;
        events::stream(&self.node, request.into_inner(), permit).map(Response::new)
    }
}
