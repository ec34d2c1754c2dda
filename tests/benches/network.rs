//! Four nodes on this machine: committed transactions per second, and how long one takes from submission to the final answer.
//!
//! `cargo bench -p e2e --bench network`, with `-- --seconds 10 --block-interval 100` for other numbers. Of a hundred validators
//! four have nearly all the power and a node each; every client holds the governance key of one validator, because a validator
//! may only have so much waiting. Clients and nodes share the machine, so the numbers are a lower bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use e2e::{Binaries, Client, Desk, Member, Network, NetworkOptions, random_key, wavering};
use governance::{ProposalId, PublicKey, TransactionId};
use proto::pb::governance::v1::get_transaction_response::Outcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tonic::Code;

/// Nodes of the network.
const NODES: usize = 4;
/// Most clients, each with a validator's key.
const CLIENTS: usize = 100;
/// Power of a validator with a node; one without has 1.
const POWER: u64 = 1_000_000;
/// One wait for an outcome; longer than any healthy network needs.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause before a pool without room is asked again.
const RETRY: Duration = Duration::from_millis(5);
/// Measurements that wait to be taken in.
const QUEUE: usize = 4_096;

#[derive(Debug, Parser)]
struct Options {
    /// How long each row is measured
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Milliseconds from the start of one height to the start of the next; the default is a new home's
    #[arg(long, default_value_t = 500)]
    block_interval: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row of the table.
struct Row {
    clients: usize,
    in_flight: usize,
    committed: usize,
    rejected: usize,
    blocks: u64,
    elapsed: Duration,
    latencies: Vec<Duration>,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binaries = tokio::task::spawn_blocking(Binaries::build)
        .await
        .context("the build")??;
    let (mut network, desks) = network(&binaries, &options).await?;
    let clients = network
        .nodes()
        .iter()
        .map(e2e::Node::client)
        .collect::<Result<Vec<_>>>()?;
    let proposal = desks
        .first()
        .context("a validator")?
        .propose_far_upgrade(&clients, LIMIT)
        .await?;
    println!(
        "{NODES} nodes, {CLIENTS} validators, a block every {} ms, {} s per row",
        options.block_interval, options.seconds
    );
    println!(
        "{:>7}  {:>9}  {:>11}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}",
        "clients", "in flight", "committed/s", "median ms", "p99 ms", "max ms", "blocks/s", "per block"
    );
    for in_flight in [1, 32] {
        for count in [1, 10, CLIENTS] {
            let row = measure(&network, &desks, proposal, count, in_flight, options.seconds).await?;
            println!("{}", shown(row));
        }
    }
    for node in network.nodes() {
        let memory = node.memory().context("it runs")?;
        println!(
            "{}: {} MiB resident, {} MiB at its peak",
            node.name(),
            memory.resident_kib / 1024,
            memory.peak_kib / 1024
        );
    }
    network.stop().await
}

async fn network(binaries: &Binaries, options: &Options) -> Result<(Network, Vec<Arc<Desk>>)> {
    let mut keys = Vec::new();
    let mut members = Vec::new();
    for index in 0..CLIENTS {
        let key = random_key()?;
        members.push(Member {
            name: format!("validator-{index}"),
            power: if index < NODES { POWER } else { 1 },
            governance_key: Some(PublicKey::from(&key).to_string()),
            hosted: index < NODES,
        });
        keys.push(key);
    }
    let interval = Duration::from_millis(options.block_interval);
    let options = NetworkOptions::of(members).with_block_interval(interval);
    let mut network = Network::lay_out(binaries, &options).await?;
    network.start()?;
    network
        .wait_until("three blocks on every node", LIMIT, |views| {
            views.iter().all(|view| view.height() >= 3)
        })
        .await?;
    let desks = keys
        .into_iter()
        .map(|key| Desk::new(key, network.chain_id()).map(Arc::new))
        .collect::<Result<_>>()?;
    Ok((network, desks))
}

/// Lets `count` clients keep `in_flight` transactions each on their way for some seconds.
async fn measure(
    network: &Network,
    desks: &[Arc<Desk>],
    proposal: ProposalId,
    count: usize,
    in_flight: usize,
    seconds: u64,
) -> Result<Row> {
    let (sender, mut measured) = mpsc::channel(QUEUE);
    let started = Instant::now();
    let first_block = network.observer().tip();
    let end = started + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for (index, desk) in desks.iter().take(count).enumerate() {
        let node = network.nodes().get(index % NODES).context("a node")?;
        // A connection of its own, as different people have.
        clients.spawn(work(
            node.client()?,
            Arc::clone(desk),
            proposal,
            in_flight,
            end,
            sender.clone(),
        ));
    }
    drop(sender);
    let mut row = Row {
        clients: count,
        in_flight,
        committed: 0,
        rejected: 0,
        blocks: 0,
        elapsed: Duration::ZERO,
        latencies: Vec::new(),
    };
    while let Some((latency, rejected, at)) = measured.recv().await {
        row.latencies.push(latency);
        row.rejected += usize::from(rejected);
        // What is answered after the end belongs to no second of the measurement.
        row.committed += usize::from(at <= end && !rejected);
        row.elapsed = end.min(at) - started;
        if at <= end {
            row.blocks = network.observer().tip() - first_block;
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client")??;
    }
    row.latencies.sort_unstable();
    Ok(row)
}

/// How long one took, whether it was rejected in its block, and when the answer came.
type Measured = (Duration, bool, Instant);

async fn work(
    client: Client,
    desk: Arc<Desk>,
    proposal: ProposalId,
    in_flight: usize,
    end: Instant,
    sender: mpsc::Sender<Measured>,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(in_flight));
    let mut answers = JoinSet::new();
    let mut turn = 0;
    while Instant::now() < end {
        let permit = Arc::clone(&room).acquire_owned().await.context("room")?;
        let signed = desk.sign(wavering(proposal, turn, false));
        turn += 1;
        let id = signed.id();
        let sent = Instant::now();
        // One after the other: the sequence numbers must arrive in order.
        while let Err(status) = client.submit(&signed).await {
            if status.code() != Code::ResourceExhausted || sent.elapsed() > LIMIT {
                bail!("the node refuses a transaction: {status}");
            }
            tokio::time::sleep(RETRY).await;
        }
        answers.spawn(await_final(client.clone(), id, sent, sender.clone(), permit));
        while let Some(answered) = answers.try_join_next() {
            answered.context("an answer")??;
        }
    }
    while let Some(answered) = answers.join_next().await {
        answered.context("an answer")??;
    }
    Ok(())
}

async fn await_final(
    client: Client,
    id: TransactionId,
    sent: Instant,
    sender: mpsc::Sender<Measured>,
    permit: OwnedSemaphorePermit,
) -> Result<()> {
    let outcome = client
        .outcome(id, LIMIT)
        .await
        .map_err(|status| anyhow::anyhow!("{status}"))?;
    let rejected = match outcome {
        Outcome::Committed(committed) => committed.rejection.is_some(),
        Outcome::Dropped(_) => true,
        Outcome::Unknown(_) | Outcome::Pending(_) => bail!("transaction {id} is not final after {LIMIT:?}"),
    };
    drop(permit);
    sender
        .send((sent.elapsed(), rejected, Instant::now()))
        .await
        .context("the measurement has ended")
}

fn shown(row: Row) -> String {
    let seconds = row.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let at = |hundredths: usize| {
        let last = row.latencies.len().saturating_sub(1);
        row.latencies
            .get(last * hundredths / 100)
            .map_or(0, Duration::as_millis)
    };
    let mut line = format!(
        "{:>7}  {:>9}  {:>11.1}  {:>9}  {:>9}  {:>9}  {:>8.2}  {:>9.1}",
        row.clients,
        row.in_flight,
        row.committed as f64 / seconds,
        at(50),
        at(99),
        at(100),
        row.blocks as f64 / seconds,
        row.committed as f64 / (row.blocks.max(1)) as f64,
    );
    if row.rejected > 0 {
        line.push_str(&format!("  {} rejected", row.rejected));
    }
    line
}
