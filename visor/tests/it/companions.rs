//! A node with companions: one unit, whatever any of its processes does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use visor::config::Staging;
use visor::home::Home;
use visor::lock::NodeLock;
use visor::process::{Exit, Launch, StopOrder, Unit, find_running, recognise};
use visor::run_config::RunConfig;
use visor::staging::{Artifact, LiveUpgrades, Order, stage};

use crate::scene::{Host, NEW, OLD, wait_for};

const QUICK: StopOrder = StopOrder {
    delay: Duration::ZERO,
    grace: Duration::from_millis(300),
};

struct Bench {
    host: Host,
    lock: NodeLock,
    launch: Launch,
}

impl Bench {
    /// `data` before the node, `watch` after it, each with its flags.
    fn new(data: &str, watch: &str) -> Self {
        let host = Host::new();
        host.companions(&[("watch", "after_node", watch), ("data", "before_node", data)]);
        let folder = host.home().join("genesis");
        let launch = RunConfig::read(&folder).unwrap().launch(&folder, None);
        let lock = NodeLock::new(host.home().join("node.lock"));
        Self { host, lock, launch }
    }

    fn start(&self) -> Unit {
        let unit = Unit::start(&self.launch.clone().ready().unwrap(), &self.lock, QUICK).unwrap();
        assert!(unit.is_whole());
        wait_for("a block", || (self.host.height() > 0).then_some(()));
        unit
    }

    fn assert_all_gone(&self) {
        assert!(
            self.lock.prove_gone().unwrap().is_some(),
            "{:?}",
            self.lock.holders()
        );
        self.host.assert_never_two();
    }

    /// The process ids that the log names after a word.
    fn logged(&self, word: &str) -> Vec<String> {
        let log = self.host.node_log();
        log.iter()
            .filter_map(|line| line.strip_prefix(word).map(str::to_owned))
            .collect()
    }
}

async fn exit(unit: &mut Unit) -> Exit {
    tokio::time::timeout(Duration::from_secs(30), unit.exit())
        .await
        .unwrap()
}

fn pid(unit: &Unit, name: &str) -> u32 {
    unit.companions()
        .find_map(|(found, pid)| (found == name).then_some(pid))
        .unwrap()
}

#[tokio::test]
async fn vis_08_companions_stop_in_the_reverse_order_of_their_starts() {
    let bench = Bench::new("", "");
    let mut unit = bench.start();
    let names: Vec<&str> = unit.companions().map(|(name, _)| name).collect();
    assert_eq!(names, ["data", "watch"]);
    bench.host.wait_line("ready data");
    bench.host.wait_line("ready watch");
    let node = unit.pid();
    unit.stop(QUICK);
    let exit = exit(&mut unit).await;
    assert_eq!((exit.process, exit.pid, exit.code), (None, node, Some(0)));
    let log = bench.host.node_log();
    let ends: Vec<&str> = log
        .iter()
        .filter_map(|line| {
            Some(
                line.split(' ')
                    .nth(1)
                    .filter(|_| line.starts_with("end ") || line.starts_with("exit ")),
            )?
        })
        .collect();
    assert_eq!(ends, ["watch", &node.to_string(), "data"]);
    bench.assert_all_gone();
}

#[tokio::test]
async fn vis_03_when_one_ends_on_its_own_all_end_and_the_exit_names_it() {
    for name in ["data", "watch", "node"] {
        let mut bench = Bench::new("", "");
        let mut unit = bench.start();
        bench.host.wait_line("ready data");
        bench.host.wait_line("ready watch");
        let expected = if name == "node" {
            bench
                .host
                .behave(json!({ "exit_at_height": bench.host.height() + 3, "exit_code": 7 }));
            (None, unit.pid(), Some(7), None)
        } else {
            fs::write(bench.host.node_home().join(format!("end-{name}")), "7").unwrap();
            (Some(name.to_owned()), pid(&unit, name), Some(7), None)
        };
        let exit = exit(&mut unit).await;
        assert_eq!((exit.process, exit.pid, exit.code, exit.signal), expected);
        assert_eq!(exit.failed_start, None);
        bench.assert_all_gone();
    }
}

#[tokio::test]
async fn vis_03_a_killed_companion_is_named_with_its_signal() {
    let bench = Bench::new("", "");
    let mut unit = bench.start();
    let data = Pid::from_raw(pid(&unit, "data").cast_signed()).unwrap();
    kill_process(data, Signal::KILL).unwrap();
    let exit = exit(&mut unit).await;
    assert_eq!(
        (exit.process.as_deref(), exit.code, exit.signal),
        (Some("data"), None, Some(9))
    );
    bench.assert_all_gone();
}

