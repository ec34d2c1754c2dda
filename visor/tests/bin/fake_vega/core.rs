//! The core: blocks, snapshots, and the halt that is only in its memory.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use crate::behaviour::{Behaviour, CrashAtHalt};
use crate::chain::Chain;
use crate::fake::monotonic_us;
use crate::rpc::{self, Addresses, Status};
use crate::world::World;

/// What a Go program ends with when it panics.
const PANIC: u8 = 2;
/// And with an error that it expected.
const FAILED: u8 = 1;
/// Between two attempts to reach the data node.
const DIAL: Duration = Duration::from_millis(10);

pub(crate) async fn live(world: &World, load: Option<i64>) -> Result<u8> {
    let tasks = LocalSet::new();
    tasks.run_until(run(world, load)).await
}

async fn run(world: &World, load: Option<i64>) -> Result<u8> {
    let behaviour = world.behaviour()?;
    if let Some(code) = behaviour.exit_at_start.get(&world.version) {
        return Ok(*code);
    }
    if behaviour.hang_in_start.contains(&world.version) {
        world.log("hangs")?;
        return std::future::pending().await;
    }
    let chain = Chain::of(world)?;
    let Some(start) = restore(world, &chain, load)? else {
        return Ok(FAILED);
    };
    // No admin socket until the data node listens.
    let data_node = match behaviour.with_data_node {
        true => Some(DataNode::reach(&world.events(), start + 1).await?),
        false => None,
    };
    let status = Rc::new(Status::default());
    status.height.set(chain.store());
    *status.release.borrow_mut() = restored(&behaviour, &chain, start);
    let addresses = Addresses::of(&world.home)?;
    let again = {
        let folder = world.home.parent().map(Path::to_path_buf).unwrap_or_default();
        rpc::Steered { folder }
    };
    rpc::serve_admin(&addresses, &status, again.clone())?;
    rpc::serve_tendermint(&addresses, &status, again).await?;
    let mut core = Core {
        world,
        chain,
        status,
        data_node,
        height: start,
        halting: None,
        said: BTreeSet::new(),
    };
    core.make_blocks().await
}

/// `tools snapshot`: the newest first.
pub(crate) fn print_snapshots(world: &World) -> Result<ExitCode> {
    let snapshots = Chain::of(world)?.snapshots();
    if snapshots.is_empty() {
        writeln!(io::stderr(), "failed to open database: file does not exist")?;
        return Ok(ExitCode::FAILURE);
    }
    let of = |height: &u64| json!({ "height": height, "version": height, "size": 70, "hash": "ab" });
    let list: Vec<Value> = snapshots.iter().rev().map(of).collect();
    writeln!(io::stdout(), "{}", json!({ "snapshots": list }))?;
    Ok(ExitCode::SUCCESS)
}

/// The height of the snapshot that it begins from.
fn restore(world: &World, chain: &Chain, load: Option<i64>) -> Result<Option<u64>> {
    let snapshots = chain.snapshots();
    let start = match load {
        Some(wanted @ 1..) => {
            let wanted = wanted.unsigned_abs();
            if !snapshots.contains(&wanted) {
                world.log(&format!("no-snapshot {wanted} of {snapshots:?}"))?;
                return Ok(None);
            }
            chain.discard_above(wanted)?;
            wanted
        }
        Some(i64::MIN..=0) | None => snapshots.last().copied().unwrap_or(0),
    };
    world.log(&format!("loaded {start} {}", world.version))?;
    Ok(Some(start))
}

/// What it says before its first block: the release that its snapshot knew.
fn restored(behaviour: &Behaviour, chain: &Chain, start: u64) -> Option<Option<(String, u64)>> {
    if start == 0 {
        return None;
    }
    let halted = chain.upgrades().into_iter().find(|(height, _)| *height == start);
    Some(match halted {
        Some((height, tag)) => Some((tag, height)),
        None => behaviour
            .accepted(start)
            .map(|upgrade| (upgrade.tag.clone(), upgrade.height)),
    })
}

struct Core<'a> {
    world: &'a World,
    chain: Chain,
    status: Rc<Status>,
    data_node: Option<DataNode>,
    /// The last block that it has executed.
    height: u64,
    /// H, once it has executed it. Nothing on the disk says so.
    halting: Option<u64>,
    /// Complaints that stand in the log.
    said: BTreeSet<&'static str>,
}

