//! Carries out orders. The assertions are the rules that no host may see broken.

use std::collections::BTreeSet;

use visor_planner::{
    Answer, Effect, Exit, ExitReason, Height, Hook, HookPolicy, Input, Order, Pass, Process, Record,
    UpgradePlan, Version,
};

use super::{Asked, Copying, JOB_MS, NodeProcess, World, old};

/// What the journal alone says. Read anew for every question, and by other means than the planner's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// The only version that may run; `None`: the first one.
    pub(crate) version: Option<Version>,
    pub(crate) underway: Option<UpgradePlan>,
    /// The chain has accepted it, and not taken it back.
    pub(crate) scheduled: Option<UpgradePlan>,
    /// The last upgrade that is over and still holds.
    pub(crate) last: Option<UpgradePlan>,
    /// The node has halted, and nothing of it was started since.
    pub(crate) halted: Option<UpgradePlan>,
    pub(crate) rollback: Option<UpgradePlan>,
    pub(crate) back_to: Option<Version>,
    pub(crate) allowed: Option<Height>,
    pub(crate) copied: bool,
    pub(crate) restored: bool,
    /// Only visor keeps the node from running past the height of the operator's own upgrade.
    pub(crate) kept: bool,
    pub(crate) held: bool,
    pub(crate) paused: bool,
    pub(crate) skipped: BTreeSet<Height>,
    pub(crate) completed: bool,
}

impl Durable {
    pub(crate) fn read(records: &[Record]) -> Self {
        let mut durable = Self::default();
        for record in records {
            durable.take_in(record);
        }
        durable
    }

    fn take_in(&mut self, record: &Record) {
        match record {
            Record::Halted { plan } => {
                self.kept = plan.id.0.starts_with("manual-");
                self.halted = Some(plan.clone());
            }
            Record::StartIntended { .. } => self.halted = None,
            Record::UpgradeIntended { plan, backup, .. } => {
                self.version = Some(plan.version.clone());
                self.underway = Some(plan.clone());
                self.rollback = None;
                self.halted = None;
                self.copied = !backup;
                self.completed = false;
                self.kept = false;
            }
            Record::BackedUp { .. } | Record::NotBackedUp { .. } => self.copied = true,
            Record::UpgradeCompleted { plan, .. } => {
                self.scheduled.take_if(|known| known.id == plan.id);
                self.last = Some(plan.clone());
                self.underway = None;
                self.completed = true;
            }
            Record::RollbackIntended { plan, from, .. } => {
                self.rollback = Some(plan.clone());
                self.back_to = Some(from.clone());
                self.allowed = None;
                self.restored = false;
            }
            Record::RollbackAllowed { signed, .. } => {
                self.allowed = Some(*signed);
                self.held = false;
            }
            Record::RollbackRefused { .. } => self.rollback = None,
            Record::Restored { .. } => {
                self.restored = true;
                self.underway = None;
                self.halted = None;
                self.version = self.back_to.clone();
            }
            Record::RolledBack { plan, .. } => {
                self.rollback = None;
                self.last = None;
                self.skipped.insert(plan.height);
            }
            Record::Skipped { height, .. } => {
                self.skipped.insert(*height);
            }
            Record::Unskipped { height, .. } => {
                self.skipped.remove(height);
            }
            Record::Paused { .. } => self.paused = true,
            Record::Resumed { .. } => self.paused = false,
            Record::NodeHeld { .. } => self.held = true,
            Record::NodeReleased { .. } => self.held = false,
            Record::Scheduled { plan, .. } => self.scheduled = Some(plan.clone()),
            Record::Unscheduled { plan, .. } => {
                self.scheduled.take_if(|known| known == plan);
            }
            Record::Staged { .. }
            | Record::ManualPlanned { .. }
            | Record::NodeStarted { .. }
            | Record::NodeFailed { .. }
            | Record::Healthy { .. }
            | Record::SuccessHookEnded { .. }
            | Record::Migrated { .. }
            | Record::GaveUp { .. }
            | Record::ShutDown { .. }
            | Record::Stopped { .. } => {}
            Record::Downgraded { to, .. } | Record::Forced { version: to, .. } => {
                self.last.take_if(|last| last.version != *to);
                self.version = Some(to.clone());
                self.underway = None;
                self.rollback = None;
                self.halted = None;
            }
        }
    }

