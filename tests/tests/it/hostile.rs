//! Clients and validators who mean harm: memory stays bounded, nobody panics, nobody diverges, the chain goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::raw::{self, RawConnection, SUBMIT, call_headers, frame};
use e2e::{
    Client, Desk, Load, Network, Random, already_there, carry_through, random_key, rejection_code, wavering,
};
use governance::{ProposalId, SignedTransaction};
use prost::Message as _;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use tokio::task::JoinSet;
use tonic::Code;

use crate::malformed;
use crate::nodes::{
    assert_memory_below, assert_no_panic, assert_sound, clients, equivocation_reports, goes_on, say, stop,
    validators, wait,
};
use crate::story::{LIMIT, turn};

/// What a node of a debug build may use at most while all of this happens to it, MiB. At rest it uses about 50.
const MEMORY_LIMIT: u64 = 128;
/// Transactions of a flood.
const FLOOD: u64 = 2_000;
/// Connections that one address opens and leaves.
const IDLE: usize = 300;
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

async fn withstands_broken_connections(network: &Network, random: &mut Random) {
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

async fn withstands_floods(clients: &[Client], desks: &[Arc<Desk>], proposal: ProposalId) {
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

/// An operator starts a copy of a validator's home on a second machine: two processes sign with one key.
#[tokio::test]
async fn a_validator_that_signs_twice_is_reported_and_harms_nobody() {
    let _turn = turn().await;
    let (mut network, desks) = validators(4).await;
    network
        .node(3)
        .expect("a node")
        .stop()
        .await
        .expect("it stops in order");
    let mut twin = network.twin(3).await.expect("its twin");
    network.node(3).expect("a node").start().expect("it starts again");
    twin.start().expect("its twin starts");
    twin.first_status(LIMIT).await.expect("its twin answers");

    let proposal = desks[0]
        .propose_far_upgrade(&clients(&network), LIMIT)
        .await
        .expect("a proposal to vote on");
    // One validator's votes enter at the twin alone, so that the two have different blocks in mind.
    let mut entrances = clients(&network);
    entrances[2] = twin.client().expect("a client");
    let mut load = Load::start(desks.clone(), &entrances, proposal);
    let deadline = Instant::now() + LIMIT;
    let honest = 0..3;
    while !honest
        .clone()
        .any(|index| !equivocation_reports(&network.nodes()[index]).is_empty())
    {
        assert!(
            Instant::now() < deadline,
            "nobody reports the equivocation\n{}",
            network.log_tails(20)
        );
        load.check().await.expect("the load goes on");
        goes_on(&network, 1).await;
    }
    goes_on(&network, 5).await;
    let votes = load.finish().await.expect("every vote ends up in a block");
    say(&format!(
        "{} votes by height {}; {}",
        votes.len(),
        network.observer().tip(),
        equivocation_reports(&network.nodes()[0])
            .last()
            .cloned()
            .unwrap_or_default()
    ));
    assert_memory_below(&network, MEMORY_LIMIT);

    // The twin has the same chain.
    let client = twin.client().expect("a client");
    let height = client.status().await.expect("it answers").height;
    let views = network.observer().views();
    for block in client.blocks(1, height).await.expect("its blocks") {
        for view in &views {
            if let Some(seen) = view.blocks.get(&block.height) {
                assert_eq!(
                    seen.state_root, block.state_root,
                    "block {} of the twin",
                    block.height
                );
            }
        }
    }
    assert_no_panic(&twin);
    twin.stop().await.expect("the twin stops in order");
    // Alone again, the validator is worth its power.
    goes_on(&network, 5).await;
    wait(&network, "all four together", |views| {
        let tip = views.iter().map(e2e::HostView::height).max().unwrap_or(0);
        views.iter().all(|view| view.height() + 1 >= tip)
    })
    .await;
    assert_sound(&network).await;
    stop(network).await;
}
