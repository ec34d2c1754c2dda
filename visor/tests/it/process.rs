//! The node's process under the library's own supervision: stop, adopt, prove gone.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use visor::lock::NodeLock;
use visor::process::{
    Exit, Found, Launch, ProcessError, Program, Role, StopOrder, Unit, find_running, recognise,
};

use crate::scene::{Host, OLD, wait_for};

const QUICK: StopOrder = StopOrder {
    delay: Duration::ZERO,
    grace: Duration::from_millis(300),
};

async fn exit(node: &mut Unit) -> Exit {
    tokio::time::timeout(Duration::from_secs(30), node.exit())
        .await
        .unwrap()
}

struct Bench {
    host: Host,
    lock: NodeLock,
    launch: Launch,
}

impl Bench {
    fn new(behaviour: serde_json::Value) -> Self {
        let mut host = Host::new();
        host.behave(behaviour);
        let lock = NodeLock::new(host.home().join("node.lock"));
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let node = Program {
            role: Role::Node,
            path: fs::canonicalize(host.artifact(OLD)).unwrap(),
            arguments: vec![
                "start".to_owned(),
                "--home".to_owned(),
                text(host.node_home()),
                "--socket".to_owned(),
                text(host.node_home().join("s")),
            ],
            grace: None,
        };
        let launch = Launch {
            programs: vec![node],
            output: None,
            inherit_input: false,
        };
        Self { host, lock, launch }
    }

    fn try_start(&self) -> Result<Unit, ProcessError> {
        Unit::start(&self.launch.clone().ready().unwrap(), &self.lock, QUICK)
    }

    fn start(&self) -> Unit {
        let node = self.try_start().unwrap();
        wait_for("a block", || (self.host.height() > 0).then_some(()));
        node
    }

    fn is_free(&self) -> bool {
        self.lock.prove_gone().unwrap().is_some()
    }
}

#[tokio::test]
async fn vis_08_a_stop_ends_the_node_with_sigterm() {
    let bench = Bench::new(json!({}));
    let mut node = bench.start();
    assert!(!bench.is_free());
    node.stop(QUICK);
    let exit = exit(&mut node).await;
    assert_eq!((exit.pid, exit.code, exit.signal), (node.pid(), Some(0), None));
    assert!(bench.is_free());
}

#[tokio::test]
async fn vis_08_a_node_that_ignores_sigterm_is_killed_after_the_grace() {
    let bench = Bench::new(json!({ "ignore_sigterm": true }));
    let mut node = bench.start();
    node.stop(QUICK);
    node.stop(QUICK);
    let exit = exit(&mut node).await;
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    assert!(bench.host.node_log().contains(&"ignored SIGTERM".to_owned()));
    assert!(bench.is_free());
}

#[tokio::test]
async fn vis_03_an_exit_is_reported_only_when_every_descendant_is_gone() {
    for setsid in [false, true] {
        let bench = Bench::new(json!({
            "helper": true,
            "helper_setsid": setsid,
            "helper_ignores_sigterm": true,
            "exit_at_height": 5,
            "exit_code": 3,
        }));
        let mut node = bench.start();
        let exit = exit(&mut node).await;
        assert_eq!(exit.code, Some(3));
        assert!(bench.is_free(), "setsid {setsid}");
        let log = bench.host.node_log();
        let helper = log.iter().find_map(|line| line.strip_prefix("helper ")).unwrap();
        assert!(
            !PathBuf::from(format!("/proc/{helper}/exe")).exists(),
            "setsid {setsid}"
        );
    }
}

#[tokio::test]
async fn vis_03_no_start_while_a_process_of_the_previous_node_lives() {
    let bench = Bench::new(json!({}));
    let node = bench.start();
    let second = bench.try_start();
    assert!(matches!(second, Err(ProcessError::StillAlive)));
    drop(node);
    assert_eq!(bench.host.starts().len(), 1);
}

#[tokio::test]
async fn vis_04_a_node_left_running_is_found_and_adopted() {
    let bench = Bench::new(json!({ "helper": true }));
    let started = bench.start();
    let pid = started.pid();
    // What a dead visor leaves: the node, and nobody who watches it.
    drop(started);
    let Found::Mains(mains) = find_running(&bench.lock).await.unwrap() else {
        panic!("no node was found")
    };
    assert_eq!(mains.len(), 1);
    let found = recognise(&bench.launch, &mains);
    assert!(found.is_complete());
    assert_eq!(
        found
            .node()
            .unwrap()
            .holder
            .pid
            .as_raw_nonzero()
            .get()
            .unsigned_abs(),
        pid
    );
    let mut adopted = Unit::adopt(&found, &bench.lock, QUICK).unwrap();
    adopted.stop(QUICK);
    let exit = exit(&mut adopted).await;
    // It is a child of this process still, so that its end is known.
    assert_eq!((exit.pid, exit.code, exit.signal), (pid, Some(0), None));
    assert!(
        !PathBuf::from(format!("/proc/{pid}")).exists(),
        "a zombie is left"
    );
    assert_eq!(find_running(&bench.lock).await.unwrap(), Found::Nothing);
}

#[tokio::test]
async fn vis_03_a_deleted_lock_file_does_not_hide_a_running_node() {
    let bench = Bench::new(json!({}));
    let node = bench.start();
    let pid = node.pid();
    drop(node);
    fs::remove_file(bench.host.home().join("node.lock")).unwrap();
    let Found::Mains(mains) = find_running(&bench.lock).await.unwrap() else {
        panic!("no node was found")
    };
    assert_eq!(mains[0].holder.pid.as_raw_nonzero().get().unsigned_abs(), pid);
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_reported_by_name() {
    let mut bench = Bench::new(json!({}));
    bench.launch.programs[0].path = PathBuf::from("/nowhere/governance");
    let error = bench.try_start().unwrap_err();
    assert!(error.to_string().contains("/nowhere/governance"));
    // No child of this process keeps the lock but the node. One that another test forks at this moment has it
    // until its `exec`, which closes it.
    wait_for("the lock to be free", || bench.is_free().then_some(()));
}
