//! As much of an HTTP/1.1 server as the two services need.

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// More than any of the tests sends.
const LONGEST_BODY: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Nothing: the peer has closed.
pub(crate) async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let method = words.next().context("a method")?;
    let path = words.next().context("a path")?;
    let (mut content_type, mut length) = (String::new(), 0_usize);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-type" => value.trim().clone_into(&mut content_type),
            "content-length" => length = value.trim().parse()?,
            _ => {}
        }
    }
    let mut body = vec![0; length.min(LONGEST_BODY)];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request {
        method,
        path,
        content_type,
        body,
    }))
}

pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    status: &str,
    content_type: &str,
    body: &str,
) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    Ok(())
}
