//! How fast the rules are, beside what bounds them: `cargo bench -p e2e --bench governance`.
//!
//! At the end stands a table of ratios of this one run: a block of 10,000 votes beside the bare batch verification of its
//! signatures, and a block with one vote in sets of 100 to 100,000 validators.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode};
use governance::{
    Action, Artifact, ChainId, Choice, Digest, Genesis, GenesisValidator, Height, Parameters, Power,
    ProposalId, ReleaseVersion, SignedTransaction, SigningKey, State, Subject, Transaction, Upgrade,
    verify_all,
};

const OLD: ReleaseVersion = ReleaseVersion::new(1, 0, 0);
const VOTERS: usize = 10_000;
const SETS: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// Pairs of a bare verification and a whole block.
const PAIRS: usize = 31;
/// Live proposals while one vote is applied: all that are allowed, 4 per proposer.
const LIVE: usize = 32;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(8))
        .sample_size(20)
        .configure_from_args();
    let votes = Votes::new();
    block_of_votes(&mut criterion, &votes);
    one_vote(&mut criterion);
    criterion.final_summary();
    ratios(rate_beside_bare(&votes));
}

/// A chain with `count` validators of power 1, and their keys.
fn chain(count: usize) -> (State, Vec<SigningKey>) {
    let key = |role: u8, number: usize| {
        let mut secret = [role; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        SigningKey::from_bytes(&secret)
    };
    let keys: Vec<_> = (0..count).map(|number| key(1, number)).collect();
    let validators = keys
        .iter()
        .enumerate()
        .map(|(number, governance)| GenesisValidator {
            name: format!("validator-{number}"),
            governance_key: governance.into(),
            consensus_key: (&key(2, number)).into(),
            power: Power(1),
        });
    let genesis = Genesis {
        chain_id: chain_id(),
        initial_version: OLD,
        parameters: Parameters {
            min_lead_blocks: 10,
            lock_in_blocks: 4,
            threshold_numerator: 2,
            threshold_denominator: 3,
        },
        validators: validators.collect(),
    };
    (State::from_genesis(&genesis).expect("a legal genesis"), keys)
}

fn chain_id() -> ChainId {
    "bench-1".parse().expect("a legal chain id")
}

fn upgrade(number: u64) -> Upgrade {
    let artifact = Artifact {
        platform: "linux/amd64".parse().expect("a legal platform"),
        url: "https://example.org/node".to_owned(),
        size: 1_000,
        sha256: Digest([7; 32]),
    };
    let version = ReleaseVersion::new(1, 1, number);
    Upgrade::new(version, Height(1_000_000 + number), vec![artifact], String::new()).expect("a legal upgrade")
}

fn sign(key: &SigningKey, sequence: u64, action: Action) -> SignedTransaction {
    let transaction = Transaction {
        chain_id: chain_id(),
        sequence,
        last_valid_height: Height(2_000_000),
        action,
    };
    transaction.sign(key)
}

/// The state after a block in which `proposers` of the last validators have each proposed 4 upgrades.
fn with_proposals(mut state: State, keys: &[SigningKey], proposals: usize) -> (State, Vec<ProposalId>) {
    let mut ids = Vec::new();
    state.begin_block(Height(1), &OLD).expect("block 1");
    for number in 0..proposals {
        let key = &keys[keys.len() - 1 - number / 4];
        let upgrade = upgrade(number as u64);
        ids.push(Subject::Upgrade(upgrade.clone()).id(&chain_id()));
        let signed = sign(key, (number % 4) as u64, Action::ProposeUpgrade(upgrade));
        state
            .apply(&signed.verify(&chain_id()).expect("a valid signature"))
            .expect("a legal proposal");
    }
    let _ = state.end_block();
    (state, ids)
}

/// A block of votes, and its signatures for the bare batch verification.
struct Votes {
    state: State,
    votes: Vec<SignedTransaction>,
    messages: Vec<Vec<u8>>,
    signatures: Vec<ed25519_dalek::Signature>,
    keys: Vec<ed25519_dalek::VerifyingKey>,
}

impl Votes {
    fn new() -> Self {
        let (state, keys) = chain(VOTERS + 1);
        let (state, ids) = with_proposals(state, &keys, 1);
        let vote = Action::Vote {
            proposal: ids[0],
            choice: Choice::Approve,
        };
        let votes: Vec<_> = keys[..VOTERS]
            .iter()
            .map(|key| sign(key, 0, vote.clone()))
            .collect();
        let signature = |vote: &SignedTransaction| ed25519_dalek::Signature::from_bytes(&vote.signature.0);
        Self {
            state,
            messages: votes.iter().map(|vote| vote.transaction.sign_bytes()).collect(),
            signatures: votes.iter().map(signature).collect(),
            keys: keys[..VOTERS].iter().map(SigningKey::verifying_key).collect(),
            votes,
        }
    }

    fn bare(&self) {
        let messages: Vec<&[u8]> = self.messages.iter().map(Vec::as_slice).collect();
        ed25519_dalek::verify_batch(&messages, &self.signatures, &self.keys).expect("valid signatures");
    }

    fn whole(&self, votes: Vec<SignedTransaction>) -> State {
        let mut state = self.state.clone();
        state.begin_block(Height(2), &OLD).expect("block 2");
        for verified in verify_all(votes, &chain_id(), self.state.validators()) {
            state
                .apply(&verified.expect("a valid signature"))
                .expect("a vote that counts");
        }
        black_box(state.end_block());
        assert_eq!(state.plan().map(|plan| plan.tally.approving), Some(Power(10_001)));
        state
    }
}

fn block_of_votes(criterion: &mut Criterion, votes: &Votes) {
    let mut group = criterion.benchmark_group("block-of-10000-votes");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("bare-batch-verification", |bencher| bencher.iter(|| votes.bare()));
    group.bench_function("verify-and-apply", |bencher| {
        bencher.iter_batched(
            || votes.votes.clone(),
            |block| votes.whole(block),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The two by turns, in processor time: what else the machine does falls on both alike.
fn rate_beside_bare(votes: &Votes) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let before = processor_time();
        work();
        processor_time() - before
    };
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let bare = time(&mut || votes.bare());
        let block = votes.votes.clone();
        let mut after = None;
        let mut block = Some(block);
        let whole = time(&mut || after = block.take().map(|block| votes.whole(block)));
        ratios.push(bare / whole);
        drop(after);
    }
    ratios.sort_by(f64::total_cmp);
    ratios[PAIRS / 2]
}

/// Of this thread, in seconds.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Begin a block, apply one vote, end the block, hash the state, and list what a store has to write.
fn one_vote(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block-with-one-vote");
    for count in SETS {
        let (state, keys) = chain(count);
        let (state, ids) = with_proposals(state, &keys, LIVE);
        // Half of the validators have voted before.
        let mut voted = state;
        voted.begin_block(Height(2), &OLD).expect("block 2");
        let vote = |number: usize, choice| {
            let proposal = ids[number % LIVE];
            sign(&keys[number], 0, Action::Vote { proposal, choice })
                .verify(&chain_id())
                .expect("a valid signature")
        };
        for number in 0..count / 2 {
            voted
                .apply(&vote(number, Choice::Approve))
                .expect("a vote that counts");
        }
        let _ = voted.end_block();
        let next = vote(count / 2 + 1, Choice::Approve);
        group.bench_with_input(BenchmarkId::from_parameter(count), &next, |bencher, next| {
            bencher.iter_batched(
                || voted.clone(),
                |mut state| {
                    state.begin_block(Height(3), &OLD).expect("block 3");
                    state.apply(next).expect("a vote that counts");
                    black_box(state.end_block());
                    black_box(state.changes_since(&voted));
                    state
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Reads what this run has measured and prints it as ratios.
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn ratios(rate: f64) {
    let median = |path: &str| -> Option<f64> {
        let file = target().join("criterion").join(path).join("new/estimates.json");
        let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        estimates["median"]["point_estimate"].as_f64()
    };
    let mut table = String::from("\nratios of this run\n");
    let bare = median("block-of-10000-votes/bare-batch-verification");
    let whole = median("block-of-10000-votes/verify-and-apply");
    if let (Some(bare), Some(whole)) = (bare, whole) {
        table += &format!(
            "10,000 votes: bare batch verification {:.1} ms, verify and apply {:.1} ms\n",
            bare / 1e6,
            whole / 1e6,
        );
    }
    table += &format!(
        "10,000 votes, verified and applied, in processor time: {:.0}% of the bare rate (median of {PAIRS} pairs by turns; limit: at least 85%)\n",
        100.0 * rate
    );
    let first = median("block-with-one-vote/100");
    for count in SETS {
        if let (Some(time), Some(first)) = (median(&format!("block-with-one-vote/{count}")), first) {
            let log = (count as f64).log2() / 100_f64.log2();
            table += &format!(
                "block with one vote, {count:>7} validators, {LIVE} live proposals: {:>6.1} µs, {:.2} times that of 100 (log n: {log:.2}, n: {})\n",
                time / 1e3,
                time / first,
                count / 100
            );
        }
    }
    print!("{table}");
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}
