//! `node.v1` for the visor of this host, on a UNIX socket that only this user can open.
//!
//! Reports are made from the newest committed state, so the first one can be given before consensus has a single peer.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use governance::State;
use proto::pb::governance::v1 as pb_governance;
use proto::pb::node::v1 as pb;
use proto::pb::node::v1::node_service_server::{NodeService, NodeServiceServer};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::handle::{NodeHandle, Snapshot};
use crate::rpc::{certificates, queries};

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Somebody answers on it.
    #[error("another node serves on {}: only one may run in a home; stop it first", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{} is no socket; move it away or set [visor] socket in config.toml", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot serve on {}; check [visor] socket in config.toml", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Binds the socket with mode 0600; one that a killed node left behind is replaced.
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, LinkError> {
    let failed = |source| LinkError::Io {
        path: path.to_path_buf(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) => {
            if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
                return Err(LinkError::NoSocket {
                    path: path.to_path_buf(),
                });
            }
            match UnixStream::connect(path)
                .await
                .map_err(|error| (error.kind(), error))
            {
                // Nobody listens: a killed node has left it.
                Err((io::ErrorKind::ConnectionRefused, _)) => fs::remove_file(path).map_err(failed)?,
                // Somebody listens, perhaps too busy to answer.
                Ok(_) | Err((io::ErrorKind::WouldBlock, _)) => {
                    return Err(LinkError::InUse {
                        path: path.to_path_buf(),
                    });
                }
                Err((_, error)) => return Err(failed(error)),
            }
        }
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: UnixListener, node: NodeHandle) {
    let service = NodeServiceServer::new(Link { node });
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the link to visor ended");
    }
}

struct Link {
    node: NodeHandle,
}

type Reports = Pin<Box<dyn Stream<Item = Result<pb::NodeReport, Status>> + Send>>;

#[tonic::async_trait]
impl NodeService for Link {
    type WatchReportsStream = Reports;

    async fn get_report(&self, _: Request<pb::GetReportRequest>) -> Result<Response<pb::NodeReport>, Status> {
        Ok(Response::new(report(&self.node, &self.node.snapshot())))
    }

    async fn watch_reports(&self, _: Request<pb::WatchReportsRequest>) -> Result<Response<Reports>, Status> {
        let node = self.node.clone();
        let reports =
            WatchStream::new(self.node.subscribe()).map(move |snapshot| Ok(report(&node, &snapshot)));
        Ok(Response::new(Box::pin(reports)))
    }

    async fn get_certificate(
        &self,
        request: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        let snapshot = self.node.snapshot();
        let proposal = queries::by_id(&snapshot.state, &request.get_ref().proposal_id)?;
        Ok(Response::new(pb::GetCertificateResponse {
            certificate: certificates::certificate(&self.node, &snapshot, proposal)?,
        }))
    }
}

fn report(node: &NodeHandle, snapshot: &Snapshot) -> pb::NodeReport {
    let state = &snapshot.state;
    pb::NodeReport {
        chain_id: state.chain_id().to_string(),
        version: node.release().to_string(),
        height: snapshot.height.0,
        upgrades: upgrades(state),
        halt: node.halt_at(snapshot).as_ref().map(pb_governance::Halt::from),
        pid: std::process::id(),
    }
}

fn upgrades(state: &State) -> Vec<pb::AnnouncedUpgrade> {
    state
        .live_proposals()
        .filter_map(|proposal| {
            Some(pb::AnnouncedUpgrade::from((
                &proposal.id,
                proposal.upgrade()?,
                proposal.phase,
            )))
        })
        .collect()
}
