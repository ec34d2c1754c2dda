//! How far the chain is: the height of CometBFT's block store, as its RPC in the core tells it.
//!
//! The admin RPC knows no heights. With them visor asks it rarely while the height of an upgrade is far; without them (no answer, no
//! configuration) everything works, with more questions.
//!
//! A block stands in the store before it is executed: at the halt the store is at H + 1.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HOST;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::args;
use super::http::Connection;
use crate::block_rate::BlockRate;

/// Not more often than the admin RPC is asked far from any height.
const FAR: Duration = Duration::from_secs(1);
/// Near a height: what stands in the store there says that H is committed, before the core says that it is ready. A core that dies
/// in between must not be started again (W-36), so that time is to be short.
const NEAR: Duration = Duration::from_millis(100);
/// It is on this host. While the core halts it may hang; then the admin RPC is asked more often.
const LIMIT: Duration = Duration::from_secs(2);
/// The answer has some 1 to 4 KiB.
const MAX_ANSWER: usize = 256 << 10;
/// The core's configuration has some 10 to 20 KiB.
const MAX_CONFIG: u64 = 1 << 20;
/// What Vega and CometBFT have as their default.
const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:26657";
/// A height that is older than this says little about the next blocks.
const FRESH: Duration = Duration::from_secs(5);
/// The fastest blocks that a chain is believed to make before two of them were seen.
const FASTEST: Duration = Duration::from_millis(10);

/// The heights of the store, for ever; asked for only while it is polled, at most once a second far from the height of an upgrade. What
/// goes wrong is left out.
pub(super) fn heights(core_arguments: Vec<String>, is_near: Arc<AtomicBool>) -> BoxStream<'static, u64> {
    let source = Source {
        core_arguments,
        is_near,
        open: None,
        due: Instant::now(),
        told: false,
    };
    Box::pin(stream::unfold(source, |mut source| async move {
        let height = source.next().await;
        Some((height, source))
    }))
}

struct Source {
    core_arguments: Vec<String>,
    is_near: Arc<AtomicBool>,
    open: Option<(Connection, String)>,
    due: Instant,
    told: bool,
}

impl Source {
    async fn next(&mut self) -> u64 {
        loop {
            sleep_until(self.due).await;
            let began = Instant::now();
            self.due = began + FAR;
            let reason = match timeout(LIMIT, self.ask()).await {
                Ok(Ok(height)) => {
                    self.told = false;
                    if self.is_near.load(Ordering::Relaxed) {
                        self.due = began + NEAR;
                    }
                    return height;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {LIMIT:?}"),
            };
            if !self.told {
                tracing::debug!(height.problem = %reason, "CometBFT tells no height; near upgrades cannot be told from far ones");
                self.told = true;
            }
        }
    }

    /// The connection is kept when all went well.
    async fn ask(&mut self) -> Result<u64, String> {
        let (mut connection, host) = match self.open.take() {
            Some(open) => open,
            None => connect(&address(&self.core_arguments)).await?,
        };
        let request = Request::get("/status")
            .header(HOST, &host)
            .body(Full::<Bytes>::default())
            .map_err(|error| error.to_string())?;
        let answer = connection
            .exchange(request, MAX_ANSWER)
            .await
            .map_err(|error| crate::cli::chain(&error))?;
        if answer.status != hyper::StatusCode::OK {
            return Err(format!("expected the HTTP status 200, found {}", answer.status));
        }
        let height = height(&answer.body).ok_or("expected result.sync_info.latest_block_height")?;
        self.open = Some((connection, host));
        Ok(height)
    }
}

fn height(body: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let found = answer.pointer("/result/sync_info/latest_block_height")?;
    found.as_u64().or_else(|| found.as_str()?.parse().ok())
}

async fn connect(address: &str) -> Result<(Connection, String), String> {
    let failed = |error: std::io::Error| format!("connect to {address}: {error}");
    let (scheme, rest) = address.split_once("://").unwrap_or(("tcp", address));
    match scheme {
        "tcp" | "http" => {
            let rest = rest.trim_end_matches('/');
            let stream = TcpStream::connect(rest).await.map_err(failed)?;
            Ok((open(stream).await?, rest.to_owned()))
        }
        "unix" => {
            let stream = UnixStream::connect(rest).await.map_err(failed)?;
            Ok((open(stream).await?, "unix".to_owned()))
        }
        other => Err(format!(
            "connect to {address}: expected tcp:// or unix://, found {other}://"
        )),
    }
}

async fn open<S>(stream: S) -> Result<Connection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Connection::open(stream)
        .await
        .map_err(|error| crate::cli::chain(&error))
}

