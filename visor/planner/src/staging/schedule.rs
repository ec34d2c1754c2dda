//! What is written down of the upgrades that the chain has decided on: a node that has halted and died cannot be asked what it had
//! halted for.

use alloc::vec::Vec;

use super::StagingArea;
use crate::effect::Effect;
use crate::input::{Announced, ArtifactFact, NodeReport, Standing};
use crate::plan::{Artifact, Height, Timestamp, UpgradePlan, Version};
use crate::record::Record;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scheduled {
    pub(super) plan: UpgradePlan,
    pub(super) artifact: Option<Artifact>,
    /// What the node that runs has said of it.
    pub(super) said: Said,
}

/// A node that was just started on older data need not know an upgrade any more that the one before had named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// It has not named it, at this height first.
    Silent(Height),
    Named,
}

impl Scheduled {
    /// The node that runs names it no more, or does not although it knows all that the one before knew. Heights of 0 are not known.
    fn is_taken_back(&mut self, height: Height) -> bool {
        match self.said {
            Said::Named => true,
            // It makes blocks of its own, so that it has made all that were there before.
            Said::Silent(first) if height > first => true,
            // A node that halts at H may have H + 1 in its store.
            Said::Silent(_) | Said::Nothing if height.0 > self.plan.height.0.saturating_add(1) => true,
            Said::Silent(_) => false,
            Said::Nothing => {
                if height > Height(0) {
                    self.said = Said::Silent(height);
                }
                false
            }
        }
    }
}

impl StagingArea {
    /// Writes down what the chain has decided on, before anything else is done about it.
    pub(crate) fn schedule(&mut self, report: &NodeReport, running: &Version) -> Vec<Effect> {
        let mut effects = Vec::new();
        for announced in &report.upgrades {
            let is_new = announced.plan.version != *running && self.scheduled() != Some(&announced.plan);
            if is_new && announced.standing == Standing::LockedIn {
                effects.push(self.schedule_one(announced));
            }
        }
        effects
    }

    /// The same of a system whose nodes forget their halt: once one has halted and died nobody can be asked what it had halted for. So
    /// the next upgrade is written down as soon as the chain has accepted it, and when it has taken that back.
    pub(crate) fn schedule_next(
        &mut self,
        now: Timestamp,
        report: &NodeReport,
        running: &Version,
    ) -> Option<Effect> {
        let accepted = report
            .upgrades
            .iter()
            .filter(|announced| announced.standing.is_accepted() && announced.plan.version != *running);
        if let Some(next) = accepted.min_by_key(|announced| announced.plan.height) {
            if let Some(scheduled) = self.scheduled.as_mut().filter(|known| known.plan == next.plan) {
                scheduled.said = Said::Named;
                return None;
            }
            return Some(self.schedule_one(next));
        }
        let over = self
            .scheduled
            .take_if(|known| known.is_taken_back(report.height))?;
        Some(Effect::Append(Record::Unscheduled {
            plan: over.plan,
            at: now,
        }))
    }

    fn schedule_one(&mut self, announced: &Announced) -> Effect {
        let plan = &announced.plan;
        let artifact = match &announced.artifact {
            ArtifactFact::Available(artifact) => Some(artifact.clone()),
            ArtifactFact::InPlace | ArtifactFact::MissingForPlatform { .. } => None,
        };
        self.scheduled = Some(Scheduled {
            plan: plan.clone(),
            artifact: artifact.clone(),
            said: Said::Named,
        });
        Effect::Append(Record::Scheduled {
            plan: plan.clone(),
            artifact,
        })
    }

    /// The next node has named nothing yet.
    pub(crate) fn node_ended(&mut self) {
        if let Some(scheduled) = &mut self.scheduled {
            scheduled.said = Said::Nothing;
        }
    }
}
