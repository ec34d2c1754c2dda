//! A core that may have halted without being seen (W-01).

use visor_planner::{UpgradeId, Version};

use super::*;

/// A start of a version that may have halted at this height without being seen.
fn restart(height: u64) -> Start {
    Start {
        unseen_halt: Some(UpgradePlan {
            id: UpgradeId(format!("v1.2.0@{height}")),
            version: Version("v1.2.0".to_owned()),
            height: Height(height),
        }),
        ..start("genesis", None)
    }
}

fn snapshots(heights: &[u64]) -> String {
    let list: Vec<String> = heights
        .iter()
        .map(|height| format!(r#"{{"height":{height},"version":3,"size":70,"hash":"ab"}}"#))
        .collect();
    format!(
        "echo 'a line of a log'\necho '{{\"snapshots\":[{}]}}'",
        list.join(",")
    )
}

#[tokio::test]
async fn w_01_a_core_whose_newest_snapshot_is_that_of_h_has_halted() {
    let folder = Folder::new();
    let versions = Versions::default();
    let arguments = |words| Ok(FoundOut::Arguments(self::words(words)));
    let run_of = |core: &str| run(core, None);
    for (heights, has_halted) in [
        (&[30, 20, 10][..], true),
        // In whatever order.
        (&[10, 20, 30], true),
        // It comes to H anew, and halts again.
        (&[20, 10], false),
        (&[], false),
        // It went on before: the chain wanted no upgrade any more.
        (&[40, 30], false),
    ] {
        folder.write("vega", &snapshots(heights));
        let found = folder
            .find_out(&restart(30), &run_of("node --home /v"), &versions)
            .await;
        let expected = if has_halted {
            Ok(FoundOut::HasHalted)
        } else {
            arguments("")
        };
        assert_eq!(found, expected, "{heights:?}");
    }
    assert_eq!(
        folder.calls("vega").last().unwrap(),
        "tools snapshot --home /v --output json"
    );
    folder.write("vega", &snapshots(&[30]));
    let found = folder.find_out(&restart(30), &run_of("node"), &versions).await;
    assert_eq!(found, Ok(FoundOut::HasHalted));
    assert_eq!(
        folder.calls("vega").last().unwrap(),
        "tools snapshot --output json"
    );
    // Where the operator makes it begin counts.
    for (pinned, has_halted) in [
        ("5", false),
        ("29", false),
        ("30", true),
        ("0", true),
        ("-1", true),
    ] {
        let run = run_of(&format!("node --snapshot.load-from-block-height {pinned}"));
        let found = folder.find_out(&restart(30), &run, &versions).await;
        assert_eq!(found == Ok(FoundOut::HasHalted), has_halted, "{pinned}");
    }
}

#[tokio::test]
async fn w_01_a_core_with_a_data_node_has_halted_when_that_is_at_h() {
    let folder = Folder::new();
    folder.write("data-node", SEGMENT);
    folder.write("vega", &snapshots(&[4_300, 4_200]));
    let versions = Versions::default();
    let run = run("node --home /v", Some("start --home /d"));
    for (height, has_halted) in [(4_200, true), (4_300, false), (4_100, false)] {
        let found = folder.find_out(&restart(height), &run, &versions).await;
        let aligned = FoundOut::Arguments(words("--snapshot.load-from-block-height 4200"));
        let expected = if has_halted { FoundOut::HasHalted } else { aligned };
        assert_eq!(found, Ok(expected), "{height}");
    }
    assert!(
        folder.calls("vega").is_empty(),
        "the core begins where its data node is"
    );
    // One that has published nothing does not say where the core begins.
    folder.write("data-node", "echo 'no history segments found'; exit 1");
    let found = folder.find_out(&restart(4_300), &run, &versions).await;
    assert_eq!(found, Ok(FoundOut::HasHalted));
}

#[tokio::test]
async fn w_01_a_core_that_does_not_list_its_snapshots_is_started_as_it_is() {
    let folder = Folder::new();
    let versions = Versions::default();
    for script in [
        "echo 'Unknown command `tools' >&2; exit 1",
        "echo 'failed to open database located at /v: file does not exist'; exit 255",
        "echo '{\"snapshots\":7}'",
        "echo '{\"snapshots\":[{\"height\":30},{\"height\":[]}]}'",
        "echo none",
        "kill -9 $$",
    ] {
        folder.write("vega", script);
        let found = folder.find_out(&restart(30), &run("node", None), &versions).await;
        assert_eq!(found, Ok(FoundOut::Arguments(Vec::new())), "{script}");
    }
}

#[tokio::test]
async fn vis_05_a_start_that_may_have_missed_no_halt_asks_for_no_snapshots() {
    let folder = Folder::new();
    let versions = Versions::default();
    let run = run("node", None);
    assert!(before_start(&start("genesis", None), folder.0.path(), &run, &versions, LIMITS).is_none());
    let upgrade = Start {
        after_halt: Some(Height(30)),
        ..start("genesis", None)
    };
    assert!(before_start(&upgrade, folder.0.path(), &run, &versions, LIMITS).is_none());
    assert!(folder.calls("vega").is_empty());
}
