//! The admin RPC of a core for tests: a real server on a real socket that says just what it is told to say.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What it says; `$id` stands for the id of the question.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A complete HTTP answer.
    Http {
        status: String,
        kind: &'static str,
        body: String,
    },
    /// The same as the last of its connection, by which it says that it is.
    LastOfConnection(String),
    /// Just these bytes, and the end of the connection.
    Raw(String),
    /// Nothing, for ever.
    Silent,
    /// The head of an answer, then nothing.
    HeadAndSilent,
    /// The end of the connection.
    Closes,
    /// A body that does not end.
    Endless,
    /// Headers that do not end.
    EndlessHead,
}

impl Reply {
    pub(super) fn json(body: &str) -> Self {
        Self::Http {
            status: "200 OK".to_owned(),
            kind: "application/json; charset=utf-8",
            body: body.to_owned(),
        }
    }

    pub(super) fn text(status: &str, body: &str) -> Self {
        Self::Http {
            status: status.to_owned(),
            kind: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }

    /// A well-formed status; `info` is JSON.
    pub(super) fn status(info: &str, ready: bool) -> Self {
        Self::json(&format!(
            r#"{{"result":{{"AcceptedReleaseInfo":{info},"ReadyToUpgrade":{ready}}},"error":null,"id":$id}}"#
        ))
    }
}

/// What it was asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) at: Instant,
    pub(super) line: String,
    pub(super) headers: String,
    pub(super) body: String,
}

#[derive(Debug)]
struct State {
    reply: Reply,
    questions: Vec<Question>,
    connections: usize,
}

/// One server; its end is the end of every connection.
#[derive(Debug)]
pub(super) struct Core {
    _dir: Option<TempDir>,
    pub(super) socket: PathBuf,
    state: Arc<Mutex<State>>,
    server: Option<JoinHandle<()>>,
}

impl Core {
    /// On a socket of its own.
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut core = Self::stopped(dir.path().join("vega.sock"));
        core._dir = Some(dir);
        core.restart();
        core
    }

    /// One that is yet to be started.
    pub(super) fn stopped(socket: PathBuf) -> Self {
        Self {
            _dir: None,
            socket,
            state: Arc::new(Mutex::new(State {
                reply: Reply::status("null", false),
                questions: Vec::new(),
                connections: 0,
            })),
            server: None,
        }
    }

    /// Removes the socket and makes it again, as a core does at its start.
    pub(super) fn restart(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).unwrap();
        self.server = Some(tokio::spawn(serve(listener, Arc::clone(&self.state))));
    }

    /// Ends it; the file of the socket stays.
    pub(super) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    pub(super) fn answer(&self, reply: Reply) {
        self.state.lock().unwrap().reply = reply;
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        self.state.lock().unwrap().questions.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Waits until so many questions have come.
    pub(super) async fn asked(&self, count: usize) -> Vec<Question> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let questions = self.questions();
            if questions.len() >= count {
                return questions;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {count} questions",
                questions.len()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: UnixListener, state: Arc<Mutex<State>>) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().unwrap().connections += 1;
        open.spawn(converse(stream, Arc::clone(&state)));
    }
}

async fn converse(mut stream: UnixStream, state: Arc<Mutex<State>>) {
    while let Some(question) = read(&mut stream).await {
        let (_, id) = question.body.rsplit_once(':').unwrap_or_default();
        let id = id.trim_end_matches('}').to_owned();
        let reply = {
            let mut state = state.lock().unwrap();
            state.questions.push(question);
            state.reply.clone()
        };
        let answer = match reply {
            Reply::Http { status, kind, body } => {
                let body = body.replace("$id", &id);
                format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nx-content-type-options: nosniff\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Reply::LastOfConnection(body) => {
                let body = body.replace("$id", &id);
                let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            Reply::Raw(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
            Reply::Silent => return std::future::pending().await,
            Reply::HeadAndSilent => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                return std::future::pending().await;
            }
            Reply::Closes => return,
            Reply::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await;
                while stream.write_all(&[b' '; 4096]).await.is_ok() {}
                return;
            }
            Reply::EndlessHead => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
                while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut UnixStream) -> Option<Question> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let headers = headers.to_ascii_lowercase();
    let length = headers
        .lines()
        .find_map(|header| header.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Question {
        at: Instant::now(),
        line: line.to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
