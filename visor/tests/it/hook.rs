//! Hooks with real programs.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use visor::config;
use visor::hook::{Context, Job, Outcome, Point};
use visor::lock::NodeLock;

use crate::scene::wait_for;

fn context(home: &Path) -> Context {
    Context {
        home: home.to_path_buf(),
        upgrade: "abcd".to_owned(),
        height: 100,
        version_old: "1.0.0".to_owned(),
        version_new: "1.1.0".to_owned(),
        folder_old: Some(home.join("genesis")),
        folder_new: Some(home.join("v1.1.0")),
        attempt: 2,
        backup: None,
    }
}

fn shell(script: &str) -> config::Hook {
    config::Hook {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..config::Hook::default()
    }
}

fn begin(home: &Path, hook: config::Hook) -> (Job, mpsc::Receiver<Outcome>) {
    let (outcomes, received) = mpsc::channel(1);
    let job = Job::begin(Point::BeforeStop, hook, context(home), outcomes).unwrap();
    (job, received)
}

/// Runs a hook to its end.
fn outcome(home: &Path, hook: config::Hook) -> Result<(), String> {
    let (_job, mut outcomes) = begin(home, hook);
    let outcome = outcomes.blocking_recv().unwrap();
    assert_eq!(outcome.point, Point::BeforeStop);
    outcome.result
}

fn pid_in(file: &PathBuf) -> rustix::process::Pid {
    wait_for("a process id", || {
        let text = fs::read_to_string(file).ok()?;
        let whole = text.ends_with('\n');
        rustix::process::Pid::from_raw(whole.then(|| text.trim().parse().ok())??)
    })
}

fn is_alive(pid: rustix::process::Pid) -> bool {
    visor::lock::Holder::read(pid).is_some()
}

#[test]
fn a_hook_is_told_what_goes_on_and_runs_in_the_home() {
    let home = tempfile::tempdir().unwrap();
    let script = "test \"$1\" = 'an argument' || exit 1; env | grep ^VISOR_ | sort > environment; pwd > folder; cat > input";
    let mut hook = shell(script);
    hook.command.extend(["x".to_owned(), "an argument".to_owned()]);
    assert_eq!(outcome(home.path(), hook), Ok(()));
    let root = home.path().display();
    assert_eq!(
        fs::read_to_string(home.path().join("environment")).unwrap(),
        format!(
            "VISOR_ATTEMPT=2\nVISOR_FOLDER_NEW={root}/v1.1.0\nVISOR_FOLDER_OLD={root}/genesis\nVISOR_HOME={root}\n\
             VISOR_HOOK=before_stop\nVISOR_UPGRADE_HEIGHT=100\nVISOR_UPGRADE_ID=abcd\nVISOR_VERSION_NEW=1.1.0\nVISOR_VERSION_OLD=1.0.0\n"
        )
    );
    let folder = fs::read_to_string(home.path().join("folder")).unwrap();
    assert_eq!(Path::new(folder.trim()), home.path().canonicalize().unwrap());
    assert_eq!(fs::read(home.path().join("input")).unwrap(), b"");
}

#[test]
fn a_hook_that_fails_says_how() {
    let home = tempfile::tempdir().unwrap();
    let code = outcome(home.path(), shell("exit 7")).unwrap_err();
    assert!(code.contains("/bin/sh") && code.contains("exit code 7"), "{code}");
    let signal = outcome(home.path(), shell("kill -KILL $$")).unwrap_err();
    assert!(signal.contains("signal 9"), "{signal}");
    let missing = config::Hook {
        command: vec!["/nowhere/hook".to_owned()],
        ..config::Hook::default()
    };
    let missing = outcome(home.path(), missing).unwrap_err();
    assert!(missing.contains("start /nowhere/hook"), "{missing}");
    // Taken out of the configuration after it was ordered.
    assert_eq!(outcome(home.path(), config::Hook::default()), Ok(()));
}

