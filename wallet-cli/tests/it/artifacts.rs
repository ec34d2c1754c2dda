//! Artifacts from the network and from this machine.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use governance::Digest;
use tokio::task::JoinHandle;

use crate::chain::Chain;
use crate::wallet::{Run, Wallet, path};

struct Web {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn web() -> Web {
    let router = Router::new()
        .route("/node", get(|| async { vec![7_u8; 300_000] }))
        .route("/latest", get(|| async { Redirect::temporary("/node") }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/empty", get(|| async { "" }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("the server serves") });
    Web { address, server }
}

async fn propose(wallet: &Wallet, args: &[&str]) -> Run {
    wallet
        .json(&[&["propose", "--version", "1.1.0", "--height", "100"], args].concat())
        .await
}

#[tokio::test]
async fn artifacts_are_measured_where_they_are_and_published_as_told() {
    let chain = Chain::paused().await;
    let web = web().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let odd = wallet.write("a=b,c", b"odd");
    std::os::unix::fs::symlink(&odd, wallet.home().join("link")).expect("a link");
    let spaced = wallet.write("with space", b"spaced");
    let url = format!("http://{}", web.address);
    propose(
        &wallet,
        &[
            "--artifact",
            &format!("linux/amd64={url}/latest,darwin/arm64=wallet/link"),
            "--artifact",
            &format!("linux/arm64=file://{}", path(&odd)),
            "--artifact",
            &format!("linux/riscv64={}", path(&spaced)),
            "--artifact-url",
            "linux/riscv64=https://example.org/riscv",
        ],
    )
    .await
    .ok();
    chain.advance(1);
    let proposals = chain.proposals();
    let artifacts = &proposals[0].upgrade().expect("an upgrade").artifacts;
    let shown: Vec<_> = artifacts
        .iter()
        .map(|artifact| {
            (
                artifact.platform.as_str(),
                artifact.url.clone(),
                artifact.size,
                artifact.sha256,
            )
        })
        .collect();
    let odd_url = format!("file://{}", path(&odd));
    assert_eq!(
        shown,
        [
            ("darwin/arm64", odd_url.clone(), 3, Digest::of(b"odd")),
            (
                "linux/amd64",
                format!("{url}/latest"),
                300_000,
                Digest::of(&[7; 300_000])
            ),
            ("linux/arm64", odd_url, 3, Digest::of(b"odd")),
            (
                "linux/riscv64",
                "https://example.org/riscv".to_owned(),
                6,
                Digest::of(b"spaced")
            ),
        ]
    );
}

#[tokio::test]
async fn artifacts_that_cannot_be_had_are_told() {
    let chain = Chain::paused().await;
    let web = web().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let url = format!("http://{}", web.address);
    for (page, words) in [
        ("missing", "the server answers 404"),
        ("broken", "the server answers 500"),
        ("loop", "redirects too often"),
        ("empty", "is empty"),
    ] {
        let artifact = format!("linux/amd64={url}/{page}");
        propose(&wallet, &["--artifact", &artifact])
            .await
            .fails(1, &[&artifact["linux/amd64=".len()..], words]);
    }
    drop(web);
    let artifact = format!("linux/amd64={url}/node");
    propose(&wallet, &["--artifact", &artifact])
        .await
        .fails(1, &["failed to download", "refused"]);

    let spaced = wallet.write("with space", b"spaced");
    let artifact = format!("linux/amd64={}", path(&spaced));
    propose(&wallet, &["--artifact", &artifact])
        .await
        .fails(2, &["no place for spaces", "--artifact-url"]);
    let urls = [
        "--artifact",
        "linux/amd64=/bin/true",
        "--artifact-url",
        "linux/arm64=https://h/a",
    ];
    propose(&wallet, &urls)
        .await
        .fails(2, &["names linux/arm64, but no --artifact does"]);
    assert_eq!(chain.pending(), 0);
}
