//! After visor's own restart: what was written down, and what is there, make the state again.

use alloc::string::String;
use alloc::vec::Vec;

use crate::backup::FirstPass;
use crate::config::{Completion, Config, HookPolicy};
use crate::effect::{Effect, Effects, Timer};
use crate::exit::WaysBack;
use crate::hook::BeforeStop;
use crate::plan::{Height, Process, Timestamp, UpgradePlan, Version};
use crate::record::Record;
use crate::staging::StagingArea;
use crate::step::{Node, Ordered, Planner};
use crate::told::{Heeded, Told, ToldRollback, ToldUpgrade};
use crate::upgrade::{Step, Underway};

/// A migration that the home says was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version before.
    pub from: Version,
    /// The upgrade that it is part of.
    pub plan: UpgradePlan,
}

/// What the daemon finds before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The version that `current` points to; `None` when there is no usable link.
    pub current: Option<Version>,
    /// The node that runs, with the version of the folder its binary lies in, where that can be told.
    pub node: Option<(Process, Option<Version>)>,
    /// Versions whose folders are complete.
    pub staged: Vec<Version>,
    /// The migration that the home says was begun and has not ended; of systems that have none, nothing. It wins over the journal.
    pub migrating: Option<Migration>,
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

/// Makes the planner again, and the orders that bring the host on its way: adopt, finish what was begun, or start the node.
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
    let conventions = config.conventions;
    let mut told = Told::read(records, conventions.halt_is_durable, &mut staging);
    let migrating = observed
        .migrating
        .as_ref()
        .filter(|_| conventions.home_decides && conventions.migration);
    let heeded = if conventions.home_decides {
        told.heed_home(now, observed.current.as_ref(), migrating, &mut staging)
    } else {
        Heeded::default()
    };
    staging.keep_complete(&observed.staged);
    let current = match migrating {
        Some(migration) => migration.from.clone(),
        None => told.current(observed.current.as_ref())?,
    };
    let is_migrating = migrating.is_some();
    let has_link = observed.current.is_some();
    let (process, running) = observed.node.unzip();
    let running = running.flatten();
    let mut planner = Planner {
        seed: observed.seed,
        current,
        node: process.map_or(Node::Absent, |process| Node::Running {
            process,
            adopted: true,
        }),
        last_ordered: Ordered::default(),
        relink: false,
        staging,
        sought: None,
        ways_back: WaysBack::default(),
        halted: told.halted,
        first_pass: FirstPass::NotBegun,
        before_stop: BeforeStop::NotRun,
        underway: None,
        after_success: None,
        rollback: None,
        rolled_back: told.rolled_back,
        failures: told.failures,
        restarts_total: 0,
        last_failure: None,
        overruled: heeded.problem,
        retrying: false,
        awaits_next: false,
        stopping: false,
        gave_up: None,
        journal_failed: None,
        connected: false,
        reported_once: false,
        height: Height(0),
        reported_version: None,
        no_progress: false,
        needs_newer: false,
        last_upgrade: told.last_upgrade,
        last_backup: told.last_backup,
        paused: told.paused,
        held: told.held,
        start_on_exit: false,
        skipped: told.skipped,
        manual: told.manual,
        config,
    };
    let mut effects: Vec<Effect> = heeded.record.into_iter().map(Effect::Append).collect();
    if let Some(underway) = told.underway {
        planner.take_up_upgrade(underway, running.as_ref(), is_migrating);
    }
    if let Some(rollback) = told.rollback {
        planner.finish_rollback(now, rollback, running.as_ref(), &mut effects);
    } else if planner.underway.is_some() {
        planner.finish_upgrade(now, &mut effects);
    } else if planner.node != Node::Absent {
        if conventions.halt_is_durable {
            // The node that runs reports its halt itself.
            planner.halted = None;
        }
        if planner.held {
            planner.stop_node(&mut effects);
        } else if conventions.home_decides
            && running
                .as_ref()
                .is_some_and(|running| *running != planner.current)
        {
            // Somebody has named another version while this one ran and no visor watched.
            planner.start_on_exit = true;
            planner.stop_node(&mut effects);
        }
    } else {
        if !has_link {
            effects.push(Effect::Swap(planner.current.clone()));
        }
        planner.go_on(now, &mut effects);
    }
    for plan in planner.manual.clone().into_values() {
        if plan.version != planner.current {
            effects.extend(planner.staging.learn_manual(&plan));
        }
    }
    if let Some((plan, from)) = told.success_hook
        && planner.config.hooks.after_success != HookPolicy::Off
    {
        planner.run_after_success(plan, from, &mut effects);
    }
    if planner.failures > 0 && matches!(planner.node, Node::Running { .. }) {
        let healthy_after = planner.policy().healthy_after;
        effects.push(Effect::SetTimer(Timer::Healthy, healthy_after));
    }
    planner.last_ordered = Ordered::of(&effects);
    Ok((planner, Effects(effects)))
}

impl Planner {
    fn take_up_upgrade(&mut self, told: ToldUpgrade, running: Option<&Version>, is_migrating: bool) {
        let conventions = self.config.conventions;
        // The home names it only once the node before it has ended, and the data is migrated.
        let is_named = conventions.home_decides && !is_migrating && self.current == told.plan.version;
        let is_migrated = if conventions.home_decides {
            is_named
        } else {
            told.migrated || told.started
        };
        let is_new = match running {
            // A migration is a process of the new version too.
            Some(running) => *running == told.plan.version && (is_migrated || !conventions.migration),
            None => is_named && self.node != Node::Absent,
        };
        let started = told.started || is_new || is_named;
        let hook = self.config.hooks.before_start != HookPolicy::Off;
        self.underway = Some(Underway {
            step: if is_new { Step::Starting } else { Step::Stopping },
            backup_due: told.backup_due && !started,
            hook_due: hook && !started,
            migration_due: conventions.migration && !is_migrated,
            first_after: None,
            blocked: None,
            plan: told.plan,
            from: told.from,
            intended_at: told.at,
            gone_at: None,
            exit_to_exec_us: 0,
            reported_at: None,
            restarts: told.failures,
        });
    }

    fn finish_upgrade(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        match self.node {
            Node::Running { .. } if self.held || underway.step == Step::Stopping => self.stop_node(effects),
            Node::Running { .. } => {
                self.current = underway.plan.version.clone();
                // The swap came before this process; its durability may not have.
                effects.push(Effect::Swap(self.current.clone()));
                match self.config.conventions.completion {
                    Completion::FirstBlock => {
                        effects.push(Effect::SetTimer(Timer::FirstReport, self.config.start_timeout));
                    }
                    Completion::Started => {
                        let done = underway.clone();
                        self.completed(done, effects);
                    }
                }
            }
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.go_on(now, effects),
        }
    }

    fn finish_rollback(
        &mut self,
        now: Timestamp,
        told: ToldRollback,
        running: Option<&Version>,
        effects: &mut Vec<Effect>,
    ) {
        let is_back = told.restored && running == Some(&told.rollback.from);
        self.halted = None;
        self.rollback = Some(told.rollback);
        match self.node {
            Node::Running { .. } if is_back => {
                if let Some(rollback) = &self.rollback {
                    self.current = rollback.from.clone();
                }
                // Its first report ends the rollback, once this has been carried out.
                effects.push(Effect::Swap(self.current.clone()));
            }
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent | Node::Starting | Node::Stopping { .. } => self.go_on(now, effects),
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