#[test]
fn a_hook_that_takes_too_long_is_ended_with_all_that_it_started() {
    let home = tempfile::tempdir().unwrap();
    // One child in its group ignores SIGTERM, one has made a session of its own.
    let script = "trap '' TERM; sh -c 'echo $$ > stubborn; exec sleep 60' & \
                  setsid sh -c 'echo $$ > escaped; exec sleep 60' & wait";
    let hook = config::Hook {
        timeout: Duration::from_millis(500),
        ..shell(script)
    };
    let reason = outcome(home.path(), hook).unwrap_err();
    assert!(reason.contains("did not end within 500ms"), "{reason}");
    assert!(!is_alive(pid_in(&home.path().join("stubborn"))));
    assert!(!is_alive(pid_in(&home.path().join("escaped"))));
}

#[test]
fn what_a_hook_leaves_behind_does_not_outlive_it() {
    let home = tempfile::tempdir().unwrap();
    let script = "sh -c 'echo $$ > left; exec sleep 60' & while ! test -s left; do :; done";
    assert_eq!(outcome(home.path(), shell(script)), Ok(()));
    assert!(!is_alive(pid_in(&home.path().join("left"))));
}

#[test]
fn a_hook_that_nobody_waits_for_is_ended() {
    let home = tempfile::tempdir().unwrap();
    let (job, mut outcomes) = begin(home.path(), shell("echo $$ > pid; exec sleep 60"));
    let pid = pid_in(&home.path().join("pid"));
    drop(job);
    wait_for("the hook's end", || (!is_alive(pid)).then_some(()));
    assert_eq!(outcomes.blocking_recv(), None);

    let (job, _outcomes) = begin(
        home.path(),
        shell("trap '' TERM; echo $$ > pid2; while :; do sleep 1; done"),
    );
    let pid = pid_in(&home.path().join("pid2"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(job.end());
    assert!(!is_alive(pid));
}

#[test]
fn vis_02_a_hook_that_a_dead_visor_left_is_ended_before_the_next_is_run() {
    let home = tempfile::tempdir().unwrap();
    let (first, _outcomes) = begin(home.path(), shell("echo $$ > pid; exec sleep 60"));
    let pid = pid_in(&home.path().join("pid"));
    // Nobody ends it: as if its visor had been killed.
    std::mem::forget(first);
    // The job that stands for the dead visor still has its thread: when its hook ends it ends whatever holds the lock, which may be the
    // next hook. A dead visor does not.
    wait_for("a run", || outcome(home.path(), shell("exit 0")).ok());
    // Killed already; it is reaped by the thread that stands for the dead visor, whenever that has its turn.
    wait_for("its end", || (!is_alive(pid)).then_some(()));
}

#[test]
fn vis_03_a_hook_inherits_no_descriptor_but_its_own_lock() {
    let home = tempfile::tempdir().unwrap();
    let lock = NodeLock::new(home.path().join("node.lock"));
    let held = lock.prove_gone().unwrap().unwrap().into_descriptor();
    assert!(held.as_raw_fd() > 2);
    assert_eq!(
        outcome(home.path(), shell("ls -l /proc/self/fd > descriptors")),
        Ok(())
    );
    let seen = fs::read_to_string(home.path().join("descriptors")).unwrap();
    let names: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.split(" -> ").nth(1))
        .collect();
    let expected = |name: &&str| {
        *name == "/dev/null"
            || name.starts_with("pipe:")
            || name.ends_with("/descriptors")
            || name.contains("/proc/")
    };
    let others: Vec<&&str> = names.iter().filter(|name| !expected(name)).collect();
    assert_eq!(others.len(), 1, "{names:?}");
    assert!(others[0].ends_with("/hook.lock"), "{names:?}");
}

#[test]
fn a_hook_that_writes_100_megabytes_is_read_to_the_end() {
    let home = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let script =
        "yes 'a line of some length, again and again' | head -c 50000000; head -c 50000000 /dev/zero >&2";
    assert_eq!(outcome(home.path(), shell(script)), Ok(()));
    assert!(began.elapsed() < Duration::from_secs(30));
}
