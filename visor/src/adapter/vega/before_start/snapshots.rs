//! The core's snapshots, as its own program lists them while it is down.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::args;
use super::segment::{beginning, json_with, said};
use crate::process::{ProbeError, run_to_end};

/// A core keeps ten snapshots, of some 150 bytes each in the answer; logs may surround it.
const MAX_OUTPUT: u64 = 1 << 20;

/// The question. It opens the database as the core does, which must be down, and fails where there is none.
#[derive(Debug)]
pub(super) struct Snapshots {
    program: PathBuf,
    arguments: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotsError {
    #[error("ask {program} for the core's snapshots (tools snapshot --output json)", program = program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: ProbeError,
    },
    #[error(
        "ask {program} for the core's snapshots (tools snapshot --output json): it ended with {status} and said {said:?}",
        program = program.display()
    )]
    Failed {
        program: PathBuf,
        status: String,
        said: String,
    },
    #[error(
        "ask {program} for the core's snapshots (tools snapshot --output json): expected {{\"snapshots\":[{{\"height\":...}}]}}, found {found:?}",
        program = program.display()
    )]
    Answer { program: PathBuf, found: String },
}

impl Snapshots {
    /// `arguments` are those that the core is started with.
    pub(super) fn new(program: PathBuf, arguments: &[String]) -> Self {
        let mut question = vec!["tools", "snapshot"];
        if let Some(home) = args::value(arguments, args::HOME) {
            question.extend([args::HOME, home]);
        }
        question.extend(["--output", "json"]);
        Self {
            program,
            arguments: question.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The height of the newest; `None`: there is none yet.
    pub(super) async fn newest(&self, limit: Duration) -> Result<Option<u64>, SnapshotsError> {
        let program = || self.program.clone();
        let ended = run_to_end(&self.program, &self.arguments, limit, MAX_OUTPUT)
            .await
            .map_err(|source| SnapshotsError::Run {
                program: program(),
                source,
            })?;
        if !ended.status.success() {
            return Err(SnapshotsError::Failed {
                program: program(),
                status: ended.status.to_string(),
                said: said(&ended),
            });
        }
        let heights = json_with(&ended.stdout, "snapshots").as_ref().and_then(heights);
        let heights = heights.ok_or_else(|| SnapshotsError::Answer {
            program: program(),
            found: beginning(&ended.stdout),
        })?;
        Ok(heights.into_iter().max())
    }
}

/// Every one must have a height: the newest may be one that is not understood. A height of 0 is left out by the program.
fn heights(answer: &Value) -> Option<Vec<u64>> {
    let height = |snapshot: &Value| match &snapshot["height"] {
        Value::Null => snapshot.is_object().then_some(0),
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match &answer["snapshots"] {
        Value::Null => Some(Vec::new()),
        Value::Array(snapshots) => snapshots.iter().map(height).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}
