//! GOV-16: tells the chain which upgrades this host has staged and verified, so that validators see who is ready before H.
//!
//! One task that sleeps until the status shows another set of staged upgrades: nothing runs while there is nothing to report.
//! It decides nothing about the node, and no failure of it changes anything but what the operator is shown.

mod key;
mod node;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use governance::{ProposalId, PublicKey, SigningKey, TransactionId};
use proto::pb::visor::v1 as pb;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

pub use self::key::KeyError;
use self::node::{Node, OnChain, ReportError};
use crate::cli::chain;
use crate::config;
use crate::reconnect::Delays;

/// Before the second attempt.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// What may pass by itself is shown to the operator after so many attempts: a node that restarts is no problem.
const QUIET_ATTEMPTS: u32 = 3;

/// Why nothing can be reported with what the operator has configured.
#[derive(Debug, thiserror::Error)]
pub enum ReporterError {
    /// The key cannot be used.
    #[error("use reporter.key of {config}", config = config.display())]
    Key {
        /// The configuration file.
        config: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The address is none.
    #[error("use reporter.node of {config}: expected an address such as http://127.0.0.1:26657, found {found:?}", config = config.display())]
    Node {
        /// The configuration file.
        config: PathBuf,
        /// As it says.
        found: String,
    },
}

/// Everything that a report needs but an upgrade. Not `Debug`: it holds a secret.
pub struct Reporter {
    key: SigningKey,
    node: Endpoint,
}

/// The reporter at work; dropping it ends it.
#[derive(Debug)]
pub struct Reports {
    task: Option<JoinHandle<()>>,
    problems: watch::Receiver<Vec<String>>,
}

impl Reporter {
    /// Reads what the operator has configured; `None` when nothing is to be reported. Relative paths begin at `root`.
    ///
    /// # Errors
    /// When the key or the address cannot be used; the text says why.
    pub fn read(
        root: &Path,
        config: &Path,
        section: &config::Reporter,
    ) -> Result<Option<Self>, ReporterError> {
        if section.key.as_os_str().is_empty() {
            return Ok(None);
        }
        let key = key::read(&root.join(&section.key)).map_err(|source| ReporterError::Key {
            config: config.to_path_buf(),
            source,
        })?;
        let node = Endpoint::from_shared(section.node.clone())
            .ok()
            .filter(|node| node.uri().host().is_some());
        let node = node.ok_or_else(|| ReporterError::Node {
            config: config.to_path_buf(),
            found: section.node.clone(),
        })?;
        Ok(Some(Self { key, node }))
    }

    /// The key under which it reports.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(&self.key)
    }

    /// Begins to report what the status shows.
    #[must_use]
    pub fn begin(self, status: watch::Receiver<pb::Status>) -> Reports {
        let (problems, shown) = watch::channel(Vec::new());
        tracing::info!(reporter.key = %self.public_key(), reporter.node = %self.node.uri(), "readiness is reported to the chain");
        Reports {
            task: Some(tokio::spawn(self.run(status, problems))),
            problems: shown,
        }
    }

    async fn run(self, mut status: watch::Receiver<pb::Status>, problems: watch::Sender<Vec<String>>) {
        let mut book = Book::default();
        let mut delays = Delays::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            let (staged, pinned) = {
                let now = status.borrow_and_update();
                (Staged::of(&now), now.pinned_chain.clone())
            };
            book.follow(&staged);
            self.attempt(&mut book, &pinned).await;
            book.show(&problems);
            let is_open = book.is_open();
            let changed = status.wait_for(|now| Staged::of(now) != staged);
            tokio::select! {
                changed = changed => match changed {
                    Ok(_) => delays.reset(),
                    // The daemon has ended.
                    Err(_) => return,
                },
                () = tokio::time::sleep(delays.next_delay()), if is_open => {}
            }
        }
    }

    /// Tries every report that the chain does not have, over one connection that ends here.
    async fn attempt(&self, book: &mut Book, pinned: &str) {
        if !book.is_open() {
            return;
        }
        let mut node = match Node::connect(&self.node, self.public_key(), pinned).await {
            Ok(node) => node,
            Err(error) => {
                for page in book.open() {
                    page.failed(&error);
                }
                return;
            }
        };
        for page in book.open() {
            match node.report(page.proposal, &self.key, &mut page.sent).await {
                Ok(report) => page.settled(&report),
                Err(error) => page.failed(&error),
            }
        }
    }
}

