//! Which names are versions, and in which order they stand (2.6), over real processes.

use std::fs;

use serde_json::json;

use super::scene::Host;

/// A node that runs under any name and asks for the next version at once.
fn stage(host: &Host, folder: &str, version: &str, last: bool) {
    host.stage_binary_in(folder, version);
    host.stage_config_in(folder, version, 0);
    let behaviour = if last {
        json!({ "careless": true })
    } else {
        json!({ "exit_at_start": 0 })
    };
    host.behave_in(folder, &behaviour);
}

#[test]
fn casper_2_6_versions_are_ordered_by_number_pre_release_and_build() {
    let mut host = Host::new();
    let versions = [
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.0+b1",
        "1.2.0",
        "1.9.0",
        "1.10.0",
        "2.0.0",
    ];
    for version in versions {
        stage(&host, &version.replace('.', "_"), version, version == "2.0.0");
    }
    host.write_state(&host.validator_text("1.0.0-rc.1"));
    let launcher = host.start();
    host.wait_start("2.0.0", 1);
    let validators: Vec<String> = host
        .starts()
        .into_iter()
        .filter(|start| !start.starts_with('>'))
        .collect();
    assert_eq!(validators, versions);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_2_6_foreign_names_in_both_folders_are_skipped() {
    let mut host = Host::with_upgrade_ahead(3);
    for root in [host.bin(), host.config()] {
        for name in [
            "3_0_0_0",
            "3_A",
            "00_9_0",
            "current",
            "network_configs",
            "99999999999999999999_0_0",
        ] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for name in ["node_util.py", "README", "2_0_0.tar.gz", "bin.tar.gz"] {
            fs::write(root.join(name), "").unwrap();
        }
    }
    let launcher = host.start_validating("2.0.0");
    assert_eq!(host.starts(), ["1.0.0", ">2.0.0", "2.0.0"]);
    launcher.stop();
    host.assert_sound();
}

#[test]
fn casper_w18_what_only_looks_like_a_version_is_named_and_never_started() {
    let mut host = Host::with_upgrade_ahead(3);
    // A name with dots, which no path is ever built from, and files in the place of folders.
    host.stage_binary_in("1.5.0", "1.5.0");
    host.stage_config_in("1.5.0", "1.5.0", 2);
    for root in [host.bin(), host.config()] {
        fs::write(root.join("1_6_0"), "").unwrap();
    }
    // The fake node sees those, as a real one does; it is told to upgrade all the same.
    host.behave("1.0.0", &json!({ "exit_at_era": 2, "exit_code": 0 }));
    let launcher = host.start();
    host.wait_start("2.0.0", 1);
    assert_eq!(host.starts()[..3], ["1.0.0", ">2.0.0", "2.0.0"]);
    launcher.wait_log("1.5.0");
    launcher.stop();
}

#[test]
fn casper_2_6_nothing_is_below_0_0_0_or_above_the_largest() {
    let mut host = Host::new();
    let largest = format!("{0}.{0}.{0}", u64::MAX);
    for version in ["0.0.0", "1.0.0"] {
        stage(&host, &version.replace('.', "_"), version, true);
    }
    stage(&host, &largest.replace('.', "_"), &largest, true);
    host.write_state(&host.validator_text("1.0.0"));
    for code in [0, 102] {
        host.behave("1.0.0", &json!({ "exit_at_start": code }));
        let mut launcher = host.start_with(|command| {
            command.env("CASPER_LAUNCHER_SINGLE_ATTEMPT", "1");
        });
        assert_eq!(launcher.wait_exit().code(), Some(1), "{code}: {}", launcher.log());
        assert_eq!(host.validator().as_deref(), Some("1.0.0"));
    }
    assert_eq!(host.starts(), ["1.0.0", "1.0.0"]);
}
