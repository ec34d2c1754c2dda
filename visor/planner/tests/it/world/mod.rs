//! A host that exists only here: a disk, a link, a process, its data, backups, hooks, an operator, a chain. It carries out orders
//! and checks each of them (`rules.rs`).

mod rules;
mod script;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use visor_planner::{
    Announced, Artifact, ArtifactFact, Backup, Config, Effects, Exit, ExitReason, Height, Hook, HookPolicy,
    Input, NodeReport, Observed, Order, Pass, Planner, Process, Record, Standing, Status, Timer, Timestamp,
    UpgradeId, UpgradePlan, Version, recover,
};

pub(crate) use rules::Durable;
pub(crate) use script::{
    Deed, H, Planned, Script, Signed, When, backed_up, config, hooked, new, newer, newer_plan, old, plan,
    version,
};

/// How long a pass, a hook, a restore or a question takes, milliseconds.
const JOB_MS: u64 = 1_400;

#[derive(Debug, Clone)]
struct NodeProcess {
    pid: u32,
    version: Version,
    /// Started on a state that belongs to the next version: it will exit at once.
    refuses: bool,
    crashes: bool,
}

/// The node's data, or a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    /// The newest version that has written to it.
    pub(crate) writer: Version,
    pub(crate) height: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Copied {
    data: Data,
    finished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Copying {
    Pass(UpgradePlan, Version, Pass),
    Restore(UpgradePlan),
}

/// Where the operator stands with one of the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Not,
    /// Under this ticket; no answer so far.
    Waiting(u64),
    /// Visor was gone before it answered: to be ordered again at once.
    Unanswered,
    Answered,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    script: Script,
    // What survives a crash of visor.
    pub(crate) records: Vec<Record>,
    pub(crate) current: Version,
    pub(crate) config: Config,
    folders: BTreeSet<Version>,
    node: Option<NodeProcess>,
    pub(crate) data: Data,
    /// A restore was cut off.
    torn: bool,
    copies: BTreeMap<UpgradeId, Copied>,
    /// The highest height that this host has really signed for.
    signed: u64,
    failures: BTreeMap<&'static str, u32>,
    done: BTreeSet<&'static str>,
    deeds: Vec<Asked>,
    next_pid: u32,
    /// Milliseconds that really went by.
    now: u64,
    ticks: u64,
    next_ticket: u64,
    /// Every version that was started, in order.
    pub(crate) started: Vec<Version>,
    /// Every hook that has ended, and whether well.
    pub(crate) hooks: Vec<(Hook, bool)>,
    /// What the hook before the start meant when the intent was written.
    before_start: HookPolicy,
    // What does not.
    inputs: VecDeque<Input>,
    timers: BTreeMap<Timer, u64>,
    staging: Option<UpgradePlan>,
    copying: Option<(Copying, u64)>,
    hook: Option<(Hook, u64)>,
    question: Option<u64>,
    open_tickets: BTreeMap<u64, (Order, Option<usize>)>,
    stop_requested: bool,
    pub(crate) ended: Option<ExitReason>,
}