/// Where the core that was started with these arguments serves CometBFT's RPC: read at each connect, because the operator may
/// change it between two starts.
fn address(core_arguments: &[String]) -> String {
    config_file(core_arguments)
        .and_then(|path| address_in(&path))
        .unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())
}

fn config_file(core_arguments: &[String]) -> Option<PathBuf> {
    if let Some(home) = args::value(core_arguments, args::HOME).filter(|home| !home.is_empty()) {
        return Some(Path::new(home).join("config/node/config.toml"));
    }
    let configs = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
    let configs = match configs {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(configs.join("vega/node/config.toml"))
}

fn address_in(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_CONFIG).read_to_string(&mut text).ok()?;
    let config: toml::Table = text.parse().ok()?;
    let mut value = toml::Value::Table(config);
    for name in ["Blockchain", "Tendermint", "RPCAddr"] {
        let toml::Value::Table(mut table) = value else {
            return None;
        };
        let exact = table.remove(name);
        let other = || table.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        value = exact.or_else(|| other().map(|(_, value)| value))?;
    }
    let address = value.as_str()?.trim();
    (!address.is_empty()).then(|| address.to_owned())
}

/// The heights seen, and how soon another will be reached.
#[derive(Debug, Default)]
pub(super) struct Progress {
    latest: Option<Seen>,
    /// Time per block between the last two heights that were seen.
    last_pace: Option<Duration>,
    rate: BlockRate,
}

/// A height of the store.
#[derive(Debug, Clone, Copy)]
struct Seen {
    height: u64,
    first: Instant,
    last: Instant,
}

impl Progress {
    /// Takes in a height of the store.
    pub(super) fn observe(&mut self, height: u64, now: Instant) {
        let first = match self.latest {
            Some(seen) if seen.height == height => seen.first,
            Some(seen) => {
                let blocks = height.checked_sub(seen.height);
                let blocks = blocks.and_then(|blocks| u32::try_from(blocks).ok());
                // Set back, or far ahead at once: nothing is known of the next blocks.
                self.last_pace = blocks.map(|blocks| (now - seen.first) / blocks);
                now
            }
            None => now,
        };
        self.rate.observe(height, now.into_std(), 0);
        self.latest = Some(Seen {
            height,
            first,
            last: now,
        });
    }

    /// The last height of the store; `None` before the first.
    pub(super) fn height(&self) -> Option<u64> {
        self.latest.map(|seen| seen.height)
    }

    /// The least time until the block of this height is made; `None` when that cannot be known.
    pub(super) fn time_to(&self, height: u64, now: Instant) -> Option<Duration> {
        let seen = self.latest.filter(|seen| now - seen.last <= FRESH)?;
        let blocks = u32::try_from(height.saturating_sub(seen.height)).unwrap_or(u32::MAX);
        // A node that catches up is faster now than in the mean.
        let paces = [self.rate.interval(), self.last_pace];
        let pace = paces.into_iter().flatten().min().unwrap_or(FASTEST);
        Some(pace.saturating_mul(blocks).saturating_sub(now - seen.last))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn core_home(address: &str) -> (tempfile::TempDir, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("config/node")).unwrap();
        let text = format!(
            "Level = \"Info\"\n[Blockchain]\n  Level = \"Info\"\n[Blockchain.Tendermint]\n  RPCAddr = {address:?}\n"
        );
        fs::write(dir.path().join("config/node/config.toml"), text).unwrap();
        let home = dir.path().to_string_lossy().into_owned();
        let arguments = ["node", "--home", &home].map(str::to_owned);
        (dir, arguments.to_vec())
    }

