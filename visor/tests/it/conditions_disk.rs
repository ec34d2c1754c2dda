//! Disks that are full or read-only.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::disk::{SmallDisk, read_only, survives_the_limit};
use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, NEW, OLD, Visor, wait_for};

const FULL: &str = "No space left on device";
const TOO_LARGE: &str = "File too large";

fn host() -> Host {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    host
}

fn wait_connected(host: &Host) {
    wait_for("the node", || {
        host.ask().filter(|status| status.node_connected).map(drop)
    });
}

/// No file of this visor, nor of what it starts from now on, grows beyond so many bytes.
fn limit_files(visor: &Visor, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(visor.pid()).unwrap()).unwrap();
    // The soft limit alone, so that it can be lifted.
    let limit = Rlimit {
        current: bytes,
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

fn end(host: &Host, height: u64, mut visor: Visor) {
    wait_for("the upgrade", || is_upgraded(host).then_some(()));
    assert_upgraded(host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
    host.assert_no_node();
}

/// The staging fails with this reason until there is room; the node halts and waits, and nothing else happens.
fn assert_waits_for_room(host: &Host, height: u64, reason: &str) {
    wait_for("the reason why it is not staged", || {
        let upgrade = host.ask()?.upgrade?;
        upgrade.staging_problem.contains(reason).then_some(())
    });
    wait_for("the height", || (host.height() >= height).then_some(()));
    assert_eq!(
        (host.starts(), host.current().as_str()),
        (vec![OLD.to_owned()], "genesis")
    );
    assert!(!host.home().join("v1.1.0").exists());
}

#[test]
fn vis_05_a_disk_that_is_full_while_staging_is_told_and_waited_for() {
    let mut host = host();
    let Some(disk) = SmallDisk::mount(&mut host, 32) else {
        // The limit on file sizes, below, needs no mounts.
        eprintln!("skipped: no private mounts are permitted here");
        return;
    };
    let visor = host.launch(disk.enter(&host.command()));
    wait_connected(&host);
    // Room for the journal, and for a part of the artifact.
    disk.fill(1024 * 1024);
    let height = host.announce(60);
    assert_waits_for_room(&host, height, FULL);
    disk.free();
    end(&host, height, visor);
}

#[test]
fn vis_05_an_artifact_that_cannot_be_written_is_told_and_waited_for() {
    let mut host = host();
    let visor = host.launch(survives_the_limit(&host.command()));
    wait_connected(&host);
    limit_files(&visor, Some(1024 * 1024));
    let height = host.announce(60);
    assert_waits_for_room(&host, height, TOO_LARGE);
    limit_files(&visor, None);
    end(&host, height, visor);
}

/// A visor whose journal cannot be written when the height comes.
fn without_a_journal(host: &mut Host) -> (Visor, u64) {
    let visor = host.launch(survives_the_limit(&host.command()));
    wait_connected(host);
    let height = host.announce(200);
    wait_for("staged", || host.ask()?.upgrade?.staged.then_some(()));
    limit_files(
        &visor,
        Some(fs::metadata(host.home().join("journal")).unwrap().len()),
    );
    let pid = host.last_pid();
    let told = wait_for("the problem", || {
        let problems = host.ask()?.problems;
        problems.iter().find(|text| text.contains("journal")).cloned()
    });
    assert!(told.contains(TOO_LARGE), "{told}");
    wait_for("the height", || (host.height() >= height).then_some(()));
    // Room again, and yet nothing: what a failed write has left is known only to the next visor.
    limit_files(&visor, None);
    assert_eq!((host.starts(), host.last_pid()), (vec![OLD.to_owned()], pid));
    assert_eq!(host.current(), "genesis");
    // Nothing that stood behind the record in its batch was done either: the node was not told to stop, and goes on when it may.
    let moved = height + 5;
    let plan = host.plan(NEW, moved);
    host.behave(json!({ "upgrade": plan }));
    wait_for("blocks of the node that is left as it is", || {
        (host.height() >= moved).then_some(())
    });
    (visor, moved)
}

#[test]
fn vis_01_a_journal_that_cannot_be_written_ends_all_effects_until_visor_is_started_again() {
    let mut host = host();
    let (visor, height) = without_a_journal(&mut host);
    visor.kill();
    let visor = host.start();
    end(&host, height, visor);
}

#[test]
fn vis_01_a_visor_without_its_journal_still_stops_the_node_when_told_and_ends_with_7() {
    let mut host = host();
    let (mut visor, height) = without_a_journal(&mut host);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(7), "{}", visor.log());
    host.assert_no_node();
    assert_eq!(host.starts(), [OLD]);
    let visor = host.start();
    end(&host, height, visor);
}

#[test]
fn a_home_on_a_read_only_file_system_is_named_and_the_node_left_alone() {
    let mut host = host();
    let Some(command) = read_only(&host.home(), &host.command()) else {
        eprintln!("skipped: no private mounts are permitted here");
        return;
    };
    let refused = |host: &mut Host, command| {
        let mut visor = host.launch(command);
        assert_eq!(visor.wait_exit().code(), Some(1), "{}", visor.log());
        let said = visor.log();
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(said.contains(host.home().to_str().unwrap()), "{said}");
    };
    refused(&mut host, command);
    assert_eq!(host.starts(), [""; 0]);

    let visor = host.start();
    wait_connected(&host);
    let pid = host.last_pid();
    visor.kill();
    let command = read_only(&host.home(), &host.command()).unwrap();
    refused(&mut host, command);
    let seen = host.height();
    wait_for("blocks of the same node", || (host.height() > seen).then_some(()));
    let visor = host.start();
    wait_connected(&host);
    assert_eq!(host.last_pid(), pid);
    let height = host.announce(60);
    end(&host, height, visor);
}
