//! Connections that are begun and left, that lie about lengths, that never end: others are served all the same.

use e2e::raw::{RawConnection, SUBMIT, call_headers, frame};
use e2e::{Network, Random};

use crate::nodes::goes_on;

/// Connections that one address opens and leaves.
const IDLE: usize = 300;

pub(crate) async fn withstands_broken_connections(network: &Network, random: &mut Random) {
    let node = &network.nodes()[0];
    let (rpc, p2p, http) = (node.rpc_address(), node.p2p_address(), node.http_address());
    let mut open = Vec::new();
    // Begun and left: more than one address may have.
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.extend(RawConnection::open_http2(1, rpc).await.ok());
        open.extend(RawConnection::open(1, p2p).await.ok());
    }
    let mut closed = 0;
    for connection in &mut idle {
        closed += usize::from(connection.is_closed().await);
    }
    assert!(
        closed > 0 || idle.len() < IDLE,
        "one address may have any number of connections"
    );
    open.extend(idle);
    for address in [rpc, p2p, http] {
        for _ in 0..50 {
            if let Ok(mut connection) = RawConnection::open(2, address).await {
                let length = 1 + random.index(2_000);
                connection.send(&random.bytes(length)).await;
                open.push(connection);
            }
        }
    }
    // libp2p's first words, then a length that never comes.
    for _ in 0..20 {
        if let Ok(mut connection) = RawConnection::open(3, p2p).await {
            connection
                .send(b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x0f")
                .await;
            open.push(connection);
        }
    }
    // A message of 4 GiB is announced.
    for _ in 0..20 {
        if let Ok(mut connection) = RawConnection::open_http2(4, rpc).await {
            let headers = call_headers(SUBMIT);
            connection
                .send_frame(frame::HEADERS, frame::END_HEADERS, 1, &headers)
                .await;
            connection
                .send_frame(frame::DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])
                .await;
            open.push(connection);
        }
    }
    // Headers without end.
    let mut connection = RawConnection::open_http2(5, rpc).await.expect("it listens");
    connection
        .send_frame(frame::HEADERS, 0, 1, &call_headers(SUBMIT))
        .await;
    let more = vec![0; 16_000];
    let mut frames = 0;
    while frames < 5_000 && connection.send_frame(frame::CONTINUATION, 0, 1, &more).await {
        frames += 1;
    }
    assert!(frames < 5_000, "80 MB of headers are not read");
    // Calls begun and reset, faster than they can be answered.
    let mut connection = RawConnection::open_http2(6, rpc).await.expect("it listens");
    let headers = call_headers(SUBMIT);
    for number in 0..20_000_u32 {
        let stream = 2 * number + 1;
        if !connection
            .send_frame(frame::HEADERS, frame::END_HEADERS, stream, &headers)
            .await
            || !connection.send_frame(frame::RST_STREAM, 0, stream, &[0; 4]).await
            || (number % 100 == 0 && connection.is_closed().await)
        {
            break;
        }
    }
    // HTTP that never ends its first line.
    let mut connection = RawConnection::open(7, http).await.expect("it listens");
    connection.send(b"GET /").await;
    let mut sent = 0;
    while sent < 1_000 && connection.send(&[b'a'; 64 * 1024]).await {
        sent += 1;
    }
    assert!(sent < 1_000, "a line of 64 MB is not read");
    // While all of them are still open:
    goes_on(network, 2).await;
    let client = node.client().expect("a client");
    client
        .status()
        .await
        .expect("others are answered at the same time");
}
