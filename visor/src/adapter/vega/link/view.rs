//! What a core and CometBFT say, in the planner's words.

use visor_planner::{Announced, ArtifactFact, Height, NodeReport, Standing, UpgradeId, UpgradePlan, Version};

use crate::adapter::Translated;
use crate::adapter::vega::rpc::{AcceptedRelease, UpgradeStatus};

/// Follows one run of a core.
#[derive(Debug)]
pub(super) struct View {
    version: Version,
    /// H of the upgrade by which this version began, until it has executed H + 1.
    after_halt: Option<u64>,
    /// H of that upgrade, once it has.
    passed: Option<u64>,
}

impl View {
    pub(super) fn new(version: String, after_halt: Option<Height>) -> Self {
        Self {
            version: Version(version),
            after_halt: after_halt.map(|height| height.0),
            passed: None,
        }
    }

    /// The first block of this version has not been seen.
    pub(super) fn awaits_first_block(&self) -> bool {
        self.after_halt.is_some()
    }

    /// The upgrade that the core has accepted and that is still to come, as a plan.
    pub(super) fn announced(&self, status: &UpgradeStatus) -> Option<UpgradePlan> {
        match &status.accepted {
            AcceptedRelease::Release { tag, .. } if *tag == self.version.0 => None,
            // After an upgrade the release of its snapshot is shown until the first block.
            AcceptedRelease::Release { height, .. } if Some(*height) == self.after_halt && !status.ready => {
                None
            }
            AcceptedRelease::Release { tag, height } => Some(UpgradePlan {
                id: UpgradeId(format!("{tag}@{height}")),
                version: Version(tag.clone()),
                height: Height(*height),
            }),
            AcceptedRelease::Unknown | AcceptedRelease::None | AcceptedRelease::Unusable(_) => None,
        }
    }

    /// What is wrong with what the core says, for the operator.
    pub(super) fn nonsense(&self, status: &UpgradeStatus) -> Option<String> {
        match &status.accepted {
            AcceptedRelease::Unusable(reason) => Some(format!(
                "the chain has accepted a release that visor cannot carry out: {reason}"
            )),
            AcceptedRelease::Release { tag, height } if status.ready && *tag == self.version.0 => {
                Some(format!(
                    "the core has halted at height {height} for {tag}, which is the version that it runs as; it is left as it is"
                ))
            }
            AcceptedRelease::Release { .. } | AcceptedRelease::Unknown | AcceptedRelease::None => None,
        }
    }

    /// The whole report. `store` is the height of CometBFT's store, when it is known.
    pub(super) fn translate(&mut self, status: &UpgradeStatus, store: Option<u64>) -> Translated {
        self.notice_first_block(status);
        let plan = self.announced(status);
        let halt = plan.clone().filter(|_| status.ready);
        let height = Height(self.height(status, plan.as_ref(), store));
        let upgrades = plan.map(|plan| Announced {
            plan,
            // The votes are counted anew at each block: until the halt it may vanish.
            standing: if status.ready {
                Standing::LockedIn
            } else {
                Standing::Approved
            },
            artifact: ArtifactFact::InPlace,
        });
        Translated {
            report: NodeReport {
                version: self.version.clone(),
                height,
                upgrades: upgrades.into_iter().collect(),
                halt,
            },
            refusals: Vec::new(),
        }
    }

    /// The first block of a version counts the votes anew, and with that clears what its snapshot showed.
    fn notice_first_block(&mut self, status: &UpgradeStatus) {
        let Some(halted) = self.after_halt else { return };
        let is_past = match &status.accepted {
            // Its snapshot has not been read yet.
            AcceptedRelease::Unknown => false,
            AcceptedRelease::None | AcceptedRelease::Unusable(_) => true,
            AcceptedRelease::Release { height, .. } => *height != halted,
        };
        if is_past {
            self.after_halt = None;
            self.passed = Some(halted);
        }
    }

