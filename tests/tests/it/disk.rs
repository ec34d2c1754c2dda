//! A disk that is full, fails or has rotted: the node stops with a clear message and a documented exit code, and nothing is damaged.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use e2e::{Desk, Load, Network, Random};

use crate::nodes::{
    assert_kept_promises, assert_no_panic, assert_sound, assert_still_there, clients, equivocation_reports,
    goes_on, say, stop, validators, wait,
};
use crate::story::{LIMIT, turn};

/// Documented in governance/node/README.md: the store is damaged.
const STORE: i32 = 12;
/// Documented there: the disk is full or fails.
const DISK: i32 = 13;
/// The node whose disk it is.
const VICTIM: usize = 1;
/// Large enough for the store of a story, small enough to be filled at once.
const DISK_BYTES: &str = "16m";

async fn start_load(network: &Network, desks: &[Arc<Desk>]) -> Load {
    let clients = clients(network);
    let proposal = desks[0]
        .propose_far_upgrade(&clients, LIMIT)
        .await
        .expect("a proposal to vote on");
    Load::start(desks.to_vec(), &clients, proposal)
}

/// The victim has stopped by itself: what it says of its disk, and that it is no bug.
async fn assert_stopped_clearly(network: &mut Network, from: usize, cause: &str) {
    let node = network.node(VICTIM).expect("a node");
    let status = node.wait_exit(LIMIT).await.expect("it stops by itself");
    let said = node.log().expect("a log").split_off(from);
    assert_eq!(status.code(), Some(DISK), "{cause}: {said}");
    assert!(said.contains(cause), "it names `{cause}`: {said}");
    let last = said
        .lines()
        .rfind(|line| line.starts_with("error: "))
        .unwrap_or("");
    let store = node.store();
    assert!(
        last.contains(store.to_str().expect("a readable path")) || last.contains("write-ahead log"),
        "it names the file: {said}"
    );
    assert!(last.contains("disk"), "it says what to do: {said}");
    assert_no_panic(node);
}

/// The victim starts again where it was, and catches up.
async fn assert_unharmed(network: &mut Network, load: &Load) {
    network
        .node(VICTIM)
        .expect("a node")
        .start()
        .expect("it starts again");
    let ledger = load.ledger();
    assert_kept_promises(network, &ledger, VICTIM).await;
    let tip = network.observer().tip();
    wait(network, "the node catches up", |views| {
        views[VICTIM].height() > tip
    })
    .await;
}

#[tokio::test]
async fn a_node_that_can_write_no_file_stops_and_goes_on_when_it_can() {
    let _turn = turn().await;
    let (mut network, desks) = validators(4).await;
    let load = start_load(&network, &desks).await;
    // Every file, from the first byte; the log of what it signs, in the middle of an entry; the store alone.
    for limit in [0, 100, 64 * 1024] {
        goes_on(&network, 2).await;
        let node = &network.nodes()[VICTIM];
        let from = node.log().expect("a log").len();
        node.limit_file_size(Some(limit)).expect("it runs");
        assert_stopped_clearly(&mut network, from, "File too large").await;
        // It does not start while it cannot write either.
        let node = network.node(VICTIM).expect("a node");
        let from = node.log().expect("a log").len();
        node.launch_with(["sh", "-c", "ulimit -S -f 0; exec \"$@\"", "sh"].map(OsString::from));
        node.start().expect("it is started");
        assert_stopped_clearly(&mut network, from, "File too large").await;
        network.node(VICTIM).expect("a node").launch_with([]);
        assert_unharmed(&mut network, &load).await;
    }
    finish(network, load).await;
}

#[tokio::test]
async fn a_node_on_a_full_disk_stops_and_goes_on_when_there_is_room() {
    let _turn = turn().await;
    let (mut network, desks) = validators(4).await;
    let stopped = network.node(VICTIM).expect("a node").stop().await;
    stopped.expect("it stops in order");
    let home = network.nodes()[VICTIM].home();
    let Some(disk) = SmallDisk::mount(home, &network.root().join("before-the-disk")) else {
        say("skipped: no private mounts are permitted here");
        stop(network).await;
        return;
    };
    let node = network.node(VICTIM).expect("a node");
    node.launch_with(disk.enter());
    node.start().expect("it starts on the small disk");
    let load = start_load(&network, &desks).await;
    for _ in 0..2 {
        goes_on(&network, 2).await;
        let from = network.nodes()[VICTIM].log().expect("a log").len();
        disk.fill();
        assert_stopped_clearly(&mut network, from, "No space left on device").await;
        disk.free();
        assert_unharmed(&mut network, &load).await;
    }
    finish(network, load).await;
}

