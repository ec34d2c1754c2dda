//! What the host does beside its node, off the loop: backups, hooks, and the question what this host has signed.
//!
//! At most one of each kind at a time; a new order takes the place of the one before. Every answer becomes a fact.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use visor_planner::{Backup, Height, Hook, Input, Pass, UpgradeId, UpgradePlan, Version};

use crate::backup;
use crate::cli::chain;
use crate::config::{self, Config};
use crate::home::Home;
use crate::hook;
use crate::process::run_probe;
use crate::run_config::tag;

/// Longer than the answer `{"signed_height":18446744073709551615}` and some white space.
const MAX_ANSWER: u64 = 4096;

/// Where the answers of jobs arrive.
#[derive(Debug)]
pub(crate) struct Answers {
    backups: mpsc::Receiver<backup::Outcome>,
    hooks: mpsc::Receiver<hook::Outcome>,
    signed: mpsc::Receiver<Signed>,
}

/// An answer, with the number of its question.
type Signed = (u64, Result<Height, String>);

/// The jobs of a host.
#[derive(Debug)]
pub(crate) struct Jobs {
    home: Home,
    backups: mpsc::Sender<backup::Outcome>,
    hooks: mpsc::Sender<hook::Outcome>,
    signed: mpsc::Sender<Signed>,
    backup: Option<(backup::Order, UpgradeId, backup::Job)>,
    hook: Option<hook::Job>,
    question: Option<JoinHandle<()>>,
    /// Counts the questions: an answer to an earlier one is no proof for a later rollback.
    asked: u64,
    /// Runs of each hook in the upgrade that was last run for.
    attempts: (String, BTreeMap<hook::Point, u32>),
}

impl Jobs {
    pub(crate) fn new(home: Home) -> (Self, Answers) {
        // One of each kind at a time: nothing ever waits for room.
        let (backups, backup_answers) = mpsc::channel(1);
        let (hooks, hook_answers) = mpsc::channel(1);
        let (signed, signed_answers) = mpsc::channel(1);
        let jobs = Self {
            home,
            backups,
            hooks,
            signed,
            backup: None,
            hook: None,
            question: None,
            asked: 0,
            attempts: (String::new(), BTreeMap::new()),
        };
        let answers = Answers {
            backups: backup_answers,
            hooks: hook_answers,
            signed: signed_answers,
        };
        (jobs, answers)
    }

    /// The backup of before an upgrade; nothing when none is configured.
    pub(crate) fn plan(&self, config: &Config, plan: &UpgradePlan, from: &str) -> Option<backup::Plan> {
        let wanted = &config.backup;
        if wanted.paths.is_empty() {
            return None;
        }
        let id: String = plan
            .id
            .0
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(8)
            .collect();
        Some(backup::Plan {
            name: format!("{}@{}-{id}", tag(from), plan.height),
            sources: wanted.paths.clone(),
            folder: self.home.root().join(&wanted.folder),
            keep: wanted.keep,
            reserve: wanted.reserve,
        })
    }

    pub(crate) fn back_up(
        &mut self,
        config: &Config,
        plan: &UpgradePlan,
        from: &str,
        pass: Pass,
    ) -> Result<(), Input> {
        let failed = |reason| Input::BackupFailed {
            upgrade: plan.id.clone(),
            pass,
            reason,
        };
        let Some(backup) = self.plan(config, plan, from) else {
            return Err(failed(
                "backup.paths is empty: it was changed during the upgrade".to_owned(),
            ));
        };
        let order = match pass {
            Pass::First => backup::Order::FirstPass(backup),
            Pass::Second => backup::Order::SecondPass(backup),
        };
        self.begin(order, plan.id.clone())
            .map_err(|error| failed(format!("no thread for it: {error}")))
    }

    /// Puts the sources back from the backup of before an upgrade. `recorded`: where the journal says that it lies; the configuration
    /// may have been changed since it was made.
    pub(crate) fn restore(
        &mut self,
        config: &Config,
        plan: &UpgradePlan,
        from: &str,
        recorded: Option<&Path>,
    ) -> Result<(), Input> {
        let failed = |reason| Input::RestoreFailed {
            upgrade: plan.id.clone(),
            reason,
        };
        let Some(backup) = self.backup_to_restore(config, plan, from, recorded) else {
            return Err(failed(
                "the journal names no backup of before this upgrade".to_owned(),
            ));
        };
        self.begin(backup::Order::Restore(backup), plan.id.clone())
            .map_err(|error| failed(format!("no thread for it: {error}")))
    }

