//! Staging: an accepted artifact becomes a version folder, long before the upgrade height (VIS-05).
//!
//! Owns `staging/` and the making of `vX.Y.Z/`. Invariants: bytes become executable only after their size and SHA-256
//! were found equal to the plan's (VIS-06); a version folder appears complete, by one rename, or not at all.

mod companions;
mod digest;
mod fetch;
mod install;
mod job;
mod place;
mod platform;

pub use digest::{DigestError, file_digest, measure};
pub use fetch::FetchError;
pub(crate) use fetch::client;
pub(crate) use install::probe_exact_version;
pub use install::{
    Artifact, LiveUpgrades, Order, StagingError, VersionProbeError, probe_version, stage, verify_folder,
};
pub use job::{Job, Outcome};
pub use place::{Placed, place};
pub use platform::host_platform;
