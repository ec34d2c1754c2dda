//! How a command fails: what kind of failure (and so which exit code), the chain of causes, what to do. The only place
//! where a chain is printed.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use governance::Rejection;

use crate::artifact::ArtifactError;
use crate::client_error::ClientError;
use crate::document::{Document, ErrorContent, ErrorDocument};
use crate::exit_code;
use crate::keystore::KeystoreError;
use crate::measure::MeasureError;
use crate::text::printable;
use crate::ui::Ui;

/// What failed, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rejected,
    Failed,
    Usage,
    Config,
    Unreachable,
    Unproven,
    /// Nobody reads standard output any more: nothing to say, and nobody to say it to.
    BrokenPipe,
}

/// The failure of a command.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    code: Option<String>,
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl CommandError {
    pub(crate) fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            code: None,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// The network's answer, or the same answer given here before anything is sent.
    pub(crate) fn rejected(code: &str, message: &str) -> Self {
        let error = Self::new(Kind::Rejected, format!("rejected ({code}): {message}"));
        Self {
            code: Some(code.to_owned()),
            hints: hint_for(code).map(str::to_owned).into_iter().collect(),
            ..error
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints the failure, on standard output too when that is to be one JSON object, and tells the exit code.
    pub(crate) fn report(&self, ui: &Ui) -> ExitCode {
        if self.kind != Kind::BrokenPipe {
            let mut chain = printable(&self.error.to_string());
            let mut cause = self.error.source();
            while let Some(error) = cause {
                // Several layers of the transport say the same words.
                let text = printable(&error.to_string());
                if !chain.ends_with(&text) {
                    chain.push_str(": ");
                    chain.push_str(&text);
                }
                cause = error.source();
            }
            ui.status(&format!("error: {chain}"));
            for hint in &self.hints {
                ui.status(&format!("hint: {}", printable(hint)));
            }
            if ui.is_json() {
                let document = ErrorDocument {
                    error: ErrorContent {
                        kind: self.kind.name(),
                        code: self.code.clone(),
                        message: chain,
                        hints: self.hints.clone(),
                    },
                };
                // The failure is on standard error already.
                drop(ui.document(&Document::new(document)));
            }
        }
        ExitCode::from(self.kind.exit_code())
    }
}

impl Kind {
    const fn exit_code(self) -> u8 {
        match self {
            Self::Rejected | Self::Failed | Self::BrokenPipe => exit_code::FAILED,
            Self::Usage => exit_code::USAGE,
            Self::Config => exit_code::CONFIG,
            Self::Unreachable => exit_code::UNREACHABLE,
            Self::Unproven => exit_code::UNPROVEN,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Failed | Self::BrokenPipe => "failed",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Unreachable => "unreachable",
            Self::Unproven => "unproven",
        }
    }
}

impl From<&Rejection> for CommandError {
    fn from(rejection: &Rejection) -> Self {
        Self::rejected(rejection.code(), &rejection.to_string())
    }
}

impl From<KeystoreError> for CommandError {
    fn from(error: KeystoreError) -> Self {
        let hint = error.hint();
        let mut error = Self::new(Kind::Config, error);
        error.hints.extend(hint);
        error
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let (kind, hint) = match &error {
            ClientError::Rejected { code, message } => return Self::rejected(code, message),
            ClientError::Url { .. } => (
                Kind::Usage,
                Some(
                    "a node's gRPC port speaks plain HTTP/2; reach a distant one through a tunnel, for example ssh -L",
                ),
            ),
            ClientError::Unreachable { .. } => (
                Kind::Unreachable,
                Some("start a node there, or name another one with --node"),
            ),
            ClientError::Silent { .. } => (
                Kind::Unreachable,
                Some("try again, or name another node with --node"),
            ),
            ClientError::NotANode { .. } => (
                Kind::Failed,
                Some("--node names the gRPC address, `[rpc] listen` in the node's config.toml"),
            ),
            ClientError::ForeignChain { .. } => (
                Kind::Failed,
                Some("name a node of that chain with --node, or correct --chain-id"),
            ),
            ClientError::Answer { .. } => (
                Kind::Failed,
                Some("wallet and node are of different releases: use those of one release"),
            ),
            ClientError::NotFound { .. } => (
                Kind::Failed,
                Some(
                    "`wallet proposals --all` lists the proposals; name one by its id, at least 8 of its first digits, or like v1.2.0@12345",
                ),
            ),
            ClientError::Deceived { .. } | ClientError::OtherValidator { .. } | ClientError::List { .. } => (
                Kind::Failed,
                Some("do not trust this node; ask another one with --node"),
            ),
            ClientError::Busy { .. } => (Kind::Failed, Some("try again after a few blocks")),
            ClientError::Refused { .. } => (Kind::Failed, None),
        };
        let error = Self::new(kind, error);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<ArtifactError> for CommandError {
    fn from(error: ArtifactError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<MeasureError> for CommandError {
    fn from(error: MeasureError) -> Self {
        Self::new(Kind::Failed, error)
    }
}

impl From<io::Error> for CommandError {
    /// Of standard output; nothing else is written with a bare `io::Error`.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Kind::BrokenPipe, error)
        } else {
            Self::new(Kind::Failed, StdoutError { source: error })
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write to standard output")]
struct StdoutError {
    source: io::Error,
}

/// Which command of this wallet helps. The message itself says what was expected and found.
fn hint_for(code: &str) -> Option<&'static str> {
    let rule = code.split('.').next().unwrap_or(code);
    let exact = match code {
        "GOV-06.unknown" | "GOV-06.ended" | "GOV-11.unknown" => {
            Some("`wallet proposals --all` lists the proposals")
        }
        "GOV-06.no-ballot" => Some("`wallet proposal ID` lists the votes"),
        "GOV-09.halted" => Some("`wallet status` shows when the network goes on"),
        "GOV-13.chain" => Some("name a node of your chain with --node, and pin the chain with --chain-id"),
        "GOV-13.replay" | "GOV-13.gap" => Some(
            "another transaction of this key is under way: wait for the next block and run the command again",
        ),
        "GOV-13.expired" => Some("run the command again; --valid-for sets for how many blocks it is valid"),
        "GOV-12.parameters" => Some("`wallet status` shows the parameters in force"),
        "GOV-16.proposal" => Some("`wallet proposals` lists the live proposals"),
        _ => None,
    };
    exact.or(match rule {
        "GOV-01" => Some("`wallet validators` lists the keys that may; choose yours with --key and --home"),
        "GOV-02" => Some("`wallet status` shows the current height and the smallest lead"),
        "GOV-03" => Some("`wallet status` shows the running version"),
        "GOV-04" => Some("`wallet proposals --all` shows it; `wallet vote approve ID` approves it"),
        "GOV-10" => Some("`wallet propose-cancel ID` proposes to stop it"),
        "GOV-11" => Some("`wallet proposal ID` shows its phase"),
        "GOV-12" => Some("`wallet validators` shows the validators with their ids and powers"),
        "GOV-16" => {
            Some("`wallet validators --json` shows each validator's reporter key; choose yours with --key")
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_shows_its_code_its_text_and_a_hint() {
        let error = CommandError::from(&Rejection::TooManyLive);
        assert_eq!(error.code.as_deref(), Some("GOV-14.live"));
        assert!(error.error.to_string().starts_with("rejected (GOV-14.live): "));
        assert!(error.hints.is_empty(), "the text says it all");

        let error = CommandError::rejected("GOV-03", "version 0.9.0 is not above 1.0.0");
        assert_eq!(
            error.error.to_string(),
            "rejected (GOV-03): version 0.9.0 is not above 1.0.0"
        );
        assert_eq!(error.hints, ["`wallet status` shows the running version"]);
    }

    #[test]
    fn every_kind_has_the_documented_exit_code() {
        for (kind, code) in [
            (Kind::Rejected, 1),
            (Kind::Failed, 1),
            (Kind::BrokenPipe, 1),
            (Kind::Usage, 2),
            (Kind::Config, 3),
            (Kind::Unreachable, 4),
            (Kind::Unproven, 5),
        ] {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_node_that_does_not_answer_is_unreachable() {
        let error = ClientError::Unreachable {
            url: "http://127.0.0.1:1".to_owned(),
            source: "connection refused".into(),
        };
        let error = CommandError::from(error);
        assert_eq!(error.kind, Kind::Unreachable);
        assert_eq!(error.error.to_string(), "no node answers at http://127.0.0.1:1");
        assert_eq!(
            error.hints,
            ["start a node there, or name another one with --node"]
        );
    }

    #[test]
    fn codes_of_one_rule_share_its_hint_unless_they_have_their_own() {
        assert_eq!(hint_for("GOV-02.far"), hint_for("GOV-02"));
        assert_ne!(hint_for("GOV-11.unknown"), hint_for("GOV-11"));
        assert_eq!(hint_for("GOV-99"), None);
        assert_eq!(hint_for(""), None);
    }
}