    fn backup_to_restore(
        &self,
        config: &Config,
        plan: &UpgradePlan,
        from: &str,
        recorded: Option<&Path>,
    ) -> Option<backup::Plan> {
        let configured = self.plan(config, plan, from);
        let Some((folder, name)) = recorded.and_then(|path| path.parent().zip(path.file_name()?.to_str()))
        else {
            return configured;
        };
        // A home that was moved has its backups with it, where the configuration says.
        if let Some(configured) = &configured
            && !backup::is_finished(&folder.join(name))
            && backup::is_finished(&configured.folder.join(&configured.name))
        {
            return Some(configured.clone());
        }
        Some(backup::Plan {
            name: name.to_owned(),
            // A restore goes by those in the backup itself.
            sources: Vec::new(),
            folder: folder.to_path_buf(),
            keep: config.backup.keep,
            reserve: config.backup.reserve,
        })
    }

    /// Begins, unless the same is under way.
    fn begin(&mut self, order: backup::Order, upgrade: UpgradeId) -> std::io::Result<()> {
        if self
            .backup
            .as_ref()
            .is_some_and(|(under_way, ..)| *under_way == order)
        {
            return Ok(());
        }
        let job = backup::Job::begin(order.clone(), self.backups.clone())?;
        self.backup = Some((order, upgrade, job));
        Ok(())
    }

    /// Runs a hook; the one before, if it still runs, is ended. The folders are those of the version before and of the version after.
    pub(crate) fn run_hook(
        &mut self,
        hook: config::Hook,
        point: Hook,
        plan: &UpgradePlan,
        from: &Version,
        folders: (Option<PathBuf>, Option<PathBuf>),
        backup: Option<PathBuf>,
    ) -> Result<(), Input> {
        let at = match point {
            Hook::BeforeStop => hook::Point::BeforeStop,
            Hook::BeforeStart => hook::Point::BeforeStart,
            Hook::AfterSuccess => hook::Point::AfterSuccess,
        };
        if self.attempts.0 != plan.id.0 {
            self.attempts = (plan.id.0.clone(), BTreeMap::new());
        }
        let attempt = self.attempts.1.entry(at).or_default();
        *attempt = attempt.saturating_add(1);
        let context = hook::Context {
            home: self.home.root().to_path_buf(),
            upgrade: plan.id.0.clone(),
            height: plan.height.0,
            version_old: from.0.clone(),
            version_new: plan.version.0.clone(),
            folder_old: folders.0,
            folder_new: folders.1,
            attempt: *attempt,
            backup,
        };
        self.hook = None;
        let job =
            hook::Job::begin(at, hook, context, self.hooks.clone()).map_err(|error| Input::HookEnded {
                hook: point,
                failure: Some(format!("no thread for it: {error}")),
            })?;
        self.hook = Some(job);
        Ok(())
    }

    /// Asks the binary of a version what this host has signed, while no node runs.
    pub(crate) fn ask_signed_height(
        &mut self,
        program: Option<PathBuf>,
        arguments: Vec<String>,
        limit: Duration,
    ) {
        let answers = self.signed.clone();
        self.asked = self.asked.wrapping_add(1);
        let number = self.asked;
        let question = tokio::spawn(async move {
            let answer = signed_height(program, &arguments, limit).await;
            // The loop is gone: nobody wants to know.
            let _ = answers.send((number, answer)).await;
        });
        if let Some(earlier) = self.question.replace(question) {
            earlier.abort();
        }
    }

    /// Calls everything off, and waits until nothing of a hook is left: when visor ends.
    pub(crate) async fn end(&mut self) {
        self.backup = None;
        if let Some(question) = self.question.take() {
            question.abort();
        }
        if let Some(hook) = self.hook.take() {
            hook.end().await;
        }
    }

    /// The next fact about a job that is still wanted. May be cancelled.
    pub(crate) async fn next(&mut self, answers: &mut Answers) -> Input {
        loop {
            let fact = tokio::select! {
                Some(outcome) = answers.backups.recv() => self.backed_up(outcome),
                Some(outcome) = answers.hooks.recv() => Some(self.hook_ended(outcome)),
                Some((number, signed)) = answers.signed.recv() => self.answered(number, signed),
            };
            if let Some(fact) = fact {
                return fact;
            }
        }
    }

    fn answered(&mut self, number: u64, signed: Result<Height, String>) -> Option<Input> {
        if number != self.asked {
            return None;
        }
        self.question = None;
        Some(Input::SignedHeight { signed })
    }

    fn hook_ended(&mut self, outcome: hook::Outcome) -> Input {
        self.hook = None;
        Input::HookEnded {
            hook: match outcome.point {
                hook::Point::BeforeStop => Hook::BeforeStop,
                hook::Point::BeforeStart => Hook::BeforeStart,
                hook::Point::AfterSuccess => Hook::AfterSuccess,
            },
            failure: outcome.result.err(),
        }
    }

