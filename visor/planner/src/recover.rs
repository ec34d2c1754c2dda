//! After visor's own restart: what was written down, and what is there, make the state again.

use alloc::string::String;
use alloc::vec::Vec;

use crate::config::Config;
use crate::effect::{Effect, Effects, Timer};
use crate::plan::{Height, Process, Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::staging::StagingArea;
use crate::status::LastUpgrade;
use crate::step::{Node, Planner, Step, Underway};

/// What the daemon finds before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The version that `current` points to; `None` when there is no usable link.
    pub current: Option<Version>,
    /// The node that runs, with the version of the folder its binary lies in, where that can be told.
    pub node: Option<(Process, Option<Version>)>,
    /// Versions whose folders are complete.
    pub staged: Vec<Version>,
    /// Any number that differs between hosts, for the jitter.
    pub seed: u64,
}

/// Why visor cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Neither the link nor the journal names a version.
    #[error(
        "`current` points to no version and the journal names none; initialise this home, or point `current` to the folder of the version that the chain runs"
    )]
    NoCurrent,
    /// The link names another version than an upgrade that was completed.
    #[error(
        "`current` points to {found}, but the journal says that {expected} was started last; point `current` to its folder (never to an older version than the chain's)"
    )]
    UnexpectedCurrent {
        /// What the journal says.
        expected: Version,
        /// What the link says.
        found: Version,
    },
}

/// What the records say, in their order.
#[derive(Default)]
struct Told {
    current: Option<Version>,
    underway: Option<(UpgradePlan, Version, Timestamp)>,
    halted: Option<UpgradePlan>,
    failures: u32,
    underway_failures: u32,
    last_upgrade: Option<LastUpgrade>,
}

impl Told {
    fn read(records: &[Record], staging: &mut StagingArea) -> Self {
        let mut told = Self::default();
        for record in records {
            staging.remember(record);
            match record {
                Record::Scheduled { .. } | Record::Staged { .. } => {}
                Record::Halted { plan } => told.halted = Some(plan.clone()),
                Record::UpgradeIntended { plan, from, at } => {
                    told.underway = Some((plan.clone(), from.clone(), *at));
                    told.failures = 0;
                    told.underway_failures = 0;
                    told.halted = None;
                }
                Record::StartIntended { version, .. } | Record::NodeStarted { version, .. } => {
                    told.current = Some(version.clone());
                }
                Record::NodeFailed { .. } => {
                    told.failures = told.failures.saturating_add(1);
                    told.underway_failures = told.underway_failures.saturating_add(1);
                }
                Record::Healthy { .. } => told.failures = 0,
                Record::UpgradeCompleted {
                    plan,
                    from,
                    node_down_ms,
                    exit_to_exec_us,
                    stop_ms,
                    restarts,
                } => {
                    staging.done(&plan.id);
                    told.current = Some(plan.version.clone());
                    told.underway = None;
                    told.halted = None;
                    told.last_upgrade = Some(LastUpgrade {
                        from: from.clone(),
                        to: plan.version.clone(),
                        height: plan.height,
                        node_down_ms: *node_down_ms,
                        exit_to_exec_us: *exit_to_exec_us,
                        stop_ms: *stop_ms,
                        restarts: *restarts,
                    });
                }
                // Whoever starts visor again after it gave up wants it to try again.
                Record::GaveUp { .. } => told.failures = 0,
                Record::Stopped { .. } => {}
            }
        }
        told
    }
}

/// Makes the planner again, and the orders that bring the host on its way: adopt, finish an upgrade, or start the node.
///
/// # Errors
/// When the journal and the home contradict each other so that starting anything could start the wrong version.
pub fn recover(
    config: Config,
    now: Timestamp,
    records: &[Record],
    observed: Observed,
) -> Result<(Planner, Effects), RecoverError> {
    let mut staging = StagingArea::default();
    let told = Told::read(records, &mut staging);
    staging.keep_complete(&observed.staged);
    let current = match (&told.underway, &told.current, &observed.current) {
        // The intent covers the swap: wherever the link points, it is moved again.
        (Some((_, from, _)), _, found) => found.clone().unwrap_or_else(|| from.clone()),
        (None, Some(expected), Some(found)) if expected != found => {
            return Err(RecoverError::UnexpectedCurrent {
                expected: expected.clone(),
                found: found.clone(),
            });
        }
        (None, _, Some(found)) => found.clone(),
        (None, Some(expected), None) => expected.clone(),
        (None, None, None) => return Err(RecoverError::NoCurrent),
    };
    let mut planner = Planner {
        config,
        seed: observed.seed,
        current,
        node: observed
            .node
            .as_ref()
            .map_or(Node::Absent, |(process, _)| Node::Running {
                process: *process,
                adopted: true,
            }),
        staging,
        halted: told.halted.clone(),
        underway: None,
        failures: told.failures,
        last_failure: None,
        retrying: false,
        stopping: false,
        gave_up: None,
        journal_failed: None,
        connected: false,
        height: Height(0),
        reported_version: None,
        no_progress: false,
        last_upgrade: told.last_upgrade.clone(),
    };
    let mut effects = Vec::new();
    if let Some((plan, from, at)) = told.underway {
        planner.finish_upgrade(
            plan,
            from,
            at,
            told.underway_failures,
            observed.node.and_then(|(_, version)| version),
            &mut effects,
        );
    } else if planner.node == Node::Absent {
        match planner
            .halted
            .clone()
            .filter(|plan| planner.staging.is_complete(&plan.id))
        {
            Some(_) => planner.upgrade_if_ready(now, &mut effects),
            None => {
                if observed.current.is_none() {
                    effects.push(Effect::Swap(planner.current.clone()));
                }
                // A node that is known to have halted is started all the same: it alone can report what it waits for,
                // and it refuses to execute anything.
                planner.halted = None;
                planner.start(now, "visor started", &mut effects);
            }
        }
    } else if planner.halted.is_some() {
        // The node that runs reports its halt itself.
        planner.halted = None;
    }
    Ok((planner, Effects(effects)))
}

impl Planner {
    fn finish_upgrade(
        &mut self,
        plan: UpgradePlan,
        from: Version,
        intended_at: Timestamp,
        restarts: u32,
        running: Option<Version>,
        effects: &mut Vec<Effect>,
    ) {
        let is_new = running.as_ref() == Some(&plan.version);
        self.underway = Some(Underway {
            step: if is_new { Step::Starting } else { Step::Stopping },
            plan,
            from,
            intended_at,
            gone_at: None,
            exit_to_exec_us: 0,
            reported_at: None,
            restarts,
        });
        match self.node {
            Node::Running { .. } if is_new => {
                if let Some(underway) = &self.underway {
                    self.current = underway.plan.version.clone();
                }
                // The swap came before this process; its durability may not have.
                effects.push(Effect::Swap(self.current.clone()));
                effects.push(Effect::SetTimer(Timer::FirstReport, self.config.start_timeout));
            }
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.swap_and_start(effects),
        }
    }
}

/// For error texts.
impl RecoverError {
    /// The version that the journal names, where it names one.
    #[must_use]
    pub fn expected(&self) -> Option<String> {
        match self {
            Self::NoCurrent => None,
            Self::UnexpectedCurrent { expected, .. } => Some(expected.0.clone()),
        }
    }
}
