//! What the loop takes in, on a host where nothing happens by itself: the operator keeps the node stopped.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tokio::sync::mpsc;
use visor_planner::{Answer, Effect, ExitReason, Height, NodeReport};

use super::*;
use crate::adapter;
use crate::run_config::{FILE_NAME, NodeRun, RunConfig};

const VERSION: &str = "1.0.0";

/// A home whose only version is complete, and whose node is kept stopped.
fn home(root: &Path) -> Home {
    let home = Home::at(root.to_path_buf());
    let folder = home.folder(&Home::folder_name(VERSION));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("node");
    fs::write(&program, "").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = RunConfig {
        name: VERSION.to_owned(),
        node: NodeRun {
            binary: "node".into(),
            args: Vec::new(),
            socket: root.join("node.sock"),
        },
        companions: Vec::new(),
    };
    fs::write(folder.join(FILE_NAME), toml::to_string(&run).unwrap()).unwrap();
    symlink(&folder, home.current()).unwrap();
    home
}

/// Nobody listens to what its links see by themselves.
async fn daemon(home: &Home) -> Daemon {
    let mut journal = Journal::open(&home.journal()).unwrap().journal;
    journal.append(&Record::NodeHeld { at: now() }, now().0).unwrap();
    let entries = Journal::read(&home.journal()).unwrap();
    let (_, orders) = mpsc::channel(1);
    let config = Config::default();
    let adapter = adapter::of_home(home).into();
    let begun = Daemon::begin(home, adapter, &config, journal, &entries, orders).await;
    begun.unwrap().0
}

fn said() -> [LinkEvent; 6] {
    let report = NodeReport {
        version: Version(VERSION.to_owned()),
        height: Height(7),
        upgrades: Vec::new(),
        halt: None,
    };
    let refusals = Vec::new();
    [
        LinkEvent::Reported(Translated { report, refusals }),
        LinkEvent::Lost,
        LinkEvent::Unresponsive("no answer".to_owned()),
        LinkEvent::Nonsense("a report without a version".to_owned()),
        LinkEvent::Silent("nobody answers".to_owned()),
        LinkEvent::Installed(vec![pb::InstalledVersion::default()]),
    ]
}

/// How many facts wait, what makes no sense, and how many versions are known to lie here.
fn taken_in(daemon: &Daemon) -> (usize, &str, usize) {
    (daemon.queue.len(), &daemon.nonsense, daemon.installed.len())
}

#[tokio::test]
async fn a_late_word_of_an_earlier_nodes_link_is_not_taken_for_one_of_the_present_node() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let mut daemon = daemon(&home).await;
    daemon.host.follow(VERSION, None, true).unwrap();
    daemon.host.follow(VERSION, None, false).unwrap();
    for event in said() {
        daemon.linked(1, event);
    }
    assert_eq!(taken_in(&daemon), (0, "", 0), "of the node before");
    assert_eq!(daemon.silent, "");
    for event in said() {
        daemon.linked(2, event);
    }
    assert_eq!(taken_in(&daemon), (3, "a report without a version", 1));
    assert!(daemon.shown().problems.contains(&"nobody answers".to_owned()));
    daemon.queue.clear();
    daemon.host.forget_node();
    for event in said() {
        daemon.linked(2, event);
    }
    assert_eq!(daemon.queue.len(), 0, "nothing runs");
    // The next link is the third, whatever has come in between.
    daemon.host.follow(VERSION, None, true).unwrap();
    daemon.linked(2, LinkEvent::Lost);
    assert_eq!(daemon.queue.len(), 0);
    daemon.linked(3, LinkEvent::Lost);
    assert_eq!(daemon.queue.len(), 1);
}

#[tokio::test]
async fn vis_01_nothing_that_goes_beyond_processes_is_done_before_the_records_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let mut daemon = daemon(&home).await;
    let failing = || -> recorder::MakeDurable { Box::new(|| Err("no".to_owned())) };
    let record = Record::NodeHeld { at: now() };
    daemon.recorder.write_behind(&record, 0, failing()).unwrap();
    let (answer, mut answered) = oneshot::channel();
    daemon.tickets.insert(1, answer);
    daemon.execute(vec![
        Effect::Answer {
            ticket: 1,
            answer: Answer::Done("done".to_owned()),
        },
        Effect::Exit(ExitReason::Stopped),
    ]);
    assert!(answered.try_recv().is_err() && daemon.exit.is_none());
    assert_eq!(
        daemon.queue.pop_front(),
        Some(Input::AppendFailed {
            reason: "no".to_owned()
        })
    );
    // Then there is nothing to wait for, and visor ends when it is told to.
    daemon.execute(vec![Effect::Exit(ExitReason::Stopped)]);
    assert!(matches!(daemon.exit, Some(Ended::Code(exit_code::JOURNAL))));
}
