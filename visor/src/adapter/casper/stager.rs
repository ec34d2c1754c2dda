//! Staging of a version that the operator's own tool puts in place: it is looked at.

use std::sync::Arc;

use semver::Version;

use super::host::{Host, plan};
use crate::adapter::{LocalBoxFuture, Stager, ToStage};

/// Looks at a version until it is complete.
#[derive(Debug)]
pub(super) struct VersionStager {
    host: Arc<Host>,
    to_stage: ToStage,
    version: Version,
}

impl VersionStager {
    pub(super) fn new(host: Arc<Host>, to_stage: ToStage, version: Version) -> Self {
        Self {
            host,
            to_stage,
            version,
        }
    }

    fn check(&self) -> Result<(), String> {
        let version = &self.version;
        self.host
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

#[cfg(test)]
mod tests {
    use std::fs;

    use visor_planner::Height;

    use super::*;
    use crate::adapter::Adapter as _;
    use crate::adapter::casper::layout::tests::Host as Files;
    use crate::adapter::casper::tests::open;
    use crate::config::Config;
    use crate::staging::{LiveUpgrades, Order};

    #[tokio::test]
    async fn casper_w11_staging_is_a_look_at_the_version_long_before_it_is_needed() {
        let files = Files::with(&[("1.0.0", 0), ("2.0.0", 20)]);
        let casper = open(&files);
        casper.force("1.0.0").unwrap();
        let stager = |id: &str| {
            let order = Order {
                id: id.to_owned(),
                version: "2.0.0".to_owned(),
                artifact: None,
            };
            let to_stage = ToStage {
                order,
                height: Height(19),
                current: "1.0.0".to_owned(),
                live: LiveUpgrades::default(),
                config: Config::default(),
            };
            casper.stager(to_stage).unwrap()
        };
        let announced = stager("2.0.0@era-20");
        announced.attempt().await.unwrap();
        files.chainspec("2.0.0", "21");
        let error = announced.attempt().await.unwrap_err();
        assert!(
            error.contains("expected the upgrade 2.0.0@era-20, found 2.0.0@era-21"),
            "{error}"
        );
        fs::remove_file(files.settings.chainspec(&Version::new(2, 0, 0))).unwrap();
        assert!(announced.attempt().await.unwrap_err().contains("chainspec.toml"));
        stager("manual-19-2.0.0").attempt().await.unwrap();
        fs::remove_file(files.info("2.0.0").binary).unwrap();
        assert!(
            announced
                .attempt()
                .await
                .unwrap_err()
                .contains("casper-node is missing")
        );
        announced.abandon();
        assert!(files.info("2.0.0").config.exists());
    }
}
