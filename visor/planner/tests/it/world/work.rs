//! What the host does beside its node: passes, restores, hooks, questions, staging.

use visor_planner::{Backup, Height, Hook, Input, Pass, UpgradePlan, Version};

use super::{Copied, Copying, H, Signed, World};

impl World {
    /// Passes, restores, hooks and questions end.
    pub(super) fn work_done(&mut self) -> Option<Input> {
        let now = self.now;
        if self.question.take_if(|due| *due <= now).is_some() {
            assert!(!self.torn, "what was signed cannot be told from half the data");
            return Some(Input::SignedHeight {
                signed: match self.script.signed {
                    Signed::Known => Ok(Height(self.signed)),
                    Signed::Above => Ok(Height(self.signed.max(H + 1))),
                    Signed::Unknown => Err("expected a number".to_owned()),
                },
            });
        }
        if let Some((hook, _)) = self.hook.take_if(|(_, due)| *due <= now) {
            let (what, fail) = match hook {
                Hook::BeforeStop => ("before_stop", self.script.hook_failures[0]),
                Hook::BeforeStart => ("before_start", self.script.hook_failures[1]),
                Hook::AfterSuccess => ("after_success", self.script.hook_failures[2]),
            };
            let failed = self.fails(what, fail);
            self.hooks.push((hook, !failed));
            return Some(Input::HookEnded {
                hook,
                failure: failed.then(|| "exit code 3".to_owned()),
            });
        }
        let (copying, _) = self.copying.take_if(|(_, due)| *due <= now)?;
        Some(match copying {
            Copying::Pass(plan, from, pass) => self.copied(plan, &from, pass),
            Copying::Restore(plan) => {
                if self.fails("restore", self.script.restore_failures) {
                    return Some(Input::RestoreFailed {
                        upgrade: plan.id,
                        reason: "no space".to_owned(),
                    });
                }
                self.data = self.copies.get(&plan.id).expect("a backup").data.clone();
                self.torn = false;
                Input::Restored { upgrade: plan.id }
            }
        })
    }

    fn copied(&mut self, plan: UpgradePlan, from: &Version, pass: Pass) -> Input {
        let (what, fail) = match pass {
            Pass::First => ("first pass", self.script.backup_failures[0]),
            Pass::Second => {
                self.check_second_pass(from);
                ("second pass", self.script.backup_failures[1])
            }
        };
        if self.fails(what, fail) {
            return Input::BackupFailed {
                upgrade: plan.id,
                pass,
                reason: "no space".to_owned(),
            };
        }
        let data = self.data.clone();
        let copied = self.copies.entry(plan.id.clone()).or_insert(Copied {
            data: data.clone(),
            finished: false,
        });
        if !copied.finished {
            copied.data = data;
            copied.finished = pass == Pass::Second;
        }
        Input::BackupPassed {
            upgrade: plan.id,
            pass,
            backup: Backup {
                path: "/backups/v1.0.0".to_owned(),
                bytes: 1,
                took_ms: 1,
            },
        }
    }

    pub(super) fn stage(&mut self) -> Option<Input> {
        let plan = self.staging.clone()?;
        if self.fails("staging", self.script.staging_failures) {
            return Some(Input::StagingFailed {
                upgrade: plan.id,
                reason: "expected another SHA-256".to_owned(),
            });
        }
        if !(self.script.staged_when)(self) {
            return None;
        }
        self.staging = None;
        self.folders.insert(plan.version);
        Some(Input::Staged { upgrade: plan.id })
    }
}
