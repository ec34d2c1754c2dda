//! The admin RPC of a Vega core, as its client: JSON-RPC in its first version over HTTP/1.1 over a UNIX socket.
//!
//! Nothing that comes over the socket is trusted: every wait has a limit and every answer a largest size (W-32), and the tag of a
//! release, which will be the name of a folder, has been checked before anybody sees it (W-53).

mod answer;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use tokio::net::UnixStream;
use tokio::time::timeout;

use self::answer::Senseless;
pub(super) use self::answer::{AcceptedRelease, UpgradeStatus, is_release_tag};
use super::http::{Connection, HttpError};

/// The largest answer. A real one has some 150 bytes.
const MAX_ANSWER: usize = 64 << 10;
/// So much of an answer that makes no sense is shown.
const SHOWN: usize = 120;
/// On a UNIX socket this is only ever the time that the core's program is not scheduled.
const CONNECT: Duration = Duration::from_secs(1);
/// The core answers from memory. One that needs as long as this is as good as hung, and asked anew.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the core may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To accept a connection.
    pub(super) connect: Duration,
    /// To answer a question.
    pub(super) answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: CONNECT,
            answer: ANSWER,
        }
    }
}

/// Asks one core; keeps the connection between questions.
#[derive(Debug)]
pub(super) struct AdminRpc {
    socket: PathBuf,
    http_path: String,
    limits: Limits,
    /// Who may own the socket.
    trusted: [u32; 2],
    open: Option<Connection>,
    asked: u64,
}

impl AdminRpc {
    /// Connects when it is asked for the first time. `http_path` as the run configuration has it.
    pub(super) fn new(socket: PathBuf, http_path: String, limits: Limits) -> Self {
        Self {
            socket,
            http_path,
            limits,
            trusted: [0, rustix::process::geteuid().as_raw()],
            open: None,
            asked: 0,
        }
    }

    /// Asks for the status of the upgrade. May be cancelled; the next question takes a new connection then.
    ///
    /// # Errors
    /// When no answer comes, or one that cannot be believed.
    pub(super) async fn upgrade_status(&mut self) -> Result<UpgradeStatus, RpcError> {
        if let Some(kept) = self.open.take() {
            match self.ask(kept).await {
                // The core was started again, or does not keep connections: that is no failure yet.
                Err(RpcError::Http(HttpError::Broken(_))) => {}
                answer => return answer,
            }
        }
        let fresh = self.connect().await?;
        self.ask(fresh).await
    }

    async fn connect(&mut self) -> Result<Connection, RpcError> {
        let stream = match timeout(self.limits.connect, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => {
                return Err(RpcError::NotListening {
                    socket: self.socket.clone(),
                    source,
                });
            }
            Err(_) => {
                return Err(RpcError::SlowConnect {
                    limit: self.limits.connect,
                });
            }
        };
        self.check_owner(&stream)?;
        Connection::open(stream).await.map_err(RpcError::Http)
    }

    /// While the core is down anybody could make a socket in a folder that all may write to, and order an upgrade (W-53).
    fn check_owner(&self, stream: &UnixStream) -> Result<(), RpcError> {
        let failed = |source| RpcError::NotListening {
            socket: self.socket.clone(),
            source,
        };
        let file = std::fs::metadata(&self.socket).map_err(failed)?.uid();
        let process = stream.peer_cred().map_err(failed)?.uid();
        match [file, process]
            .into_iter()
            .find(|uid| !self.trusted.contains(uid))
        {
            None => Ok(()),
            Some(found) => Err(RpcError::Owner {
                socket: self.socket.clone(),
                ours: self.trusted[1],
                found,
            }),
        }
    }

    async fn ask(&mut self, mut connection: Connection) -> Result<UpgradeStatus, RpcError> {
        self.asked += 1;
        let id = self.asked;
        let question = format!(r#"{{"method":"protocolupgrade.UpgradeStatus","params":[null],"id":{id}}}"#);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.http_path)
            .header(HOST, "unix")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(question)))
            .ok()
            .filter(|_| self.http_path.starts_with('/'))
            .ok_or_else(|| RpcError::Path {
                http_path: self.http_path.clone(),
            })?;
        let answer = match timeout(self.limits.answer, connection.exchange(request, MAX_ANSWER)).await {
            Ok(answer) => answer.map_err(RpcError::Http)?,
            Err(_) => {
                return Err(RpcError::Silent {
                    limit: self.limits.answer,
                });
            }
        };
        // Whatever it says: the exchange itself is complete.
        self.open = Some(connection);
        if answer.status != hyper::StatusCode::OK {
            return Err(RpcError::Status {
                code: answer.status.as_u16(),
                said: shown(&answer.body),
            });
        }
        answer::read(&answer.body, id).map_err(RpcError::Senseless)
    }

    /// Where the core is expected.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The beginning of what was said.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    /// Nobody is there.
    #[error("connect to {socket}", socket = socket.display())]
    NotListening {
        /// Where.
        socket: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody is there and does not take the connection.
    #[error("connect: the core did not accept within {limit:?}")]
    SlowConnect {
        /// How long was waited.
        limit: Duration,
    },
    /// It may be anybody.
    #[error(
        "believe {socket}: expected it to belong to root or to the user {ours}, found the user {found}; stop that program, \
         and set [Admin.Server] SocketPath to a folder that only the core's user may write to",
        socket = socket.display()
    )]
    Owner {
        /// Where.
        socket: PathBuf,
        /// The user id that visor runs as.
        ours: u32,
        /// The user id of the file, or of the process behind it.
        found: u32,
    },
    /// The configured path is none.
    #[error(
        "ask {http_path:?}: expected the path of [Admin.Server] HTTPPath, such as /rpc (vega.rpc.httpPath)"
    )]
    Path {
        /// As configured.
        http_path: String,
    },
    /// It took the question and said nothing.
    #[error("read the answer: the core said nothing within {limit:?}")]
    Silent {
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke, or it speaks no HTTP.
    #[error(transparent)]
    Http(HttpError),
    /// The server refused the question.
    #[error("ask the core: expected the HTTP status 200, found {code}: {said:?}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// The beginning of what it said.
        said: String,
    },
    /// It answered, and the answer cannot be used.
    #[error(transparent)]
    Senseless(Senseless),
}

impl RpcError {
    /// The core lives and answers as it should; what it says about the upgrade makes no sense. It must not be restarted for that:
    /// it may have halted, and its halt is only in its memory.
    pub(super) fn is_of_a_live_core(&self) -> bool {
        match self {
            Self::Senseless(senseless) => senseless.is_of_a_live_core(),
            Self::NotListening { .. }
            | Self::SlowConnect { .. }
            | Self::Owner { .. }
            | Self::Path { .. }
            | Self::Silent { .. }
            | Self::Http(_)
            | Self::Status { .. } => false,
        }
    }

    /// Nobody listens.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotListening { .. })
    }

    /// Nothing that an operator wonders about while a core starts or ends.
    pub(super) fn is_usual(&self) -> bool {
        match self {
            Self::NotListening { .. } => true,
            Self::Http(HttpError::Broken(error)) => !error.is_parse(),
            Self::SlowConnect { .. }
            | Self::Owner { .. }
            | Self::Path { .. }
            | Self::Silent { .. }
            | Self::Http(HttpError::TooLarge { .. })
            | Self::Status { .. }
            | Self::Senseless(_) => false,
        }
    }
}
