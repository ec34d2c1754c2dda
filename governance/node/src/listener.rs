//! Connections of clients, counted: in all, and by the address they come from.
//!
//! A connection above the limit is closed at once: the client sees it and may ask another node, and nothing waits.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How many connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// From everywhere.
    pub(crate) total: usize,
    /// From one address.
    pub(crate) per_address: usize,
}

/// A listener whose connections are counted.
pub(crate) struct CountedListener {
    listener: TcpListener,
    limits: ConnectionLimits,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A connection that is counted until it is dropped.
pub(crate) struct CountedStream {
    stream: TcpStream,
    _place: Place,
}

/// One connection's place among those of its address.
struct Place {
    address: IpAddr,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl CountedListener {
    pub(crate) fn new(listener: TcpListener, limits: ConnectionLimits) -> Self {
        Self {
            listener,
            limits,
            open: Arc::default(),
        }
    }

    /// The connections as they come, for ever.
    pub(crate) fn connections(self) -> impl Stream<Item = io::Result<CountedStream>> {
        stream::unfold(self, |mut listener| async move {
            let (connection, _) = axum::serve::Listener::accept(&mut listener).await;
            Some((Ok(connection), listener))
        })
    }

    fn take_place(&self, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or_default();
        if total >= self.limits.total || of_address >= self.limits.per_address {
            return None;
        }
        open.insert(address, of_address.saturating_add(1));
        Some(Place {
            address,
            open: Arc::clone(&self.open),
        })
    }

    fn count(&self, stream: TcpStream, from: SocketAddr) -> Option<CountedStream> {
        let place = self.take_place(from.ip())?;
        // Answers are small and somebody waits for each.
        let _ = stream.set_nodelay(true);
        Some(CountedStream {
            stream,
            _place: place,
        })
    }
}

impl axum::serve::Listener for CountedListener {
    type Io = CountedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CountedStream, SocketAddr) {
        loop {
            // The standard one waits out what a process without free descriptors answers.
            let (stream, from) = axum::serve::Listener::accept(&mut self.listener).await;
            if let Some(counted) = self.count(stream, from) {
                return (counted, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected for CountedStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn connections_above_the_limit_are_closed_and_closed_ones_make_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = ConnectionLimits {
            total: 3,
            per_address: 2,
        };
        let mut counted = std::pin::pin!(CountedListener::new(listener, limits).connections());
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let first = counted.next().await.unwrap().unwrap();
        let _second = counted.next().await.unwrap().unwrap();
        // The third one is closed while the next one is waited for.
        let mut third = clients.pop().unwrap();
        let mut byte = [0; 1];
        tokio::select! {
            _ = counted.next() => panic!("there is no room"),
            read = third.read(&mut byte) => assert_eq!(read.unwrap_or(0), 0),
        }
        drop(first);
        let _fourth = TcpStream::connect(address).await.unwrap();
        counted.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn all_addresses_together_have_a_limit_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = ConnectionLimits {
            total: 1,
            per_address: 2,
        };
        let counted = CountedListener::new(listener, limits);
        let place = counted.take_place([127, 0, 0, 1].into());
        assert!(place.is_some() && counted.take_place([127, 0, 0, 2].into()).is_none());
        drop(place);
        assert!(counted.open.lock().unwrap().is_empty());
    }
}
