//! A host that exists only here: a disk, a link, a process, a chain. It carries out orders, and checks each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use visor_planner::{
    Announced, Artifact, ArtifactFact, BackupPolicy, Config, Effect, Effects, Exit, ExitCodes, ExitReason,
    Height, HookPolicies, HookPolicy, Input, Millis, NodeReport, Observed, OnFailure, Phase, Planner,
    Process, Record, RetryPolicy, Standing, Timer, Timestamp, UpgradeId, UpgradePlan, Version, recover,
};

pub(crate) const H: u64 = 6;
const NEWER_REQUIRED: i32 = 10;

pub(crate) fn version(text: &str) -> Version {
    Version(text.to_owned())
}

pub(crate) fn old() -> Version {
    version("1.0.0")
}

pub(crate) fn new() -> Version {
    version("1.1.0")
}

pub(crate) fn plan() -> UpgradePlan {
    UpgradePlan {
        id: UpgradeId("aa".to_owned()),
        version: new(),
        height: Height(H),
    }
}

pub(crate) fn config() -> Config {
    let retry = RetryPolicy {
        max_retries: 3,
        initial_delay: Millis(1_000),
        max_delay: Millis(8_000),
        multiplier_percent: 200,
        jitter_percent: 20,
        healthy_after: Millis(60_000),
    };
    Config {
        restart: retry,
        first_start: retry,
        start_after_upgrade: retry,
        start_timeout: Millis(60_000),
        progress_timeout: Millis(600_000),
        exit_codes: ExitCodes {
            newer_required: NEWER_REQUIRED,
            older_required: 11,
        },
        on_failure: OnFailure::Stop,
        backup: BackupPolicy::Off,
        hooks: HookPolicies {
            before_stop: HookPolicy::Off,
            before_start: HookPolicy::Off,
            after_success: HookPolicy::Off,
            retry_delay: Millis(1_000),
        },
    }
}

/// What this host is like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Script {
    /// The upgrade is staged only after this many attempts have failed.
    pub(crate) staging_failures: u32,
    /// Nothing is staged before the chain has halted.
    pub(crate) staged_late: bool,
    /// So many starts of the new version crash.
    pub(crate) new_crashes: u32,
    /// The old version crashes once, at this height.
    pub(crate) old_crash_at: Option<u64>,
}

#[derive(Debug, Clone)]
struct NodeProcess {
    pid: u32,
    version: Version,
    /// Started on a state that belongs to the next version: it will exit at once.
    refuses: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    script: Script,
    // What survives a crash of visor.
    pub(crate) records: Vec<Record>,
    pub(crate) current: Version,
    folders: BTreeSet<Version>,
    node: Option<NodeProcess>,
    height: u64,
    staging_failures: u32,
    new_crashes: u32,
    old_crashed: bool,
    next_pid: u32,
    now: u64,
    /// Every version that was started, in order.
    pub(crate) started: Vec<Version>,
    // What does not.
    inputs: VecDeque<Input>,
    timers: BTreeMap<Timer, u64>,
    staging: Option<UpgradeId>,
    pub(crate) ended: Option<ExitReason>,
}

