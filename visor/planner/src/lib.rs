#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic
)]

extern crate alloc;

mod backup;
mod config;
mod effect;
mod exit;
mod failure;
mod halt;
mod hook;
mod input;
mod migration;
mod operator;
mod phase;
mod plan;
mod record;
mod recover;
mod retry;
mod rollback;
mod staging;
mod status;
mod step;
mod told;
mod upgrade;

pub use config::{
    BackupPolicy, Completion, Config, Conventions, ExitCodes, HookPolicies, HookPolicy, OnFailure,
};
pub use effect::{Answer, Effect, Effects, ExitReason, Hook, Neighbour, Notice, Pass, Timer};
pub use input::{Announced, ArtifactFact, Exit, Input, NodeReport, Order, Standing};
pub use phase::Phase;
pub use plan::{Artifact, Backup, Height, Millis, Process, Timestamp, UpgradeId, UpgradePlan, Version};
pub use record::Record;
pub use recover::{Migration, Observed, RecoverError, recover};
pub use retry::RetryPolicy;
pub use status::{LastBackup, LastUpgrade, Status, UpgradeStatus};
pub use step::Planner;
