//! What an operator lives through who stops Vega's visor and starts ours on the same files.

use rustix::process::Signal;
use serde_json::json;
use visor::home::Home;
use visor::journal::Journal;
use visor_planner::Record;

use super::log::Role;
use super::scene::{Host, Kind, V79, V80, V81, V82};
use crate::scene::Visor;

const BLOCKS: u64 = 25;

/// What must be true after the host went through these upgrades, `(tag, H)`, with nothing going wrong.
fn assert_each_once(host: &Host, first: &str, upgrades: &[(&str, u64)], kind: Kind) {
    let log = host.log();
    log.assert_sane();
    let mut versions = vec![first];
    versions.extend(upgrades.iter().map(|(tag, _)| *tag));
    let starts = log.starts(Role::Core);
    let started: Vec<&str> = starts.iter().map(|start| start.version.as_str()).collect();
    assert_eq!(started, versions, "{:#?}", log.lines);
    let mut loads = vec![None];
    loads.extend(upgrades.iter().map(|(_, height)| Some(*height)));
    let loaded: Vec<Option<u64>> = starts.iter().map(|start| start.load).collect();
    assert_eq!(loaded, loads);
    if kind.has_data_node() {
        let beside = log.starts(Role::DataNode);
        let beside: Vec<&str> = beside.iter().map(|start| start.version.as_str()).collect();
        assert_eq!(beside, versions);
    }
    assert_eq!(host.current(), upgrades.last().unwrap().0);
}

fn three_in_a_row(kind: Kind) {
    let mut host = Host::new(kind);
    let visor = host.start();
    host.wait_connected();
    let mut upgrades = Vec::new();
    for tag in [V80, V81, V82] {
        host.folder(tag, tag);
        let height = host.accept(tag, BLOCKS);
        let status = host.wait_upgraded(tag);
        assert_eq!(status["last_upgrade"]["height"], height);
        assert_eq!(status["last_upgrade"]["restarts"], 0);
        assert_eq!(status["problems"], json!([]));
        upgrades.push((tag, height));
    }
    assert_each_once(&host, V79, &upgrades, kind);
    let ends = host.log();
    assert_eq!(ends.ends(Role::Core), ["killed"; 3]);
    if kind.has_data_node() {
        assert_eq!(ends.ends(Role::DataNode), ["0"; 3], "each had its orderly end");
    }
    host.stop(visor);
    let completed = Journal::read(&Home::at(host.home()).journal())
        .unwrap()
        .into_iter()
        .filter(|entry| matches!(entry.record, Record::UpgradeCompleted { .. }))
        .count();
    assert_eq!(completed, 3);
}

#[test]
fn three_upgrades_in_a_row_of_a_core() {
    three_in_a_row(Kind::Core);
}

#[test]
fn three_upgrades_in_a_row_of_a_core_and_a_data_node_of_its_own() {
    three_in_a_row(Kind::TwoBinaries);
}

#[test]
fn three_upgrades_in_a_row_of_a_core_and_a_data_node_of_one_binary() {
    three_in_a_row(Kind::OneBinary);
}

#[test]
fn w_60_a_home_is_taken_over_in_the_middle_of_its_life() {
    let mut host = Host::taken_over(Kind::TwoBinaries);
    host.folder(V80, V80);
    let visor = host.start();
    let status = host.wait_connected();
    assert_eq!(status["current_version"], V79);
    let height = host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    assert_each_once(&host, V79, &[(V80, height)], Kind::TwoBinaries);
    let link = std::fs::read_link(host.home().join("current")).unwrap();
    assert_eq!(link.to_str(), Some(V80), "relative: the home may be moved");
    host.stop(visor);
}

#[test]
fn the_same_command_line_as_the_original() {
    let mut host = Host::taken_over(Kind::Core);
    let program = host.root().join("vegavisor");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_visor"), &program).unwrap();
    host.folder(V80, V80);
    let command = host.command_of(&program);
    let visor = host.launch(command);
    host.wait_connected();
    host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    host.stop(visor);

    let output = std::process::Command::new(&program)
        .args(["version", "--output", "json"])
        .output()
        .unwrap();
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        version["version"].is_string() && version["hash"].is_string(),
        "{version}"
    );
}

#[test]
fn upgrade_folders_have_any_name_and_binaries_any_place() {
    let mut host = Host::new(Kind::OneBinary);
    let elsewhere = host.root().join("bin");
    std::fs::create_dir(&elsewhere).unwrap();
    host.programs(&elsewhere, V80);
    host.folder("the-next", "v0.0.1");
    let folder = host.home().join("the-next");
    let text = std::fs::read_to_string(folder.join("run-config.toml")).unwrap();
    let absolute = format!("path = {:?}", elsewhere.join("vega"));
    std::fs::write(
        folder.join("run-config.toml"),
        text.replace("path = \"vega\"", &absolute),
    )
    .unwrap();
    std::fs::remove_file(folder.join("vega")).unwrap();
    host.with_keys("[upgradeFolders]\n\"v0.80.0\" = \"the-next\"\n\"vX.X.X\" = \"vX.X.X\"\n");
    let visor = host.start();
    host.wait_connected();
    host.accept(V80, BLOCKS);
    let status = host.wait_upgraded(V80);
    assert_eq!(status["current_version"], V80);
    assert_eq!(host.current(), "the-next");
    host.stop(visor);
}