#[tokio::test]
async fn a_companion_that_cannot_be_started_stops_those_before_it() {
    let mut bench = Bench::new("", "");
    bench.launch.programs[2].path = PathBuf::from("/nowhere/watch");
    let mut unit = Unit::start(&bench.launch.clone().ready().unwrap(), &bench.lock, QUICK).unwrap();
    assert!(!unit.is_whole());
    let failed = exit(&mut unit).await;
    let reason = failed.failed_start.unwrap();
    assert!(
        reason.contains("start the companion watch (/nowhere/watch)"),
        "{reason}"
    );
    bench.assert_all_gone();

    bench.launch.programs[0].path = PathBuf::from("/nowhere/data");
    let error = Unit::start(&bench.launch.clone().ready().unwrap(), &bench.lock, QUICK).unwrap_err();
    assert!(error.to_string().contains("start the companion data"), "{error}");
    bench.assert_all_gone();
}

#[tokio::test]
async fn vis_08_a_companion_that_hangs_is_killed_after_its_own_grace() {
    let mut bench = Bench::new("ignores", "ignores");
    // One has a grace of its own, and the other that of the order.
    bench.launch.programs[2].grace = Some(Duration::from_millis(50));
    let mut unit = bench.start();
    bench.host.wait_line("ready data");
    bench.host.wait_line("ready watch");
    let began = std::time::Instant::now();
    unit.stop(StopOrder {
        delay: Duration::ZERO,
        grace: Duration::from_millis(600),
    });
    // A second order changes nothing.
    unit.stop(QUICK);
    let exit = exit(&mut unit).await;
    assert_eq!((exit.process, exit.code), (None, Some(0)));
    assert!(began.elapsed() >= Duration::from_millis(650));
    bench.assert_all_gone();
}

#[tokio::test]
async fn vis_03_what_a_companion_started_is_gone_too() {
    let bench = Bench::new("helper", "");
    let mut unit = bench.start();
    wait_for("the helper", || {
        (bench.logged("helper ").len() == 1).then_some(())
    });
    unit.stop(QUICK);
    exit(&mut unit).await;
    let helper = &bench.logged("helper ")[0];
    assert!(!Path::new(&format!("/proc/{helper}/exe")).exists());
    bench.assert_all_gone();
}

#[tokio::test]
async fn vis_03_a_companion_that_forks_into_the_background_has_ended() {
    let bench = Bench::new("", "forks");
    let mut unit = Unit::start(&bench.launch.clone().ready().unwrap(), &bench.lock, QUICK).unwrap();
    let exit = exit(&mut unit).await;
    assert_eq!((exit.process.as_deref(), exit.code), (Some("watch"), Some(0)));
    bench.assert_all_gone();
}

#[tokio::test]
async fn vis_04_a_unit_left_running_is_adopted_whole_and_an_incomplete_one_is_stopped() {
    let bench = Bench::new("", "");
    let started = bench.start();
    bench.host.wait_line("ready watch");
    let pids = |unit: &Unit| (unit.pid(), pid(unit, "data"), pid(unit, "watch"));
    let before = pids(&started);
    drop(started);
    let recognised = async || match find_running(&bench.lock).await.unwrap() {
        visor::process::Found::Mains(mains) => recognise(&bench.launch, &mains),
        other @ (visor::process::Found::Nothing | visor::process::Found::Leftovers) => panic!("{other:?}"),
    };
    let adopted = Unit::adopt(&recognised().await, &bench.lock, QUICK).unwrap();
    assert!(adopted.is_whole());
    assert_eq!(pids(&adopted), before);
    drop(adopted);
    let node = Pid::from_raw(before.0.cast_signed()).unwrap();
    kill_process(node, Signal::KILL).unwrap();
    wait_for("the node to be gone", || {
        (bench.lock.holders().len() == 2).then_some(())
    });
    let rest = recognised().await;
    assert!(!rest.is_complete() && rest.node().is_none());
    let mut rest = Unit::adopt(&rest, &bench.lock, QUICK).unwrap();
    assert!(!rest.is_whole());
    exit(&mut rest).await;
    let ends = bench.logged("end ");
    assert_eq!(ends, ["watch", "data"]);
    bench.assert_all_gone();
}

fn connected(status: &Value) -> bool {
    status["node_connected"] == true
}

