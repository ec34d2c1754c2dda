//! `visor.v1` on `visor.sock`: the status comes from the newest snapshot, only orders go through the loop.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use proto::pb::visor::v1::visor_service_client::VisorServiceClient;
use proto::pb::visor::v1::visor_service_server::{VisorService, VisorServiceServer};
use proto::pb::visor::v1::{
    GetStatusRequest, OrderRequest, OrderResponse, Status, WatchStatusRequest, order_request,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response};
use tower::service_fn;
use visor_planner::{Height, Order, Version};

use crate::path_watch::PathWatch;
use crate::run_config::is_version;

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

/// Answers until the end is announced, and then what is being answered. A socket that somebody removes is made again.
pub(crate) async fn serve(
    path: PathBuf,
    listener: UnixListener,
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Ticket>,
    ending: oneshot::Receiver<()>,
) {
    let service = VisorServiceServer::new(Service { status, orders });
    // Without a watch the next visor makes it again.
    let watch = PathWatch::new(&path).ok();
    let door = Door {
        path,
        listener,
        watch,
    };
    let connections = stream::unfold(door, |mut door| async {
        let connection = door.next().await;
        Some((connection, door))
    });
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(connections, async {
            let _ = ending.await;
        })
        .await;
    if let Err(error) = served {
        tracing::warn!(error = %crate::cli::chain(&error), "status is not served any more");
    }
}

/// The socket that is listened on, at its path.
struct Door {
    path: PathBuf,
    listener: UnixListener,
    watch: Option<PathWatch>,
}

impl Door {
    async fn next(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(connection, _)| connection),
                () = changed(&mut self.watch) => self.look(),
            }
        }
    }

    /// Connections that are open stay so.
    fn look(&mut self) {
        while fs::symlink_metadata(&self.path).is_err() {
            match bind(&self.path) {
                Ok(listener) => self.listener = listener,
                Err(error) => {
                    tracing::error!(error = %crate::cli::chain(&error), "visor's socket was removed and cannot be made again");
                    return;
                }
            }
            tracing::warn!(visor.socket = %self.path.display(), "visor's socket was removed; it is made again");
            // It knows the new file from its beginning; one that was removed before is seen by the next look here.
            self.watch = PathWatch::new(&self.path).ok();
        }
    }
}

async fn changed(watch: &mut Option<PathWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
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

struct Service {
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Ticket>,
}

/// An operator's order on its way to the loop.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// What is ordered.
    pub(crate) order: Order,
    /// Where the answer goes: what was done, or why nothing was.
    pub(crate) answer: oneshot::Sender<Result<String, String>>,
}

fn order(request: OrderRequest) -> Result<Order, tonic::Status> {
    use order_request::Order as Asked;
    let invalid = |text: String| tonic::Status::invalid_argument(text);
    Ok(match request.order {
        None => return Err(invalid("expected an order, found none".to_owned())),
        Some(Asked::Stage(_)) => Order::StageNow,
        Some(Asked::Skip(skip)) => Order::Skip(Height(skip.height)),
        Some(Asked::Unskip(unskip)) => Order::Unskip(Height(unskip.height)),
        Some(Asked::UpgradeAt(wanted)) => {
            let version = wanted.version.strip_prefix('v').unwrap_or(&wanted.version);
            if !is_version(version) {
                return Err(invalid(format!(
                    "expected a version such as 1.2.0, found {:?}",
                    wanted.version
                )));
            }
            Order::UpgradeAt {
                height: Height(wanted.height),
                version: Version(version.to_owned()),
            }
        }
        Some(Asked::Pause(_)) => Order::Pause,
        Some(Asked::Resume(_)) => Order::Resume,
        Some(Asked::StopNode(_)) => Order::StopNode,
        Some(Asked::StartNode(_)) => Order::StartNode,
        Some(Asked::Rollback(_)) => Order::Rollback,
        Some(Asked::SelfRestart(_)) => Order::SelfRestart,
    })
}

#[tonic::async_trait]
impl VisorService for Service {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<Status>, tonic::Status> {
        Ok(Response::new(self.status.borrow().clone()))
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderResponse>, tonic::Status> {
        let order = order(request.into_inner())?;
        let (answer, answered) = oneshot::channel();
        let gone = || tonic::Status::unavailable("visor is ending");
        self.orders
            .send(Ticket { order, answer })
            .await
            .map_err(|_| gone())?;
        match answered.await {
            Ok(Ok(message)) => Ok(Response::new(OrderResponse { message })),
            Ok(Err(reason)) => Err(tonic::Status::failed_precondition(reason)),
            Err(_) => Err(gone()),
        }
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
