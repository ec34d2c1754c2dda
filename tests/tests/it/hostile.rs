//! Clients who mean harm: memory stays bounded, nobody panics, nobody diverges, the chain goes on.

use std::time::{Duration, Instant};

use e2e::raw::{self, SUBMIT};
use e2e::{Client, Desk, Network, Random, carry_through, rejection_code, wavering};
use governance::ProposalId;
use prost::Message as _;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use tonic::Code;

use crate::connections::withstands_broken_connections;
use crate::floods::withstands_floods;
use crate::malformed;
use crate::nodes::{
    assert_memory_below, assert_no_panic, assert_sound, clients, equivocation_reports, goes_on, say, stop,
    validators,
};
use crate::story::{LIMIT, turn};

/// What a node of a debug build may use at most while all of this happens to it, MiB. At rest it uses about 50.
pub(crate) const MEMORY_LIMIT: u64 = 128;
/// Both of a pair are sent at the same moment, so often.
const PAIRS: u64 = 25;

#[tokio::test]
async fn hostile_clients_are_refused_in_bounded_memory() {
    let _turn = turn().await;
    let mut random = Random::from_environment();
    say(&format!("E2E_SEED={}", random.seed()));
    let (network, desks) = validators(4).await;
    let clients = clients(&network);
    let proposal = desks[0]
        .propose_far_upgrade(&clients, LIMIT)
        .await
        .expect("a proposal to vote on");

    refuses_everything_malformed(&clients, &desks[1], proposal, &mut random).await;
    after(&network, "malformed transactions").await;
    withstands_broken_connections(&network, &mut random).await;
    after(&network, "broken connections").await;
    bounds_event_streams(&network).await;
    after(&network, "event streams").await;
    withstands_floods(&clients, &desks, proposal).await;
    after(&network, "floods").await;
    decides_between_pairs(&clients, &desks[2], proposal).await;
    after(&network, "pairs").await;

    // The key of the flood has lost nothing either.
    let last = &desks[1];
    carry_through(&malformed::vote(last, proposal), &clients, 0, LIMIT)
        .await
        .expect("a good vote of the same key is accepted");
    for node in network.nodes() {
        assert_eq!(
            equivocation_reports(node),
            Vec::<String>::new(),
            "{}",
            node.name()
        );
    }
    assert_sound(&network).await;
    stop(network).await;
}

/// After each attack: the chain goes on, and nothing has grown or broken.
async fn after(network: &Network, attack: &str) {
    let started = Instant::now();
    goes_on(network, 3).await;
    for node in network.nodes() {
        assert_no_panic(node);
    }
    let peak = assert_memory_below(network, MEMORY_LIMIT);
    say(&format!(
        "{attack}: highest peak {peak} MiB, three blocks later after {} ms",
        started.elapsed().as_millis()
    ));
}

async fn refuses_everything_malformed(
    clients: &[Client],
    desk: &Desk,
    proposal: ProposalId,
    random: &mut Random,
) {
    let sequence = desk.next_sequence();
    let mut strings = malformed::byte_strings(desk, proposal, random);
    for (name, request) in malformed::requests(desk, proposal) {
        strings.push((name, request.encode_to_vec()));
    }
    for (number, (name, bytes)) in strings.into_iter().enumerate() {
        let client = &clients[number % clients.len()];
        let refused = raw::call(client.channel(), SUBMIT, bytes, None)
            .await
            .expect_err(&format!("{name} is refused"));
        assert!(
            matches!(
                refused.code(),
                Code::InvalidArgument
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::ResourceExhausted
                    // What is no protobuf is refused before the node sees it, in the words of the gRPC library.
                    | Code::Internal
            ),
            "{name}: {refused:?}"
        );
        assert!(
            refused.code() != Code::Internal || rejection_code(&refused).is_empty(),
            "{name}: {refused:?}"
        );
        assert!(!refused.message().is_empty(), "{name} is refused with a reason");
        assert!(
            refused.message().len() < 2_000,
            "{name}: a short one: {}",
            refused.message().len()
        );
    }
    for size in [1_000, 60_000, 1_000_000] {
        let metadata = Some(("x-filler", "m".repeat(size)));
        let status = pb::GetStatusRequest {}.encode_to_vec();
        // Carried or refused, both are well.
        let _ = raw::call(
            clients[0].channel(),
            "/governance.v1.GovernanceService/GetStatus",
            status,
            metadata,
        )
        .await;
    }
    // GOV-15: nothing of it has changed anything, the sequence number least of all.
    assert_eq!(desk.next_sequence(), sequence);
    let good = malformed::vote(desk, proposal);
    let done = carry_through(&good, clients, 1, LIMIT)
        .await
        .expect("the good one");
    assert!(!done.rejected);
    desk.continue_at(sequence + 1);
}

async fn bounds_event_streams(network: &Network) {
    let node = &network.nodes()[1];
    let mut streams = Vec::new();
    let mut refused = 0;
    // Connections of their own, because a connection has its own limit.
    for _ in 0..6 {
        let client = node.client().expect("a client");
        for _ in 0..100 {
            let request = pb::StreamEventsRequest { from_height: 1 };
            match client.service().stream_events(request).await {
                // Kept, and never read.
                Ok(stream) => streams.push(stream),
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        streams.len() >= 100,
        "honest watchers find room: {}",
        streams.len()
    );
    assert!(refused >= 100, "streams are bounded: {refused} refused");
    goes_on(network, 3).await;
    drop(streams);
    // Room again as soon as the node has seen them go.
    let deadline = Instant::now() + LIMIT;
    while let Err(status) = node.client().expect("a client").blocks(1, 2).await {
        assert!(Instant::now() < deadline, "no stream is free again: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two transactions with one sequence number reach two nodes at the same moment: one of them applies, the same one everywhere.
async fn decides_between_pairs(clients: &[Client], desk: &Desk, proposal: ProposalId) {
    for round in 0..PAIRS {
        let sequence = desk.next_sequence();
        let pair = [0, 1].map(|turn| desk.sign_at(sequence, wavering(proposal, turn + round, false)));
        let at = usize::try_from(round).expect("a small number") % clients.len();
        let other = (at + 1) % clients.len();
        let (one, two) = tokio::join!(clients[at].submit(&pair[0]), clients[other].submit(&pair[1]));
        assert!(one.is_ok() || two.is_ok(), "neither is let in: {one:?} {two:?}");
        let deadline = Instant::now() + LIMIT;
        let winner = 'decided: loop {
            assert!(Instant::now() < deadline, "neither of the pair is in a block");
            for (index, signed) in pair.iter().enumerate() {
                let outcome = clients[at]
                    .outcome(signed.id(), Duration::from_millis(100))
                    .await
                    .expect("it answers");
                if matches!(outcome, Outcome::Committed(committed) if committed.rejection.is_none()) {
                    break 'decided index;
                }
            }
        };
        let done = carry_through(&pair[winner], clients, other, LIMIT)
            .await
            .expect("it is in a block everywhere");
        assert!(!done.rejected);
        for client in clients {
            let loser = client
                .outcome(pair[1 - winner].id(), Duration::ZERO)
                .await
                .expect("it answers");
            assert!(
                !matches!(&loser, Outcome::Committed(committed) if committed.rejection.is_none()),
                "both of a pair apply: {loser:?}"
            );
        }
        desk.continue_at(sequence + 1);
    }
}
