//! `visor.v1` on `visor.sock`: answers from the newest snapshot and never asks the loop.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use proto::pb::visor::v1::visor_service_client::VisorServiceClient;
use proto::pb::visor::v1::visor_service_server::{VisorService, VisorServiceServer};
use proto::pb::visor::v1::{GetStatusRequest, OrderRequest, OrderResponse, Status, WatchStatusRequest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response};
use tower::service_fn;

use crate::fault;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("listen on {path}", path = path.display())]
pub struct RpcError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Binds the socket with mode 0600. The caller holds the home, so that a socket found there is a dead visor's.
///
/// # Errors
/// The system's answer.
pub fn bind(path: &Path) -> Result<UnixListener, RpcError> {
    let failed = |source| RpcError {
        path: path.to_path_buf(),
        source,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fault::point("old-socket-removed");
    // Nobody else can open it in the moment before its mode is set either.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(failed)?;
    fault::point("socket-bound");
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers until the task is dropped.
pub async fn serve(listener: UnixListener, status: watch::Receiver<Status>) {
    let service = VisorServiceServer::new(StatusService { status });
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await;
    if let Err(error) = served {
        tracing::warn!(error = %crate::cli::chain(&error), "status is not served any more");
    }
}

/// Connects to the visor of a home.
///
/// # Errors
/// When nobody listens.
pub async fn connect(path: &Path) -> Result<VisorServiceClient<Channel>, tonic::transport::Error> {
    let path = path.to_path_buf();
    let channel = Endpoint::from_static("http://visor.invalid")
        .connect_with_connector(service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(VisorServiceClient::new(channel))
}

struct StatusService {
    status: watch::Receiver<Status>,
}

#[tonic::async_trait]
impl VisorService for StatusService {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<Status>, tonic::Status> {
        Ok(Response::new(self.status.borrow().clone()))
    }

    async fn order(&self, _: Request<OrderRequest>) -> Result<Response<OrderResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("orders are not taken yet"))
    }

    type WatchStatusStream = Pin<Box<dyn Stream<Item = Result<Status, tonic::Status>> + Send>>;

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, tonic::Status> {
        Ok(Response::new(Box::pin(
            WatchStream::new(self.status.clone()).map(Ok),
        )))
    }
}