    fn backed_up(&mut self, outcome: backup::Outcome) -> Option<Input> {
        let (backup::Outcome::Passed { order, .. } | backup::Outcome::Failed { order, .. }) = &outcome;
        let (_, upgrade, _) = self.backup.take_if(|(under_way, ..)| under_way == order)?;
        Some(match outcome {
            backup::Outcome::Passed {
                order,
                bytes,
                copied,
                took,
            } => {
                tracing::info!(
                    backup.name = %order.plan().name,
                    backup.bytes = bytes,
                    backup.copied = copied,
                    backup.took = ?took,
                    backup.step = step_name(&order),
                    "a step of the backup is done"
                );
                let backup = Backup {
                    path: order.plan().folder.join(&order.plan().name).display().to_string(),
                    bytes,
                    took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                };
                match order {
                    backup::Order::FirstPass(_) => Input::BackupPassed {
                        upgrade,
                        pass: Pass::First,
                        backup,
                    },
                    backup::Order::SecondPass(_) => Input::BackupPassed {
                        upgrade,
                        pass: Pass::Second,
                        backup,
                    },
                    backup::Order::Restore(_) => Input::Restored { upgrade },
                }
            }
            backup::Outcome::Failed { order, reason } => match order {
                backup::Order::FirstPass(_) => Input::BackupFailed {
                    upgrade,
                    pass: Pass::First,
                    reason,
                },
                backup::Order::SecondPass(_) => Input::BackupFailed {
                    upgrade,
                    pass: Pass::Second,
                    reason,
                },
                backup::Order::Restore(_) => Input::RestoreFailed { upgrade, reason },
            },
        })
    }
}

const fn step_name(order: &backup::Order) -> &'static str {
    match order {
        backup::Order::FirstPass(_) => "first_pass",
        backup::Order::SecondPass(_) => "second_pass",
        backup::Order::Restore(_) => "restore",
    }
}

async fn signed_height(
    program: Option<PathBuf>,
    arguments: &[String],
    limit: Duration,
) -> Result<Height, String> {
    #[derive(Deserialize)]
    struct Answer {
        signed_height: u64,
    }
    let program = program.ok_or("the version's folder is not there")?;
    if arguments.is_empty() {
        return Err("upgrade.signed_height_args is not set in config.toml".to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let asked = format!("{} {}", program.display(), arguments.join(" "));
    let output = run_probe(&program, &arguments, limit, MAX_ANSWER)
        .await
        .map_err(|error| format!("{asked}: {}", chain(&error)))?;
    serde_json::from_slice::<Answer>(&output)
        .map(|answer| Height(answer.signed_height))
        .map_err(|_| {
            format!(
                "{asked}: expected {{\"signed_height\":123}}, found {:?}",
                String::from_utf8_lossy(&output[..output.len().min(200)])
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn jobs() -> (Jobs, Answers, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        let (jobs, answers) = Jobs::new(Home::open(dir.path()).unwrap());
        (jobs, answers, dir)
    }

    fn says(height: u64) -> Vec<String> {
        vec!["-c".to_owned(), format!("echo '{{\"signed_height\":{height}}}'")]
    }

    #[tokio::test]
    async fn vis_11_an_answer_to_an_earlier_question_proves_nothing() {
        let (mut jobs, mut answers, _dir) = jobs();
        let shell = || Some(PathBuf::from("/bin/sh"));
        // One that is answered and lies in the channel, and one that is still under way.
        jobs.ask_signed_height(shell(), says(1), 20 * SECOND);
        jobs.question.take().unwrap().await.unwrap();
        jobs.ask_signed_height(
            shell(),
            vec!["-c".to_owned(), "exec sleep 60".to_owned()],
            20 * SECOND,
        );
        jobs.ask_signed_height(shell(), says(3), 20 * SECOND);
        let fact = tokio::time::timeout(20 * SECOND, jobs.next(&mut answers))
            .await
            .unwrap();
        let signed = Ok(Height(3));
        assert_eq!(fact, Input::SignedHeight { signed });
    }

    #[tokio::test]
    async fn vis_11_a_backup_is_restored_from_where_the_journal_says() {
        let (jobs, _answers, dir) = jobs();
        let plan = UpgradePlan {
            id: UpgradeId("ab".repeat(8)),
            version: Version("1.1.0".to_owned()),
            height: Height(7),
        };
        let mut config = Config::default();
        config.backup.paths = vec![PathBuf::from("/srv/data")];
        let place = |config: &Config, recorded: Option<&Path>| {
            let found = jobs.backup_to_restore(config, &plan, "1.0.0", recorded)?;
            Some(found.folder.join(found.name))
        };
        let configured = place(&config, None).unwrap();
        let recorded = Path::new("/mnt/old/v1.0.0@7-abababab");
        assert_eq!(place(&config, Some(recorded)).as_deref(), Some(recorded));
        assert_eq!(
            place(&Config::default(), Some(recorded)).as_deref(),
            Some(recorded)
        );
        assert_eq!(place(&Config::default(), None), None);
        // The home was moved, with its backups.
        assert!(configured.starts_with(dir.path().canonicalize().unwrap()));
        std::fs::create_dir_all(&configured).unwrap();
        std::fs::write(configured.join("manifest"), "").unwrap();
        assert_eq!(place(&config, Some(recorded)), Some(configured));
    }
}
