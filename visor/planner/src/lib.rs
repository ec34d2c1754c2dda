#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic
)]

extern crate alloc;

mod config;
mod effect;
mod input;
mod phase;
mod plan;
mod record;
mod recover;
mod retry;
mod staging;
mod status;
mod step;

pub use config::{BackupPolicy, Config, ExitCodes, HookPolicies, HookPolicy, OnFailure};
pub use effect::{Effect, Effects, ExitReason, Notice, Timer};
pub use input::{Announced, ArtifactFact, Exit, Input, NodeReport, Standing};
pub use phase::Phase;
pub use plan::{Artifact, Height, Millis, Process, Timestamp, UpgradeId, UpgradePlan, Version};
pub use record::Record;
pub use recover::{Observed, RecoverError, recover};
pub use retry::RetryPolicy;
pub use status::{LastUpgrade, Status, UpgradeStatus};
pub use step::Planner;