impl Reports {
    /// What needs the operator's attention, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems.borrow().clone()
    }

    /// Waits until the [`problems`](Self::problems) have changed; for ever when nothing is reported.
    pub async fn changed(&mut self) {
        if self.problems.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// For a host that reports nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            task: None,
            problems: watch::channel(Vec::new()).1,
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The chain's upgrades that can be carried out here, with their versions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Staged(BTreeMap<ProposalId, String>);

impl Staged {
    /// Not the operator's own ones: the chain knows nothing of them. And none that this host will not carry out.
    fn of(status: &pb::Status) -> Self {
        let reported = status.upgrades.iter().filter(|upgrade| {
            upgrade.staged && !upgrade.skipped && upgrade.standing() != pb::Standing::Manual
        });
        Self(
            reported
                .filter_map(|upgrade| Some((upgrade.proposal_id.parse().ok()?, upgrade.version.clone())))
                .collect(),
        )
    }
}

/// How far each report is.
#[derive(Debug, Default)]
struct Book(BTreeMap<ProposalId, Page>);

#[derive(Debug)]
struct Page {
    proposal: ProposalId,
    version: String,
    /// The chain has it.
    done: bool,
    /// Sent, with an end that is not known.
    sent: Option<TransactionId>,
    attempts: u32,
    /// Shown to the operator, and logged.
    problem: Option<String>,
}

impl Book {
    fn follow(&mut self, staged: &Staged) {
        self.0.retain(|id, _| staged.0.contains_key(id));
        for (id, version) in &staged.0 {
            self.0.entry(*id).or_insert_with(|| Page {
                proposal: *id,
                version: version.clone(),
                done: false,
                sent: None,
                attempts: 0,
                problem: None,
            });
        }
    }

    fn is_open(&self) -> bool {
        self.0.values().any(|page| !page.done)
    }

    fn open(&mut self) -> impl Iterator<Item = &mut Page> {
        self.0.values_mut().filter(|page| !page.done)
    }

    fn show(&self, problems: &watch::Sender<Vec<String>>) {
        let now: Vec<String> = self.0.values().filter_map(|page| page.problem.clone()).collect();
        problems.send_if_modified(|shown| {
            let changed = *shown != now;
            *shown = now;
            changed
        });
    }
}

impl Page {
    fn settled(&mut self, report: &OnChain) {
        self.done = true;
        self.problem = None;
        tracing::info!(
            upgrade.id = %self.proposal,
            upgrade.version = %self.version,
            validator.name = %report.validator,
            block.height = report.height.0,
            report.already = report.already,
            "the chain has the report that this host has verified the upgrade"
        );
    }

    fn failed(&mut self, error: &ReportError) {
        self.attempts = self.attempts.saturating_add(1);
        let problem = format!(
            "that {} is ready here is not reported: {}",
            self.version,
            chain(error)
        );
        if error.may_pass() && self.attempts < QUIET_ATTEMPTS {
            tracing::debug!(upgrade.id = %self.proposal, upgrade.problem = %problem, "a readiness report is tried again");
            return;
        }
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                upgrade.id = %self.proposal,
                upgrade.version = %self.version,
                rejection.code = error.code(),
                upgrade.problem = %problem,
                "a readiness report is not on the chain; it is tried again"
            );
            self.problem = Some(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(id: &str, standing: pb::Standing) -> pb::UpgradeStatus {
        pb::UpgradeStatus {
            proposal_id: id.to_owned(),
            version: "1.1.0".to_owned(),
            staged: true,
            standing: standing.into(),
            ..pb::UpgradeStatus::default()
        }
    }

    #[test]
    fn gov_16_only_what_the_chain_knows_and_this_host_will_carry_out_is_reported() {
        let id = |byte: &str| byte.repeat(32);
        let unstaged = pb::UpgradeStatus {
            staged: false,
            ..upgrade(&id("02"), pb::Standing::LockedIn)
        };
        let skipped = pb::UpgradeStatus {
            skipped: true,
            ..upgrade(&id("03"), pb::Standing::LockedIn)
        };
        let status = pb::Status {
            upgrades: vec![
                upgrade(&id("01"), pb::Standing::Proposed),
                unstaged,
                skipped,
                upgrade("manual-9-1.1.0", pb::Standing::Manual),
                upgrade("not-an-id", pb::Standing::Approved),
            ],
            ..pb::Status::default()
        };
        let staged = Staged::of(&status);
        assert_eq!(
            staged.0.keys().map(ProposalId::to_string).collect::<Vec<_>>(),
            [id("01")]
        );
    }

    #[test]
    fn what_may_pass_is_shown_only_after_some_attempts_and_a_refusal_at_once() {
        let mut book = Book::default();
        let id: ProposalId = "01".repeat(32).parse().unwrap();
        book.follow(&Staged(BTreeMap::from([(id, "1.1.0".to_owned())])));
        let page = book.open().next().unwrap();
        let away = || ReportError::Silent {
            url: "http://h:1".to_owned(),
        };
        page.failed(&away());
        page.failed(&away());
        assert_eq!(page.problem, None);
        page.failed(&away());
        assert!(page.problem.as_ref().unwrap().contains("does not answer"));
        page.failed(&ReportError::Rejected {
            code: "GOV-16".to_owned(),
            message: "no".to_owned(),
        });
        assert!(page.problem.as_ref().unwrap().contains("rejected (GOV-16): no"));
        let (problems, shown) = watch::channel(Vec::new());
        book.show(&problems);
        assert_eq!(shown.borrow().len(), 1);
        book.follow(&Staged(BTreeMap::new()));
        book.show(&problems);
        assert!(shown.borrow().is_empty() && !book.is_open());
    }
}
