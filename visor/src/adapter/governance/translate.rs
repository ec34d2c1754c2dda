//! A report in the planner's words, and VIS-12: what of it is believed.

use governance::{MAX_LIVE_PROPOSALS, ProposalId, Upgrade};
use proto::pb;
use proto::pb::governance::v1::ProposalPhase;
use proto::pb::node::v1::{AnnouncedUpgrade, NodeReport};
use visor_planner::{
    Announced, Artifact, ArtifactFact, Height, NodeReport as Report, Standing, UpgradeId, UpgradePlan,
    Version,
};

use crate::adapter::{Refusal, Translated};
use crate::certificate::{Verdict, Verdicts};
use crate::run_config::is_version;
use crate::staging::host_platform;

/// A report in the planner's words. Entries that no honest node sends are left out: their names would become paths.
///
/// With `verdicts` an upgrade is believed only when it is proven: one that is still voted on is no accepted plan and is
/// left out silently, one that is said to be accepted is refused.
#[must_use]
pub fn translate(report: &NodeReport, verdicts: Option<&Verdicts>) -> Option<Translated> {
    let mut halt = match &report.halt {
        Some(halt) => Some(plan(&halt.proposal_id, &halt.version, halt.height)?),
        None => None,
    };
    let mut upgrades: Vec<_> = report.upgrades.iter().filter_map(announced).collect();
    let mut refusals = Vec::new();
    if let Some(verdicts) = verdicts {
        let mut believed = |plan: &UpgradePlan, said: Option<&AnnouncedUpgrade>| {
            let reason = match doubt(plan, said, verdicts) {
                Some(reason) => reason,
                None => return true,
            };
            if !refusals.iter().any(|refusal: &Refusal| refusal.plan == *plan) {
                let plan = plan.clone();
                refusals.push(Refusal { plan, reason });
            }
            false
        };
        upgrades.retain(|upgrade: &Announced| {
            let said = report
                .upgrades
                .iter()
                .find(|said| hex::encode(&said.proposal_id) == upgrade.plan.id.0);
            upgrade.standing.is_accepted() && believed(&upgrade.plan, said)
        });
        halt = halt.filter(|plan| believed(plan, None));
    }
    Some(Translated {
        report: Report {
            version: version(&report.version)?,
            height: Height(report.height),
            upgrades,
            halt,
        },
        refusals,
    })
}

/// Why a plan is not believed; `None`: it is proven, and what the node says of it is what was proven.
fn doubt(plan: &UpgradePlan, said: Option<&AnnouncedUpgrade>, verdicts: &Verdicts) -> Option<String> {
    let id: Option<ProposalId> = plan.id.0.parse().ok();
    let proven = match id.and_then(|id| verdicts.get(&id)) {
        Some(Verdict::Proven(upgrade)) => upgrade,
        Some(Verdict::Refused(reason)) => return Some(reason.clone()),
        None => return Some("its certificate has not been asked for yet".to_owned()),
    };
    let differs = |what: &str, proven: &dyn std::fmt::Display, said: &dyn std::fmt::Display| {
        Some(format!(
            "the certificate proves {what} {proven}, the node says {said}"
        ))
    };
    if proven.version.to_string() != plan.version.0 {
        return differs("version", &proven.version, &plan.version);
    }
    if proven.height.0 != plan.height.0 {
        return differs("height", &proven.height, &plan.height);
    }
    match said.and_then(|said| said.upgrade.clone()).map(Upgrade::try_from) {
        None => None,
        Some(Ok(said)) if said == **proven => None,
        Some(_) => Some("the certificate proves other artifacts than the node says".to_owned()),
    }
}

/// The proposals of a report that need a certificate.
pub(super) fn accepted(report: &NodeReport) -> Vec<ProposalId> {
    let upgrades = report
        .upgrades
        .iter()
        .filter(|upgrade| matches!(upgrade.phase(), ProposalPhase::Approved | ProposalPhase::LockedIn));
    let named = upgrades.map(|upgrade| upgrade.proposal_id.as_slice());
    let halted = report.halt.iter().map(|halt| halt.proposal_id.as_slice());
    let mut ids: Vec<_> = named
        .chain(halted)
        .filter_map(|id| ProposalId::try_from(id).ok())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(MAX_LIVE_PROPOSALS);
    ids
}

