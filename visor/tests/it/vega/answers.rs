//! Odd answers of the admin RPC and of CometBFT, and files that visor must not believe.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::json;

use super::log::Role;
use super::scene::{Host, Kind, V79, V80};

const BLOCKS: u64 = 25;

#[test]
fn an_odd_answer_is_no_order_and_a_good_one_after_it_counts() {
    let odd = [
        "garbage",
        "closes",
        "refuses",
        "fails",
        "no_result",
        "other_id",
        "ready_for_nothing",
        "endless",
        "silent",
    ];
    for rpc in odd {
        let mut host = Host::new(Kind::Core);
        host.folder(V80, V80);
        host.behave(json!({ "rpc": rpc }));
        let visor = host.start();
        host.wait_height(10);
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(host.log().versions(), [V79], "{rpc}");
        host.behave(json!({ "rpc": "answers" }));
        host.accept(V80, BLOCKS);
        host.wait_upgraded(V80);
        assert_eq!(host.log().versions(), [V79, V80], "{rpc}");
        host.stop(visor);
    }
}

#[test]
fn without_a_height_from_cometbft_an_upgrade_happens_all_the_same() {
    for tendermint in ["silent", "garbage"] {
        let mut host = Host::new(Kind::Core);
        host.folder(V80, V80);
        host.behave(json!({ "tendermint": tendermint }));
        let visor = host.start();
        host.wait_connected();
        let height = host.accept(V80, BLOCKS);
        host.wait("the new version", || {
            (host.log().versions() == [V79, V80]).then_some(())
        });
        host.wait_height(height + 5);
        host.log().assert_sane();
        drop(visor);
    }
}

#[test]
fn an_upgrade_that_loses_its_majority_is_forgotten() {
    let mut host = Host::new(Kind::Core);
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, 600);
    host.wait_status("the acceptance", |status| {
        status["upgrade"]["version"] == V80 || status.to_string().contains(V80)
    });
    host.behave(json!({ "upgrades": [] }));
    host.wait_height(height + 10);
    let status = host.wait_connected();
    assert!(
        !status["upgrade"].is_object() || status["upgrade"]["version"] != V80,
        "{status}"
    );
    assert_eq!(host.log().versions(), [V79]);
    host.stop(visor);
}

#[test]
fn w_43_a_link_that_leads_nowhere_is_not_genesis() {
    let mut host = Host::taken_over(Kind::Core);
    let current = host.home().join("current");
    fs::remove_file(&current).unwrap();
    symlink(host.home().join("v0.99.0"), &current).unwrap();
    let mut visor = host.start();
    assert_ne!(visor.wait_exit().code(), Some(0));
    assert!(visor.log().contains("v0.99.0"), "{}", visor.log());
    assert!(host.log().lines.is_empty());
    assert_eq!(host.current(), "v0.99.0");
}

#[test]
fn w_43_a_link_that_was_lost_after_an_upgrade_is_not_genesis() {
    let mut host = Host::new(Kind::Core);
    host.folder(V80, V80);
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    host.stop(visor);
    fs::remove_file(host.home().join("current")).unwrap();
    let mut visor = host.start();
    // Either it knows better from its journal, or it refuses; the first version never runs.
    host.wait("a decision", || {
        (visor.ended().is_some() || host.log().versions().len() == 3).then_some(())
    });
    assert!(host.log().versions()[1..].iter().all(|version| version == V80));
    host.log().assert_sane();
}

#[test]
fn w_44_a_folder_in_the_place_of_current_is_refused_and_kept() {
    let mut host = Host::taken_over(Kind::Core);
    let current = host.home().join("current");
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    fs::write(current.join("precious"), "data").unwrap();
    let mut visor = host.start();
    assert_ne!(visor.wait_exit().code(), Some(0));
    assert!(visor.log().contains("current"), "{}", visor.log());
    assert_eq!(fs::read_to_string(current.join("precious")).unwrap(), "data");
    assert!(host.log().lines.is_empty());
}

#[test]
fn w_46_a_folder_that_is_half_made_is_not_switched_to() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({ "block_ms": 30 }));
    // The operator copies file by file.
    let folder = host.home().join(V80);
    fs::create_dir(&folder).unwrap();
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_said(Role::Core, "ready", 1);
    fs::write(folder.join("run-config.toml"), host.run_config(V80)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(host.log().versions(), [V79]);
    host.programs(&folder, V80);
    host.wait_upgraded(V80);
    assert_eq!(host.log().versions(), [V79, V80]);
    host.stop(visor);
}
