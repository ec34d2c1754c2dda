//! One HTTP/1.1 connection, one question at a time, answers of bounded size: the admin RPC of the core, and CometBFT's.
//!
//! No pool, no task and no time limit of its own: whoever asks drives the connection, and drops it when he has waited enough.

use std::pin::Pin;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Room for the head of an answer; Go and CometBFT send a few hundred bytes.
const MAX_HEAD: usize = 16 << 10;

/// A connection that is kept alive between questions.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    work: Pin<Box<dyn FusedFuture<Output = ()> + Send>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The connection ended, or what came is no HTTP.
    #[error("exchange HTTP messages")]
    Broken(#[source] hyper::Error),
    /// The answer has more bytes than any real one.
    #[error("read the answer: expected at most {limit} bytes, found more")]
    TooLarge {
        /// Bytes.
        limit: usize,
    },
}

impl Connection {
    /// Begins on a stream that is connected. Nothing is sent yet.
    pub(super) async fn open<S>(stream: S) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, work) = Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Broken)?;
        Ok(Self {
            sender,
            // How it ended is seen by the one who waits for an answer.
            work: Box::pin(work.map(|_| ()).fuse()),
        })
    }

    /// Asks, and reads the answer. After an error, or when it is cancelled, the connection is of no use any more.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Answer, HttpError> {
        let Self { sender, work } = self;
        let answer = async {
            sender.ready().await.map_err(HttpError::Broken)?;
            let response = sender.send_request(request).await.map_err(HttpError::Broken)?;
            let status = response.status();
            let mut rest = response.into_body();
            let mut body = Vec::new();
            while let Some(frame) = rest.frame().await {
                let Ok(data) = frame.map_err(HttpError::Broken)?.into_data() else {
                    continue;
                };
                if body.len() + data.len() > limit {
                    return Err(HttpError::TooLarge { limit });
                }
                body.extend_from_slice(&data);
            }
            Ok(Answer { status, body })
        };
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                // The last bytes of an answer may still be on their way from it to the reader.
                () = &mut *work => {}
            }
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
