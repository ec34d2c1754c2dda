//! Which upgrades are known, which of them can be carried out at once, and which one is staged next: one at a time, so that
//! the one that comes first has the whole line.

mod schedule;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use self::schedule::{Said, Scheduled};
use crate::effect::{Effect, Notice};
use crate::input::{Announced, ArtifactFact, NodeReport, Standing};
use crate::plan::{Artifact, Height, UpgradeId, UpgradePlan, Version};
use crate::record::Record;

/// Upgrades that are staged at a time; a chain with more live ones is voting on something that will not happen.
const MAX_KNOWN: usize = 8;

/// Where an upgrade's folder stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Folder {
    /// Not complete, and nothing has gone wrong so far.
    Wanted,
    /// The last attempt failed.
    Failing(String),
    /// Ready.
    Complete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) plan: UpgradePlan,
    pub(crate) standing: Standing,
    pub(crate) folder: Folder,
    artifact: ArtifactFact,
}

impl Known {
    /// The smallest comes first.
    fn turn(&self) -> (Reverse<u8>, Height) {
        (Reverse(self.standing.rank()), self.plan.height)
    }

    /// The binary for this host's platform, when the plan names one.
    pub(crate) fn artifact(&self) -> Option<&Artifact> {
        match &self.artifact {
            ArtifactFact::Available(artifact) => Some(artifact),
            ArtifactFact::InPlace | ArtifactFact::MissingForPlatform { .. } => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StagingArea {
    known: BTreeMap<UpgradeId, Known>,
    /// Complete folders, also of upgrades that no report has named since visor started.
    complete: BTreeMap<UpgradeId, Version>,
    /// The one that the daemon is staging.
    under_way: Option<UpgradeId>,
    /// The last upgrade that the chain decided on, or, where nodes forget their halt, the next that it has accepted.
    scheduled: Option<Scheduled>,
}

impl StagingArea {
    pub(crate) fn remember(&mut self, record: &Record) {
        match record {
            Record::Scheduled { plan, artifact } => {
                self.scheduled = Some(Scheduled {
                    plan: plan.clone(),
                    artifact: artifact.clone(),
                    said: Said::Nothing,
                });
            }
            Record::Unscheduled { plan, .. } => {
                self.scheduled.take_if(|scheduled| scheduled.plan == *plan);
            }
            Record::Staged { upgrade, version } => {
                self.complete.insert(upgrade.clone(), version.clone());
            }
            Record::ManualPlanned { .. }
            | Record::Halted { .. }
            | Record::UpgradeIntended { .. }
            | Record::BackedUp { .. }
            | Record::NotBackedUp { .. }
            | Record::RollbackIntended { .. }
            | Record::RollbackAllowed { .. }
            | Record::RollbackRefused { .. }
            | Record::Restored { .. }
            | Record::RolledBack { .. }
            | Record::Skipped { .. }
            | Record::Unskipped { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::NodeHeld { .. }
            | Record::NodeReleased { .. }
            | Record::StartIntended { .. }
            | Record::NodeStarted { .. }
            | Record::NodeFailed { .. }
            | Record::Healthy { .. }
            | Record::UpgradeCompleted { .. }
            | Record::SuccessHookEnded { .. }
            | Record::GaveUp { .. }
            | Record::Migrated { .. }
            | Record::Downgraded { .. }
            | Record::Forced { .. }
            | Record::ShutDown { .. }
            | Record::Stopped { .. } => {}
        }
    }

    /// Keeps only folders that are really there.
    pub(crate) fn keep_complete(&mut self, there: &[Version]) {
        self.complete.retain(|_, version| there.contains(version));
    }

    /// Learns what the node knows: new upgrades are staged at once, vanished ones are no longer.
    pub(crate) fn learn(
        &mut self,
        report: &NodeReport,
        running: &Version,
        manual: &BTreeMap<UpgradeId, UpgradePlan>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let gone: Vec<UpgradeId> = self
            .known
            .keys()
            .filter(|id| {
                !manual.contains_key(*id)
                    && !report.upgrades.iter().any(|announced| announced.plan.id == **id)
            })
            .cloned()
            .collect();
        for id in gone {
            self.known.remove(&id);
            if self.under_way.as_ref() == Some(&id) {
                self.under_way = None;
                effects.push(Effect::Unstage(id));
            }
        }
        for announced in &report.upgrades {
            if announced.plan.version == *running {
                continue;
            }
            effects.extend(self.learn_one(announced));
        }
        effects.extend(self.assign());
        effects
    }

    /// Learns an upgrade of the operator's own.
    pub(crate) fn learn_manual(&mut self, plan: &UpgradePlan) -> Vec<Effect> {
        let mut effects = self.learn_one(&Announced {
            plan: plan.clone(),
            standing: Standing::Manual,
            artifact: ArtifactFact::InPlace,
        });
        effects.extend(self.assign());
        effects
    }

    /// Begins anew with what is being staged; nothing when there is nothing to stage.
    pub(crate) fn again(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(id) = self.under_way.take() {
            effects.push(Effect::Unstage(id));
        }
        match self.assign() {
            Some(effect) => effects.push(effect),
            None => effects.clear(),
        }
        effects
    }

    /// Gives the line to the upgrade that needs it most.
    fn assign(&mut self) -> Option<Effect> {
        let wanted = self
            .known
            .values()
            .filter(|known| {
                known.folder != Folder::Complete
                    && match known.artifact {
                        ArtifactFact::Available(_) | ArtifactFact::InPlace => true,
                        ArtifactFact::MissingForPlatform { .. } => false,
                    }
            })
            .min_by_key(|known| {
                (
                    Reverse(known.standing.rank()),
                    known.folder != Folder::Wanted,
                    known.plan.height,
                )
            })?;
        if self.under_way.as_ref() == Some(&wanted.plan.id) {
            return None;
        }
        self.under_way = Some(wanted.plan.id.clone());
        Some(Effect::Stage(Announced {
            plan: wanted.plan.clone(),
            standing: wanted.standing,
            artifact: wanted.artifact.clone(),
        }))
    }

    fn learn_one(&mut self, announced: &Announced) -> Vec<Effect> {
        let mut effects = Vec::new();
        let plan = &announced.plan;
        if let Some(known) = self
            .known
            .get_mut(&plan.id)
            .filter(|known| known.plan.version == plan.version)
        {
            known.standing = announced.standing;
            // Votes move it.
            known.plan.height = plan.height;
            return effects;
        }
        if !self.make_room(announced, &mut effects) {
            return effects;
        }
        effects.push(Effect::Notify(Notice::UpgradeSeen {
            version: plan.version.clone(),
            height: plan.height,
        }));
        let folder = if self.is_complete(plan) {
            Folder::Complete
        } else {
            match &announced.artifact {
                ArtifactFact::Available(_) | ArtifactFact::InPlace => Folder::Wanted,
                ArtifactFact::MissingForPlatform { platform, offered } => {
                    let reason = alloc::format!(
                        "the upgrade has no artifact for {platform}, only for {}",
                        offered.join(", ")
                    );
                    effects.push(Effect::Notify(Notice::StagingFailed {
                        version: plan.version.clone(),
                        reason: reason.clone(),
                    }));
                    Folder::Failing(reason)
                }
            }
        };
        let known = Known {
            plan: plan.clone(),
            standing: announced.standing,
            folder,
            artifact: announced.artifact.clone(),
        };
        self.known.insert(plan.id.clone(), known);
        effects
    }

    /// Forgets another upgrade when there are too many; false when this one is the least.
    fn make_room(&mut self, announced: &Announced, effects: &mut Vec<Effect>) -> bool {
        let plan = &announced.plan;
        let least = if self.known.contains_key(&plan.id) {
            // The same name now stands for another version.
            Some(plan.id.clone())
        } else if self.known.len() < MAX_KNOWN {
            None
        } else {
            let turn = (Reverse(announced.standing.rank()), plan.height);
            let least = self
                .known
                .values()
                .max_by_key(|known| known.turn())
                .filter(|known| turn < known.turn())
                .map(|known| known.plan.id.clone());
            if least.is_none() {
                return false;
            }
            least
        };
        if let Some(id) = least {
            self.known.remove(&id);
            if self.under_way.as_ref() == Some(&id) {
                self.under_way = None;
                effects.push(Effect::Unstage(id));
            }
        }
        true
    }

    pub(crate) fn staged(&mut self, id: &UpgradeId) -> Vec<Effect> {
        let Some(known) = self
            .known
            .get_mut(id)
            .filter(|known| known.folder != Folder::Complete)
        else {
            return Vec::new();
        };
        known.folder = Folder::Complete;
        let version = known.plan.version.clone();
        self.complete.insert(id.clone(), version.clone());
        self.under_way = None;
        let mut effects = Vec::from([
            Effect::Append(Record::Staged {
                upgrade: id.clone(),
                version: version.clone(),
            }),
            Effect::Notify(Notice::UpgradeStaged { version }),
        ]);
        effects.extend(self.assign());
        effects
    }

    pub(crate) fn failed(&mut self, id: &UpgradeId, reason: String) -> Vec<Effect> {
        let Some(known) = self
            .known
            .get_mut(id)
            .filter(|known| known.folder != Folder::Complete)
        else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        if known.folder != Folder::Failing(reason.clone()) {
            known.folder = Folder::Failing(reason.clone());
            effects.push(Effect::Notify(Notice::StagingFailed {
                version: known.plan.version.clone(),
                reason,
            }));
        }
        effects.extend(self.assign());
        effects
    }

    /// This version's folder is complete under this upgrade's name.
    pub(crate) fn is_complete(&self, plan: &UpgradePlan) -> bool {
        self.complete.get(&plan.id) == Some(&plan.version)
    }

    pub(crate) fn is_there(&self, id: &UpgradeId) -> bool {
        self.complete.contains_key(id)
    }

    /// The next upgrade to come: the furthest standing, then the earliest height.
    pub(crate) fn next(&self) -> Option<&Known> {
        self.known.values().min_by_key(|known| known.turn())
    }

    /// Every known upgrade, the next one first.
    pub(crate) fn in_order(&self) -> Vec<&Known> {
        let mut known: Vec<&Known> = self.known.values().collect();
        known.sort_by_key(|known| known.turn());
        known
    }

    /// The next upgrade that nothing but its height keeps from being carried out.
    pub(crate) fn ready(&self) -> Option<&UpgradePlan> {
        self.next()
            .filter(|known| known.standing.is_latched() && known.folder == Folder::Complete)
            .map(|known| &known.plan)
    }

    pub(crate) fn at_height(&self, height: Height) -> Option<&UpgradePlan> {
        self.known
            .values()
            .map(|known| &known.plan)
            .find(|plan| plan.height == height)
    }

    pub(crate) fn get(&self, id: &UpgradeId) -> Option<&Known> {
        self.known.get(id)
    }

    pub(crate) fn scheduled(&self) -> Option<&UpgradePlan> {
        self.scheduled.as_ref().map(|scheduled| &scheduled.plan)
    }

    /// Stages what the journal knows of the scheduled upgrade, when no node is there to name it.
    pub(crate) fn revive(&mut self) -> Option<Effect> {
        let Scheduled { plan, artifact, .. } = self.scheduled.clone()?;
        let artifact = ArtifactFact::Available(artifact?);
        if self.known.contains_key(&plan.id) || self.is_complete(&plan) {
            return None;
        }
        let known = Known {
            plan: plan.clone(),
            standing: Standing::LockedIn,
            folder: Folder::Wanted,
            artifact,
        };
        self.known.insert(plan.id, known);
        self.assign()
    }

    /// Stages an upgrade that a node has halted for, also when no node is there to name it.
    pub(crate) fn want(&mut self, plan: &UpgradePlan) -> Option<Effect> {
        if self.is_complete(plan) {
            return None;
        }
        let artifact = match &self.scheduled {
            Some(Scheduled {
                plan: scheduled,
                artifact: Some(artifact),
                ..
            }) if scheduled.id == plan.id => ArtifactFact::Available(artifact.clone()),
            Some(_) | None => ArtifactFact::InPlace,
        };
        let known = self
            .known
            .get_mut(&plan.id)
            .filter(|known| known.plan.version == plan.version);
        if let Some(known) = known {
            known.plan.height = plan.height;
            if !known.standing.is_latched() {
                known.standing = Standing::LockedIn;
            }
        } else {
            let known = Known {
                plan: plan.clone(),
                standing: Standing::LockedIn,
                folder: Folder::Wanted,
                artifact,
            };
            self.known.insert(plan.id.clone(), known);
        }
        self.assign()
    }

    /// The home was looked at just now, and this version's folder is complete.
    pub(crate) fn found(&mut self, plan: &UpgradePlan) {
        self.complete.insert(plan.id.clone(), plan.version.clone());
    }

    /// The upgrade is carried out.
    pub(crate) fn done(&mut self, id: &UpgradeId) {
        self.known.remove(id);
        self.complete.remove(id);
        if self.scheduled().is_some_and(|plan| plan.id == *id) {
            self.scheduled = None;
        }
        if self.under_way.as_ref() == Some(id) {
            self.under_way = None;
        }
    }
}
