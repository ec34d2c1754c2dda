//! What is durable before what: the system calls of a real upgrade, as strace saw them (VIS-01).
//!
//! A SIGKILL loses nothing that was written, only a power cut does, so no kill shows a sync that is missing. Without strace, or where it
//! may not look, there is nothing to prove and the test passes.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::scene::{Host, NEW};

/// What visor's one thread did, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Into the journal.
    Append,
    /// Of the journal.
    Sync,
    /// `current` leads elsewhere.
    Switch,
    /// Of the home's names.
    SyncHome,
    /// A signal to a process group.
    Signal,
    /// A process was begun.
    Spawn,
}

fn calls(host: &Host, trace: &str) -> Vec<Call> {
    let home = host.home().canonicalize().unwrap();
    let journal = format!("<{}>", home.join("journal").display());
    let folder = format!("<{}>", home.display());
    let current = format!("\"{}\"", home.join("current").display());
    let call = |line: &str| {
        let name = line.split('(').next()?;
        if line.contains(" = -1 ") || line.ends_with("= ?") {
            return None;
        }
        Some(match name {
            "write" | "pwrite64" | "writev" if line.contains(&journal) => Call::Append,
            "fsync" | "fdatasync" if line.contains(&journal) => Call::Sync,
            "fsync" | "fdatasync" if line.contains(&folder) => Call::SyncHome,
            "rename" | "renameat" | "renameat2" if line.contains(&current) => Call::Switch,
            "kill" if line.contains("SIGTERM") => Call::Signal,
            "clone" | "clone3" | "vfork" if !line.contains("CLONE_THREAD") => Call::Spawn,
            _ => return None,
        })
    };
    trace.lines().filter_map(call).collect()
}

/// What was not durable when it had to be.
fn faults(calls: &[Call]) -> Vec<String> {
    let (mut appended, mut switched) = (false, false);
    let mut faults = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        match call {
            Call::Append if appended => {
                faults.push(format!("call {place}: a second record, the first not durable"))
            }
            Call::Append if switched => {
                faults.push(format!("call {place}: a record, the switch not durable"))
            }
            Call::Append => appended = true,
            Call::Sync => appended = false,
            Call::Switch | Call::Signal | Call::Spawn if appended => {
                faults.push(format!(
                    "call {place}: {call:?}, the record before it not durable"
                ));
            }
            Call::Switch => switched = true,
            Call::SyncHome => switched = false,
            Call::Signal | Call::Spawn => {}
        }
    }
    if appended || switched {
        faults.push("not durable at the end".to_owned());
    }
    faults
}

#[test]
fn what_is_not_durable_in_time_is_found() {
    use Call::{Append, Signal, Spawn, Switch, Sync, SyncHome};
    let good = [
        Append, Sync, Signal, Append, Sync, Switch, Spawn, SyncHome, Append, Sync,
    ];
    assert_eq!(faults(&good), [""; 0]);
    for without in [1, 4, 7, 9] {
        let mut bad = good.to_vec();
        bad.remove(without);
        assert!(!faults(&bad).is_empty(), "{without}");
    }
}

#[test]
fn vis_01_every_record_is_durable_before_what_follows_it() {
    let mut host = Host::new();
    let trace = host.root().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-y", "-s", "0", "-o"])
        .arg(&trace)
        .args([
            "-e",
            "trace=write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,kill,clone,clone3,vfork",
        ])
        .stdin(Stdio::null());
    let may = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("not proved: strace is not there, or may not look");
        return;
    }
    let visor = host.command();
    strace.arg(visor.get_program()).args(visor.get_args());
    // Its own group, so that visor alone is told to stop.
    strace.process_group(0);
    let mut running = host.launch(strace);
    let status = host.wait_status("the node", |status| status["node_connected"] == true);
    let pid = i32::try_from(status["visor_pid"].as_u64().unwrap()).unwrap();
    host.announce(30);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.wait_exit().code(), Some(0));
    let text = fs::read_to_string(&trace).unwrap();
    let calls = calls(&host, &text);
    for (call, least) in [
        (Call::Append, 5),
        (Call::Sync, 5),
        (Call::Switch, 1),
        (Call::SyncHome, 1),
        (Call::Signal, 1),
        (Call::Spawn, 2),
    ] {
        let count = calls.iter().filter(|found| **found == call).count();
        assert!(count >= least, "{call:?}: {count} in {calls:?}\n{text}");
    }
    assert_eq!(faults(&calls), [""; 0], "{calls:?}\n{text}");
}