async fn finish(network: Network, load: Load) {
    let votes = load.finish().await.expect("every vote ends up in a block").all();
    goes_on(&network, 1).await;
    for (node, client) in network.nodes().iter().zip(clients(&network)) {
        assert_still_there(node.name(), &client, &votes).await;
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

/// A disk of its own under a node's home, in a mount namespace of its own: nobody else sees it, and it goes with the process
/// that holds it.
struct SmallDisk {
    holder: Child,
    as_root: bool,
    /// The home, as seen from outside.
    home: PathBuf,
}

impl SmallDisk {
    /// Moves the home onto the disk. `None` where that is not permitted.
    fn mount(home: &Path, aside: &Path) -> Option<Self> {
        const SCRIPT: &str = "cp -a \"$1\" \"$2\" && mount -t tmpfs -o size=$3 tmpfs \"$1\" && cp -a \"$2/.\" \"$1\" \
                              && echo mounted && exec sleep 3600";
        let as_root = rustix::process::geteuid().is_root();
        let mut holder = Command::new("unshare")
            .args(if as_root {
                ["-m"].as_slice()
            } else {
                &["-U", "-r", "-m"]
            })
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(home)
            .arg(aside)
            .arg(DISK_BYTES)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let disk = Self {
            home: PathBuf::from(format!("/proc/{}/root{}", holder.id(), home.display())),
            holder,
            as_root,
        };
        (said.is_ok() && line == "mounted\n").then_some(disk)
    }

    /// Words that run a program where the disk is seen.
    fn enter(&self) -> Vec<OsString> {
        let user: &[&str] = if self.as_root {
            &[]
        } else {
            &["-U", "--preserve-credentials"]
        };
        let target = self.holder.id().to_string();
        ["nsenter", "-t", &target, "-m"]
            .iter()
            .chain(user)
            .map(OsString::from)
            .collect()
    }

    fn filler(&self) -> PathBuf {
        self.home.join("filler")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file on the small disk");
        for size in [64 * 1024, 1024, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_or_harmless() {
    let _turn = turn().await;
    let mut random = Random::from_environment();
    say(&format!("E2E_SEED={}", random.seed()));
    let (mut network, desks) = validators(4).await;
    let load = start_load(&network, &desks).await;
    goes_on(&network, 10).await;
    let votes = load.finish().await.expect("every vote ends up in a block").all();
    // All are killed: one that comes back from older files must not sign anything that could be counted.
    for index in 0..4 {
        network.node(index).expect("a node").kill().expect("it is killed");
    }
    let node = &network.nodes()[VICTIM];
    let store = fs::read(node.store()).expect("the store");
    let log = fs::read(node.write_ahead_log()).expect("the log");

    let length = store.len();
    let mut refused = 0;
    for kept in [1, 7, 100, 4096, length / 3, length / 2, length - 4096, length - 1] {
        let outcome = start_on(&mut network, &store[..kept], &log).await;
        assert!(outcome.is_none(), "cut to {kept} bytes, it starts");
        refused += 1;
    }
    let garbage = random.bytes(length);
    assert!(
        start_on(&mut network, &garbage, &log).await.is_none(),
        "garbage is no store"
    );
    let mut places = vec![0, 8, 16, 64, 128, 192, 320];
    places.extend((0..24).map(|_| random.index(length)));
    for place in places {
        let mut damaged = store.clone();
        damaged[place] ^= 1 << random.below(8);
        refused += u64::from(start_on(&mut network, &damaged, &log).await.is_none());
    }
    assert!(refused > 8, "no flipped bit was noticed");

    // The good files again: nothing of it has left a trace.
    let node = &network.nodes()[VICTIM];
    fs::write(node.store(), &store).expect("the good store");
    fs::write(node.write_ahead_log(), &log).expect("the good log");
    network.start().expect("all start again");
    goes_on(&network, 3).await;
    for (node, client) in network.nodes().iter().zip(clients(&network)) {
        assert_still_there(node.name(), &client, &votes).await;
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

/// Starts the victim on these files and kills it. `None` when it has refused them clearly; the height when it stands on a
/// block that the network knows.
async fn start_on(network: &mut Network, store: &[u8], log: &[u8]) -> Option<u64> {
    let views = network.observer().views();
    let node = network.node(VICTIM).expect("a node");
    fs::write(node.store(), store).expect("the damaged store");
    fs::write(node.write_ahead_log(), log).expect("the log");
    let from = node.log().expect("a log").len();
    node.start().expect("it is started");
    let status = node.first_status(LIMIT).await;
    if let Ok(status) = status {
        node.kill().expect("it runs");
        let known = views.iter().any(|view| {
            view.blocks
                .get(&status.height)
                .is_some_and(|block| block.state_root == status.state_root)
        });
        assert!(
            known || views.iter().all(|view| view.height() < status.height),
            "it stands on a block {} that nobody has",
            status.height
        );
        assert_no_panic(node);
        return Some(status.height);
    }
    let ended = node.wait_exit(LIMIT).await.expect("it has ended");
    let said = node.log().expect("a log").split_off(from);
    assert_eq!(ended.code(), Some(STORE), "{said}");
    let path = node.store();
    assert!(
        said.contains("error: ") && said.contains(path.to_str().expect("a readable path")),
        "it names the store: {said}"
    );
    assert_no_panic(node);
    None
}
