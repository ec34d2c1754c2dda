//! The node and its chain: blocks, halts, crashes, reports.

use visor_planner::{
    Announced, Artifact, ArtifactFact, Exit, Height, Input, NodeReport, Standing, UpgradePlan, Version,
};

use super::{World, new};

impl World {
    /// The node crashes, or makes a block and reports.
    pub(super) fn live(&mut self) -> Option<Input> {
        let node = self.node.clone()?;
        let exit = if node.migrates {
            Some(self.end_of_migration(&node.version))
        } else if node.crashes {
            Some(Exit::Signal(11))
        } else if node.refuses {
            self.config.conventions.exit_codes.newer_required.map(Exit::Code)
        } else if self.script.old_crash_at == Some(self.data.height)
            && (!self.is_halt_unknown() || self.told_height == self.data.height)
            && !self.looks_halted()
            && self.done.insert("old crash")
        {
            Some(Exit::Code(1))
        } else {
            self.code_of_end(&node).map(Exit::Code)
        };
        if let Some(exit) = exit {
            self.end_node();
            self.wish(&node, exit);
            return Some(Input::NodeExited {
                exit,
                companion: None,
            });
        }
        self.make_block(&node.version);
        if self.script.halt_unseen
            && self.halt(&node.version).is_some()
            && !self.is_halt_unknown()
            && self.done.insert("old crash")
        {
            self.end_node();
            return Some(Input::NodeExited {
                exit: Exit::Code(2),
                companion: None,
            });
        }
        if self.script.silent {
            // Something has to happen.
            return Some(Input::NodeLinkLost);
        }
        let mut report = self.report(&node.version);
        if self.script.halt_told_late
            && let Some(running) = &mut self.node
            && report.halt.is_some()
            && !core::mem::replace(&mut running.told_height, true)
        {
            report.halt = None;
        }
        self.told_height = self.data.height;
        Some(Input::NodeReported(report))
    }

    pub(super) fn make_block(&mut self, version: &Version) {
        let stalls = self.script.new_stalls && *version == new();
        if self.halt(version).is_none() && !stalls {
            self.assert_may_pass(version);
            self.data.height += 1;
        }
        if self.script.signs {
            self.signed = self.signed.max(self.data.height);
        }
    }

    /// The chain's upgrades as this height knows them.
    fn plans(&self, version: &Version) -> Vec<(UpgradePlan, Standing)> {
        let height = self.data.height;
        self.script
            .plans
            .iter()
            .filter(|planned| planned.plan.version > *version && planned.seen_at <= height)
            .filter(|planned| {
                !self.nodes_forget() || height <= planned.plan.height.0 || planned.moved.is_some()
            })
            .filter(|planned| planned.cancelled_at.is_none_or(|at| height < at))
            .map(|planned| {
                let mut plan = planned.plan.clone();
                if let Some((_, to)) = planned.moved.filter(|(at, _)| *at <= height) {
                    plan.height = Height(to);
                }
                let standing = if height + 2 >= plan.height.0 {
                    Standing::LockedIn
                } else {
                    Standing::Approved
                };
                (plan, standing)
            })
            .collect()
    }

    pub(super) fn halt(&self, version: &Version) -> Option<UpgradePlan> {
        let mut plans = self.plans(version).into_iter();
        plans
            .find(|(plan, _)| plan.height.0 == self.data.height)
            .map(|(plan, _)| plan)
            .filter(|plan| {
                !self.nodes_forget()
                    || self
                        .node
                        .as_ref()
                        .is_some_and(|node| node.started_at < plan.height.0)
            })
    }

    fn report(&self, version: &Version) -> NodeReport {
        let announced = self.plans(version).into_iter().flat_map(|(plan, standing)| {
            let announced = Announced {
                plan,
                standing,
                artifact: if self.nodes_end() {
                    ArtifactFact::InPlace
                } else {
                    ArtifactFact::Available(Artifact {
                        url: "file:///node".to_owned(),
                        size: 1,
                        sha256: "00".to_owned(),
                    })
                },
            };
            let times = if self.script.announced_twice { 2 } else { 1 };
            vec![announced; times]
        });
        NodeReport {
            version: version.clone(),
            height: Height(self.data.height),
            upgrades: announced.collect(),
            halt: self.halt(version).filter(|_| !self.nodes_end()),
        }
    }
}
