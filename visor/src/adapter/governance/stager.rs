//! Staging of an accepted artifact, or of a folder that the operator puts in place.

use crate::adapter::{LocalBoxFuture, Stager, ToStage};
use crate::cli::chain;
use crate::home::Home;
use crate::staging::stage;

/// See [`stage`].
#[derive(Debug)]
pub(super) struct FolderStager {
    home: Home,
    to_stage: ToStage,
    /// Whose run configuration the new version gets.
    current: String,
}

impl FolderStager {
    pub(super) fn new(home: Home, to_stage: ToStage, current: String) -> Self {
        Self {
            home,
            to_stage,
            current,
        }
    }
}

impl Stager for FolderStager {
    fn attempt(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let ToStage {
                order, live, config, ..
            } = &self.to_stage;
            stage(&self.home, &config.staging, order, &self.current, live)
                .await
                .map_err(|error| chain(&error))
        })
    }

    fn abandon(&self) {
        // Best effort: what is left is removed when the home is opened the next time.
        let _ = std::fs::remove_dir_all(self.home.staging().join(&self.to_stage.order.id));
    }
}
