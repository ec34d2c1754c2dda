//! What a node says of itself at `GET /status` of its REST server.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the whole answer. A node answers from memory; under load it takes a second.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// With several hundred peers the answer has some 100 KB.
const MAX_BYTES: usize = 4 << 20;

/// The part of the answer that counts here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// The protocol version that the node speaks.
    pub(crate) api_version: String,
    /// The build: the version, and the commit.
    pub(crate) build_version: String,
    /// Absent before the node has a block.
    pub(crate) last_added_block_info: Option<BlockInfo>,
    /// The version that the node has found beside its own, and stops for.
    pub(crate) next_upgrade: Option<NextUpgrade>,
}

/// The highest block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct BlockInfo {
    /// Its height.
    pub(crate) height: u64,
    /// Its era.
    pub(crate) era_id: u64,
}

/// What the node stops for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NextUpgrade {
    /// The number of an era, or a time.
    pub(crate) activation_point: serde_json::Value,
    /// Three numbers.
    pub(crate) protocol_version: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// Nobody listens, or the connection broke.
    #[error("connect to {0}")]
    Connect(String, #[source] std::io::Error),
    /// It is no HTTP.
    #[error("ask for the status")]
    Http(#[source] hyper::Error),
    /// It is another answer than expected.
    #[error("ask for the status: expected 200 OK, found {0}")]
    Refused(StatusCode),
    /// It cannot be read to its end.
    #[error("read the status: expected at most {MAX_BYTES} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It means nothing.
    #[error("read the status")]
    Meaning(#[source] serde_json::Error),
    /// It took too long.
    #[error("ask for the status: no answer within {limit:?}")]
    TooSlow {
        /// How long was waited.
        limit: Duration,
    },
    /// No address at all.
    #[error("ask for the status: the address is none")]
    Address,
}

/// Where a node tells its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    url: Url,
}

impl Address {
    /// Reads an `http://` address; nothing when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (url.scheme() == "http" && url.has_host()).then_some(Self { url })
    }

    /// Asks once.
    pub(crate) async fn ask(&self) -> Result<Answer, StatusError> {
        self.ask_within(TIME_LIMIT).await
    }

    async fn ask_within(&self, limit: Duration) -> Result<Answer, StatusError> {
        timeout(limit, self.exchange())
            .await
            .unwrap_or(Err(StatusError::TooSlow { limit }))
    }

    async fn exchange(&self) -> Result<Answer, StatusError> {
        let (Some(host), Some(port)) = (self.url.host_str(), self.url.port_or_known_default()) else {
            return Err(StatusError::Address);
        };
        // In brackets where it is an address of IPv6, which a connection wants without.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port))
            .await
            .map_err(|error| StatusError::Connect(format!("{host}:{port}"), error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(StatusError::Http)?;
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let request = Request::get(target)
            .header(HOST, format!("{host}:{port}"))
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| StatusError::Address)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(StatusError::Http)?;
            if response.status() != StatusCode::OK {
                return Err(StatusError::Refused(response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            let body = body.map_err(StatusError::Body)?.to_bytes();
            serde_json::from_slice(&body).map_err(StatusError::Meaning)
        };
        // The connection is driven here, so that it ends with this answer, or when nobody waits for it any more.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut exchange => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes, and says what it was asked.
    async fn ask(answer: Vec<u8>) -> (Result<Answer, StatusError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/status", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap();
            let _ = stream.write_all(&answer).await;
            request.truncate(count);
            String::from_utf8(request).unwrap()
        });
        let answer = Address::parse(&address).unwrap().ask().await;
        (answer, server.await.unwrap())
    }

    fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[tokio::test]
    async fn an_answer_is_read_and_what_is_not_asked_for_is_passed_over() {
        let body = r#"{"peers":[{"node_id":"tls:0","address":"1.2.3.4:35000"}],"api_version":"1.5.8","build_version":"1.5.8-0432614",
            "chainspec_name":"casper","last_added_block_info":{"hash":"ab","timestamp":"2024-01-01T00:00:00Z","era_id":99,"height":12345},
            "next_upgrade":{"activation_point":100,"protocol_version":"2.0.0"},"reactor_state":"Validate"}"#;
        let (answer, request) = ask(ok(body)).await;
        let answer = answer.unwrap();
        assert!(request.starts_with("GET /status HTTP/1.1\r\n"), "{request}");
        assert_eq!(
            (answer.api_version.as_str(), answer.build_version.as_str()),
            ("1.5.8", "1.5.8-0432614")
        );
        let block = BlockInfo {
            height: 12345,
            era_id: 99,
        };
        assert_eq!(answer.last_added_block_info, Some(block));
        assert_eq!(answer.next_upgrade.unwrap().protocol_version, "2.0.0");
        let early = r#"{"api_version":"1.5.8","last_added_block_info":null,"next_upgrade":null}"#;
        let (answer, _) = ask(ok(early)).await;
        let expected = Answer {
            api_version: "1.5.8".to_owned(),
            ..Answer::default()
        };
        assert_eq!(answer.unwrap(), expected);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error_and_no_more() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_BYTES + 1));
        for (answer, because) in [
            (Vec::new(), "ask for the status"),
            (b"SSH-2.0-OpenSSH\r\n".to_vec(), "ask for the status"),
            (
                b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(),
                "found 503",
            ),
            (ok("<html>"), "read the status"),
            (ok("7"), "read the status"),
            (
                ok(r#"{"last_added_block_info":{"era_id":-1,"height":1}}"#),
                "read the status",
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(),
                "read the status",
            ),
            (endless.into_bytes(), "at most 4194304 bytes"),
        ] {
            let (answer, _) = ask(answer).await;
            let error = crate::cli::chain(&answer.unwrap_err());
            assert!(error.contains(because), "{because}: {error}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", closed.local_addr().unwrap())).unwrap();
        drop(closed);
        assert!(matches!(address.ask().await, Err(StatusError::Connect(..))));
    }

    #[tokio::test]
    async fn a_node_that_hangs_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let answer = address.ask_within(Duration::from_millis(20)).await;
        assert!(matches!(answer, Err(StatusError::TooSlow { .. })));
    }

    #[test]
    fn only_plain_http_is_an_address() {
        for (text, good) in [
            ("http://127.0.0.1:8888/status", true),
            ("http://[::1]:8888/status", true),
            ("http://node/status?x=1", true),
            ("https://node/status", false),
            ("127.0.0.1:8888", false),
            ("", false),
        ] {
            assert_eq!(Address::parse(text).is_some(), good, "{text}");
        }
    }
}
