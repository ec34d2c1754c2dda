//! The state machine: a fact in, orders out. Total, and without any knowledge of how an order is carried out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::backup::FirstPass;
use crate::config::Config;
use crate::effect::{Answer, Effect, Effects, ExitReason, Notice};
use crate::exit::{Sought, WaysBack};
use crate::hook::{AfterSuccess, BeforeStop};
use crate::input::Input;
use crate::plan::{Height, Process, Timestamp, UpgradeId, UpgradePlan, Version};
use crate::record::Record;
use crate::rollback::Rollback;
use crate::staging::StagingArea;
use crate::status::{LastBackup, LastUpgrade};
use crate::upgrade::Underway;

/// What the planner knows of the node and its companions: one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Proved gone.
    Absent,
    /// `Effect::Start` or `Effect::Migrate` is being carried out.
    Starting,
    /// It runs.
    Running { process: Process, adopted: bool },
    /// It was told to stop.
    Stopping { process: Process, adopted: bool },
}

/// What the last batch ordered that a failure in it would have kept from being done. No batch has records on both sides of a start or a
/// stop, so that it is known on which side a failed append stood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// A start, behind the records of its batch.
    start: bool,
    /// A stop, behind the records of its batch.
    stop: bool,
    /// Records that stand behind a switch, and are dropped with it.
    pub(crate) behind_switch: Vec<Record>,
}

impl Ordered {
    pub(crate) fn of(effects: &[Effect]) -> Self {
        let last_append = effects
            .iter()
            .rposition(|effect| matches!(effect, Effect::Append(_)));
        let behind = |place: Option<usize>| place.is_some() && place > last_append;
        let switch = effects
            .iter()
            .position(|effect| matches!(effect, Effect::Swap(_)))
            .unwrap_or(effects.len());
        Self {
            start: behind(
                effects
                    .iter()
                    .position(|effect| matches!(effect, Effect::Start { .. } | Effect::Migrate { .. })),
            ),
            stop: behind(effects.iter().position(|effect| *effect == Effect::Stop)),
            behind_switch: effects
                .iter()
                .skip(switch)
                .filter_map(|effect| match effect {
                    Effect::Append(record) => Some(record.clone()),
                    Effect::Stage(_)
                    | Effect::Unstage(_)
                    | Effect::BackUp { .. }
                    | Effect::RunHook { .. }
                    | Effect::AskSignedHeight { .. }
                    | Effect::Restore { .. }
                    | Effect::Answer { .. }
                    | Effect::Stop
                    | Effect::Swap(_)
                    | Effect::Start { .. }
                    | Effect::FindVersion { .. }
                    | Effect::Migrate { .. }
                    | Effect::SetTimer(..)
                    | Effect::CancelTimer(_)
                    | Effect::Notify(_)
                    | Effect::Exit(_) => None,
                })
                .collect(),
        }
    }
}

/// The state of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planner {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// The version that `current` points to, or will after the swap that is under way.
    pub(crate) current: Version,
    pub(crate) node: Node,
    pub(crate) last_ordered: Ordered,
    /// `current` may not point to the version that it should: a switch failed.
    pub(crate) relink: bool,
    pub(crate) staging: StagingArea,
    /// The node asked for a version by its exit code, and the answer is still to come.
    pub(crate) sought: Option<Sought>,
    pub(crate) ways_back: WaysBack,
    /// The node has halted for this upgrade, and its intent is not written down.
    pub(crate) halted: Option<UpgradePlan>,
    pub(crate) first_pass: FirstPass,
    pub(crate) before_stop: BeforeStop,
    pub(crate) underway: Option<Underway>,
    pub(crate) after_success: Option<AfterSuccess>,
    pub(crate) rollback: Option<Rollback>,
    /// The last upgrade that was undone, until the operator wants it after all.
    pub(crate) rolled_back: Option<UpgradePlan>,
    /// Failures since the last healthy time.
    pub(crate) failures: u32,
    /// Starts after a failure since visor began.
    pub(crate) restarts_total: u64,
    pub(crate) last_failure: Option<String>,
    /// Why what the journal says to be under way is not carried on.
    pub(crate) overruled: Option<String>,
    /// A start is due when the timer fires.
    pub(crate) retrying: bool,
    /// The last failure was none of the node's: it asked for a version that is not there.
    pub(crate) awaits_next: bool,
    pub(crate) stopping: bool,
    pub(crate) gave_up: Option<String>,
    pub(crate) journal_failed: Option<String>,
    pub(crate) connected: bool,
    /// The node has reported since visor began.
    pub(crate) reported_once: bool,
    pub(crate) height: Height,
    pub(crate) reported_version: Option<Version>,
    pub(crate) no_progress: bool,
    /// The node refuses to run because its state belongs to a newer version, and no upgrade is known: an absence over a whole upgrade.
    pub(crate) needs_newer: bool,
    pub(crate) last_upgrade: Option<LastUpgrade>,
    pub(crate) last_backup: Option<LastBackup>,
    /// The operator lets no upgrade begin.
    pub(crate) paused: bool,
    /// The operator keeps the node stopped.
    pub(crate) held: bool,
    /// No longer, but it is still being stopped.
    pub(crate) start_on_exit: bool,
    /// Heights whose upgrades are not carried out.
    pub(crate) skipped: BTreeSet<Height>,
    /// The operator's own upgrades.
    pub(crate) manual: BTreeMap<UpgradeId, UpgradePlan>,
}