impl Core<'_> {
    async fn make_blocks(&mut self) -> Result<u8> {
        loop {
            let behaviour = self.world.behaviour()?;
            let next = self.height + 1;
            let is_new = next > self.chain.store();
            if self.world.ending.get() {
                return std::future::pending().await;
            }
            if is_new {
                tokio::time::sleep(behaviour.block()).await;
                if behaviour.stands_still(&self.world.version) {
                    continue;
                }
                // The network makes it, also when this node's application never executes it.
                self.chain.set_store(next)?;
                self.status.height.set(next);
            }
            if let Some(height) = self.halting {
                return self.halt(&behaviour, height).await;
            }
            if let Err(error) = self.execute(&behaviour, next).await {
                self.world.log(&format!("panic: {error:#}"))?;
                return Ok(PANIC);
            }
            if is_new && let Some(code) = behaviour.exit_at(self.world.role, next) {
                return Ok(code);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn execute(&mut self, behaviour: &Behaviour, block: u64) -> Result<()> {
        self.complain(behaviour, block)?;
        let accepted = behaviour.accepted(block);
        *self.status.release.borrow_mut() =
            Some(accepted.map(|upgrade| (upgrade.tag.clone(), upgrade.height)));
        if let Some(data_node) = &mut self.data_node {
            let told = data_node.tell(&format!("block {block}")).await;
            if told.is_err() && behaviour.survives_data_node {
                return std::future::pending().await;
            }
            told?;
        }
        self.height = block;
        match accepted.filter(|upgrade| upgrade.height == block) {
            Some(upgrade) => {
                self.chain.add_upgrade(block, &upgrade.tag)?;
                self.chain.add_snapshot(block)?;
                self.halting = Some(block);
            }
            None if block.is_multiple_of(behaviour.interval()) => {
                // Without a segment nothing would align a data node that is behind the first snapshot.
                if let Some(data_node) = &mut self.data_node {
                    data_node.ask("sync", block).await?;
                }
                self.chain.add_snapshot(block)?;
            }
            None => {}
        }
        Ok(())
    }

    /// Nothing in a core refuses to run the wrong version; the log says when one does.
    fn complain(&mut self, behaviour: &Behaviour, block: u64) -> Result<()> {
        let version = &self.world.version;
        let upgrades = self.chain.upgrades();
        let last = upgrades
            .iter()
            .filter(|(height, _)| *height < block)
            .max_by_key(|(height, _)| *height);
        if let Some((height, tag)) = last
            && tag != version
            && self.said.insert("past")
        {
            self.world.log(&format!("past {height} {version} {block}"))?;
        }
        let own = behaviour.upgrades.iter().find(|upgrade| upgrade.tag == *version);
        if let Some(upgrade) = own
            && block <= upgrade.height
            && self.said.insert("early")
        {
            self.world
                .log(&format!("early {} {version} {block}", upgrade.height))?;
        }
        Ok(())
    }

    /// On entry to block H + 1; it never comes back from there.
    async fn halt(&mut self, behaviour: &Behaviour, height: u64) -> Result<u8> {
        let version = &self.world.version;
        self.world.log(&format!("halted {height} {version}"))?;
        if behaviour.crash_at_halt == CrashAtHalt::BeforeReady {
            return Ok(PANIC);
        }
        if let Some(data_node) = &mut self.data_node
            && let Err(error) = data_node.ask("upgrade", height).await
        {
            self.world.log(&format!("panic: {error:#}"))?;
            return Ok(PANIC);
        }
        if behaviour.crash_at_halt == CrashAtHalt::Unseen {
            return Ok(PANIC);
        }
        self.world
            .log(&format!("ready {height} {version} {}", monotonic_us()))?;
        self.world.ready.set(true);
        self.status.ready.set(true);
        match &mut self.data_node {
            Some(data_node) => tokio::select! {
                () = self.status.seen.notified() => Ok(PANIC),
                () = data_node.gone() => Ok(PANIC),
            },
            None => {
                self.status.seen.notified().await;
                Ok(PANIC)
            }
        }
    }
}

/// The socket on which the data node gets its blocks.
struct DataNode {
    stream: BufStream<UnixStream>,
}

impl DataNode {
    /// Waits for it for as long as it takes, as the core does (for 96 hours).
    async fn reach(path: &PathBuf, first: u64) -> Result<Self> {
        loop {
            if let Ok(stream) = UnixStream::connect(path).await {
                let mut reached = Self {
                    stream: BufStream::new(stream),
                };
                reached.tell(&format!("begin {first}")).await?;
                return Ok(reached);
            }
            tokio::time::sleep(DIAL).await;
        }
    }

    async fn tell(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Until it is ready for exactly this height, however long that takes.
    async fn ask(&mut self, word: &str, height: u64) -> Result<()> {
        self.tell(&format!("{word} {height}")).await?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                bail!("the data node has gone");
            }
            if line.trim() == format!("ready {height}") {
                return Ok(());
            }
        }
    }

    async fn gone(&mut self) {
        let mut line = String::new();
        while self.stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            line.clear();
        }
    }
}
