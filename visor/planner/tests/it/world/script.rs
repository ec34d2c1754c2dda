//! What a host, its operator and its chain are like.

use visor_planner::{
    BackupPolicy, Completion, Config, Conventions, ExitCodes, Height, HookPolicies, HookPolicy, Millis,
    OnFailure, Order, RetryPolicy, Status, UpgradeId, UpgradePlan, Version,
};

use super::{World, is_upgraded_to};

pub(crate) const H: u64 = 6;

pub(crate) fn version(text: &str) -> Version {
    Version(text.to_owned())
}

pub(crate) fn old() -> Version {
    version("1.0.0")
}

pub(crate) fn new() -> Version {
    version("1.1.0")
}

pub(crate) fn newer() -> Version {
    version("1.2.0")
}

pub(crate) fn plan() -> UpgradePlan {
    UpgradePlan {
        id: UpgradeId("aa".to_owned()),
        version: new(),
        height: Height(H),
    }
}

pub(crate) fn newer_plan() -> UpgradePlan {
    UpgradePlan {
        id: UpgradeId("bb".to_owned()),
        version: newer(),
        height: Height(H + 4),
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
        conventions: Conventions {
            exit_codes: ExitCodes {
                newer_required: Some(10),
                older_required: Some(11),
                upgrade: None,
                downgrade: None,
                shut_down: None,
            },
            halt_is_durable: true,
            migration: false,
            completion: Completion::FirstBlock,
            home_decides: false,
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

/// Of a system whose nodes end to be upgraded, and whose new versions migrate the data first.
pub(crate) fn ending() -> Config {
    let mut config = config();
    config.conventions = Conventions {
        exit_codes: ExitCodes {
            upgrade: Some(0),
            downgrade: Some(102),
            shut_down: Some(103),
            ..ExitCodes::default()
        },
        halt_is_durable: true,
        migration: true,
        completion: Completion::Started,
        home_decides: true,
    };
    config
}

/// Of a system whose nodes forget that they have halted when they are started again.
pub(crate) fn forgetful() -> Config {
    let mut config = config();
    config.conventions = Conventions {
        exit_codes: ExitCodes::default(),
        halt_is_durable: false,
        ..config.conventions
    };
    config
}

pub(crate) fn backed_up(required: bool) -> Config {
    Config {
        backup: BackupPolicy::On {
            required,
            first_pass_blocks: 2,
            retry_delay: Millis(2_000),
        },
        ..config()
    }
}

pub(crate) fn hooked(before_stop: HookPolicy, before_start: HookPolicy, after_success: HookPolicy) -> Config {
    let mut config = config();
    config.hooks = HookPolicies {
        before_stop,
        before_start,
        after_success,
        ..config.hooks
    };
    config
}

/// The last block's height is reached.
pub(crate) fn late(world: &World) -> bool {
    world.data.height >= H
}

/// When a process of this version does it.
pub(crate) type WhenOf = fn(&World, &Version) -> bool;

pub(crate) type When = fn(&World, &Status) -> bool;

/// What the operator changes in the configuration, once.
pub(crate) type Change = (&'static str, When, fn(&mut Config));

/// What the operator orders, in this order, until it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) when: When,
    pub(crate) order: Order,
}

/// An upgrade of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: UpgradePlan,
    pub(crate) seen_at: u64,
    pub(crate) cancelled_at: Option<u64>,
    /// From this height on it has that height.
    pub(crate) moved: Option<(u64, u64)>,
}

impl Planned {
    pub(crate) fn new(plan: UpgradePlan, seen_at: u64) -> Self {
        Self {
            plan,
            seen_at,
            cancelled_at: None,
            moved: None,
        }
    }
}

/// What the version's binary says that this host has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    /// What it has.
    Known,
    /// Something above H.
    Above,
    /// Nothing that can be read.
    Unknown,
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) config: Config,
    pub(crate) plans: Vec<Planned>,
    /// Each report names each upgrade twice.
    pub(crate) announced_twice: bool,
    /// The upgrade is staged only after this many attempts have failed.
    pub(crate) staging_failures: u32,
    /// Nothing is staged before.
    pub(crate) staged_when: fn(&World) -> bool,
    /// Folders that were there from the start.
    pub(crate) installed: Vec<Version>,
    /// The node first reports the height of its halt, and the halt itself only later.
    pub(crate) halt_told_late: bool,
    /// The old version dies once at the end of its last block, before it reports.
    pub(crate) halt_unseen: bool,
    /// The node never reports.
    pub(crate) silent: bool,
    /// A node of this version ends with this code by itself.
    pub(crate) ends: Vec<(WhenOf, i32)>,
    /// So does the migration to this version.
    pub(crate) migration_ends: Vec<(WhenOf, i32)>,
    /// So many migrations fail.
    pub(crate) migration_failures: u32,
    /// The node gives no answer, once each.
    pub(crate) hangs: Vec<(&'static str, When)>,
    /// So many starts of the new version crash, after it has written to the data.
    pub(crate) new_crashes: u32,
    /// The new version makes no block.
    pub(crate) new_stalls: bool,
    /// The old version crashes once, at this height.
    pub(crate) old_crash_at: Option<u64>,
    /// The old version, started on the data of H, exits with a code for it.
    pub(crate) old_refuses: bool,
    /// Of the first and the second pass.
    pub(crate) backup_failures: [u32; 2],
    pub(crate) restore_failures: u32,
    /// Before stop, before start, after success.
    pub(crate) hook_failures: [u32; 3],
    pub(crate) signed: Signed,
    /// The host is a validator.
    pub(crate) signs: bool,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) changes: Vec<Change>,
    pub(crate) companion_deaths: Vec<(&'static str, When)>,
    pub(crate) goal: When,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            config: config(),
            plans: vec![Planned::new(plan(), 2)],
            announced_twice: false,
            staging_failures: 0,
            staged_when: |_| true,
            installed: Vec::new(),
            halt_told_late: false,
            halt_unseen: false,
            silent: false,
            ends: Vec::new(),
            migration_ends: Vec::new(),
            migration_failures: 0,
            hangs: Vec::new(),
            new_crashes: 0,
            new_stalls: false,
            old_crash_at: None,
            old_refuses: true,
            backup_failures: [0, 0],
            restore_failures: 0,
            hook_failures: [0, 0, 0],
            signed: Signed::Known,
            signs: true,
            deeds: Vec::new(),
            changes: Vec::new(),
            companion_deaths: Vec::new(),
            goal: |world, status| is_upgraded_to(world, status, &new()),
        }
    }
}
