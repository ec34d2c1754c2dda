mod unseen;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use visor_planner::Height;

use super::*;
use crate::adapter::vega::run_config::{Binary, Rpc};

const TAG: &str = "v1.1.0";
const LIMITS: Limits = Limits::new(Duration::from_secs(30));

/// A version folder whose programs are scripts that write down how they are called.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["vega", "data-node"] {
            folder.says_version(name, TAG);
        }
        folder
    }

    fn says_version(&self, name: &str, version: &str) {
        self.write(name, &format!(r#"echo '{{"version":"{version}","hash":"abc"}}'"#));
    }

    fn write(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        let part = path.with_extension("part");
        let calls = self.0.path().join(format!("{name}.calls"));
        fs::write(
            &part,
            format!("#!/bin/sh\necho \"$@\" >> {}\n{script}\n", calls.display()),
        )
        .unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(part, path).unwrap();
    }

    fn calls(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join(format!("{name}.calls"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The arguments that are added.
    async fn ask(&self, start: &Start, run: &RunConfig, versions: &Versions) -> Result<Vec<String>, String> {
        match self.find_out(start, run, versions).await? {
            FoundOut::Arguments(added) => Ok(added),
            FoundOut::HasHalted => panic!("a halt"),
        }
    }

    async fn find_out(
        &self,
        start: &Start,
        run: &RunConfig,
        versions: &Versions,
    ) -> Result<FoundOut, String> {
        match before_start(start, self.0.path(), run, versions, LIMITS) {
            Some(found) => found.await,
            None => Ok(FoundOut::Arguments(Vec::new())),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn run(core: &str, data_node: Option<&str>) -> RunConfig {
    let binary = |path: &str, args: &str| Binary {
        path: path.into(),
        args: words(args),
    };
    RunConfig {
        name: String::new(),
        vega: binary("vega", core),
        rpc: Rpc {
            socket_path: "/run/vega.sock".into(),
            http_path: "/rpc".to_owned(),
        },
        data_node: data_node.map(|arguments| binary("data-node", arguments)),
    }
}

fn start(version: &str, after_halt: Option<u64>) -> Start {
    Start {
        version: version.to_owned(),
        after_halt: after_halt.map(Height),
        unseen_halt: None,
    }
}

const SEGMENT: &str = r#"
case "$*" in
  *version*) echo '{"version":"v1.1.0","hash":"abc"}';;
  *) echo 'a line of a log'
     echo '{"LatestSegment":{"from_height":1,"to_height":4200,"history_segment_id":"Qm","chain_id":"x"}}';;
esac"#;

#[tokio::test]
async fn w_38_both_programs_must_be_just_the_version_at_every_start() {
    let folder = Folder::new();
    let run = run("node", Some("datanode start"));
    let upgrade = start(TAG, Some(30));
    let versions = Versions::default();
    assert_eq!(folder.ask(&upgrade, &run, &versions).await, Ok(Vec::new()));
    assert_eq!(folder.calls("vega"), ["version --output json"]);
    assert_eq!(folder.calls("data-node"), ["version --output json"]);
    for (name, wrong) in [
        ("vega", "1.1.0"),
        ("data-node", "v1.1.0-rc.1"),
        ("vega", "V1.1.0"),
    ] {
        folder.says_version(name, wrong);
        let error = folder.ask(&upgrade, &run, &versions).await.unwrap_err();
        assert!(
            error.contains(name) && error.contains(TAG) && error.contains(wrong),
            "{error}"
        );
        // It stays wrong without being asked again.
        let calls = folder.calls(name).len();
        assert!(folder.ask(&upgrade, &run, &versions).await.is_err());
        assert_eq!(folder.calls(name).len(), calls);
        folder.says_version(name, TAG);
        assert_eq!(folder.ask(&upgrade, &run, &versions).await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn w_38_programs_that_were_asked_at_staging_are_not_asked_at_the_start() {
    let folder = Folder::new();
    let run = run("node", Some("datanode start"));
    let versions = Versions::default();
    for name in ["vega", "data-node"] {
        let program = folder.0.path().join(name);
        versions
            .check(&program, TAG, Duration::from_secs(30))
            .await
            .unwrap();
    }
    // Staging ends with a rename of the folder.
    let renamed = folder.0.path().with_extension("renamed");
    fs::rename(folder.0.path(), &renamed).unwrap();
    let upgrade = start(TAG, Some(30));
    assert!(before_start(&upgrade, &renamed, &run, &versions, LIMITS).is_none());
    assert_eq!(snapshot_height(&upgrade, &[]), Some(30));
    fs::rename(&renamed, folder.0.path()).unwrap();
    // Another who asked may say what he was told, unless the file has been exchanged meanwhile.
    let other = Versions::default();
    let program = folder.0.path().join("vega");
    let seen = Seen::of(&program);
    other.learn(&program, seen, TAG);
    assert!(other.is(&program, TAG) && !other.is(&program, "v1.2.0"));
    folder.says_version("vega", TAG);
    assert!(!other.is(&program, TAG));
    other.learn(&program, seen, TAG);
    assert!(!other.is(&program, TAG));
    // Another program of the same name is another.
    folder.says_version("vega", "v9.9.9");
    assert!(before_start(&upgrade, folder.0.path(), &run, &versions, LIMITS).is_some());
}

#[tokio::test]
async fn a_folder_without_a_tag_is_started_as_it_is() {
    let folder = Folder::new();
    let run = run("node", None);
    let versions = Versions::default();
    assert!(before_start(&start("genesis", None), folder.0.path(), &run, &versions, LIMITS).is_none());
}

#[tokio::test]
async fn w_41_a_program_that_hangs_fails_or_talks_nonsense_fails_the_start() {
    let folder = Folder::new();
    let run = run("node", None);
    let versions = Versions::default();
    for (script, because) in [
        ("exit 3", "exit status: 3"),
        ("echo v1.1.0", "found \"v1.1.0\""),
        ("echo '{\"hash\":\"abc\"}'", "expected {\"version\""),
        ("echo '{\"version\":11}'", "expected {\"version\""),
        ("head -c 100000 /dev/zero", "more than 65536 bytes"),
    ] {
        folder.write("vega", script);
        let error = folder.ask(&start(TAG, None), &run, &versions).await.unwrap_err();
        assert!(error.contains(because), "{script}: {error}");
    }
    // With what it has started itself.
    let alive = folder.0.path().join("alive");
    folder.write(
        "vega",
        &format!("(sleep 3; touch {}) & sleep 1000", alive.display()),
    );
    let limits = Limits {
        version: Duration::from_millis(200),
        segment: Duration::from_millis(200),
        snapshots: Duration::from_millis(200),
    };
    let found = before_start(&start(TAG, None), folder.0.path(), &run, &versions, limits);
    let began = std::time::Instant::now();
    let error = found.unwrap().await.unwrap_err();
    assert!(error.contains("did not end within 200ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
    folder.write("data-node", "sleep 1000");
    let with_data_node = self::run("node", Some("start"));
    let found = before_start(
        &start("genesis", None),
        folder.0.path(),
        &with_data_node,
        &versions,
        limits,
    );
    let error = found.unwrap().await.unwrap_err();
    assert!(
        error.contains("newest segment") && error.contains("did not end"),
        "{error}"
    );
    while began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!alive.exists(), "a child of the program outlived it");
}

#[tokio::test]
async fn w_37_with_a_data_node_every_start_but_the_upgrades_is_aligned_with_it() {
    let folder = Folder::new();
    folder.write("data-node", SEGMENT);
    let versions = Versions::default();
    let run = run("node --home /v", Some("start --home /d"));
    // Also the first of a visor's life, of a folder that has no tag.
    for version in ["genesis", TAG] {
        let ordinary = start(version, None);
        let added = folder.ask(&ordinary, &run, &versions).await.unwrap();
        assert_eq!(added, words("--snapshot.load-from-block-height 4200"));
        assert_eq!(snapshot_height(&ordinary, &added), Some(4_200));
    }
    let calls = folder.calls("data-node");
    assert_eq!(
        calls.last().unwrap(),
        "network-history latest-history-segment --output=json --home /d --output json"
    );
    // After the halt both are at H.
    let upgrade = start(TAG, Some(30));
    assert_eq!(folder.ask(&upgrade, &run, &versions).await, Ok(Vec::new()));
    assert_eq!(snapshot_height(&upgrade, &[]), Some(30));
    assert_eq!(folder.calls("data-node").len(), calls.len());
}

#[tokio::test]
async fn w_03_without_a_data_node_only_the_first_start_after_the_halt_loads_h() {
    let folder = Folder::new();
    let run = run("node", None);
    let versions = Versions::default();
    assert_eq!(
        folder.ask(&start(TAG, None), &run, &versions).await,
        Ok(Vec::new())
    );
    assert_eq!(snapshot_height(&start(TAG, None), &[]), None);
    assert_eq!(snapshot_height(&start(TAG, Some(30)), &[]), Some(30));
}

#[tokio::test]
async fn w_55_what_the_operator_pinned_counts_for_every_start_but_the_upgrades() {
    let folder = Folder::new();
    folder.write("data-node", SEGMENT);
    let versions = Versions::default();
    for pinned in [
        "node --snapshot.load-from-block-height 5",
        "node --snapshot.load-from-block-height=5",
    ] {
        let run = run(pinned, Some("start"));
        assert_eq!(
            folder.ask(&start("genesis", None), &run, &versions).await,
            Ok(Vec::new())
        );
        assert_eq!(snapshot_height(&start("genesis", None), &[]), None);
        assert_eq!(snapshot_height(&start(TAG, Some(30)), &[]), Some(30));
    }
    assert!(folder.calls("data-node").is_empty());
}

#[tokio::test]
async fn w_54_the_question_is_made_from_flags_and_not_from_text() {
    let folder = Folder::new();
    folder.write("data-node", SEGMENT);
    let versions = Versions::default();
    let rest = "network-history latest-history-segment --output=json";
    for (arguments, question) in [
        (
            "datanode start --home=/d",
            format!("datanode {rest} --home /d --output json"),
        ),
        (
            "start --home /srv/datanode",
            format!("{rest} --home /srv/datanode --output json"),
        ),
        ("start", format!("{rest} --output json")),
    ] {
        let run = run("node", Some(arguments));
        folder
            .ask(&start("genesis", None), &run, &versions)
            .await
            .unwrap();
        assert_eq!(folder.calls("data-node").pop(), Some(question), "{arguments}");
    }
}

#[tokio::test]
async fn a_data_node_without_a_segment_adds_nothing_and_one_that_fails_fails_the_start() {
    let folder = Folder::new();
    let versions = Versions::default();
    let run = run("node", Some("start"));
    for script in [
        "echo '{\"error\":\"no history segments found\"}'; exit 1",
        "echo 'failed: no history segments found' >&2; exit 1",
    ] {
        folder.write("data-node", script);
        let added = folder.ask(&start("genesis", None), &run, &versions).await;
        assert_eq!(added, Ok(Vec::new()), "{script}");
    }
    for (script, because) in [
        (
            "echo 'the database is locked' >&2; exit 1",
            "\"the database is locked\"",
        ),
        ("echo '{\"error\":\"out of order\"}'; exit 2", "out of order"),
        ("echo 'to be done'", "found \"to be done\""),
        ("echo '{\"LatestSegment\":null}'", "expected {\"LatestSegment\""),
        (
            "echo '{\"LatestSegment\":{\"to_height\":-3}}'",
            "expected {\"LatestSegment\"",
        ),
        (
            "echo '{\"LatestSegment\":{\"to_height\":0}}'",
            "expected {\"LatestSegment\"",
        ),
        ("kill -9 $$", "signal: 9"),
    ] {
        folder.write("data-node", script);
        let error = folder
            .ask(&start("genesis", None), &run, &versions)
            .await
            .unwrap_err();
        assert!(error.contains(because), "{script}: {error}");
    }
}
