//! The terminal: data on standard output, everything else on standard error, and the one question before signing.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::command_error::{CommandError, Kind};
use crate::document::Document;
use crate::text;

/// How to talk to whoever runs the wallet.
pub(crate) struct Ui {
    json: bool,
    yes: bool,
}

impl Ui {
    pub(crate) const fn new(json: bool, yes: bool) -> Self {
        Self { json, yes }
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether what will be signed is shown to nobody: then nothing is asked for its sake alone.
    pub(crate) const fn is_silent(&self) -> bool {
        self.json && self.yes
    }

    /// Something to know, on standard error. That nobody reads it is no reason to fail.
    pub(crate) fn status(&self, line: &str) {
        drop(writeln!(io::stderr(), "{line}"));
    }

    /// Something to know for a person; a program finds it in its object.
    pub(crate) fn note(&self, line: &str) {
        if !self.json {
            self.status(line);
        }
    }

    /// The command's answer for a person.
    pub(crate) fn print(&self, text: &str) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// The command's answer for a program: one line with one object.
    pub(crate) fn document<T: Serialize>(&self, document: &Document<T>) -> Result<(), CommandError> {
        let mut line =
            serde_json::to_string(document).map_err(|error| CommandError::new(Kind::Failed, error))?;
        line.push('\n');
        self.print(&line)
    }

    /// Fails at once when [`Ui::confirm`] could only fail: before artifacts are downloaded, not after.
    pub(crate) fn can_confirm(&self) -> Result<(), CommandError> {
        if self.yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Ok(());
        }
        let message =
            "this command signs a transaction and asks before it does, but there is no terminal to ask on";
        Err(CommandError::new(Kind::Usage, message).with_hint("pass --yes to sign without being asked"))
    }

    /// Shows what will be signed, and asks, unless `--yes` has answered already.
    pub(crate) fn confirm(&self, head: &str, lines: &[(&str, String)]) -> Result<(), CommandError> {
        self.can_confirm()?;
        if !self.is_silent() {
            self.status(head);
            for line in text::pairs(lines).lines() {
                self.status(&format!("  {line}"));
            }
        }
        if self.yes {
            return Ok(());
        }
        let failed = |error| CommandError::new(Kind::Failed, QuestionError { source: error });
        let mut stderr = io::stderr();
        write!(stderr, "Sign and send? [y/N] ").map_err(failed)?;
        stderr.flush().map_err(failed)?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(failed)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(CommandError::new(
                Kind::Failed,
                "not confirmed: nothing was signed",
            )),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to ask for confirmation")]
struct QuestionError {
    source: io::Error,
}
