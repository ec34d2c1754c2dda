//! What a large state costs: `cargo bench -p e2e --bench state`.
//!
//! A chain of 10,000 validators with 1,000 ended proposals and a live one on which all have voted: how much memory it
//! takes, how long a commit takes that changes nothing, one ballot or many, and how that compares with a commit of one
//! small row to an empty database of the same kind on the same disk, in the same run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use governance::{
    Action, Artifact, ChainId, Choice, Digest, Genesis, GenesisValidator, Height, Parameters, Power,
    ProposalId, ReleaseVersion, SigningKey, Subject, Transaction, Upgrade, VerifiedTransaction,
};
use governance_node::chronicle::{Chronicle, Entry};
use governance_node::store::{Commit, Loaded, Store};
use governance_node::{BlockRecord, TransactionOutcome};

const OLD: ReleaseVersion = ReleaseVersion::new(1, 0, 0);
const VALIDATORS: usize = 10_000;
const ENDED: usize = 1_000;
/// Validators whose power decides: so that a thousand proposals end without ten million signatures.
const HEAVY: usize = 3;
const COMMITS: usize = 60;

#[expect(clippy::print_stdout, reason = "the lines are what the program is for")]
fn main() -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let before = resident_kib()?;
    let mut chain = Chain::open(&folder.path().join("chain.redb"))?;
    let with_validators = resident_kib()?;
    for number in 0..ENDED {
        chain.end_a_proposal(number as u64)?;
    }
    let with_ended = resident_kib()?;
    let live = chain.propose(ENDED as u64)?;
    for voters in (HEAVY..VALIDATORS).collect::<Vec<_>>().chunks(256) {
        let votes = voters
            .iter()
            .map(|voter| chain.vote(*voter, live, Choice::Reject))
            .collect();
        chain.block(votes)?;
    }
    let with_ballots = resident_kib()?;
    let mib = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1024.0;
    println!(
        "resident memory: {:.1} MiB for {VALIDATORS} validators, {:.1} MiB for {ENDED} ended proposals, {:.1} MiB for {} ballots; {:.1} MiB in all",
        mib(before, with_validators),
        mib(with_validators, with_ended),
        mib(with_ended, with_ballots),
        VALIDATORS - HEAVY,
        mib(0, with_ballots),
    );

    let bare = bare_commit(&folder.path().join("bare.redb"))?;
    println!("commit of one small row to an empty database: {bare:.2?} (median of {COMMITS})");
    for ballots in [0, 1, 16, 256] {
        let mut times = Vec::new();
        let mut rows = 0;
        for round in 0..COMMITS {
            let choice = if round % 2 == 0 {
                Choice::Approve
            } else {
                Choice::Reject
            };
            let voters = (0..ballots).map(|place| HEAVY + (round * 37 + place * 11) % (VALIDATORS - HEAVY));
            let votes = voters.collect::<std::collections::BTreeSet<_>>().into_iter();
            let votes = votes.map(|voter| chain.vote(voter, live, choice)).collect();
            let (time, changed) = chain.block(votes)?;
            times.push(time);
            rows = rows.max(changed);
        }
        let middle = median(&mut times);
        println!(
            "commit of a block with {ballots:>3} votes: {middle:.2?}, {rows} rows of {} changed, {:.1} times the bare commit",
            chain.loaded.state.rows().len(),
            middle.as_secs_f64() / bare.as_secs_f64(),
        );
    }
    Ok(())
}

struct Chain {
    store: Store,
    loaded: Loaded,
    keys: Vec<SigningKey>,
    sequences: Vec<u64>,
}

