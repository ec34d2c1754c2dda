//! Staging of a version that the operator's own tool puts in place: it is looked at, and its next state is made durable.

use std::sync::Arc;

use semver::Version;

use super::state::State;
use super::{Host, plan};
use crate::adapter::{LocalBoxFuture, Stager, ToStage};
use crate::cli::chain;

/// Looks at a version until it is complete.
#[derive(Debug)]
pub(super) struct VersionStager {
    host: Arc<Host>,
    to_stage: ToStage,
    version: Version,
    current: Version,
}

impl VersionStager {
    pub(super) fn new(host: Arc<Host>, to_stage: ToStage, version: Version, current: Version) -> Self {
        Self {
            host,
            to_stage,
            version,
            current,
        }
    }

    fn check(&self) -> Result<(), String> {
        let version = &self.version;
        let found = self
            .host
            .startable(version)
            .map_err(|problem| format!("stage version {version}: {problem}"))?;
        let protocol = self.host.protocol(version);
        let announced = plan(
            version,
            protocol
                .as_ref()
                .ok()
                .and_then(|protocol| protocol.activation.era()),
        );
        let order = &self.to_stage.order;
        // An upgrade of the operator's own has a name of its own, and is theirs to know.
        let is_announced = order.id.starts_with(&format!("{version}@"));
        match protocol {
            Err(problem) if is_announced => return Err(format!("stage version {version}: {problem}")),
            Ok(_) if is_announced && announced.id.0 != order.id => {
                return Err(format!(
                    "stage version {version}: expected the upgrade {}, found {} in its chain specification",
                    order.id, announced.id
                ));
            }
            Ok(_) | Err(_) => {}
        }
        // Only what the node that runs now would go on to.
        if self.host.next(&self.current).is_ok_and(|next| next == *version) {
            let old = self.host.info(&self.current).map_err(|error| chain(&error))?;
            let migrate = State::Migrate {
                old,
                new: found.clone(),
            };
            for state in [migrate, State::Run(found)] {
                self.host
                    .state
                    .make_ready(&state)
                    .map_err(|error| chain(&error))?;
            }
        }
        Ok(())
    }
}

impl Stager for VersionStager {
    fn attempt(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        // On a thread of its own.
        Box::pin(async { self.check() })
    }

    /// The version is the operator's.
    fn abandon(&self) {}
}