    #[test]
    fn the_address_is_that_of_the_cores_own_configuration() {
        let (dir, arguments) = core_home("tcp://127.0.0.1:12345");
        assert_eq!(address(&arguments), "tcp://127.0.0.1:12345");
        let joined = vec![format!("--home={}", dir.path().display())];
        assert_eq!(address(&joined), "tcp://127.0.0.1:12345");
        let path = dir.path().join("config/node/config.toml");
        for (text, expected) in [
            (
                "[blockchain.tendermint]\nrpcaddr = \"unix:///run/x\"\n",
                "unix:///run/x",
            ),
            ("[Blockchain.Tendermint]\n", DEFAULT_ADDRESS),
            ("[Blockchain.Tendermint]\nRPCAddr = \"\"\n", DEFAULT_ADDRESS),
            ("[Blockchain.Tendermint]\nRPCAddr = 5\n", DEFAULT_ADDRESS),
            ("Blockchain = 5\n", DEFAULT_ADDRESS),
            ("[Blockchain\n", DEFAULT_ADDRESS),
            ("", DEFAULT_ADDRESS),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(address(&arguments), expected, "{text}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(address(&arguments), DEFAULT_ADDRESS);
    }

    #[test]
    fn the_height_is_a_text_or_a_number_and_anything_else_is_none() {
        let answer = |height: &str| {
            height_of(&format!(
                r#"{{"jsonrpc":"2.0","id":-1,"result":{{"sync_info":{{"latest_block_height":{height}}}}}}}"#
            ))
        };
        fn height_of(text: &str) -> Option<u64> {
            super::height(text.as_bytes())
        }
        assert_eq!(answer("\"12432200\""), Some(12_432_200));
        assert_eq!(answer("7"), Some(7));
        for odd in ["null", "\"\"", "\"-1\"", "-1", "\"1.5\"", "{}"] {
            assert_eq!(answer(odd), None, "{odd}");
        }
        for odd in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"result":{}}"#,
            r#"{"error":{"code":-32603}}"#,
        ] {
            assert_eq!(height_of(odd), None, "{odd}");
        }
    }

    /// Says what it is told to, and counts how often it is asked.
    async fn serve(listener: TcpListener, says: Arc<Mutex<Option<String>>>, asked: Arc<Mutex<Vec<Instant>>>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (says, asked) = (Arc::clone(&says), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    assert!(head.starts_with(b"GET /status HTTP/1.1\r\n"));
                    head.clear();
                    asked.lock().unwrap().push(Instant::now());
                    let Some(body) = says.lock().unwrap().clone() else {
                        return std::future::pending().await;
                    };
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn w_35_heights_come_once_a_second_and_a_silent_or_odd_server_is_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_dir, arguments) = core_home(&format!("tcp://{}", listener.local_addr().unwrap()));
        let answer = |height: u64| {
            Some(format!(
                r#"{{"result":{{"sync_info":{{"latest_block_height":"{height}"}}}}}}"#
            ))
        };
        let says = Arc::new(Mutex::new(answer(5)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(listener, Arc::clone(&says), Arc::clone(&asked)));
        let is_near = Arc::new(AtomicBool::new(false));
        let mut heights = heights(arguments, Arc::clone(&is_near));
        assert_eq!(heights.next().await, Some(5));
        *says.lock().unwrap() = Some("<html>".to_owned());
        let none = timeout(Duration::from_millis(1_500), heights.next()).await;
        assert!(none.is_err());
        *says.lock().unwrap() = None;
        let none = timeout(Duration::from_millis(1_500), heights.next()).await;
        assert!(none.is_err());
        *says.lock().unwrap() = answer(6);
        assert_eq!(timeout(PATIENCE, heights.next()).await.unwrap(), Some(6));
        let count = {
            let asked = asked.lock().unwrap();
            let shortest = asked.windows(2).map(|two| two[1] - two[0]).min().unwrap();
            assert!(shortest >= Duration::from_millis(900), "{shortest:?}");
            asked.len()
        };
        is_near.store(true, Ordering::Relaxed);
        for _ in 0..5 {
            heights.next().await;
        }
        let asked = asked.lock().unwrap();
        let longest = asked[count..].windows(2).map(|two| two[1] - two[0]);
        assert!(longest.min().unwrap() < Duration::from_millis(500));
    }
}