#[test]
fn vis_03_a_unit_restarts_together_when_a_companion_ends() {
    let mut host = Host::new();
    host.companions(&[("data", "before_node", ""), ("watch", "after_node", "")]);
    let mut visor = host.start();
    host.wait_status("the node", connected);
    let pid: i32 = wait_for("the companion", || {
        host.node_log()
            .iter()
            .find_map(|line| line.strip_prefix("companion watch ")?.parse().ok())
    });
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    wait_for("all of them again", || {
        let log = host.node_log();
        let count = |word: &str| log.iter().filter(|line| line.starts_with(word)).count();
        (host.starts().len() == 2 && count("ready data") == 2 && count("ready watch") == 2).then_some(())
    });
    host.assert_never_two();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

#[test]
fn vis_04_a_restarted_visor_adopts_companions_and_starts_an_incomplete_unit_again() {
    let mut host = Host::new();
    host.companions(&[("data", "before_node", ""), ("watch", "after_node", "")]);
    let visor = host.start();
    host.wait_status("the node", connected);
    host.wait_line("ready watch");
    visor.kill();
    let visor = host.start();
    let status = host.wait_status("the adopted node", connected);
    assert_eq!(status["node"]["adopted"], true);
    assert_eq!((host.starts().len(), host.wait_line("ready watch")), (1, 1));
    visor.kill();
    let pid = host.last_pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let mut visor = host.start();
    let status = host.wait_status("a node of its own", connected);
    assert_eq!(status["node"]["adopted"], false);
    wait_for("all of them again", || {
        (host.wait_line("ready watch") == 2).then_some(())
    });
    assert_eq!((host.starts().len(), host.wait_line("ready data")), (2, 2));
    host.assert_never_two();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

#[test]
fn vis_05_an_upgrade_takes_the_companions_along() {
    let mut host = Host::new();
    host.companions(&[("data", "before_node", ""), ("watch", "after_node", "")]);
    let mut visor = host.start();
    host.wait_status("the node", connected);
    host.announce(20);
    host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && connected(status)
    });
    assert_eq!(host.starts(), [OLD, NEW]);
    wait_for("both again", || {
        (host.wait_line("ready watch") == 2).then_some(())
    });
    let side = |folder: &str| fs::read(host.home().join(folder).join("side")).unwrap();
    assert_eq!(side("genesis"), side("v1.1.0"));
    host.assert_never_two();
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0));
    host.assert_no_node();
}

fn order(host: &Host) -> Order {
    use sha2::Digest as _;
    let file = host.binary(NEW);
    let bytes = fs::read(&file).unwrap();
    Order {
        id: "cd".repeat(32),
        version: NEW.to_owned(),
        artifact: Some(Artifact {
            url: format!("file://{}", file.display()),
            size: bytes.len() as u64,
            sha256: sha2::Sha256::digest(&bytes).into(),
        }),
    }
}

async fn stage_next(host: &Host) -> Result<RunConfig, String> {
    let home = Home::at(host.home());
    let live = LiveUpgrades::default();
    stage(&home, &Staging::default(), &order(host), "genesis", &live)
        .await
        .map_err(|error| visor::cli::chain(&error))?;
    Ok(RunConfig::read(&host.home().join("v1.1.0")).unwrap())
}

#[tokio::test]
async fn vis_05_staging_fails_early_when_a_companions_binary_is_missing() {
    let host = Host::new();
    host.companions(&[("data", "before_node", "")]);
    let side = host.home().join("genesis/side");
    fs::remove_file(&side).unwrap();
    let error = stage_next(&host).await.unwrap_err();
    assert!(
        error.contains("the companion data: expected an executable file, found nothing"),
        "{error}"
    );
    assert!(!host.home().join("v1.1.0").exists());
    assert!(Home::at(host.home()).versions().is_empty());

    fs::copy(env!("CARGO_BIN_EXE_fake-node"), &side).unwrap();
    stage_next(&host).await.unwrap();
    assert_eq!(Home::at(host.home()).versions(), [NEW]);
    // A folder that lost it since is not complete any more, and says so. Without the mark it is the operator's own.
    fs::remove_file(host.home().join("v1.1.0/staged-for")).unwrap();
    fs::remove_file(host.home().join("v1.1.0/side")).unwrap();
    assert!(Home::at(host.home()).versions().is_empty());
    let error = stage_next(&host).await.unwrap_err();
    assert!(error.contains("v1.1.0/side for the companion data"), "{error}");
}

#[tokio::test]
async fn a_companion_of_the_nodes_own_binary_gets_the_accepted_one() {
    let host = Host::new();
    host.companions(&[("data", "before_node", "")]);
    let path = host.home().join("genesis/run-config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("binary = \"side\"", "binary = \"fake-node\"")).unwrap();
    let staged = stage_next(&host).await.unwrap();
    assert_eq!(staged.companions[0].binary, staged.node.binary);
    assert!(!host.home().join("v1.1.0/side").exists());
}
