//! Orders: one after the other, each either done or begun.

use std::path::PathBuf;

use visor_planner::{
    Announced, Answer, ArtifactFact, Effect, ExitReason, Hook, Input, Process, Record, UpgradePlan, Version,
};

use super::recorder::MakeDurable;
use super::{Daemon, Ended, now};
use crate::adapter::Start;
use crate::cli::chain;
use crate::execute::{ExecuteError, Outset, Started};
use crate::exit_code;
use crate::fault;
use crate::notice;
use crate::staging::{Artifact, Order};

impl Daemon {
    pub(super) fn execute(&mut self, effects: Vec<Effect>) {
        // Records that stand behind a start only describe it: what follows from it must not wait for the disk.
        let mut describes = false;
        for effect in effects {
            fault::point_of("before", &effect);
            describes |= matches!(effect, Effect::Start { .. } | Effect::Migrate { .. });
            if let Err(failure) = self.execute_one(effect, describes) {
                // The rest of the batch stands behind what failed, and nothing is decided before the planner knows it.
                self.queue.push_front(failure);
                return;
            }
            fault::point("order-carried-out");
        }
    }

    /// One order. An error is the fact that ends the batch.
    fn execute_one(&mut self, effect: Effect, describes: bool) -> Result<(), Input> {
        // Once the journal has failed, what is left to do is to say so, and to end when told to.
        if !self.journal_failed && needs_the_records(&effect) {
            let settled = self.recorder.settle();
            self.journaled(settled)?;
        }
        match effect {
            Effect::Append(record) => self.append(&record, describes)?,
            Effect::Stage(announced) => self.stage(announced),
            Effect::Unstage(upgrade) => self.host.unstage(&upgrade.0),
            Effect::Stop => {
                if !self.host.stop() {
                    self.queue.push_back(Input::NodeExited {
                        exit: visor_planner::Exit::Unknown,
                        companion: None,
                    });
                }
            }
            Effect::Swap(version) => {
                self.unsynced_swap = true;
                self.host.swap(&version.0).map_err(|error| Input::SwapFailed {
                    reason: chain(&error),
                })?;
            }
            Effect::Start {
                version,
                after_halt,
                unseen_halt,
                why,
            } => {
                let start = Start {
                    version: version.0,
                    after_halt,
                    unseen_halt,
                };
                let outset = self.host.start(start.clone(), why);
                self.started(&start, why, outset);
            }
            Effect::FindVersion { of, which } => {
                let found = self.host.adapter().neighbour(&of.0, which);
                self.queue.push_front(Input::VersionFound { which, found });
            }
            Effect::Migrate { from, to } => {
                self.unsynced_swap = true;
                let outset = self.host.migrate(&from.0, &to.0);
                self.migrating(&from, &to, outset);
            }
            Effect::SetTimer(timer, after) => {
                let at = tokio::time::Instant::now() + std::time::Duration::from_millis(after.0);
                self.timers.insert(timer, at);
            }
            Effect::CancelTimer(timer) => {
                self.timers.remove(&timer);
            }
            Effect::BackUp { plan, from, pass } => {
                let config = self.host.config();
                self.jobs
                    .back_up(config, &plan, &from.0, pass)
                    .unwrap_or_else(|failure| self.queue.push_back(failure));
            }
            Effect::Restore { plan, from } => {
                let recorded = self.recorded_backup(&plan);
                let config = self.host.config();
                self.jobs
                    .restore(config, &plan, &from.0, recorded.as_deref())
                    .unwrap_or_else(|failure| self.queue.push_back(failure));
            }
            Effect::RunHook { hook, plan, from } => self.run_hook(hook, &plan, &from),
            Effect::AskSignedHeight { version } => {
                let config = self.host.config();
                let arguments = config.upgrade.signed_height_args.clone();
                let limit = config.staging.version_timeout;
                let program = self.host.adapter().program(&version.0);
                self.jobs.ask_signed_height(program, arguments, limit);
            }
            Effect::Answer { ticket, answer } => self.answer(ticket, answer),
            Effect::Notify(notice) => {
                notice::tell(&notice);
                self.tell(notice::event(&notice, &self.planner.status().current));
            }
            Effect::Exit(reason) => {
                self.exit = Some(match reason {
                    ExitReason::SelfRestart => Ended::SelfRestart,
                    _ if self.journal_failed => Ended::Code(exit_code::JOURNAL),
                    ExitReason::ShutDown => Ended::ShutDown,
                    ExitReason::Stopped => Ended::Code(exit_code::SUCCESS),
                    ExitReason::RetriesExhausted { .. } => Ended::Code(exit_code::NODE_FAILED),
                });
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &Record, describes: bool) -> Result<(), Input> {
        if let Record::UpgradeIntended { plan, .. } = record {
            // The old node still runs, or a migration does: the last moment to read anything.
            self.host.prepare(Start {
                version: plan.version.0.clone(),
                after_halt: Some(plan.height),
                unseen_halt: None,
            });
        }
        let at = now().0;
        // The records from here on may say that the new version runs.
        let unsynced = std::mem::take(&mut self.unsynced_swap).then(|| self.host.sync_swap());
        let before: MakeDurable = Box::new(|| {
            if let Some(sync) = unsynced {
                sync().map_err(|error| chain(&error))?;
                fault::point("swap-synced");
            }
            Ok(())
        });
        let written = if describes {
            self.recorder.write_behind(record, at, before)
        } else {
            self.recorder.write(record, at, before)
        };
        self.journaled(written)
    }

    fn journaled(&mut self, written: Result<(), String>) -> Result<(), Input> {
        written.map_err(|reason| {
            self.journal_failed = true;
            Input::AppendFailed { reason }
        })
    }

    /// Takes in what became of a start. The fact comes before the line in the log, and before the link.
    pub(super) fn started(&mut self, start: &Start, why: &'static str, outset: Result<Outset, ExecuteError>) {
        let Some((started, exit_to_exec_us)) = self.outset(outset) else {
            return;
        };
        let status = self.planner.status();
        let awaited = self.planner.upgrade_under_way().map(|plan| plan.height);
        if let Err(error) = self.host.follow(&start.version, awaited, status.restarts == 0) {
            tracing::error!(error = %chain(&error), "the node that was started cannot be followed");
        }
        tracing::info!(
            node.version = %start.version,
            node.pid = started.pid,
            node.why = why,
            node.exit_to_exec_us = exit_to_exec_us,
            "started the node"
        );
    }

    fn migrating(&mut self, from: &Version, to: &Version, outset: Result<Outset, ExecuteError>) {
        if let Some((started, exit_to_exec_us)) = self.outset(outset) {
            tracing::info!(
                migration.from = %from,
                migration.to = %to,
                migration.pid = started.pid,
                node.exit_to_exec_us = exit_to_exec_us,
                "started the migration of the data"
            );
        }
    }

    fn outset(&mut self, outset: Result<Outset, ExecuteError>) -> Option<(Started, Option<u64>)> {
        match outset {
            // The others are being stopped; their exit brings the reason.
            Ok(Outset::NotWhole | Outset::Later) => None,
            Ok(Outset::HasHalted(plan)) => {
                tracing::warn!(
                    upgrade.version = %plan.version,
                    upgrade.height = plan.height.0,
                    "the node had halted for its upgrade when it ended, and nobody had seen it: the old version is not started again"
                );
                self.queue.push_back(Input::HaltFound { plan });
                None
            }
            Ok(Outset::Started(started)) => {
                let exit_to_exec_us = self
                    .exit_seen
                    .take()
                    .map(|seen| started.at.saturating_duration_since(seen).as_micros())
                    .and_then(|micros| u64::try_from(micros).ok());
                self.queue.push_back(Input::NodeStarted {
                    process: Process { pid: started.pid },
                    exit_to_exec_us,
                });
                Some((started, exit_to_exec_us))
            }
            Err(error) => {
                self.queue.push_back(Input::NodeStartFailed {
                    reason: chain(&error),
                });
                None
            }
        }
    }

    fn stage(&mut self, announced: Announced) {
        let upgrade = announced.plan.id.clone();
        let failed = |reason| Input::StagingFailed {
            upgrade: upgrade.clone(),
            reason,
        };
        let plan = announced.plan.clone();
        let Some(order) = order(announced) else {
            self.queue
                .push_back(failed("the plan's artifact is not readable".to_owned()));
            return;
        };
        let current = self.planner.status().current;
        let backup = self.jobs.plan(self.host.config(), &plan, &current.0);
        if let Err(error) = self.host.stage(order, plan.height, &current.0, backup) {
            self.queue.push_back(failed(chain(&error)));
        }
    }

    fn run_hook(&mut self, hook: Hook, plan: &UpgradePlan, from: &Version) {
        let hooks = &self.host.config().hooks;
        let wanted = match hook {
            Hook::BeforeStop => hooks.before_stop.clone(),
            Hook::BeforeStart => hooks.before_start.clone(),
            Hook::AfterSuccess => hooks.after_success.clone(),
        };
        let backup = self.recorded_backup(plan);
        let adapter = self.host.adapter();
        let folders = (adapter.folder(&from.0), adapter.folder(&plan.version.0));
        self.jobs
            .run_hook(wanted, hook, plan, from, folders, backup)
            .unwrap_or_else(|failure| self.queue.push_back(failure));
    }

    /// Where the journal says that the backup of before an upgrade lies.
    fn recorded_backup(&self, plan: &UpgradePlan) -> Option<PathBuf> {
        let last = self.planner.status().last_backup?;
        (last.id == plan.id).then(|| PathBuf::from(last.backup.path))
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        let Some(caller) = self.tickets.remove(&ticket) else {
            return;
        };
        let said = match answer {
            Answer::Done(done) => {
                tracing::info!(operator.answer = %done, "the operator's order is carried out");
                Ok(done)
            }
            Answer::Refused(reason) => {
                tracing::info!(operator.answer = %reason, "the operator's order is refused");
                Err(reason)
            }
        };
        // The caller may be gone; the order holds all the same.
        let _ = caller.send(said);
    }
}

/// Whether it must not be done before everything that was recorded is durable: it goes beyond which process runs, or ends visor.
fn needs_the_records(effect: &Effect) -> bool {
    match effect {
        Effect::Stage(_)
        | Effect::BackUp { .. }
        | Effect::Restore { .. }
        | Effect::RunHook { .. }
        | Effect::Answer { .. }
        | Effect::Exit(_) => true,
        Effect::Append(_)
        | Effect::Unstage(_)
        | Effect::Stop
        | Effect::Swap(_)
        | Effect::Start { .. }
        | Effect::FindVersion { .. }
        | Effect::Migrate { .. }
        | Effect::SetTimer(..)
        | Effect::CancelTimer(_)
        | Effect::AskSignedHeight { .. }
        | Effect::Notify(_) => false,
    }
}

fn order(announced: Announced) -> Option<Order> {
    let artifact = match announced.artifact {
        ArtifactFact::Available(artifact) => {
            let mut sha256 = [0; 32];
            hex::decode_to_slice(&artifact.sha256, &mut sha256).ok()?;
            Some(Artifact {
                url: artifact.url,
                size: artifact.size,
                sha256,
            })
        }
        ArtifactFact::InPlace => None,
        ArtifactFact::MissingForPlatform { .. } => return None,
    };
    Some(Order {
        id: announced.plan.id.0,
        version: announced.plan.version.0,
        artifact,
    })
}