impl World {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            records: Vec::new(),
            current: old(),
            folders: BTreeSet::from([old()]),
            node: None,
            height: 1,
            staging_failures: 0,
            new_crashes: 0,
            old_crashed: false,
            next_pid: 100,
            now: 0,
            started: Vec::new(),
            inputs: VecDeque::new(),
            timers: BTreeMap::new(),
            staging: None,
            ended: None,
        }
    }

    /// Starts visor on what is there.
    pub(crate) fn recover(&mut self) -> (Planner, Effects) {
        self.inputs.clear();
        self.timers.clear();
        self.staging = None;
        self.ended = None;
        let observed = Observed {
            current: Some(self.current.clone()),
            node: self
                .node
                .as_ref()
                .map(|node| (Process { pid: node.pid }, Some(node.version.clone()))),
            staged: self.folders.iter().cloned().collect(),
            seed: 7,
        };
        recover(config(), Timestamp(self.now), &self.records, observed).expect("the host can be recovered")
    }

    /// The node dies while nobody watches.
    pub(crate) fn kill_node(&mut self) {
        self.node = None;
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Carries out one order. The assertions are the rules that no host may see broken.
    pub(crate) fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Append(record) => self.records.push(record.clone()),
            Effect::Stage(announced) => self.staging = Some(announced.plan.id.clone()),
            Effect::Unstage(_) => self.staging = None,
            Effect::Stop => {
                let node = self
                    .node
                    .take()
                    .expect("VIS-08: a stop is ordered only for a node that runs");
                let _ = node;
                self.inputs.push_back(Input::NodeExited {
                    exit: Exit::Code(0),
                    companion: None,
                });
            }
            Effect::Swap(to) => {
                assert!(
                    self.folders.contains(to),
                    "VIS-06: a switch to {to}, which is not staged"
                );
                assert!(
                    *to == self.current || self.intended(to),
                    "VIS-01: a switch to {to} without a durable intent"
                );
                self.current = to.clone();
            }
            Effect::Start { version, .. } => self.start(version),
            Effect::SetTimer(timer, after) => {
                self.timers.insert(*timer, self.now + after.0);
            }
            Effect::CancelTimer(timer) => {
                self.timers.remove(timer);
            }
            Effect::Notify(_) | Effect::Answer { .. } => {}
            Effect::BackUp { .. }
            | Effect::RunHook { .. }
            | Effect::AskSignedHeight { .. }
            | Effect::Restore { .. } => panic!("not ordered by this configuration: {effect:?}"),
            Effect::Exit(reason) => self.ended = Some(reason.clone()),
        }
    }

    fn intended(&self, to: &Version) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::UpgradeIntended { plan, .. } if plan.version == *to))
    }

    fn start(&mut self, version: &Version) {
        assert!(self.node.is_none(), "VIS-03: two nodes");
        assert_eq!(
            *version, self.current,
            "the started version is the one that `current` points to"
        );
        if self.intended(&new()) {
            assert_eq!(
                *version,
                new(),
                "VIS-07: the old version is started after the intent"
            );
        }
        self.started.push(version.clone());
        self.next_pid += 1;
        let refuses = *version == old() && self.height == H;
        self.node = Some(NodeProcess {
            pid: self.next_pid,
            version: version.clone(),
            refuses,
        });
        self.inputs.push_back(Input::NodeStarted {
            process: Process { pid: self.next_pid },
            exit_to_exec_us: Some(300),
        });
    }

    fn exit(&mut self, exit: Exit) -> Option<Input> {
        self.node = None;
        Some(Input::NodeExited {
            exit,
            companion: None,
        })
    }

    /// The next thing that happens on this host; `None` when visor has ended.
    pub(crate) fn next(&mut self) -> Option<Input> {
        if self.ended.is_some() {
            return None;
        }
        if let Some(input) = self.inputs.pop_front() {
            return Some(input);
        }
        self.now += 500;
        if let Some(input) = self.stage() {
            return Some(input);
        }
        let Some(node) = self.node.clone() else {
            let (timer, at) = self
                .timers
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(timer, at)| (*timer, *at))?;
            self.timers.remove(&timer);
            self.now = self.now.max(at);
            return Some(Input::TimerFired(timer));
        };
        if node.version == new() {
            if self.new_crashes < self.script.new_crashes {
                self.new_crashes += 1;
                return self.exit(Exit::Signal(11));
            }
            self.height += 1;
        } else {
            if node.refuses {
                return self.exit(Exit::Code(NEWER_REQUIRED));
            }
            if self.script.old_crash_at == Some(self.height) && !self.old_crashed {
                self.old_crashed = true;
                return self.exit(Exit::Code(1));
            }
            self.height = (self.height + 1).min(H);
        }
        Some(Input::NodeReported(self.report(&node.version)))
    }

    fn stage(&mut self) -> Option<Input> {
        let id = self.staging.clone()?;
        if self.staging_failures < self.script.staging_failures {
            self.staging_failures += 1;
            return Some(Input::StagingFailed {
                upgrade: id,
                reason: "expected another SHA-256".to_owned(),
            });
        }
        if self.script.staged_late && self.height < H {
            return None;
        }
        self.staging = None;
        self.folders.insert(new());
        Some(Input::Staged { upgrade: id })
    }

    fn report(&self, version: &Version) -> NodeReport {
        let upgraded = *version == new();
        let announced = Announced {
            plan: plan(),
            standing: if self.height < 4 {
                Standing::Proposed
            } else {
                Standing::LockedIn
            },
            artifact: ArtifactFact::Available(Artifact {
                url: "file:///node".to_owned(),
                size: 1,
                sha256: "00".to_owned(),
            }),
        };
        NodeReport {
            version: version.clone(),
            height: Height(self.height),
            upgrades: if upgraded || self.height < 2 {
                Vec::new()
            } else {
                vec![announced]
            },
            halt: (!upgraded && self.height == H).then(plan),
        }
    }

    /// The upgrade is over and everything is in its place.
    pub(crate) fn is_upgraded(&self, planner: &Planner) -> bool {
        self.current == new()
            && self.node.as_ref().is_some_and(|node| node.version == new())
            && planner.status().phase == Phase::Running
            && self
                .records
                .iter()
                .any(|record| matches!(record, Record::UpgradeCompleted { .. }))
    }
}

/// Lets visor and the host go on until the upgrade is over or visor has ended. Returns how many orders were carried out.
pub(crate) fn settle(world: &mut World, planner: &mut Planner, first: Effects) -> usize {
    let mut count = 0;
    let mut effects = first;
    for _ in 0..2_000 {
        for effect in &effects.0 {
            world.carry_out(effect);
            count += 1;
        }
        if world.is_upgraded(planner) {
            return count;
        }
        let Some(input) = world.next() else { return count };
        effects = planner.step(world.now(), input);
    }
    panic!("the host does not come to rest: {:?}", planner.status());
}
