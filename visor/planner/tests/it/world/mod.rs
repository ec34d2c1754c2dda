//! A host that exists only here: a disk, a link, a process, its data, backups, hooks, an operator, a chain. It carries out orders
//! and checks each of them (`rules.rs`).

mod chain;
mod rules;
mod script;
mod system;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use visor_planner::{
    Config, Effects, Exit, ExitReason, Hook, HookPolicy, Input, Observed, Order, Pass, Planner, Process,
    Record, Status, Timer, Timestamp, UpgradeId, UpgradePlan, Version, recover,
};

pub(crate) use rules::Durable;
pub(crate) use script::{
    Deed, H, Planned, Script, Signed, When, backed_up, config, ending, forgetful, hooked, late, new, newer,
    newer_plan, old, plan, version,
};
use system::Wish;

/// How long a pass, a hook, a restore or a question takes, milliseconds.
const JOB_MS: u64 = 1_400;

#[derive(Debug, Clone)]
struct NodeProcess {
    pid: u32,
    version: Version,
    /// Started on a state that belongs to the next version: it will exit at once.
    refuses: bool,
    crashes: bool,
    /// It is no node but the migration to this version.
    migrates: bool,
    /// It has reported the height of its halt.
    told_height: bool,
    /// The height of the data then: a system's nodes may forget all halts up to it.
    started_at: u64,
}

/// The node's data, or a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    /// The newest version that has written to it.
    pub(crate) writer: Version,
    /// The version that it is migrated to.
    pub(crate) migrated: Version,
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
    /// The home names a migration.
    migrating: Option<(Version, Version)>,
    pub(crate) config: Config,
    folders: BTreeSet<Version>,
    node: Option<NodeProcess>,
    /// It has just ended at its halt, and no record says so.
    ended_unknown: Option<NodeProcess>,
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
    pub(crate) migrations: usize,
    /// Every hook that has ended, and whether well.
    pub(crate) hooks: Vec<(Hook, bool)>,
    /// What the hook before the start meant when the intent was written.
    before_start: HookPolicy,
    // What does not.
    /// What the last node asked for by its end.
    wish: Option<Wish>,
    /// The migration that the home names has ended with 0, by itself.
    migration_seen: bool,
    /// The node gives no answer.
    hangs: bool,
    /// The last height that this visor was told.
    told_height: u64,
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
            migrating: None,
            config: script.config.clone(),
            folders: script.installed.iter().cloned().chain([old()]).collect(),
            node: None,
            ended_unknown: None,
            data: Data {
                writer: old(),
                migrated: old(),
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
            migrations: 0,
            hooks: Vec::new(),
            before_start: HookPolicy::Off,
            wish: None,
            migration_seen: false,
            hangs: false,
            told_height: 0,
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
        if let Some(node) = self.ended_unknown.take() {
            // It lives on, as in `kill_node`.
            self.node = Some(node);
        }
        self.wish = None;
        self.migration_seen = false;
        self.hangs = false;
        self.told_height = 0;
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
            migrating: self.migration(),
            seed: 7,
        };
        recover(self.config.clone(), self.now(), &self.records, observed).expect("the host can be recovered")
    }

    /// The node ends, and the visor that runs is told.
    fn end_node(&mut self) -> Option<NodeProcess> {
        let is_unknown = self.is_halt_unknown();
        let node = self.node.take();
        self.ended_unknown = node.clone().filter(|_| is_unknown);
        node
    }

    /// The node dies while nobody watches. One that would forget its halt lives on while nobody else knows of it, or while nobody could
    /// tell that there is none: nothing could be done about that.
    pub(crate) fn kill_node(&mut self) {
        if !self.is_halt_unknown() && !self.looks_halted() {
            self.node = None;
        }
    }

    /// The node goes on while nobody watches.
    pub(crate) fn without_visor(&mut self) {
        if self.nodes_end() {
            self.end_unseen();
            return;
        }
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
            if disturbed && (!known || self.nodes_forget()) && self.data.height + 1 >= H {
                // What is to happen to it happens while somebody watches.
                return;
            }
            let Some(node) = self.node.clone().filter(|node| !node.crashes && !node.refuses) else {
                return;
            };
            self.make_block(&node.version);
            // Of what is not written down nobody could tell the next visor what the crashed node had halted for.
            if self.script.old_crash_at == Some(self.data.height)
                && self.done.insert("old crash")
                && self.nodes_forget()
                && self.halt(&node.version).is_some()
                && !self.is_halt_unknown()
            {
                self.node = None;
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

    /// What the script wants once has happened.
    pub(crate) fn has_had(&self, what: &str) -> bool {
        self.done.contains(what)
    }

    /// The operator has let a node go that was kept stopped.
    pub(crate) fn has_released(&self) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::NodeReleased { .. }))
    }

    pub(crate) fn count_of_failures(&self) -> usize {
        let failed = |record: &&Record| matches!(record, Record::NodeFailed { .. });
        self.records.iter().filter(failed).count()
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
                .chain(&self.script.hangs)
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
        if self.is_halt_unknown() && self.told_height < self.data.height {
            // Nothing else happens before a report names its height.
            return None;
        }
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
                self.end_node();
                return Some(Input::NodeExited {
                    // The node's own word for "upgrade": a companion's means nothing.
                    exit: Exit::Code(self.config.conventions.exit_codes.newer_required.unwrap_or(0)),
                    companion: Some("data".to_owned()),
                });
            }
        }
        for (name, when) in self.script.hangs.clone() {
            if !self.done.contains(name) && self.node.is_some() && when(self, &status) {
                self.done.insert(name);
                self.hangs = true;
                return Some(Input::NodeUnresponsive {
                    reason: "no answer for 60 s".to_owned(),
                });
            }
        }
        None
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
}

/// Names the scenario whose test fails.
pub(crate) struct Named(pub(crate) &'static str);

impl Drop for Named {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows what a test that fails has said"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the scenario: {}", self.0);
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