    /// A block stands in the store before it is executed. Far from an upgrade that does not matter; at H it does, because the core
    /// that has committed H must never be started again.
    fn height(&self, status: &UpgradeStatus, plan: Option<&UpgradePlan>, store: Option<u64>) -> u64 {
        if let Some(halted) = self.after_halt {
            return halted;
        }
        let least = self.passed.map_or(0, |halted| halted + 1);
        let height = match (plan, store) {
            (Some(plan), _) if status.ready => plan.height.0,
            (Some(plan), Some(store)) if store > plan.height.0 => plan.height.0,
            (Some(plan), Some(store)) if store == plan.height.0 => store - 1,
            (_, Some(store)) => store,
            (_, None) => 0,
        };
        height.max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(tag: &str, height: u64, ready: bool) -> UpgradeStatus {
        UpgradeStatus {
            accepted: AcceptedRelease::Release {
                tag: tag.to_owned(),
                height,
            },
            ready,
        }
    }

    fn nothing(accepted: AcceptedRelease) -> UpgradeStatus {
        UpgradeStatus {
            accepted,
            ready: false,
        }
    }

    fn view(version: &str, after_halt: Option<u64>) -> View {
        View::new(version.to_owned(), after_halt.map(Height))
    }

    fn report(view: &mut View, status: &UpgradeStatus, store: Option<u64>) -> NodeReport {
        view.translate(status, store).report
    }

    #[test]
    fn an_accepted_release_is_announced_and_the_halt_is_told_only_when_ready() {
        let mut view = view("v1.0.0", None);
        let far = report(&mut view, &accepted("v1.1.0", 30, false), Some(7));
        assert_eq!(far.version.0, "v1.0.0");
        assert_eq!(far.height, Height(7));
        assert_eq!(far.halt, None);
        assert_eq!(far.upgrades.len(), 1);
        assert_eq!(far.upgrades[0].standing, Standing::Approved);
        assert_eq!(far.upgrades[0].artifact, ArtifactFact::InPlace);
        let plan = far.upgrades[0].plan.clone();
        assert_eq!(plan.id.0, "v1.1.0@30");
        assert_eq!((plan.version.0.as_str(), plan.height), ("v1.1.0", Height(30)));
        for store in [None, Some(7), Some(31)] {
            let halted = report(&mut view, &accepted("v1.1.0", 30, true), store);
            assert_eq!(halted.halt.as_ref(), Some(&plan));
            assert_eq!(halted.upgrades[0].standing, Standing::LockedIn);
            assert_eq!(halted.height, Height(30));
        }
        let gone = report(&mut view, &nothing(AcceptedRelease::None), Some(8));
        assert_eq!(
            (gone.upgrades.len(), gone.halt, gone.height),
            (0, None, Height(8))
        );
    }

    #[test]
    fn w_36_height_h_is_told_only_when_it_is_surely_committed() {
        let mut view = view("v1.0.0", None);
        for (store, height) in [
            (None, 0),
            (Some(28), 28),
            (Some(29), 29),
            (Some(30), 29),
            (Some(31), 30),
            (Some(40), 30),
        ] {
            let report = report(&mut view, &accepted("v1.1.0", 30, false), store);
            assert_eq!(report.height, Height(height), "{store:?}");
            assert_eq!(report.halt, None);
        }
    }

    #[test]
    fn the_version_that_runs_is_not_announced() {
        let mut view = view("v1.1.0", None);
        let report = report(&mut view, &accepted("v1.1.0", 30, false), Some(31));
        assert_eq!((report.upgrades.len(), report.halt), (0, None));
        let halted = accepted("v1.1.0", 30, true);
        assert_eq!(view.translate(&halted, None).report.halt, None);
        assert!(view.nonsense(&halted).unwrap().contains("left as it is"));
    }

    #[test]
    fn after_an_upgrade_the_height_is_h_until_the_first_block_of_the_new_version() {
        let snapshot = accepted("v1.1.0", 30, false);
        let unknown = nothing(AcceptedRelease::Unknown);
        for first_block in [
            nothing(AcceptedRelease::None),
            accepted("v1.2.0", 60, false),
            nothing(AcceptedRelease::Unusable("no tag".to_owned())),
        ] {
            let mut view = view("v1.1.0", Some(30));
            // H + 1 stands in the store since the halt.
            for status in [&unknown, &snapshot, &unknown] {
                let before = report(&mut view, status, Some(31));
                assert_eq!((before.height, before.upgrades.len()), (Height(30), 0));
                assert!(view.awaits_first_block());
            }
            assert_eq!(report(&mut view, &first_block, None).height, Height(31));
            assert!(!view.awaits_first_block());
            assert_eq!(report(&mut view, &first_block, Some(31)).height, Height(31));
            assert_eq!(report(&mut view, &first_block, Some(35)).height, Height(35));
        }
    }

    #[test]
    fn w_53_a_release_that_is_no_version_is_told_and_not_announced() {
        let mut view = view("v1.0.0", None);
        let status = nothing(AcceptedRelease::Unusable("found \"../x\"".to_owned()));
        assert!(report(&mut view, &status, Some(5)).upgrades.is_empty());
        assert!(view.nonsense(&status).unwrap().contains("../x"));
        assert_eq!(view.nonsense(&nothing(AcceptedRelease::None)), None);
    }
}