fn version(text: &str) -> Option<Version> {
    is_version(text).then(|| Version(text.to_owned()))
}

fn plan(id: &[u8], named: &str, height: u64) -> Option<UpgradePlan> {
    if id.len() != 32 {
        return None;
    }
    Some(UpgradePlan {
        id: UpgradeId(hex::encode(id)),
        version: version(named)?,
        height: Height(height),
    })
}

fn announced(announced: &AnnouncedUpgrade) -> Option<Announced> {
    let upgrade = announced.upgrade.as_ref()?;
    let standing = match announced.phase() {
        ProposalPhase::Voting => Standing::Proposed,
        ProposalPhase::Approved => Standing::Approved,
        ProposalPhase::LockedIn => Standing::LockedIn,
        ProposalPhase::Unspecified
        | ProposalPhase::Executed
        | ProposalPhase::Rejected
        | ProposalPhase::Expired
        | ProposalPhase::Superseded
        | ProposalPhase::Cancelled => return None,
    };
    Some(Announced {
        plan: plan(&announced.proposal_id, &upgrade.version, upgrade.height)?,
        standing,
        artifact: artifact(&upgrade.artifacts)?,
    })
}

fn artifact(offered: &[pb::governance::v1::Artifact]) -> Option<ArtifactFact> {
    let platform = host_platform();
    let Some(artifact) = offered.iter().find(|artifact| artifact.platform == platform) else {
        let offered = offered.iter().map(|artifact| artifact.platform.clone()).collect();
        return Some(ArtifactFact::MissingForPlatform { platform, offered });
    };
    (artifact.sha256.len() == 32).then(|| {
        ArtifactFact::Available(Artifact {
            url: artifact.url.clone(),
            size: artifact.size,
            sha256: hex::encode(&artifact.sha256),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: &str, platform: &str) -> NodeReport {
        NodeReport {
            version: "1.0.0".to_owned(),
            height: 7,
            upgrades: vec![AnnouncedUpgrade {
                proposal_id: vec![0xab; 32],
                upgrade: Some(pb::governance::v1::Upgrade {
                    version: version.to_owned(),
                    height: 30,
                    artifacts: vec![pb::governance::v1::Artifact {
                        platform: platform.to_owned(),
                        url: "file:///x".to_owned(),
                        size: 3,
                        sha256: vec![1; 32],
                    }],
                    description: String::new(),
                }),
                phase: ProposalPhase::Approved.into(),
            }],
            ..NodeReport::default()
        }
    }

    #[test]
    fn a_report_is_translated_for_this_platform() {
        let translated = translate(&report("1.1.0", &host_platform()), None)
            .unwrap()
            .report;
        assert_eq!(translated.height, Height(7));
        assert_eq!(translated.upgrades[0].standing, Standing::Approved);
        assert_eq!(translated.upgrades[0].plan.id.0, "ab".repeat(32));
        assert!(matches!(
            translated.upgrades[0].artifact,
            ArtifactFact::Available(_)
        ));
        let elsewhere = translate(&report("1.1.0", "plan9/mips"), None).unwrap().report;
        assert!(matches!(
            elsewhere.upgrades[0].artifact,
            ArtifactFact::MissingForPlatform { .. }
        ));
    }

    #[test]
    fn a_version_that_would_lead_out_of_the_home_is_not_believed() {
        for hostile in ["../../etc", "1.1.0/../..", "1.1", "", "1.1.0-a/b"] {
            assert!(
                translate(&report(hostile, &host_platform()), None)
                    .unwrap()
                    .report
                    .upgrades
                    .is_empty(),
                "{hostile}"
            );
        }
        let mut halted = report("1.1.0", &host_platform());
        halted.version = "../x".to_owned();
        assert_eq!(translate(&halted, None), None);
    }
}
