//! The listener and its limits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use proto::pb::visor::v1::Status;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{health, metrics};
use crate::heartbeat::Pulse;

/// Scrapers, probes and a curious operator; others wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// One connection carries one request. A scrape over a slow line is done in a fraction of this.
const CONNECTION: Duration = Duration::from_secs(10);
/// Between the connection and the end of the request's header.
const HEADER: Duration = Duration::from_secs(5);
/// A scraper sends about ten headers of less than 1 KiB together.
const MAX_HEADERS: usize = 64;
/// The least that the HTTP library allows is 8 KiB; a longer request is refused.
const MAX_BUFFER: usize = 16 << 10;
/// Before another connection is accepted when the system had none to give (no file descriptors).
const PAUSE: Duration = Duration::from_secs(1);
/// What [`metrics::text`] writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "listen on {address} for metrics and health: free this address, or change http.listen in config.toml (\"\" turns it off)"
)]
pub(crate) struct HttpError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// An address that is listened on, and does not answer yet.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
}

/// Answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on the address.
///
/// # Errors
/// The system's answer.
pub(crate) async fn bind(address: SocketAddr) -> Result<Listener, HttpError> {
    let failed = |source| HttpError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(http.address = %bound, "serving /metrics, /healthz and /readyz");
    Ok(Listener { listener })
}

impl Listener {
    /// Begins to answer.
    pub(crate) fn serve(self, status: watch::Receiver<Status>, pulse: Pulse) -> Server {
        let shared = Arc::new(Shared { status, pulse });
        Server {
            task: tokio::spawn(accept(self.listener, router(shared))),
        }
    }
}

struct Shared {
    status: watch::Receiver<Status>,
    pulse: Pulse,
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Nobody closes it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    // What a client does wrong is its own business.
                    let _ = timeout(CONNECTION, answer(stream, router)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(error = %error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        // A connection that is kept costs memory between two scrapes and is no faster on the way.
        .keep_alive(false);
    let _ = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .with_state(shared)
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    match metrics::text(&shared.status) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        // Writing to a string does not fail.
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn show_health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.pulse.feel().await {
        Ok(()) => text(StatusCode::OK, "alive"),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

async fn show_readiness(State(shared): State<Arc<Shared>>) -> Response {
    // A snapshot of a loop that hangs says nothing.
    if let Err(error) = shared.pulse.feel().await {
        return text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    let reasons = health::not_ready(&shared.status.borrow());
    if reasons.is_empty() {
        text(StatusCode::OK, "ready")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n"))
    }
}

fn text(code: StatusCode, lines: &str) -> Response {
    let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")];
    (code, headers, format!("{lines}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::heartbeat::{Heartbeat, heartbeat};
    use crate::service_manager::Watchdog;

    struct Scene {
        address: SocketAddr,
        heartbeat: Heartbeat,
        status: watch::Sender<Status>,
        _server: Server,
    }

    async fn serve() -> Scene {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.listener.local_addr().unwrap();
        let status = watch::Sender::new(Status::default());
        let (pulse, heartbeat) = heartbeat(Watchdog::off(), Duration::from_millis(100));
        let _server = listener.serve(status.subscribe(), pulse);
        Scene {
            address,
            heartbeat,
            status,
            _server,
        }
    }

    async fn send(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that refuses early may have closed already.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        send(address, &format!("GET {path} HTTP/1.1\r\nhost: visor\r\n\r\n")).await
    }

    async fn alive(scene: &mut Scene, path: &str) -> String {
        let address = scene.address;
        let heartbeat = &mut scene.heartbeat;
        let turns = async {
            loop {
                heartbeat.beat().await;
            }
        };
        tokio::select! {
            answer = get(address, path) => answer,
            () = turns => String::new(),
        }
    }

    #[tokio::test]
    async fn health_is_the_loops_own_word() {
        let mut scene = serve().await;
        let answer = alive(&mut scene, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nalive\n"), "{answer}");
        // The same server, while the loop does not take its turns.
        for path in ["/healthz", "/readyz"] {
            let answer = get(scene.address, path).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(
                answer.ends_with("visor's loop has not answered within 100 ms\n"),
                "{answer}"
            );
        }
        // Metrics are a snapshot and need no loop.
        assert!(
            get(scene.address, "/metrics")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        drop(scene.heartbeat);
        assert!(
            get(scene.address, "/healthz")
                .await
                .ends_with("visor is ending\n")
        );
    }

    #[tokio::test]
    async fn readiness_follows_the_status() {
        let mut scene = serve().await;
        let answer = alive(&mut scene, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        scene.status.send_replace(Status {
            phase: proto::pb::visor::v1::Phase::Running.into(),
            node_connected: true,
            ..Status::default()
        });
        let answer = alive(&mut scene, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    }

    #[tokio::test]
    async fn requests_are_bounded() {
        let scene = serve().await;
        assert!(get(scene.address, "/").await.starts_with("HTTP/1.1 404 "));
        let posted = "POST /metrics HTTP/1.1\r\nhost: visor\r\ncontent-length: 0\r\n\r\n";
        assert!(send(scene.address, posted).await.starts_with("HTTP/1.1 405 "));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * MAX_BUFFER));
        let answer = send(scene.address, &long).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        let many = format!(
            "GET /metrics HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        let answer = send(scene.address, &many).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
        assert!(
            get(scene.address, "/metrics")
                .await
                .contains("\r\nconnection: close\r\n")
        );
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_nobody_out_for_ever() {
        let scene = serve().await;
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            silent.push(TcpStream::connect(scene.address).await.unwrap());
        }
        let address = scene.address;
        let mut waiting = tokio::spawn(async move { get(address, "/metrics").await });
        assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        drop(silent);
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_what_to_do() {
        let scene = serve().await;
        let error = crate::cli::chain(&bind(scene.address).await.unwrap_err());
        for part in [&scene.address.to_string(), "http.listen", "in use"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
