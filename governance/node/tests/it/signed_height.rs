//! `governance signed-height`: never too low, whenever the node was killed, and never a guess.

use std::fs;
use std::time::Duration;

use governance_node::exit_code;
use proto::pb::governance::v1 as pb;

use crate::single::{Single, refused, run};

/// What the command says of a node that is down.
fn signed(single: &Single) -> u64 {
    let output = run(&["signed-height", "--home", &single.path()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    said["signed_height"].as_u64().unwrap()
}

/// Runs the node until it has committed a block that it had not, and a while longer; kills it; returns the highest block seen.
async fn run_and_kill(single: &mut Single, after: u64, more: Duration) -> u64 {
    single.start();
    let request = pb::StreamEventsRequest {
        from_height: after + 1,
    };
    let mut client = single.client().await;
    let mut blocks = client.stream_events(request).await.unwrap().into_inner();
    let mut seen = blocks.message().await.unwrap().unwrap().height;
    let end = tokio::time::Instant::now() + more;
    while let Ok(block) = tokio::time::timeout_at(end, blocks.message()).await {
        seen = block.unwrap().unwrap().height;
    }
    let mut process = single.process.take().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signed_height_is_never_too_low_whenever_the_node_is_killed() {
    let mut single = Single::lay_out();
    assert_eq!(
        signed(&single),
        0,
        "a node that was never started has signed nothing"
    );
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut seen = 0;
    for _ in 0..10 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        seen = run_and_kill(&mut single, seen, Duration::from_millis(random % 400)).await;
        let signed = signed(&single);
        // The only validator has signed every block there is, and works on the next one at most; a block or two may have been
        // committed that were not seen any more.
        assert!(signed >= seen, "signed {signed}, seen {seen}");
        assert!(signed <= seen + 20, "signed {signed}, seen {seen}");
    }
    let shown = run(&["signed-height", "--home", &single.path(), "--output", "human"]);
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .starts_with("signed height  ")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_height_that_cannot_be_known_is_refused_until_the_next_start() {
    let mut single = Single::lay_out();
    let home = single.path();
    let file = single.file("data/signed-height");
    let seen = run_and_kill(&mut single, 0, Duration::ZERO).await;
    fs::remove_file(&file).unwrap();
    refused(
        &["signed-height", "--home", &home],
        exit_code::FAILED,
        &["signed-height", "missing"],
    );
    let seen = run_and_kill(&mut single, seen, Duration::ZERO).await;
    let before = signed(&single);
    assert!(before >= seen);
    fs::write(&file, b"nonsense").unwrap();
    refused(
        &["signed-height", "--home", &home],
        exit_code::STORE,
        &["signed-height", "damaged"],
    );
    let seen = run_and_kill(&mut single, seen, Duration::ZERO).await;
    assert!(signed(&single) >= seen.max(before));
    // Whatever stands there is neither readable nor damaged: nothing is made anew.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    for arguments in [["signed-height", "--home", &home], ["start", "--home", &home]] {
        refused(&arguments, exit_code::DISK, &["cannot read", "signed-height"]);
    }
    refused(
        &["signed-height", "--home", "/nowhere"],
        exit_code::CONFIG,
        &["governance init"],
    );
}
