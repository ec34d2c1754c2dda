//! What no well-behaved client sends: calls with any bytes for a message, and HTTP/2 frames written by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The call that takes transactions.
pub const SUBMIT: &str = "/governance.v1.GovernanceService/SubmitTransaction";

/// Sends `message` as it is and returns the answer as it is. `metadata` goes with it.
///
/// # Errors
/// What the node or the connection says.
pub async fn call(
    channel: Channel,
    path: &'static str,
    message: Vec<u8>,
    metadata: Option<(&'static str, String)>,
) -> Result<Vec<u8>, Status> {
    let mut request = Request::new(message);
    if let Some((key, value)) = metadata {
        let value = value
            .parse()
            .map_err(|_| Status::internal("metadata that cannot be sent"))?;
        request.metadata_mut().insert(key, value);
    }
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = client
        .unary(request, PathAndQuery::from_static(path), Untouched)
        .await?;
    Ok(answer.into_inner())
}

/// Messages are bytes.
#[derive(Debug, Clone, Copy)]
struct Untouched;

impl Codec for Untouched {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Untouched {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Untouched {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Kind and flags of HTTP/2 frames (RFC 9113).
pub mod frame {
    /// Bytes of a body.
    pub const DATA: u8 = 0;
    /// Begins a request.
    pub const HEADERS: u8 = 1;
    /// Ends a stream early.
    pub const RST_STREAM: u8 = 3;
    /// The first frame of a connection.
    pub const SETTINGS: u8 = 4;
    /// More of HEADERS.
    pub const CONTINUATION: u8 = 9;
    /// No CONTINUATION follows.
    pub const END_HEADERS: u8 = 4;
}

/// A TCP connection that says what it likes.
#[derive(Debug)]
pub struct RawConnection(TcpStream);

impl RawConnection {
    /// Connects from one of the attackers' own addresses, `127.66.0.x`, and says nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(attacker: u8, address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("make a socket")?;
        let own = Ipv4Addr::new(127, 66, 0, attacker);
        socket
            .bind(SocketAddr::from((own, 0)))
            .with_context(|| format!("bind {own}"))?;
        let stream = socket
            .connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        Ok(Self(stream))
    }

    /// Connects and begins HTTP/2.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open_http2(attacker: u8, address: SocketAddr) -> Result<Self> {
        let mut connection = Self::open(attacker, address).await?;
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        connection.send_frame(frame::SETTINGS, 0, 0, &[]).await;
        Ok(connection)
    }

    /// Whether the peer has closed it by now.
    pub async fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match tokio::time::timeout(Duration::from_millis(1), self.0.read(&mut buffer)).await {
                Err(_) => return false,
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Sends bytes. A peer that has closed the connection is right to do so. Returns whether it has not.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(
            tokio::time::timeout(Duration::from_secs(2), self.0.write_all(bytes)).await,
            Ok(Ok(()))
        )
    }

    /// Sends one frame. Returns whether the connection is still open.
    pub async fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.send(&bytes).await
    }
}

/// The header block of a gRPC call, without compression.
#[must_use]
pub fn call_headers(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal without indexing: lengths below 127 take one byte.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap_or(0) & 0x7f);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
