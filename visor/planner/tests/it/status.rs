//! What an operator, a reporter and a dashboard are shown.

use visor_planner::{
    Announced, Artifact, ArtifactFact, Height, Input, NodeReport, Observed, Process, Standing, Timestamp,
    UpgradeId, UpgradePlan, recover,
};

use crate::world::{config, old, version};

fn announced(id: &str, height: u64, standing: Standing) -> Announced {
    Announced {
        plan: UpgradePlan {
            id: UpgradeId(id.to_owned()),
            version: version(&format!("1.{height}.0")),
            height: Height(height),
        },
        standing,
        artifact: ArtifactFact::Available(Artifact {
            url: format!("file:///{id}"),
            size: 3,
            sha256: "00".repeat(32),
        }),
    }
}

#[test]
fn every_known_upgrade_is_shown_the_next_to_come_first() {
    let observed = Observed {
        current: Some(old()),
        node: Some((Process { pid: 5 }, Some(old()))),
        staged: vec![old()],
        migrating: None,
        seed: 7,
    };
    let (mut planner, _) = recover(config(), Timestamp(0), &[], observed).unwrap();
    let mut elsewhere = announced("dd", 4, Standing::Proposed);
    elsewhere.artifact = ArtifactFact::MissingForPlatform {
        platform: "plan9/mips".to_owned(),
        offered: vec!["linux/amd64".to_owned()],
    };
    let report = NodeReport {
        version: old(),
        height: Height(1),
        upgrades: vec![
            announced("aa", 9, Standing::Proposed),
            elsewhere,
            announced("bb", 8, Standing::Approved),
            announced("cc", 7, Standing::Proposed),
        ],
        halt: None,
    };
    let _ = planner.step(Timestamp(1), Input::NodeReported(report));
    let upgrade = UpgradeId("bb".to_owned());
    let _ = planner.step(Timestamp(2), Input::Staged { upgrade });

    let status = planner.status();
    let shown = |index: usize| &status.upgrades[index];
    let ids: Vec<&str> = status
        .upgrades
        .iter()
        .map(|upgrade| upgrade.id.0.as_str())
        .collect();
    assert_eq!(ids, ["bb", "dd", "cc", "aa"]);
    assert_eq!(status.upgrade.as_ref(), Some(shown(0)));
    assert_eq!((shown(0).staged, shown(0).standing), (true, Standing::Approved));
    assert!(shown(1).staging_problem.contains("plan9/mips") && shown(1).artifact.is_none());
    let artifact = shown(2).artifact.as_ref().unwrap();
    assert_eq!(artifact.url, "file:///cc");
    assert!(!shown(2).staged && !shown(2).approved);
}
