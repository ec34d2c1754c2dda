//! Permissions that were taken away, for a user whom they bind; and visor's own socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::proof::{assert_upgraded, is_upgraded};
use crate::scene::{Host, NEW, OLD, Visor, wait_for};

const DENIED: &str = "Permission denied";

/// Takes all of these permission bits; gives them back when dropped.
struct Taken<'a> {
    path: &'a Path,
    before: Permissions,
}

impl<'a> Taken<'a> {
    fn new(path: &'a Path, bits: u32) -> Self {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(before.mode() & !bits)).unwrap();
        Self { path, before }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.path, self.before.clone());
    }
}

fn started() -> (Host, Visor) {
    let mut host = Host::new();
    host.without_privileges();
    host.behave(json!({ "block_ms": 5 }));
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    (host, visor)
}

fn end(host: &Host, height: u64, mut visor: Visor) {
    wait_for("the upgrade", || is_upgraded(host).then_some(()));
    assert_upgraded(host, height);
    visor.terminate();
    assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
    host.assert_no_node();
}

#[test]
fn vis_05_a_staging_folder_that_cannot_be_written_is_named_and_waited_for() {
    let (mut host, visor) = started();
    let staging = host.home().join("staging");
    let taken = Taken::new(&staging, 0o222);
    let height = host.announce(60);
    let status = host.wait_status("the reason", |status| {
        status["upgrade"]["staging_problem"].is_string() && status["phase"] == "halting"
    });
    let problem = status["upgrade"]["staging_problem"].as_str().unwrap();
    assert!(
        problem.contains(DENIED) && problem.contains(staging.to_str().unwrap()),
        "{problem}"
    );
    assert_eq!(host.starts(), [OLD]);
    drop(taken);
    end(&host, height, visor);
}

/// A visor that cannot use one of its files ends with its code and leaves the node alone.
fn refused_without(file: &str, bits: u32, code: i32) {
    let (mut host, visor) = started();
    visor.kill();
    let pid = host.last_pid();
    let path = host.home().join(file);
    let taken = Taken::new(&path, bits);
    let mut visor = host.start();
    assert_eq!(visor.wait_exit().code(), Some(code), "{}", visor.log());
    let said = visor.log();
    assert!(
        said.contains(DENIED) && said.contains(path.to_str().unwrap()),
        "{said}"
    );
    let seen = host.height();
    wait_for("blocks of the same node", || (host.height() > seen).then_some(()));
    drop(taken);
    let visor = host.start();
    host.wait_status("the adopted node", |status| status["node_connected"] == true);
    assert_eq!(host.last_pid(), pid);
    let height = host.announce(60);
    end(&host, height, visor);
}

#[test]
fn a_journal_that_cannot_be_read_is_named_and_the_node_left_alone() {
    refused_without("journal", 0o666, 7);
}

#[test]
fn a_journal_that_cannot_be_written_is_named_and_the_node_left_alone() {
    refused_without("journal", 0o222, 7);
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_and_the_node_left_alone() {
    refused_without("config.toml", 0o444, 3);
}

#[test]
fn a_binary_that_may_not_be_executed_any_more_is_retried_until_it_may() {
    let (mut host, visor) = started();
    let height = host.announce(150);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let program = host.home().join("v1.1.0/fake-node");
    let taken = Taken::new(&program, 0o111);
    let status = host.wait_status("the reason", |status| {
        status["current_version"] == NEW
            && status["problems"]
                .as_array()
                .is_some_and(|problems| !problems.is_empty())
    });
    let problem = status["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("expected an executable file") && problem.contains(program.to_str().unwrap()),
        "{problem}"
    );
    drop(taken);
    end(&host, height, visor);
}

#[test]
fn vis_07_a_home_in_which_nothing_can_be_made_delays_the_switch_until_it_can() {
    let (mut host, visor) = started();
    let height = host.announce(150);
    host.wait_status("staged", |status| status["phase"] == "staged");
    let home = host.home();
    let taken = Taken::new(&home, 0o222);
    wait_for("the height", || (host.height() >= height).then_some(()));
    let status = host.wait_status("the reason", |status| {
        status["problems"]
            .as_array()
            .is_some_and(|problems| !problems.is_empty())
    });
    let problem = status["problems"][0].as_str().unwrap();
    assert!(
        problem.contains(DENIED) && problem.contains("current.part"),
        "{problem}"
    );
    assert_eq!(host.current(), "genesis");
    assert_eq!(
        host.starts(),
        [OLD],
        "what `current` does not name is not started"
    );
    drop(taken);
    end(&host, height, visor);
}

#[test]
fn a_visor_whose_own_socket_is_removed_makes_it_again() {
    let mut host = Host::new();
    host.behave(json!({ "block_ms": 5 }));
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let socket = host.home().join("visor.sock");
    for _ in 0..2 {
        fs::remove_file(&socket).unwrap();
        host.wait_status("an answer", |status| status["node_connected"] == true);
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let height = host.announce(60);
    end(&host, height, visor);
}