    /// The upgrade for which this version, of a system whose nodes forget their halt, may have halted without a record of it.
    pub(crate) fn may_have_halted(&self, version: &Version) -> Option<&UpgradePlan> {
        let is_open = self.halted.is_none() && self.underway.is_none() && self.rollback.is_none();
        let is_to_come = |plan: &UpgradePlan| self.last.as_ref().is_none_or(|last| plan.height > last.height);
        self.scheduled.as_ref().filter(|plan| {
            is_open && is_to_come(plan) && plan.version != *version && !self.skipped.contains(&plan.height)
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.version.clone().unwrap_or_else(old)
    }
}

impl World {
    fn durable(&self) -> Durable {
        Durable::read(&self.records)
    }

    pub(crate) fn carry_out(&mut self, effect: &Effect) {
        assert!(self.ended.is_none(), "an order after the end: {effect:?}");
        match effect {
            Effect::Append(record) => self.append(record),
            Effect::Stage(announced) => self.staging = Some(announced.plan.clone()),
            Effect::Unstage(_) => self.staging = None,
            Effect::BackUp { plan, from, pass } => self.back_up(plan, from, *pass),
            Effect::RunHook { hook, plan, .. } => self.run_hook(*hook, plan),
            Effect::AskSignedHeight { version } => {
                let durable = self.durable();
                let undone = durable
                    .rollback
                    .expect("VIS-01: a question without a durable intent");
                assert_eq!(
                    *version, undone.version,
                    "the newest binary knows what was signed"
                );
                assert!(
                    durable.allowed.is_none() && !self.torn,
                    "asked again after it was allowed"
                );
                self.assert_quiet("a question");
                self.question = Some(self.now + JOB_MS);
            }
            Effect::Restore { plan, .. } => self.restore(plan),
            Effect::Answer { ticket, answer } => self.answer(*ticket, answer),
            Effect::Stop => self.stop(),
            Effect::Swap(to) => {
                let durable = self.durable();
                assert!(
                    self.folders.contains(to),
                    "VIS-06: a switch to {to}, which is not staged"
                );
                if self.nodes_end() {
                    self.assert_home_may_name(to);
                } else {
                    assert_eq!(
                        *to,
                        durable.version(),
                        "VIS-01: a switch without a durable intent"
                    );
                }
                self.current = to.clone();
                self.migrating = None;
            }
            Effect::Start {
                version,
                after_halt,
                unseen_halt,
                ..
            } => self.start(version, *after_halt, unseen_halt.as_ref()),
            Effect::FindVersion { of, which } => self.find_version(of, *which),
            Effect::Migrate { from, to } => self.migrate(from, to),
            Effect::SetTimer(timer, after) => {
                self.timers.insert(*timer, self.now + after.0);
            }
            Effect::CancelTimer(timer) => {
                self.timers.remove(timer);
            }
            Effect::Notify(_) => {}
            Effect::Exit(reason) => {
                assert!(
                    self.node.is_none() || *reason == ExitReason::SelfRestart,
                    "visor ends beside its node"
                );
                assert!(self.open_tickets.is_empty(), "an order is not answered");
                self.ended = Some(reason.clone());
            }
        }
    }

    fn append(&mut self, record: &Record) {
        if let Record::UpgradeIntended { plan, .. } = record {
            let durable = self.durable();
            assert!(
                !durable.paused && !durable.held && !durable.skipped.contains(&plan.height),
                "an upgrade begins against the operator's word: {durable:?}"
            );
            assert!(
                durable.underway.is_none() && durable.rollback.is_none(),
                "two at a time"
            );
            assert!(self.folders.contains(&plan.version), "VIS-05: it is not staged");
            if !self.nodes_end() || self.node.as_ref().is_some_and(|node| !node.migrates) {
                self.assert_passed(Hook::BeforeStop, self.config.hooks.before_stop);
            }
            self.hooks.clear();
            self.before_start = self.config.hooks.before_start;
        }
        if matches!(record, Record::Halted { .. } | Record::UpgradeIntended { .. }) {
            self.ended_unknown = None;
        }
        self.records.push(record.clone());
    }

    /// The last run of a hook that blocks ended well.
    pub(super) fn assert_passed(&self, hook: Hook, policy: HookPolicy) {
        let last = self.hooks.iter().rev().find(|(run, _)| *run == hook);
        match policy {
            HookPolicy::Off => {}
            HookPolicy::Warn => assert!(last.is_some(), "{hook:?} was not run"),
            HookPolicy::Block => assert_eq!(last, Some(&(hook, true)), "a hook that blocks was passed over"),
        }
    }

    /// Nobody but the new order is at work on the node's data.
    pub(super) fn assert_quiet(&self, what: &str) {
        assert!(self.node.is_none(), "{what} while the node runs");
        assert!(self.question.is_none(), "{what} beside the question");
        assert!(
            !matches!(self.hook, Some((Hook::BeforeStart, _))),
            "{what} beside the hook before the start"
        );
        assert!(
            !matches!(
                self.copying,
                Some((Copying::Restore(_) | Copying::Pass(_, _, Pass::Second), _))
            ),
            "{what} beside {:?}",
            self.copying
        );
    }

    fn back_up(&mut self, plan: &UpgradePlan, from: &Version, pass: Pass) {
        assert!(self.copying.is_none(), "two passes at a time: {:?}", self.copying);
        if pass == Pass::Second {
            assert_eq!(
                self.durable().underway.as_ref(),
                Some(plan),
                "VIS-01: a second pass without a durable intent"
            );
            self.assert_quiet("a second pass");
            self.check_second_pass(from);
        }
        self.copying = Some((Copying::Pass(plan.clone(), from.clone(), pass), self.now + JOB_MS));
    }

    pub(super) fn check_second_pass(&self, from: &Version) {
        assert!(self.node.is_none(), "a second pass while the node runs");
        assert_eq!(
            self.data.writer, *from,
            "the backup would hold the new version's data"
        );
    }

    fn run_hook(&mut self, hook: Hook, plan: &UpgradePlan) {
        assert!(
            matches!(self.hook, None | Some((Hook::AfterSuccess, _))),
            "{:?} is cut off by {hook:?}",
            self.hook
        );
        let durable = self.durable();
        match hook {
            Hook::BeforeStop => assert!(durable.underway.is_none(), "the stop is ordered already"),
            Hook::BeforeStart => {
                assert_eq!(durable.underway.as_ref(), Some(plan));
                assert!(durable.copied, "the backup comes before the hook");
                self.assert_quiet("the hook before the start");
            }
            Hook::AfterSuccess => assert!(durable.completed, "the upgrade is not over"),
        }
        self.hook = Some((hook, self.now + JOB_MS));
    }

    fn restore(&mut self, plan: &UpgradePlan) {
        let durable = self.durable();
        assert_eq!(
            durable.rollback.as_ref(),
            Some(plan),
            "VIS-01: a restore without a durable intent"
        );
        let signed = durable.allowed.expect("VIS-11: nothing proves what was signed");
        assert!(
            signed <= plan.height && self.signed <= plan.height.0,
            "VIS-11: it has signed above H"
        );
        assert!(!durable.restored, "the data is back already");
        self.assert_quiet("a restore");
        let copied = self.copies.get(&plan.id).expect("a backup to restore");
        assert!(copied.finished, "a backup that is not finished is restored");
        self.torn = true;
        self.copying = Some((Copying::Restore(plan.clone()), self.now + JOB_MS));
    }

    fn stop(&mut self) {
        let durable = self.durable();
        assert!(
            self.stop_requested
                || durable.held
                || durable.kept
                || durable.underway.is_some()
                || durable.rollback.is_some()
                || self.hangs,
            "VIS-01: a stop without a durable intent"
        );
        self.end_node()
            .expect("VIS-08: a stop is ordered only for a node that runs");
        self.hangs = false;
        // Its code says nothing now: it is the one for an upgrade, where there is one.
        self.wish = None;
        self.inputs.push_back(Input::NodeExited {
            exit: Exit::Code(0),
            companion: None,
        });
    }

    fn start(&mut self, version: &Version, after_halt: Option<Height>, unseen_halt: Option<&UpgradePlan>) {
        let durable = self.durable();
        self.assert_quiet("VIS-03: two nodes: a start");
        assert_eq!(
            *version, self.current,
            "the started version is the one that `current` points to"
        );
        self.assert_may_start(version, unseen_halt, &durable);
        if !self.nodes_end() {
            assert_eq!(
                *version,
                durable.version(),
                "VIS-07: another version than the durable intent's"
            );
        }
        assert!(
            after_halt.is_none_or(|height| {
                height.0 == self.data.height && (self.data.writer < *version || self.nodes_end())
            }),
            "{version} is told {after_halt:?} on {:?}",
            self.data
        );
        assert!(!durable.held, "the operator keeps the node stopped");
        assert!(!self.stop_requested, "VIS-08: a start after the request to stop");
        assert!(!self.torn, "a start on half the data");
        assert!(
            durable.rollback.is_none() || durable.restored,
            "VIS-11: a start between the rollback's intent and its end"
        );
        assert!(
            *version >= self.data.writer || self.nodes_end(),
            "VIS-07: {version} on the data of {}",
            self.data.writer
        );
        if let Some(plan) = &durable.underway {
            assert!(durable.copied, "the backup comes before the start");
            if self.data.writer != plan.version {
                self.assert_passed(Hook::BeforeStart, self.before_start_policy());
            }
        } else if durable.rollback.is_none() && !self.is_going_back() {
            let intent =
                self.records.iter().rev().find(|record| {
                    matches!(record, Record::StartIntended { .. } | Record::NodeStarted { .. })
                });
            assert!(
                matches!(intent, Some(Record::StartIntended { version: intended, .. }) if intended == version),
                "VIS-01: a start without a durable intent"
            );
        }
        if let Some(plan) = unseen_halt.filter(|plan| self.tells_halt(plan)) {
            self.inputs.push_back(Input::HaltFound { plan: plan.clone() });
            return;
        }
        self.started.push(version.clone());
        let refuses = self.script.old_refuses && !self.nodes_end() && self.halt(version).is_some();
        let crashes = *version != old() && self.fails("new crashes", self.script.new_crashes);
        self.data.writer = if self.nodes_end() {
            // It may have gone back.
            version.clone()
        } else {
            self.data.writer.clone().max(version.clone())
        };
        self.wish = None;
        self.run(version, false);
        if let Some(node) = &mut self.node {
            node.refuses = refuses;
            node.crashes = crashes;
        }
    }

    pub(super) fn run(&mut self, version: &Version, migrates: bool) {
        self.next_pid += 1;
        self.ended_unknown = None;
        self.node = Some(NodeProcess {
            pid: self.next_pid,
            version: version.clone(),
            refuses: false,
            crashes: false,
            migrates,
            told_height: false,
            started_at: self.data.height,
        });
        self.inputs.push_back(Input::NodeStarted {
            process: Process { pid: self.next_pid },
            exit_to_exec_us: Some(300),
        });
    }

    /// It may have been configured, or no longer be, since the intent.
    pub(super) fn before_start_policy(&self) -> HookPolicy {
        if self.before_start == HookPolicy::Off {
            HookPolicy::Off
        } else {
            self.config.hooks.before_start
        }
    }

    /// What is answered "done" holds, also when visor dies right after.
    fn answer(&mut self, ticket: u64, answer: &Answer) {
        let (order, deed) = self
            .open_tickets
            .remove(&ticket)
            .expect("an answer to a question that is open");
        if let Some(asked) = deed.and_then(|index| self.deeds.get_mut(index)) {
            *asked = match answer {
                Answer::Refused(reason) if reason.contains("order it again") => Asked::Not,
                Answer::Refused(_) | Answer::Done(_) => Asked::Answered,
            };
        }
        let Answer::Done(_) = answer else { return };
        let durable = self.durable();
        let (after, _) = self.planner(true);
        let status = after.status();
        let holds = match &order {
            Order::StageNow | Order::SelfRestart => true,
            Order::Skip(height) => status.skipped.contains(height) && durable.skipped.contains(height),
            Order::Unskip(height) => !status.skipped.contains(height),
            Order::UpgradeAt { height, version } => {
                let plan = UpgradePlan::manual(*height, version.clone());
                status.upgrades.iter().any(|upgrade| upgrade.id == plan.id)
            }
            Order::Pause => status.paused && durable.paused,
            Order::Resume => !status.paused && !durable.paused,
            Order::StopNode => status.held && durable.held,
            Order::StartNode => !status.held && !durable.held,
            Order::Rollback => durable.rollback.is_some(),
        };
        assert!(holds, "{order:?} was answered and is lost: {status:?}");
    }

    /// SIGTERM to visor.
    pub(crate) fn request_stop(&mut self) -> Input {
        self.stop_requested = true;
        Input::StopRequested
    }
}