impl World {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            records: Vec::new(),
            current: old(),
            config: script.config.clone(),
            folders: BTreeSet::from([old()]),
            node: None,
            data: Data {
                writer: old(),
                height: 1,
            },
            torn: false,
            copies: BTreeMap::new(),
            signed: 0,
            failures: BTreeMap::new(),
            done: BTreeSet::new(),
            deeds: vec![Asked::Not; script.deeds.len()],
            next_pid: 100,
            now: 0,
            ticks: 0,
            next_ticket: 0,
            started: Vec::new(),
            hooks: Vec::new(),
            before_start: HookPolicy::Off,
            inputs: VecDeque::new(),
            timers: BTreeMap::new(),
            staging: None,
            copying: None,
            hook: None,
            question: None,
            open_tickets: BTreeMap::new(),
            stop_requested: false,
            ended: None,
            script,
        }
    }

    /// Starts visor on what is there.
    pub(crate) fn recover(&mut self) -> (Planner, Effects) {
        self.recover_seeing(true)
    }

    /// `tells`: the folder of the running node's binary can be told.
    pub(crate) fn recover_seeing(&mut self, tells: bool) -> (Planner, Effects) {
        self.inputs.clear();
        self.timers.clear();
        self.staging = None;
        self.copying = None;
        self.hook = None;
        self.question = None;
        self.open_tickets.clear();
        self.stop_requested = false;
        self.ended = None;
        for asked in &mut self.deeds {
            if let Asked::Waiting(_) = asked {
                *asked = Asked::Unanswered;
            }
        }
        self.planner(tells)
    }

    fn planner(&self, tells: bool) -> (Planner, Effects) {
        let observed = Observed {
            current: Some(self.current.clone()),
            node: self
                .node
                .as_ref()
                .map(|node| (Process { pid: node.pid }, tells.then(|| node.version.clone()))),
            staged: self.folders.iter().cloned().collect(),
            seed: 7,
        };
        recover(self.config.clone(), self.now(), &self.records, observed).expect("the host can be recovered")
    }

    /// The node dies while nobody watches.
    pub(crate) fn kill_node(&mut self) {
        self.node = None;
    }

    /// The node goes on while nobody watches.
    pub(crate) fn without_visor(&mut self) {
        for _ in 0..12 {
            if self.script.plans.is_empty() && self.deeds.first() != Some(&Asked::Answered) {
                // The operator orders the upgrade while its height is still to come.
                return;
            }
            let disturbed = !self.script.deeds.is_empty() || !self.script.companion_deaths.is_empty();
            let known = self
                .records
                .iter()
                .any(|record| matches!(record, Record::Scheduled { .. }));
            if disturbed && !known && self.data.height + 1 >= H {
                // A node that is stopped at H could not tell the next visor what it had halted for.
                return;
            }
            let Some(node) = self.node.clone().filter(|node| !node.crashes && !node.refuses) else {
                return;
            };
            self.make_block(&node.version);
            if self.script.old_crash_at == Some(self.data.height) {
                // Nobody could tell the next visor what the crashed node had halted for.
                self.done.insert("old crash");
            }
        }
    }

    /// The wall clock jumps both ways, all the time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(if self.ticks.is_multiple_of(2) {
            self.now / 2
        } else {
            1_000_000_000_000 + self.now
        })
    }

    pub(crate) fn node_version(&self) -> Option<&Version> {
        self.node.as_ref().map(|node| &node.version)
    }

    /// The operator has every answer, and what was to come has come.
    pub(crate) fn is_at_rest(&self, planner: &Planner) -> bool {
        let status = planner.status();
        self.deeds.iter().all(|asked| *asked == Asked::Answered)
            && self
                .script
                .changes
                .iter()
                .all(|(name, ..)| self.done.contains(name))
            && self
                .script
                .companion_deaths
                .iter()
                .all(|(name, _)| self.done.contains(name))
            && (self.script.goal)(self, &status)
    }

    /// Counts one attempt; true when it is one of the first `fail`.
    fn fails(&mut self, what: &'static str, fail: u32) -> bool {
        let count = self.failures.entry(what).or_default();
        let failed = *count < fail;
        if failed {
            *count += 1;
        }
        failed
    }

    /// The next thing that happens on this host; `None` when visor has ended or nothing is left to happen.
    pub(crate) fn next(&mut self, planner: &Planner) -> Option<Input> {
        loop {
            if self.ended.is_some() {
                return None;
            }
            if let Some(input) = self.inputs.pop_front() {
                return Some(input);
            }
            self.now += 500;
            self.ticks += 1;
            if let Some(input) = self
                .operator(planner)
                .or_else(|| self.work_done())
                .or_else(|| self.stage())
                .or_else(|| self.fire())
                .or_else(|| self.live())
            {
                return Some(input);
            }
            let jobs = self.copying.iter().map(|(_, due)| *due);
            let jobs = jobs
                .chain(self.hook.iter().map(|(_, due)| *due))
                .chain(self.question);
            self.now = self.now.max(jobs.chain(self.timers.values().copied()).min()?);
        }
    }

    fn operator(&mut self, planner: &Planner) -> Option<Input> {
        let status = planner.status();
        let next = self.deeds.iter().position(|asked| *asked != Asked::Answered);
        if let Some(index) = next
            && let Some(asked @ (Asked::Not | Asked::Unanswered)) = self.deeds.get(index)
        {
            let again = *asked == Asked::Unanswered;
            let deed = self
                .script
                .deeds
                .get(index)
                .expect("as many as were asked")
                .clone();
            if again || (deed.when)(self, &status) {
                self.next_ticket += 1;
                let ticket = self.next_ticket;
                *self.deeds.get_mut(index).expect("as many as were asked") = Asked::Waiting(ticket);
                self.open_tickets
                    .insert(ticket, (deed.order.clone(), Some(index)));
                return Some(Input::Operator {
                    ticket,
                    order: deed.order,
                });
            }
        }
        for (name, when, change) in self.script.changes.clone() {
            if !self.done.contains(name) && when(self, &status) {
                self.done.insert(name);
                change(&mut self.config);
                return Some(Input::Configured(Box::new(self.config.clone())));
            }
        }
        for (name, when) in self.script.companion_deaths.clone() {
            if !self.done.contains(name) && self.node.is_some() && when(self, &status) {
                self.done.insert(name);
                self.node = None;
                return Some(Input::NodeExited {
                    // The node's own word for "upgrade": a companion's means nothing.
                    exit: Exit::Code(self.config.exit_codes.newer_required),
                    companion: Some("data".to_owned()),
                });
            }
        }
        None
    }

    /// Passes, restores, hooks and questions end.
    fn work_done(&mut self) -> Option<Input> {
        let now = self.now;
        if self.question.take_if(|due| *due <= now).is_some() {
            assert!(!self.torn, "what was signed cannot be told from half the data");
            return Some(Input::SignedHeight {
                signed: match self.script.signed {
                    Signed::Known => Ok(Height(self.signed)),
                    Signed::Above => Ok(Height(self.signed.max(H + 1))),
                    Signed::Unknown => Err("expected a number".to_owned()),
                },
            });
        }
        if let Some((hook, _)) = self.hook.take_if(|(_, due)| *due <= now) {
            let (what, fail) = match hook {
                Hook::BeforeStop => ("before_stop", self.script.hook_failures[0]),
                Hook::BeforeStart => ("before_start", self.script.hook_failures[1]),
                Hook::AfterSuccess => ("after_success", self.script.hook_failures[2]),
            };
            let failed = self.fails(what, fail);
            self.hooks.push((hook, !failed));
            return Some(Input::HookEnded {
                hook,
                failure: failed.then(|| "exit code 3".to_owned()),
            });
        }
        let (copying, _) = self.copying.take_if(|(_, due)| *due <= now)?;
        Some(match copying {
            Copying::Pass(plan, from, pass) => self.copied(plan, &from, pass),
            Copying::Restore(plan) => {
                if self.fails("restore", self.script.restore_failures) {
                    return Some(Input::RestoreFailed {
                        upgrade: plan.id,
                        reason: "no space".to_owned(),
                    });
                }
                self.data = self.copies.get(&plan.id).expect("a backup").data.clone();
                self.torn = false;
                Input::Restored { upgrade: plan.id }
            }
        })
    }

    fn copied(&mut self, plan: UpgradePlan, from: &Version, pass: Pass) -> Input {
        let (what, fail) = match pass {
            Pass::First => ("first pass", self.script.backup_failures[0]),
            Pass::Second => {
                self.check_second_pass(from);
                ("second pass", self.script.backup_failures[1])
            }
        };
        if self.fails(what, fail) {
            return Input::BackupFailed {
                upgrade: plan.id,
                pass,
                reason: "no space".to_owned(),
            };
        }
        let data = self.data.clone();
        let copied = self.copies.entry(plan.id.clone()).or_insert(Copied {
            data: data.clone(),
            finished: false,
        });
        if !copied.finished {
            copied.data = data;
            copied.finished = pass == Pass::Second;
        }
        Input::BackupPassed {
            upgrade: plan.id,
            pass,
            backup: Backup {
                path: "/backups/v1.0.0".to_owned(),
                bytes: 1,
                took_ms: 1,
            },
        }
    }

    fn stage(&mut self) -> Option<Input> {
        let plan = self.staging.clone()?;
        if self.fails("staging", self.script.staging_failures) {
            return Some(Input::StagingFailed {
                upgrade: plan.id,
                reason: "expected another SHA-256".to_owned(),
            });
        }
        if self.script.staged_late && self.data.height < plan.height.0 {
            return None;
        }
        self.staging = None;
        self.folders.insert(plan.version);
        Some(Input::Staged { upgrade: plan.id })
    }

    fn fire(&mut self) -> Option<Input> {
        let (timer, _) = self
            .timers
            .iter()
            .min_by_key(|(_, at)| **at)
            .filter(|(_, at)| **at <= self.now)?;
        let timer = *timer;
        self.timers.remove(&timer);
        Some(Input::TimerFired(timer))
    }

    /// The node crashes, or makes a block and reports.
    fn live(&mut self) -> Option<Input> {
        let node = self.node.clone()?;
        let exit = if node.crashes {
            Some(Exit::Signal(11))
        } else if node.refuses {
            Some(Exit::Code(self.config.exit_codes.newer_required))
        } else if self.script.old_crash_at == Some(self.data.height) && self.done.insert("old crash") {
            Some(Exit::Code(1))
        } else {
            None
        };
        if let Some(exit) = exit {
            self.node = None;
            return Some(Input::NodeExited {
                exit,
                companion: None,
            });
        }
        self.make_block(&node.version);
        Some(Input::NodeReported(self.report(&node.version)))
    }

    fn make_block(&mut self, version: &Version) {
        let stalls = self.script.new_stalls && *version == new();
        if self.halt(version).is_none() && !stalls {
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

    fn halt(&self, version: &Version) -> Option<UpgradePlan> {
        let mut plans = self.plans(version).into_iter();
        plans
            .find(|(plan, _)| plan.height.0 == self.data.height)
            .map(|(plan, _)| plan)
    }

    fn report(&self, version: &Version) -> NodeReport {
        let announced = self.plans(version).into_iter().flat_map(|(plan, standing)| {
            let announced = Announced {
                plan,
                standing,
                artifact: ArtifactFact::Available(Artifact {
                    url: "file:///node".to_owned(),
                    size: 1,
                    sha256: "00".to_owned(),
                }),
            };
            let times = if self.script.announced_twice { 2 } else { 1 };
            vec![announced; times]
        });
        NodeReport {
            version: version.clone(),
            height: Height(self.data.height),
            upgrades: announced.collect(),
            halt: self.halt(version),
        }
    }
}

/// The usual end: the upgrade to this version is over and everything is in its place.
pub(crate) fn is_upgraded_to(world: &World, status: &Status, to: &Version) -> bool {
    world.current == *to
        && world.node_version() == Some(to)
        && status.phase == visor_planner::Phase::Running
        && world
            .records
            .iter()
            .any(|record| matches!(record, Record::UpgradeCompleted { plan, .. } if plan.version == *to))
}

/// Lets visor and the host go on until they are at rest or visor has ended. Returns how many orders were carried out.
pub(crate) fn settle(world: &mut World, planner: &mut Planner, first: Effects) -> usize {
    let mut count = 0;
    let mut effects = first;
    for _ in 0..3_000 {
        for effect in &effects.0 {
            world.carry_out(effect);
            count += 1;
        }
        if world.is_at_rest(planner) {
            return count;
        }
        let Some(input) = world.next(planner) else {
            return count;
        };
        effects = planner.step(world.now(), input);
    }
    panic!("the host does not come to rest: {:?}", planner.status());
}
