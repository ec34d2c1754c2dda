//! A webhook's server, which answers as a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::scene::wait_for;

/// What the server does with a request.
pub(crate) enum Reply {
    /// A status line's end, and headers.
    Status(&'static str, String),
    /// Says nothing until the server is dropped.
    Hang,
    /// Closes the connection.
    Close,
}

pub(crate) fn status(line: &'static str) -> Reply {
    Reply::Status(line, String::new())
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

type Replies = Arc<Mutex<dyn FnMut(&Request) -> Reply + Send>>;

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    /// Dropped with the server: then hanging requests end.
    _open: mpsc::Sender<()>,
}

impl Server {
    pub(crate) fn new(reply: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (open, closed) = mpsc::channel();
        let closed = Arc::new(Mutex::new(closed));
        let reply: Replies = Arc::new(Mutex::new(reply));
        let (log, stop) = (Arc::clone(&seen), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (log, reply, closed) = (Arc::clone(&log), Arc::clone(&reply), Arc::clone(&closed));
                thread::spawn(move || answer(stream.unwrap(), &log, &reply, &closed));
            }
        });
        Self {
            address,
            seen,
            stopped,
            _open: open,
        }
    }

    /// With a token in every place where there may be one.
    pub(crate) fn url(&self) -> String {
        format!("http://user:SECRET@{}/SECRET?token=SECRET", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|request| text(&request.body["message"]))
            .collect()
    }

    pub(crate) fn wait(&self, count: usize) -> Vec<Request> {
        wait_for(&format!("{count} requests"), || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

/// One request; nothing when the client gave up in the middle of it.
fn answer(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    reply: &Mutex<dyn FnMut(&Request) -> Reply + Send>,
    closed: &Mutex<mpsc::Receiver<()>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = Request {
        line: line.trim().to_owned(),
        body: serde_json::from_slice(&body).ok()?,
        at: Instant::now(),
    };
    // The reply is chosen before the request is seen: a test that waits for the request may change what comes next.
    let reply = (*reply.lock().ok()?)(&request);
    log.lock().ok()?.push(request);
    let mut stream = stream;
    match reply {
        Reply::Status(line, headers) => write!(
            stream,
            "HTTP/1.1 {line}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
        )
        .ok(),
        Reply::Hang => {
            let _ = closed.lock().ok()?.recv();
            None
        }
        Reply::Close => None,
    }
}

/// Replies one after the other, then 204 for ever.
pub(crate) fn in_turn(replies: Vec<Reply>) -> impl FnMut(&Request) -> Reply + Send {
    let mut replies = replies.into_iter();
    move |_| replies.next().unwrap_or_else(|| status("204 No Content"))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
