//! Floods of transactions: of one key, of strangers, of forgeries, of one transaction again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Client, Desk, already_there, carry_through, random_key, wavering};
use governance::{ProposalId, SignedTransaction};
use tokio::task::JoinSet;
use tonic::Code;

use crate::nodes::say;
use crate::story::LIMIT;

/// Transactions of a flood.
const FLOOD: u64 = 2_000;

/// How a node has answered a flood.
#[derive(Debug, Default)]
struct Answers {
    admitted: u64,
    no_room: u64,
    known: u64,
    refused: u64,
}

/// Sends everything over one connection, one after the other.
async fn send_all(client: Client, transactions: Vec<SignedTransaction>) -> Answers {
    let mut answers = Answers::default();
    for signed in transactions {
        match client.submit(&signed).await {
            Ok(()) => answers.admitted += 1,
            Err(status) if already_there(&status) => answers.known += 1,
            Err(status) if status.code() == Code::ResourceExhausted => answers.no_room += 1,
            Err(status) => {
                assert!(
                    matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument),
                    "{status:?}"
                );
                answers.refused += 1;
            }
        }
    }
    answers
}

pub(crate) async fn withstands_floods(clients: &[Client], desks: &[Arc<Desk>], proposal: ProposalId) {
    let mut flood = JoinSet::new();
    // One key, thousands of consecutive sequence numbers, all of them to one node.
    let greedy = &desks[3];
    let consecutive: Vec<SignedTransaction> = (0..FLOOD)
        .map(|turn| greedy.sign_at(turn, wavering(proposal, turn, false)))
        .collect();
    let first = consecutive[0].clone();
    flood.spawn(send_all(clients[0].clone(), consecutive));
    // One transaction again and again, to every node.
    let replayed = desks[1].sign(wavering(proposal, 0, false));
    carry_through(&replayed, clients, 1, LIMIT)
        .await
        .expect("the first time");
    for client in clients {
        let copies = vec![replayed.clone(); usize::try_from(FLOOD / 4).expect("a count")];
        flood.spawn(send_all(client.clone(), copies));
    }
    // Strangers, a new one each time.
    let chain_id = greedy
        .sign_at(0, wavering(proposal, 0, false))
        .transaction
        .chain_id;
    let strangers = (0..FLOOD / 4)
        .map(|turn| {
            let desk = Desk::new(random_key().expect("a key"), chain_id.as_ref()).expect("a desk");
            desk.sign(wavering(proposal, turn, false))
        })
        .collect();
    flood.spawn(send_all(clients[2].clone(), strangers));
    // A validator's name under signatures that are not its own.
    let forged = (0..FLOOD / 4)
        .map(|turn| {
            let mut signed = desks[2].sign_at(desks[2].next_sequence(), wavering(proposal, turn, false));
            signed.signature.0[7] ^= 1;
            signed.signature.0[8] = turn.to_le_bytes()[0];
            signed.signature.0[9] = turn.to_le_bytes()[1];
            signed
        })
        .collect();
    flood.spawn(send_all(clients[3].clone(), forged));

    // Meanwhile somebody votes as if nothing were.
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    for turn in 0..5 {
        let signed = desks[0].sign(wavering(proposal, turn, true));
        let sent = Instant::now();
        let done = carry_through(&signed, clients, 0, LIMIT)
            .await
            .expect("an honest vote finds its way");
        assert!(!done.rejected);
        slowest = slowest.max(sent.elapsed());
    }
    let mut sum = Answers::default();
    while let Some(answers) = flood.join_next().await {
        let answers = answers.expect("a flood ends");
        sum.admitted += answers.admitted;
        sum.no_room += answers.no_room;
        sum.known += answers.known;
        sum.refused += answers.refused;
    }
    say(&format!(
        "floods: {sum:?} in {} ms; the slowest honest vote took {} ms",
        started.elapsed().as_millis(),
        slowest.as_millis()
    ));
    assert!(
        sum.admitted >= FLOOD || sum.no_room > 0,
        "one sender's room is bounded, or its blocks are faster than it sends: {sum:?}"
    );
    assert!(sum.known >= FLOOD / 4 * 4, "replays are known: {sum:?}");
    assert!(
        sum.refused >= FLOOD / 4 * 2,
        "strangers and forgeries are refused: {sum:?}"
    );
    // Everything that was let in is decided: the pools are empty again.
    carry_through(&first, clients, 0, LIMIT)
        .await
        .expect("the first of the flood is in a block");
    let deadline = Instant::now() + LIMIT;
    for client in clients {
        while client.status().await.expect("it answers").mempool_transactions > 0 {
            assert!(Instant::now() < deadline, "the pools do not empty");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