#[test]
fn vis_04_a_restarted_visor_adopts_both_and_upgrades_them() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    let visor = host.start();
    host.wait_connected();
    visor.kill();
    let visor = host.start();
    let status = host.wait_connected();
    assert_eq!(status["node"]["adopted"], true);
    let height = host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    assert_each_once(&host, V79, &[(V80, height)], Kind::TwoBinaries);
    host.stop(visor);
}

fn stops_both_in_order(end: impl Fn(&Visor)) {
    let mut host = Host::new(Kind::TwoBinaries);
    host.behave(json!({ "slow_end_ms": { "core": 200, "data": 200 } }));
    let mut visor = host.start();
    host.wait_connected();
    end(&visor);
    assert_eq!(visor.wait_exit().code(), Some(0), "{}", visor.log());
    host.assert_no_node();
    let log = host.log();
    assert_eq!(
        (log.ends(Role::Core), log.ends(Role::DataNode)),
        (vec!["0"], vec!["0"])
    );
    let place = |role| log.said(role, "end ")[0].0;
    assert!(
        place(Role::Core) < place(Role::DataNode),
        "the data node outlives the core that needs it: {:#?}",
        log.lines
    );
    log.assert_sane();
}

#[test]
fn w_26_sigterm_to_visor_stops_both_in_order() {
    stops_both_in_order(Visor::terminate);
}

#[test]
fn w_26_sigint_to_visor_stops_both_in_order() {
    stops_both_in_order(|visor| {
        let pid = rustix::process::Pid::from_raw(visor.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::INT).unwrap();
    });
}

#[test]
fn w_42_an_operators_commands_work_on_a_vega_home() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    host.with_own("[http]\nlisten = \"127.0.0.1:0\"\n");
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, 40);
    let text = |arguments: &[&str]| {
        let output = host.operator(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = host.wait("the plan", || {
        let plan = text(&["plan"]);
        plan.contains(V80).then_some(plan)
    });
    assert!(plan.contains(&height.to_string()), "{plan}");
    let status = host.wait_upgraded(V80);
    assert_eq!(status["chain_system"], "vega");
    let shown = text(&["status"]);
    assert!(shown.contains(V80) && shown.contains("data-node"), "{shown}");
    let history = text(&["history"]);
    assert!(
        history.contains(V80) && history.contains(&height.to_string()),
        "{history}"
    );
    let doctor = host.operator(&["doctor"]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("current"), "{doctor}");
    assert!(visor.log().contains("http"), "{}", visor.log());
    host.stop(visor);
    // The journal still tells it when no visor runs.
    let output = host.operator(&["history"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(V80),
        "{output:?}"
    );
}

#[test]
fn w_39_a_vega_upgrade_has_hooks_and_a_backup() {
    let mut host = Host::new(Kind::TwoBinaries);
    host.folder(V80, V80);
    let (data, ran) = (host.root().join("precious"), host.root().join("ran"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("key"), "secret").unwrap();
    let hook = |name: &str| {
        let script = format!(
            "echo {name} $VISOR_VERSION_NEW $VISOR_UPGRADE_HEIGHT >> {}",
            ran.display()
        );
        format!("[hooks.{name}]\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n")
    };
    host.with_own(&format!(
        "[backup]\npaths = [{data:?}]\nreserve = 0\nfirst_pass_blocks = 10\n{}{}{}",
        hook("before_stop"),
        hook("before_start"),
        hook("after_success")
    ));
    let visor = host.start();
    host.wait_connected();
    let height = host.accept(V80, BLOCKS);
    host.wait_upgraded(V80);
    let lines = host.wait("the hooks", || {
        let text = std::fs::read_to_string(&ran).unwrap_or_default();
        (text.lines().count() >= 3).then_some(text)
    });
    for name in ["before_stop", "before_start", "after_success"] {
        assert!(lines.contains(&format!("{name} {V80} {height}")), "{lines}");
    }
    let backup = Journal::read(&Home::at(host.home()).journal())
        .unwrap()
        .into_iter()
        .find_map(|entry| {
            let Record::BackedUp { backup, .. } = entry.record else {
                return None;
            };
            Some(backup.path)
        })
        .expect("a backup");
    let copies = walk(std::path::Path::new(&backup));
    let copied = copies.iter().any(|path| path.ends_with("key"));
    assert!(copied, "{copies:?}");
    assert_each_once(&host, V79, &[(V80, height)], Kind::TwoBinaries);
    host.stop(visor);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
