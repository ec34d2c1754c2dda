//! The data node's newest segment of history, as its own program tells it while it is down.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::args;
use crate::process::{Ended, ProbeError, run_to_end};

/// A real answer has some 300 bytes; logs may surround it.
const MAX_OUTPUT: u64 = 1 << 20;
/// What a data node says that has published none yet.
const NONE_YET: &str = "no history segments found";
/// The sub-command under which one program holds the data node beside the core.
const DATA_NODE: &str = "datanode";
/// So much of an answer that makes no sense is shown.
const SHOWN: usize = 300;

/// The question.
#[derive(Debug)]
pub(super) struct Query {
    program: PathBuf,
    arguments: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error("ask {program} for the data node's newest segment", program = program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: ProbeError,
    },
    #[error("ask {program} for the data node's newest segment: it ended with {status} and said {said:?}", program = program.display())]
    Failed {
        program: PathBuf,
        status: String,
        said: String,
    },
    #[error(
        "ask {program} for the data node's newest segment: expected {{\"LatestSegment\":{{\"to_height\":...}}}}, found {found:?}",
        program = program.display()
    )]
    Answer { program: PathBuf, found: String },
}

impl Query {
    /// `arguments` are those that the data node is started with.
    pub(super) fn new(program: PathBuf, arguments: &[String]) -> Self {
        let mut question = Vec::new();
        if args::command(arguments) == Some(DATA_NODE) {
            question.push(DATA_NODE);
        }
        question.extend(["network-history", "latest-history-segment", "--output=json"]);
        if let Some(home) = args::value(arguments, args::HOME) {
            question.extend([args::HOME, home]);
        }
        question.extend(["--output", "json"]);
        Self {
            program,
            arguments: question.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The last height of the newest segment; `None`: there is none yet.
    pub(super) async fn newest(&self, limit: Duration) -> Result<Option<u64>, SegmentError> {
        let program = || self.program.clone();
        let ended = run_to_end(&self.program, &self.arguments, limit, MAX_OUTPUT)
            .await
            .map_err(|source| SegmentError::Run {
                program: program(),
                source,
            })?;
        if ended.status.success() {
            let height = json_with(&ended.stdout, "LatestSegment")
                .as_ref()
                .and_then(to_height);
            return height.map(Some).ok_or_else(|| SegmentError::Answer {
                program: program(),
                found: beginning(&ended.stdout),
            });
        }
        let says_none = |output: &[u8]| {
            output
                .windows(NONE_YET.len())
                .any(|window| window == NONE_YET.as_bytes())
        };
        if says_none(&ended.stdout) || says_none(&ended.stderr) {
            return Ok(None);
        }
        Err(SegmentError::Failed {
            program: program(),
            status: ended.status.to_string(),
            said: said(&ended),
        })
    }
}

/// A segment that ends at 0 is none.
fn to_height(answer: &Value) -> Option<u64> {
    let found = &answer["LatestSegment"]["to_height"];
    let text = || found.as_str()?.parse().ok();
    let height: Option<u64> = found.as_u64().or_else(text);
    height.filter(|height| *height > 0)
}

/// The first JSON object in an output that has this key: programs log where they answer.
pub(super) fn json_with(output: &[u8], key: &str) -> Option<Value> {
    let mut starts = (0..output.len()).filter(|at| {
        let is_first = *at == 0 || output[at - 1] == b'\n';
        // On this line alone: what comes on the next ones begins there.
        let mut line = output[*at..]
            .iter()
            .skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        is_first && line.next() == Some(&b'{')
    });
    starts.find_map(|at| {
        let mut values = serde_json::Deserializer::from_slice(&output[at..]).into_iter::<Value>();
        let value = values.next()?.ok()?;
        value.get(key).is_some().then_some(value)
    })
}

/// What a program that failed had to say.
pub(super) fn said(ended: &Ended) -> String {
    beginning(match ended.stderr.trim_ascii().is_empty() {
        true => &ended.stdout,
        false => &ended.stderr,
    })
}

/// So much of an output as an operator is shown.
pub(super) fn beginning(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(&output[..output.len().min(SHOWN)]);
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_other_lines() {
        let find =
            |output: &str| json_with(output.as_bytes(), "height").map(|answer| answer["height"].clone());
        assert_eq!(find(r#"{"height": 7}"#), Some(7.into()));
        assert_eq!(
            find("loading\n{\"level\": \"info\"}\n\n \t{\n\"height\": 8}\nbye"),
            Some(8.into())
        );
        assert_eq!(find(r#"it is {"height": 9}"#), None);
        assert_eq!(find("{\n{\"height\": 10}"), Some(10.into()));
        assert_eq!(find("{\"height\": 1"), None);
    }

    #[test]
    fn a_whole_output_of_empty_lines_is_read_once() {
        // Read from each line to the end, this takes longer than anybody waits.
        let empty = vec![b'\n'; usize::try_from(MAX_OUTPUT).unwrap()];
        assert_eq!(json_with(&empty, "height"), None);
    }
}