impl Chain {
    fn open(path: &std::path::Path) -> Result<Self> {
        let key = |role: u8, number: usize| {
            let mut secret = [role; 32];
            secret[..8].copy_from_slice(&number.to_be_bytes());
            SigningKey::from_bytes(&secret)
        };
        let keys: Vec<_> = (0..VALIDATORS).map(|number| key(1, number)).collect();
        let validators = keys
            .iter()
            .enumerate()
            .map(|(number, governance)| GenesisValidator {
                name: format!("validator-{number}"),
                governance_key: governance.into(),
                consensus_key: (&key(2, number)).into(),
                power: Power(if number < HEAVY { 1_000_000 } else { 1 }),
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
        let (store, loaded) = Store::open(path, &genesis)?;
        let sequences = vec![0; keys.len()];
        Ok(Self {
            store,
            loaded,
            keys,
            sequences,
        })
    }

    fn sign(&mut self, signer: usize, action: Action) -> VerifiedTransaction {
        let transaction = Transaction {
            chain_id: chain_id(),
            sequence: self.sequences[signer],
            last_valid_height: Height(u64::MAX),
            action,
        };
        self.sequences[signer] += 1;
        let signed = transaction.sign(&self.keys[signer]);
        signed.verify(&chain_id()).expect("signed with the right key")
    }

    fn vote(&mut self, voter: usize, proposal: ProposalId, choice: Choice) -> VerifiedTransaction {
        self.sign(voter, Action::Vote { proposal, choice })
    }

    fn propose(&mut self, number: u64) -> Result<ProposalId> {
        let artifact = Artifact {
            platform: "linux/amd64".parse()?,
            url: "https://example.org/releases/download/node-linux-amd64".to_owned(),
            size: 1_000,
            sha256: Digest([7; 32]),
        };
        let upgrade = Upgrade::new(
            ReleaseVersion::new(1, 1, number),
            Height(1_000_000 + number),
            vec![artifact],
            "What this release is for, in a sentence or two, and where to read more about it.".to_owned(),
        )?;
        let id = Subject::Upgrade(upgrade.clone()).id(&chain_id());
        let proposal = self.sign(0, Action::ProposeUpgrade(upgrade));
        self.block(vec![proposal])?;
        Ok(id)
    }

    fn end_a_proposal(&mut self, number: u64) -> Result<()> {
        let id = self.propose(number)?;
        let rejections = (1..HEAVY)
            .map(|voter| self.vote(voter, id, Choice::Reject))
            .collect();
        self.block(rejections)?;
        let phase = self
            .loaded
            .state
            .proposal(&id)
            .map(|proposal| proposal.phase.to_string());
        anyhow::ensure!(
            phase.as_deref() == Some("rejected"),
            "proposal {number} has not ended: {phase:?}"
        );
        Ok(())
    }

    /// Executes a block and commits it: how long the commit took, and how many rows of the state it changed.
    fn block(&mut self, transactions: Vec<VerifiedTransaction>) -> Result<(Duration, usize)> {
        let mut state = self.loaded.state.clone();
        let height = state.height().next().context("heights are used up")?;
        let mut events = state.begin_block(height, &OLD)?;
        let mut outcomes = Vec::new();
        for transaction in &transactions {
            events.extend(state.apply(transaction)?);
            let rejection = None;
            outcomes.push((transaction.id(), TransactionOutcome { height, rejection }));
        }
        events.extend(state.end_block());
        let bytes: Vec<u8> = transactions
            .iter()
            .flat_map(|one| one.signed().to_canonical())
            .collect();
        let block = Digest::of(&bytes);
        let entry = Entry {
            height,
            block,
            version: &OLD,
            transactions: transactions.len() as u64,
        };
        let chronicle: Chronicle = self.loaded.chronicle.record(&entry);
        let record = BlockRecord {
            height,
            block,
            state_root: chronicle.chain_root(&state.state_root()),
            version: OLD,
            committed_at_unix_ms: 0,
            events,
            transactions: outcomes.iter().map(|(id, _)| *id).collect(),
        };
        let started = Instant::now();
        self.store.commit(&Commit {
            record: &record,
            block: &bytes,
            // Four commit signatures and their frame.
            certificate: &[7; 600],
            previous: &self.loaded.state,
            state: &state,
            chronicle: &chronicle,
            outcomes: &outcomes,
        })?;
        let time = started.elapsed();
        let changed = state.changes_since(&self.loaded.state).len();
        self.loaded = Loaded { state, chronicle };
        Ok((time, changed))
    }
}

/// What any durable commit costs here.
fn bare_commit(path: &std::path::Path) -> Result<Duration> {
    const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("rows");
    let database = redb::Database::create(path)?;
    let mut times = Vec::new();
    for number in 0..COMMITS as u64 {
        let started = Instant::now();
        let write = database.begin_write()?;
        write.open_table(TABLE)?.insert(number, [7; 100].as_slice())?;
        write.commit()?;
        times.push(started.elapsed());
    }
    Ok(median(&mut times))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn chain_id() -> ChainId {
    "bench-1".parse().expect("a legal chain id")
}

/// VmRSS of this process.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("/proc/self/status names no VmRSS")?;
    Ok(kib.trim().parse()?)
}