impl Planner {
    /// Takes in one fact.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Effects {
        if self.journal_failed.is_some() {
            return self.step_without_journal(input);
        }
        let mut effects = Vec::new();
        match input {
            Input::NodeReported(report) => self.reported(now, &report, &mut effects),
            Input::NodeLinkLost => self.connected = false,
            Input::NodeStarted {
                process,
                exit_to_exec_us,
            } => self.started(now, process, exit_to_exec_us, &mut effects),
            Input::NodeStartFailed { reason } => {
                if self.node == Node::Starting {
                    self.node = Node::Absent;
                    self.failed(now, None, reason, &mut effects);
                }
            }
            Input::HaltFound { plan } => self.halt_found(now, &plan, &mut effects),
            Input::NodeExited { exit, companion } => {
                self.exited(now, exit, companion.as_deref(), &mut effects);
            }
            Input::Staged { upgrade } => {
                effects.extend(self.staging.staged(&upgrade));
                self.upgrade_if_ready(now, &mut effects);
                self.ask_again(now, &mut effects);
            }
            Input::StagingFailed { upgrade, reason } => effects.extend(self.staging.failed(&upgrade, reason)),
            Input::SwapFailed { reason } => self.swap_failed(now, &reason, &mut effects),
            Input::BackupPassed {
                upgrade,
                pass,
                backup,
            } => self.backup_passed(now, &upgrade, pass, backup, &mut effects),
            Input::BackupFailed {
                upgrade,
                pass,
                reason,
            } => self.backup_failed(now, &upgrade, pass, reason, &mut effects),
            Input::HookEnded { hook, failure } => self.hook_ended(now, hook, failure, &mut effects),
            Input::SignedHeight { signed } => self.signed_height(now, signed, &mut effects),
            Input::Restored { upgrade } => self.restored(now, &upgrade, &mut effects),
            Input::RestoreFailed { upgrade, reason } => self.restore_failed(&upgrade, reason, &mut effects),
            Input::Operator { ticket, order } => self.ordered(now, ticket, order, &mut effects),
            Input::Configured(config) => self.config = *config,
            Input::NodeUnresponsive { reason } => self.unresponsive(reason, &mut effects),
            Input::VersionFound { which, found } => self.version_found(now, which, found, &mut effects),
            Input::TimerFired(timer) => self.fired(now, timer, &mut effects),
            Input::AppendFailed { reason } => {
                effects.push(Effect::Notify(Notice::JournalFailed {
                    reason: reason.clone(),
                }));
                self.journal_failed = Some(reason);
                // The rest of the batch was dropped, with the start or the stop that stands behind the records. What stands before them,
                // or in an earlier batch, goes on.
                self.node = match self.node {
                    Node::Starting if self.last_ordered.start => Node::Absent,
                    Node::Stopping { process, adopted } if self.last_ordered.stop => {
                        Node::Running { process, adopted }
                    }
                    Node::Absent | Node::Starting | Node::Running { .. } | Node::Stopping { .. } => {
                        self.node.clone()
                    }
                };
            }
            Input::StopRequested => self.stop_requested(now, &mut effects),
        }
        self.last_ordered = Ordered::of(&effects);
        Effects(effects)
    }

    /// VIS-01: without a journal nothing is done any more, except what the operator asks for by ending visor.
    fn step_without_journal(&mut self, input: Input) -> Effects {
        let mut effects = Vec::new();
        match input {
            Input::StopRequested => {
                self.stopping = true;
                match self.node {
                    Node::Running { process, adopted } => {
                        self.node = Node::Stopping { process, adopted };
                        effects.push(Effect::Stop);
                    }
                    Node::Absent => effects.push(Effect::Exit(ExitReason::Stopped)),
                    Node::Starting | Node::Stopping { .. } => {}
                }
            }
            Input::NodeExited { .. } => {
                self.node = Node::Absent;
                self.connected = false;
                if self.stopping {
                    effects.push(Effect::Exit(ExitReason::Stopped));
                }
            }
            Input::NodeStarted { process, .. } => {
                self.node = Node::Running {
                    process,
                    adopted: false,
                };
                if self.stopping {
                    self.node = Node::Stopping {
                        process,
                        adopted: false,
                    };
                    effects.push(Effect::Stop);
                }
            }
            Input::NodeStartFailed { .. } | Input::HaltFound { .. } | Input::SwapFailed { .. } => {
                if self.node == Node::Starting {
                    self.node = Node::Absent;
                    if self.stopping {
                        effects.push(Effect::Exit(ExitReason::Stopped));
                    }
                }
            }
            Input::NodeReported(report) => {
                self.connected = true;
                self.height = report.height;
                self.reported_version = Some(report.version);
            }
            Input::NodeLinkLost => self.connected = false,
            Input::Operator { ticket, .. } => {
                let reason = self.journal_failed.clone().unwrap_or_default();
                effects.push(Effect::Answer {
                    ticket,
                    answer: Answer::Refused(format!(
                        "the journal cannot be written: {reason}; visor does nothing more until it is started again"
                    )),
                });
            }
            Input::Configured(config) => self.config = *config,
            Input::NodeUnresponsive { .. }
            | Input::VersionFound { .. }
            | Input::Staged { .. }
            | Input::StagingFailed { .. }
            | Input::BackupPassed { .. }
            | Input::BackupFailed { .. }
            | Input::HookEnded { .. }
            | Input::SignedHeight { .. }
            | Input::Restored { .. }
            | Input::RestoreFailed { .. }
            | Input::TimerFired(_)
            | Input::AppendFailed { .. } => {}
        }
        Effects(effects)
    }

    pub(crate) fn stop_node(&mut self, effects: &mut Vec<Effect>) {
        if let Node::Running { process, adopted } = self.node {
            self.node = Node::Stopping { process, adopted };
            self.connected = false;
            effects.push(Effect::Stop);
        }
    }

    /// A start outside an upgrade.
    pub(crate) fn start(&mut self, now: Timestamp, why: &'static str, effects: &mut Vec<Effect>) {
        self.node = Node::Starting;
        effects.push(Effect::Append(Record::StartIntended {
            version: self.current.clone(),
            at: now,
        }));
        if self.relink {
            effects.push(Effect::Swap(self.current.clone()));
        }
        effects.push(Effect::Start {
            version: self.current.clone(),
            after_halt: None,
            unseen_halt: self.unseen_halt(),
            why,
        });
    }

    /// VIS-08.
    fn stop_requested(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        match self.node {
            Node::Running { .. } => self.stop_node(effects),
            Node::Absent => {
                effects.push(Effect::Append(Record::Stopped { at: now }));
                effects.push(Effect::Exit(ExitReason::Stopped));
            }
            // What is under way ends first, then its answer stops it.
            Node::Starting | Node::Stopping { .. } => {}
        }
    }

    /// The upgrade whose intent is written and whose end is not.
    #[must_use]
    pub fn upgrade_under_way(&self) -> Option<&UpgradePlan> {
        self.underway.as_ref().map(|underway| &underway.plan)
    }

    /// Whether this upgrade could be carried out at once.
    #[must_use]
    pub fn is_staged(&self, upgrade: &UpgradeId) -> bool {
        self.staging.is_there(upgrade)
    }
}
